"""Each setting does what it says. Numbers are right to the unit in cases done by hand."""

from __future__ import annotations

import gzip
import json
import time
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace

import pytest
from reactivex import operators as ops

from rx_agui import (
    EventStream,
    StreamConfig,
    StreamMetrics,
    ValidationError,
    decompress,
    reassemble,
)
from rx_agui.agui.encoding import encode
from rx_agui.testing import MarbleScheduler
from tests.support.patience import until
from tests.support.readers import Reading, event, values

SINGLE = StreamConfig(batch_enabled=False)


def sent(config: StreamConfig, n: int, *, length: int = 0) -> EventStream:
    """A stream to which `n` events were sent, and that nobody has read."""
    stream = EventStream(config)
    stream.start()
    for i in range(n):
        stream.send(event(i, text="a" * length))
    stream.complete()
    return stream


def counted(stream: EventStream) -> StreamMetrics:
    metrics = stream.metrics()
    assert metrics is not None
    return metrics


# -- batching ---------------------------------------------------------------------------


def test_batches_have_the_size_that_was_asked_for() -> None:
    config = StreamConfig(batch_size=7, batch_timeout=30.0, flush_interval=30.0)
    read = list(sent(config, 30).receive_chunks())

    assert [chunk.events for chunk in read] == [7, 7, 7, 7, 2]


@pytest.mark.parametrize(
    ("batch_timeout", "flush_interval", "leaves_at"),
    [(2.0, 50.0, 2.0), (50.0, 3.0, 3.0)],
)
def test_what_was_gathered_leaves_after_the_shorter_of_both_times(
    batch_timeout: float, flush_interval: float, leaves_at: float
) -> None:
    virtual = MarbleScheduler()
    config = StreamConfig(batch_timeout=batch_timeout, flush_interval=flush_interval)
    stream = EventStream(config, scheduler=virtual)
    stream.start()
    heard: list[float] = []
    stream.receive_chunks().subscribe(lambda chunk: heard.append(virtual.seconds))
    virtual.at(1, stream.try_send, event(1))
    virtual.play(20)

    assert heard == [1 + leaves_at]


def test_without_batching_an_event_leaves_at_once() -> None:
    heard: list[int] = []
    with EventStream(SINGLE) as stream:
        stream.receive_chunks().subscribe(lambda chunk: heard.extend(values([chunk])))
        for n in range(5):
            stream.send(event(n))
            assert heard == list(range(n + 1))


def test_an_adaptive_batch_of_a_lone_event_leaves_at_once_and_a_flood_fills_them() -> (
    None
):
    config = StreamConfig(
        adaptive_batching=True,
        batch_timeout=30.0,
        flush_interval=30.0,
        max_batch_size=40,
    )
    with EventStream(config) as stream:
        reading = Reading(stream)
        stream.send(event(0))
        until(lambda: reading.chunks)
        for n in range(1, 5000):
            stream.send(event(n))

    assert reading.all() == list(range(5000))
    assert max(chunk.events for chunk in reading.chunks) <= 40
    assert len(reading.chunks) < 4000


def test_a_batch_in_bytes_is_bounded_too() -> None:
    config = StreamConfig(max_batch_bytes=1000, compression_enabled=False)
    read = list(sent(config, 20, length=400).receive_chunks())

    assert {chunk.events for chunk in read} == {2}


# -- chunks -----------------------------------------------------------------------------


@pytest.mark.parametrize("compressed", [True, False])
def test_batches_larger_than_a_chunk_are_cut_and_reassemble(compressed: bool) -> None:
    config = StreamConfig(
        max_chunk_size=256, compression_enabled=compressed, worker_count=2
    )
    stream = EventStream(config)
    with stream:
        for n in range(100):
            stream.send(event(n, text=f"déjà {n} 🌊 " * 5))
        stream.complete()
        read = list(stream.receive_chunks())

    assert values(read) == list(range(100))
    assert max(len(chunk.data) for chunk in read) <= 256
    assert max(chunk.total_chunks for chunk in read) > (1 if compressed else 9)
    assert [chunk.event_id for chunk in read if chunk.event_id] == ["50", "100"]
    assert counted(stream).total_batches == 2
    if not compressed:
        for chunk in read:
            chunk.data.decode()  # text is cut between characters


def test_the_pieces_are_the_batch_again_byte_for_byte() -> None:
    read = sent(StreamConfig(max_chunk_size=100), 50).receive_chunks()
    payloads = read.pipe(reassemble(), decompress(), ops.to_list()).run()

    assert [payload.data for payload in payloads] == [
        b"\n".join(encode(event(n, text="")) for n in range(50))
    ]


