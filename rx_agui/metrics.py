"""Numbers of a stream, in code: what OpenTelemetry would show, without it.

    meter = StreamMeter()
    events.pipe(pipeline("chat", telemetry=meter)).subscribe(writer)
    meter.metrics().events_per_second

Every number comes from the integers that operators keep anyway, and means what its
name says. The names are those of the AG-UI Go SDK's StreamMetrics, which promises
them all; there several are never written, and others are not what they are called.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, field
from threading import Lock
from time import time_ns
from typing import Final

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import Disposable

from rx_agui.clock import Timer, clock_for
from rx_agui.errors import require_positive
from rx_agui.probe import PayloadTrace, Probe, Reading, StreamObservation

__all__ = [
    "BufferMetrics",
    "FlowMetrics",
    "SequenceMetrics",
    "StreamMeter",
    "StreamMetrics",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowMetrics:
    """Numbers of flow control.

    Attributes:
        events_processed: Events let in.
        events_dropped: Events not let in: refused, timed out, overtaken.
        backpressure_events: Times a producer had to wait.
        average_wait_time, max_wait_time: Seconds, of those that waited.
        current_concurrent: Events in flight now.
    """

    events_processed: int = 0
    events_dropped: int = 0
    backpressure_events: int = 0
    average_wait_time: float = 0.0
    max_wait_time: float = 0.0
    current_concurrent: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceMetrics:
    """Numbers of sequencing.

    Attributes:
        events_sequenced: Events that have their number, or their place.
        out_of_order_events: Events that came before one that belongs in front of them.
        dropped_events: Events that came twice, or after they were given up, or behind
            a gap that ended the stream, or when it was disposed of.
        buffer_utilization: Of the reorder buffer, from 0 to 1.
        average_delay, max_delay: Seconds, of those that were held.
    """

    events_sequenced: int = 0
    out_of_order_events: int = 0
    dropped_events: int = 0
    buffer_utilization: float = 0.0
    average_delay: float = 0.0
    max_delay: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BufferMetrics:
    """Fill of one of the buffers in an EventStream.

    Attributes:
        events, bytes: What waits there now.
        max_events, max_bytes: What may. None: no bound of its own, since what waits
            there is bounded with what is in flight.
        chunks, max_chunks: Where chunks wait, how many do, and may.
    """

    events: int = 0
    bytes: int = 0
    max_events: int | None = None
    max_bytes: int | None = None
    chunks: int | None = None
    max_chunks: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamMetrics:
    """Numbers of a stream from its beginning until now, in seconds and bytes.

    Attributes:
        total_events: Events that were admitted; refused attempts are not.
        events_per_second: Of those, over the last second or more: since the newest
            snapshot that is a second old, or the beginning. A second caller of
            `metrics()` changes nothing about it.
        events_processed: Events written; where no SSEWriter stands at the end, events
            that came out.
        events_dropped: Events that will never be delivered, for any reason.
        events_merged: Events that became part of another, by `conflate`.
        events_compressed: Events whose payload was compressed.
        total_batches, average_batch_size: Batches, and events in each.
        batch_processing_time: At work on batches: to join, compress and cut them.
        compression_ratio: Bytes on the wire for each byte given to a codec; base64, in
            which the chunk profile writes them, is counted. 0 before the first.
        compression_time: At work in codecs.
        bytes_saved: By compression, on the wire: negative if it made them more.
        average_latency, max_latency: From a payload's first event to its last byte; the
            average is over events.
        throughput_bps: Bytes written a second, over the time of `events_per_second`.
        memory_usage: Bytes that operators hold now.
        processing_errors, compression_errors, sequencing_errors: Errors by where.
        start_time, last_event_time: When the first stream was subscribed and the last
            payload written, in seconds since the epoch; 0 before.
        flow_control, sequencing: What these two did.
        buffers: Of an EventStream, what waits where.
    """

    total_events: int = 0
    events_per_second: float = 0.0
    events_processed: int = 0
    events_dropped: int = 0
    events_merged: int = 0
    events_compressed: int = 0
    total_batches: int = 0
    average_batch_size: float = 0.0
    batch_processing_time: float = 0.0
    compression_ratio: float = 0.0
    compression_time: float = 0.0
    bytes_saved: int = 0
    average_latency: float = 0.0
    max_latency: float = 0.0
    throughput_bps: float = 0.0
    memory_usage: int = 0
    processing_errors: int = 0
    compression_errors: int = 0
    sequencing_errors: int = 0
    start_time: float = 0.0
    last_event_time: float = 0.0
    flow_control: FlowMetrics = field(default_factory=FlowMetrics)
    sequencing: SequenceMetrics = field(default_factory=SequenceMetrics)
    buffers: Mapping[str, BufferMetrics] = field(default_factory=dict)


class StreamMeter(Probe):
    """A probe that adds up the streams it observes.

    >>> from rx_agui import SSEWriter, from_iterable, pipeline
    >>> meter = StreamMeter()
    >>> events = [{"type": "STEP_STARTED", "stepName": "think"}] * 3
    >>> writer = SSEWriter(lambda data: None)
    >>> _ = from_iterable(events).pipe(pipeline("chat", telemetry=meter)).subscribe(writer)
    >>> meter.metrics().events_processed
    3

    Streams that have ended are kept as sums, so it may watch for years.
    """

    def __init__(self) -> None:
        self._mutex = Lock()
        self._live: dict[StreamObservation, None] = {}
        self._leaving: list[StreamObservation] = []  # ended, and not yet at rest
        self._sums = _Sums()  # of those that are at rest
        self._marks: deque[_Mark] = deque()  # of snapshots: one that is old, and newer
        self._snapshot = Lock()  # one snapshot at a time

    # -- as a probe ------------------------------------------------------------------

    def started(self, watch: StreamObservation) -> None:
        with self._mutex:
            self._live[watch] = None
            self._sums.begun = self._sums.begun or watch.begun

    def sent(self, send: PayloadTrace) -> None:
        if send.error is None:
            with self._mutex:
                self._sums.last_sent = max(self._sums.last_sent, send.ended)

    def reordered(self, watch: StreamObservation, seconds: float) -> None:
        with self._mutex:
            count, total, longest = self._sums.held
            self._sums.held = count + 1, total + seconds, max(longest, seconds)

    def ended(self, watch: StreamObservation) -> None:
        with self._mutex:
            if watch in self._live:
                del self._live[watch]
                self._leaving.append(watch)
            self._let_go()

    def _let_go(self) -> None:
        """Move ended streams whose operators hold nothing into the sums. Caller locks.

        The writer of a stream that was disposed of may still be writing.
        """
        leaving, self._leaving = self._leaving, []
        for watch in leaving:
            if any(tally.held for tally in watch.operators):
                self._leaving.append(watch)
            else:
                self._sums.add(watch, is_live=False)

    # -- as numbers ------------------------------------------------------------------

    def metrics(self) -> StreamMetrics:
        """Return the numbers of this moment."""
        with self._snapshot:
            sums = self._sum()
            now = time_ns() / 1e9
            since = self._since(now) or _Mark(sums.begun / 1e9 or now)
            if not self._marks or now - self._marks[-1].second >= _SHORTEST / 10:
                self._marks.append(_Mark(now, sums.total, sums.size))
        return sums.metrics(since, now)

    def _since(self, now: float) -> _Mark | None:
        """Return the newest mark that is old enough, and forget those before it."""
        marks = self._marks
        while len(marks) > 1 and now - marks[1].second >= _SHORTEST:
            marks.popleft()
        return marks[0] if marks and now - marks[0].second >= _SHORTEST else None

    def every(self, metrics_interval: float = 30.0) -> Observable[StreamMetrics]:
        """Emit a snapshot every `metrics_interval` seconds, while subscribed.

        Its rates are those of the interval; other callers' snapshots do not change them.

        Raises:
            ConfigError: The interval is not positive.
        """
        require_positive(metrics_interval=metrics_interval)
        return _Snapshots(self._sum, metrics_interval)

    def _sum(self) -> _Sums:
        with self._mutex:
            self._let_go()
            sums = self._sums.copy()
            for watch in (*self._live, *self._leaving):
                sums.add(watch, is_live=True)
        return sums


#: Seconds that a rate is of, at least. Shorter ones would show each batch as a burst.
_SHORTEST: Final = 1.0

#: Why events are dropped that were never admitted: their sender was told.
_NOT_ADMITTED: Final = (
    "invalid",
    "refused",
    "backpressure_timeout",
    "circuit_open",
    "overloaded",
)


@dataclass(frozen=True, slots=True)
class _Mark:
    """Totals at a snapshot, for the rates of the next."""

    second: float
    events: int = 0
    size: int = 0


class _Snapshots(Observable[StreamMetrics]):
    def __init__(self, sum_up: Callable[[], _Sums], interval: float) -> None:
        super().__init__()
        self._sum_up = sum_up
        self._interval = interval

    def _subscribe_core(
        self,
        observer: ObserverBase[StreamMetrics],
        scheduler: SchedulerBase | None = None,
    ) -> DisposableBase:
        clock = clock_for(scheduler)
        sums = self._sum_up()
        before = _Mark(clock.now(), sums.total, sums.size)
        timer: Timer | None = None

        def stop() -> None:
            if timer is not None:
                timer.cancel()

        disposed = Disposable(stop)

        def ring() -> None:
            nonlocal timer, before
            if disposed.is_disposed:
                return
            timer = clock.after(self._interval, ring)
            sums, now = self._sum_up(), clock.now()
            since, before = before, _Mark(now, sums.total, sums.size)
            observer.on_next(sums.metrics(since, now))

        timer = clock.after(self._interval, ring)
        return disposed


class _Sums:
    """Sums over many streams."""

    def __init__(self) -> None:
        self.begun = 0  # ns since 1970, like the next
        self.last_sent = 0
        self.held = 0, 0.0, 0.0  # payloads held for order: how many, sum, longest
        self.total = 0
        self.processed = 0
        self.delivered = 0
        self.latency = 0
        self.longest = 0
        self.longest_wait = 0
        #: By operator and word; by word and label; and what goes up and down, by word.
        self.counts: Counter[tuple[str, str]] = Counter()
        self.words: Counter[tuple[str, str]] = Counter()
        self.levels: Counter[str] = Counter()
        self.merged: Counter[str] = Counter()

    def copy(self) -> _Sums:
        """Return a copy to which live streams are added."""
        more = copy(self)
        more.counts = self.counts.copy()
        more.words = self.words.copy()
        more.levels = self.levels.copy()
        more.merged = self.merged.copy()
        return more

    def add(self, watch: StreamObservation, *, is_live: bool) -> None:
        """Add the numbers of one stream."""
        # From the bottom up: what passes meanwhile has not come out before it came in.
        readings = [tally.read() for tally in reversed(watch.operators)]
        if readings:
            self.processed += readings[0].emitted
            # Events that flow_control refused never came to what stands before it.
            heads = [r for r in readings if r.name == "flow_control"]
            self.total += max(_admitted(r) for r in (*heads, readings[-1]))
        _, events, latency, longest = watch.delivered
        self.delivered += events
        self.latency += latency
        self.longest = max(self.longest, longest)
        for reading in readings:
            name, more, levels = reading.name, reading.more, reading.levels
            self.counts[name, "emitted"] += reading.emitted
            # What a writer gave back is tried again, or dropped by who got it back.
            lost = sum(reading.dropped.values()) - reading.dropped.get("given_back", 0)
            self.counts[name, "dropped"] += lost
            self.merged[name] += reading.merged
            for (word, label), n in more.items():
                self.counts[name, word] += n
                self.words[word, label] += n
            longest = levels.get("flow_control.wait.longest", 0)
            self.longest_wait = max(self.longest_wait, longest)
            if is_live:
                self.levels.update(levels)

    @property
    def size(self) -> int:
        """Bytes written; where an EventStream's reader does that, bytes it took."""
        taken = self.counts["chunk_buffer", "chunk_buffer.taken.size"]
        return self.counts["sink", "sink.sent.size"] or taken

    def metrics(self, since: _Mark, now: float) -> StreamMetrics:
        """Return the sums under the names of StreamMetrics."""
        counts, levels = self.counts, self.levels
        lapse = max(now - since.second, 1e-9)
        busy = {
            name: n for (name, word), n in counts.items() if word == "operator.time"
        }
        errors = {name: n for (name, word), n in counts.items() if word == "errors"}
        dropped = {name: n for (name, word), n in counts.items() if word == "dropped"}
        given = counts["compress", "compress.input.size"]
        wire = counts["compress", "compress.wire.size"]
        batches = counts["batch", "batches"]
        waits = counts["flow_control", "flow_control.backpressure.activations"]
        of_sequence = errors.get("sequence", 0) + errors.get("resequence", 0)
        of_compress = errors.get("compress", 0)
        held, delay, longest_delay = self.held
        return StreamMetrics(
            total_events=self.total,
            events_per_second=(self.total - since.events) / lapse,
            events_processed=self.processed,
            events_dropped=sum(dropped.values()),
            events_merged=sum(self.merged.values()),
            events_compressed=self.words["compress.events", "compressed"],
            total_batches=batches,
            average_batch_size=_mean(counts["batch", "emitted"], batches),
            batch_processing_time=sum(
                busy.get(name, 0) for name in ("batch", "compress", "chunk")
            )
            / 1e9,
            compression_ratio=_mean(wire, given),
            compression_time=busy.get("compress", 0) / 1e9,
            bytes_saved=given - wire,
            average_latency=_mean(self.latency, self.delivered) / 1e9,
            max_latency=self.longest / 1e9,
            throughput_bps=(self.size - since.size) / lapse,
            memory_usage=levels["operator.buffer.usage"],
            processing_errors=sum(errors.values()) - of_compress - of_sequence,
            compression_errors=of_compress,
            sequencing_errors=of_sequence,
            start_time=self.begun / 1e9,
            last_event_time=self.last_sent / 1e9,
            flow_control=FlowMetrics(
                events_processed=counts["flow_control", "emitted"],
                events_dropped=dropped.get("flow_control", 0),
                backpressure_events=waits,
                average_wait_time=_mean(
                    counts["flow_control", "flow_control.wait.time"], waits
                )
                / 1e9,
                max_wait_time=self.longest_wait / 1e9,
                current_concurrent=levels["flow_control.inflight"],
            ),
            sequencing=SequenceMetrics(
                events_sequenced=counts["sequence", "emitted"],
                out_of_order_events=counts["sequence", "sequence.out_of_order.events"],
                dropped_events=dropped.get("sequence", 0),
                buffer_utilization=_mean(
                    levels["sequence.buffer.size"], levels["sequence.buffer.capacity"]
                ),
                average_delay=_mean(delay, held),
                max_delay=longest_delay,
            ),
        )


def _admitted(reading: Reading) -> int:
    refused = sum(reading.dropped.get(reason, 0) for reason in _NOT_ADMITTED)
    return reading.received - refused


def _mean(total: float, count: float) -> float:
    return total / count if count else 0.0
