"""The numbers of a stream, in code: what OpenTelemetry would show, without it.

    meter = StreamMeter()
    events.pipe(pipeline("chat", telemetry=meter)).subscribe(writer)
    meter.metrics().events_per_second

Every number comes from the integers that operators keep anyway, and means what its
name says. The names are those of the AG-UI Go SDK's StreamMetrics, which promises
them all; there several are never written, and others are not what they are called.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from threading import Lock
from time import time_ns

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import Disposable

from rx_agui.clock import Timer, clock_for
from rx_agui.errors import require_positive
from rx_agui.probe import Probe, Send, Tally, Watch

__all__ = ["FlowMetrics", "SequenceMetrics", "StreamMeter", "StreamMetrics"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowMetrics:
    """What flow control did.

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
    """What sequencing did.

    Attributes:
        events_sequenced: Events that have their number, or their place.
        out_of_order_events: Events that came before one that belongs in front of them.
        dropped_events: Events that came twice, or after they were given up.
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
class StreamMetrics:
    """What a stream did, from its beginning until now. Seconds and bytes.

    Attributes:
        total_events: Events that came in.
        events_per_second: Of those, since the snapshot before; since the beginning in
            the first.
        events_processed: Events written.
        events_dropped: Events nobody will see, whatever the reason.
        events_compressed: Events whose payload was compressed.
        total_batches, average_batch_size: Batches, and events in each.
        batch_processing_time: At work on batches: to compress and cut them.
        compression_ratio: Bytes out of a codec for each byte in; 0 before the first.
        compression_time: In codecs.
        bytes_saved: By compression.
        average_latency, max_latency: From a payload's first event to its last byte.
        throughput_bps: Bytes written a second, since the snapshot before.
        memory_usage: Bytes that operators hold now.
        processing_errors, compression_errors, sequencing_errors: Errors by where.
        start_time, last_event_time: Seconds since the epoch; 0 before the first.
        flow_control, sequencing: What these two did.
    """

    total_events: int = 0
    events_per_second: float = 0.0
    events_processed: int = 0
    events_dropped: int = 0
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


class StreamMeter(Probe):
    """Counts the streams it watches, together.

    >>> from rx_agui import SSEWriter, from_iterable, pipeline
    >>> meter = StreamMeter()
    >>> events = [{"type": "STEP_STARTED", "stepName": "think"}] * 3
    >>> writer = SSEWriter(lambda data: None)
    >>> _ = from_iterable(events).pipe(pipeline("chat", telemetry=meter)).subscribe(writer)
    >>> meter.metrics().events_processed
    3
    """

    def __init__(self) -> None:
        self._mutex = Lock()
        self._watches: list[Watch] = []
        self._held = [0.0, 0.0, 0.0]  # payloads held for order: how many, sum, longest
        self._last_sent = 0
        self._before = (0, 0, 0)  # when, events, bytes at the snapshot before

    # -- as a probe ------------------------------------------------------------------

    def started(self, watch: Watch) -> None:
        with self._mutex:
            self._watches.append(watch)

    def sent(self, send: Send) -> None:
        self._last_sent = send.ended

    def reordered(self, watch: Watch, seconds: float) -> None:
        count, total, longest = self._held
        self._held = [count + 1, total + seconds, max(longest, seconds)]

    # -- as numbers ------------------------------------------------------------------

    def metrics(self) -> StreamMetrics:
        """What has happened until now."""
        with self._mutex:
            watches = list(self._watches)
            now = time_ns()
            counts = _Counts(tally for watch in watches for tally in watch.tallies)
            begun = min((watch.begun for watch in watches), default=now)
            before, events, sent = self._before
            lapse = max(now - (before or begun), 1) / 1e9
            self._before = now, counts.total, counts.of("sink.sent.size")
        sends = sum(watch.sends for watch in watches)
        held, delay, longest = self._held
        return StreamMetrics(
            total_events=counts.total,
            events_per_second=(counts.total - events) / lapse,
            events_processed=counts.written,
            events_dropped=counts.dropped,
            events_compressed=counts.of("compress.events", "compressed"),
            total_batches=counts.of("batches"),
            average_batch_size=_mean(counts.sent("batch"), counts.of("batches")),
            batch_processing_time=counts.time("compress", "chunk"),
            compression_ratio=_mean(
                counts.of("compress.output.size"), counts.of("compress.input.size")
            ),
            compression_time=counts.time("compress"),
            bytes_saved=counts.of("compress.input.size")
            - counts.of("compress.output.size"),
            average_latency=_mean(sum(watch.latency for watch in watches), sends) / 1e9,
            max_latency=max((watch.longest for watch in watches), default=0) / 1e9,
            throughput_bps=(counts.of("sink.sent.size") - sent) / lapse,
            memory_usage=counts.level("operator.buffer.usage"),
            processing_errors=counts.errors
            - counts.errors_of("compress", "sequence", "resequence"),
            compression_errors=counts.errors_of("compress"),
            sequencing_errors=counts.errors_of("sequence", "resequence"),
            start_time=begun / 1e9 if watches else 0.0,
            last_event_time=self._last_sent / 1e9,
            flow_control=FlowMetrics(
                events_processed=counts.sent("flow_control"),
                events_dropped=counts.dropped_by("flow_control"),
                backpressure_events=counts.of("flow_control.backpressure.activations"),
                average_wait_time=_mean(
                    counts.of("flow_control.wait.time"),
                    counts.of("flow_control.backpressure.activations"),
                )
                / 1e9,
                max_wait_time=counts.highest("flow_control.wait.longest") / 1e9,
                current_concurrent=counts.level("flow_control.inflight"),
            ),
            sequencing=SequenceMetrics(
                events_sequenced=counts.sent("sequence"),
                out_of_order_events=counts.of("sequence.out_of_order.events"),
                dropped_events=counts.dropped_by("sequence"),
                buffer_utilization=_mean(
                    counts.level("sequence.buffer.size"),
                    counts.level("sequence.buffer.capacity"),
                ),
                average_delay=_mean(delay, held),
                max_delay=longest,
            ),
        )

    def every(self, metrics_interval: float = 30.0) -> Observable[StreamMetrics]:
        """A snapshot every so many seconds, for as long as somebody listens.

        Raises:
            ConfigError: The interval is not positive.
        """
        require_positive(metrics_interval=metrics_interval)
        return _Snapshots(self, metrics_interval)


class _Snapshots(Observable[StreamMetrics]):
    def __init__(self, meter: StreamMeter, interval: float) -> None:
        super().__init__()
        self._meter = meter
        self._interval = interval

    def _subscribe_core(
        self,
        observer: ObserverBase[StreamMetrics],
        scheduler: SchedulerBase | None = None,
    ) -> DisposableBase:
        clock = clock_for(scheduler)
        timer: Timer | None = None

        def stop() -> None:
            if timer is not None:
                timer.cancel()

        disposed = Disposable(stop)

        def ring() -> None:
            nonlocal timer
            if not disposed.is_disposed:
                timer = clock.after(self._interval, ring)
                observer.on_next(self._meter.metrics())

        timer = clock.after(self._interval, ring)
        return disposed


class _Counts:
    """The integers of many tallies, added up."""

    def __init__(self, tallies: Iterable[Tally]) -> None:
        self._tallies = list(tallies)
        self.errors = self.of("errors")
        self.dropped = sum(sum(t.dropped.values()) for t in self._tallies)
        self.written = self.sent("sink")
        self.total = self.sent("flow_control") + self.dropped_by("flow_control")
        if not any(t.name == "flow_control" for t in self._tallies) and self._tallies:
            self.total = self._tallies[0].received

    def _named(self, *names: str) -> list[Tally]:
        return [tally for tally in self._tallies if tally.name in names]

    def of(self, what: str, label: str | None = None) -> int:
        """How many they counted under a word, under one label or all."""
        return sum(
            n
            for tally in self._tallies
            for (word, its_label), n in tally.more.items()
            if word == what and label in (None, its_label)
        )

    def errors_of(self, *names: str) -> int:
        return self._of_some("errors", names)

    def time(self, *names: str) -> float:
        return self._of_some("operator.time", names) / 1e9

    def _of_some(self, what: str, names: tuple[str, ...]) -> int:
        return sum(t.more.get((what, ""), 0) for t in self._named(*names)) + sum(
            n
            for t in self._named(*names)
            for (word, label), n in t.more.items()
            if word == what and label
        )

    def sent(self, name: str) -> int:
        return sum(tally.emitted for tally in self._named(name))

    def dropped_by(self, name: str) -> int:
        return sum(sum(tally.dropped.values()) for tally in self._named(name))

    def level(self, what: str) -> int:
        return sum(tally.levels.get(what, 0) for tally in self._tallies)

    def highest(self, what: str) -> int:
        return max((tally.levels.get(what, 0) for tally in self._tallies), default=0)


def _mean(total: float, count: float) -> float:
    return total / count if count else 0.0