# -- compression -------------------------------------------------------------------------


def test_level_zero_stores_and_is_not_the_default_level() -> None:
    read = list(
        sent(StreamConfig(compression_level=0), 50, length=100).receive_chunks()
    )

    assert [chunk.encoding for chunk in read] == ["identity"]  # nothing was saved


def test_what_is_smaller_than_the_minimum_is_not_compressed() -> None:
    one = len(encode(event(0, text="a" * 100)))
    config = replace(SINGLE, min_compression_size=one)
    at = list(sent(config, 1, length=100).receive_chunks())
    below = list(
        sent(
            replace(config, min_compression_size=one + 1), 1, length=100
        ).receive_chunks()
    )

    assert (at[0].encoding, below[0].encoding) == ("gzip", "identity")


# -- metrics -----------------------------------------------------------------------------


def test_bytes_saved_ratio_and_batches_are_right_to_the_unit() -> None:
    config = StreamConfig(
        batch_size=10,
        batch_timeout=30.0,
        flush_interval=30.0,
        worker_count=1,
        min_compression_size=600,
    )
    stream = sent(config, 25, length=40)
    read = list(stream.receive_chunks())

    lines = [encode(event(n, text="a" * 40)) for n in range(25)]
    whole = [b"\n".join(lines[:10]), b"\n".join(lines[10:20]), b"\n".join(lines[20:])]
    assert len(whole[2]) < 600 <= len(whole[0])  # two are compressed, one is too small
    given = len(whole[0]) + len(whole[1])
    wire = sum(len(b64encode(chunk.data)) for chunk in read[:2])
    assert [gzip.decompress(chunk.data) for chunk in read[:2]] == whole[:2]
    metrics = counted(stream)
    assert metrics.bytes_saved == given - wire > 0
    assert metrics.compression_ratio == wire / given
    assert metrics.events_compressed == 20
    assert (metrics.total_batches, metrics.average_batch_size) == (3, 25 / 3)
    assert metrics.total_events == metrics.events_processed == 25
    assert metrics.memory_usage == metrics.events_dropped == 0
    assert metrics.flow_control.events_processed == 25
    assert metrics.flow_control.current_concurrent == 0
    assert len(read[2].data) == len(whole[2])


def test_the_average_wait_is_an_average() -> None:
    """Two senders wait, one for 0.3 s and one for 0.1 s: 0.2, and not 0.4."""
    from rx_agui.flow import _credit

    now = [1_000_000_000]
    patch = pytest.MonkeyPatch()
    patch.setattr(_credit, "time_ns", lambda: now[0])
    config = replace(SINGLE, max_concurrent_events=1, event_buffer_size=1)
    stream = EventStream(config)
    stream.start()
    while stream.try_send(event(0)):
        pass
    credit = stream._gate.link.credit  # type: ignore[union-attr]
    first = credit.acquire_or(lambda: None)
    now[0] += 200_000_000
    second = credit.acquire_or(lambda: None)
    assert first
    assert second
    now[0] += 100_000_000
    for waiter in (first, second):
        credit.leave(waiter)
    patch.undo()
    flow = counted(stream).flow_control
    stream.close(drain=False)

    assert flow.backpressure_events == 2
    assert flow.average_wait_time == pytest.approx(0.2)
    assert flow.max_wait_time == pytest.approx(0.3)


def test_metrics_are_of_this_moment_and_not_of_the_last_interval() -> None:
    with EventStream(replace(SINGLE, metrics_interval=10_000)) as stream:
        stream.send(event(1))
        before = counted(stream)
        assert before.flow_control.backpressure_events == 0  # it is there, and not None
        assert (before.total_events, before.events_processed) == (1, 0)
        stream.complete()
        list(stream.receive_chunks())
        assert counted(stream).events_processed == 1


def test_snapshots_come_each_interval_until_the_stream_ends() -> None:
    virtual = MarbleScheduler()
    stream = EventStream(replace(SINGLE, metrics_interval=5.0), scheduler=virtual)
    stream.start()
    stream.receive_chunks().subscribe()
    heard: list[tuple[float, int]] = []
    ended: list[float] = []
    stream.metrics_changes().subscribe(
        lambda m: heard.append((virtual.seconds, m.total_events)),
        on_completed=lambda: ended.append(virtual.seconds),
        scheduler=virtual,
    )
    for second in (1, 2, 6):
        virtual.at(second, stream.try_send, event(second))
    virtual.at(12, stream.close)
    virtual.play(30)

    assert heard == [(5.0, 2), (10.0, 3)]
    assert ended == [12.0]


def test_without_metrics_there_are_none_and_the_stream_works_all_the_same() -> None:
    stream = sent(replace(SINGLE, enable_metrics=False), 3)

    assert stream.metrics() is None
    assert values(stream.receive_chunks()) == [0, 1, 2]


def test_throughput_latency_and_times_are_measured() -> None:
    begun = time.time()
    stream = EventStream(SINGLE)
    with stream:
        reading = Reading(stream)
        for n in range(100):
            stream.send(event(n, text="a" * 50))
    reading.all()
    metrics = counted(stream)

    assert metrics.throughput_bps > 0
    assert metrics.events_per_second > 0
    assert 0 < metrics.average_latency <= metrics.max_latency < 30
    assert begun - 1 <= metrics.start_time <= metrics.last_event_time <= time.time() + 1


# -- buffers ------------------------------------------------------------------------------


def number(event: object) -> int:
    return int(json.loads(json.dumps(event))["value"])


FULL: dict[str, Callable[[EventStream], object]] = {
    "event_buffer": lambda stream: [stream.try_send(event(n)) for n in range(1, 99)],
    "out_of_order_buffer": lambda stream: [
        stream.try_send(event(n)) for n in range(2, 20)
    ],
    "batch": lambda stream: stream.send(event(1)),
}


@pytest.mark.parametrize("level", FULL)
def test_what_waits_at_each_level_can_be_seen_with_its_bounds(level: str) -> None:
    config = StreamConfig(
        ordering_required=True,
        batch_enabled=level != "event_buffer",
        batch_timeout=30.0,
        flush_interval=30.0,
        event_buffer_size=10,
        max_concurrent_events=5,
        out_of_order_buffer=20,
        gap_timeout=30.0,
    )
    stream = EventStream(config, number=number)
    stream.start()
    FULL[level](stream)
    buffers = counted(stream).buffers
    held = buffers[level]

    assert list(buffers) == [
        name
        for name in (
            "event_buffer",
            "out_of_order_buffer",
            "batch",
            "workers",
            "reserve",
            "chunk_buffer",
        )
        if name != "batch" or config.batch_enabled
    ]
    assert held.events > 0
    assert held.bytes > 0
    assert held.max_events is not None
    assert held.max_bytes is not None
    assert held.events <= held.max_events
    assert held.bytes <= held.max_bytes
    if level == "event_buffer":
        assert held.events == 10
    stream.close(drain=False)


# -- under pressure, and what is no AG-UI --------------------------------------------------


def test_what_is_no_ag_ui_is_refused_at_its_sender_where_that_is_asked_for() -> None:
    wrong = {"type": "STEP_STARTED", "step_name": "think"}
    strict = EventStream(replace(SINGLE, validation_enabled=True))
    strict.start()
    with pytest.raises(ValidationError, match="stepName"):
        strict.send(wrong)
    strict.send({"type": "STEP_STARTED", "stepName": "think"})
    strict.complete()
    lenient = EventStream(SINGLE)
    lenient.start()
    lenient.send(wrong)
    lenient.complete()

    assert [chunk.event_id for chunk in strict.receive_chunks()] == ["1"]
    assert [chunk.event_id for chunk in lenient.receive_chunks()] == ["1"]


def test_while_the_reader_is_behind_less_is_sent_and_what_matters_always_passes() -> (
    None
):
    """Nobody reads for 20 s: level by level, till only what ends a run is let in."""
    virtual = MarbleScheduler()
    config = StreamConfig(degradation_enabled=True, degradation_max_age=1.0)
    stream = EventStream(config, scheduler=virtual)
    stream.start()
    let_in: dict[float, bool] = {}

    def send(second: float, event: dict[str, object]) -> None:
        let_in[second] = stream.try_send(event)

    raw = {"type": "RAW", "event": {}}
    delta = {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": "a"}
    end = {"type": "TEXT_MESSAGE_END", "messageId": "m"}
    for second, what in ((1.0, delta), (6.6, raw), (15.0, delta), (16.0, end)):
        virtual.at(second, send, second, what)
    virtual.play(20)

    assert let_in == {1.0: True, 6.6: True, 15.0: False, 16.0: True}
    heard: list[bytes] = []
    stream.receive_chunks().subscribe(lambda chunk: heard.append(chunk.data))
    virtual.at(21, stream.close)
    virtual.play(60)
    assert b"RAW" not in b"".join(heard)
    assert b"".join(heard).count(b"TEXT_MESSAGE_END") == 1
    assert stream._outbox.done.done()
