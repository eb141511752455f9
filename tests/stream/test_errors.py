"""Five kinds of error, each with its number and cause; and no neighbour is taken along."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from typing import Any

import pytest

from rx_agui import (
    BackpressureTimeoutError,
    CircuitOpenError,
    CompressionError,
    ConfigError,
    DuplicateError,
    EventStream,
    FlowControlError,
    GapError,
    LateError,
    LostError,
    NotSentError,
    ProcessingError,
    SequencingError,
    SSEWriter,
    StreamChunk,
    StreamConfig,
    StreamError,
    StreamMetrics,
    ValidationError,
)
from rx_agui.codecs.registry import PAYLOAD_CODECS
from rx_agui.operators import _compress
from tests.support.patience import SOON, until
from tests.support.readers import Reading, event, value, values

SINGLE = StreamConfig(batch_enabled=False)
ORDERED = StreamConfig(ordering_required=True, batch_enabled=False, gap_timeout=SOON)


def number(event: Any) -> int:
    return value(event)


def opened(stream: EventStream) -> list[StreamError]:
    told: list[StreamError] = []
    stream.errors.subscribe(told.append)
    stream.start()
    return told


def counted(stream: EventStream) -> StreamMetrics:
    metrics = stream.metrics()
    assert metrics is not None
    return metrics


def test_what_send_refused_is_among_the_errors() -> None:
    stream = EventStream(SINGLE)
    told = opened(stream)
    with pytest.raises(ValidationError) as refused:
        stream.send({"type": "CUSTOM", "value": object()})
    assert told == [refused.value]

    full = EventStream(replace(SINGLE, event_buffer_size=1, max_concurrent_events=1))
    told = opened(full)
    while full.try_send(event(1)):
        pass
    with pytest.raises(BackpressureTimeoutError) as late:
        full.send(event(2), 0.001)
    assert told == [late.value]


def test_a_chunk_behind_a_gap_covers_the_gap() -> None:
    stream = EventStream(ORDERED, number=number)
    stream.start()
    for n in (1, 2, 5, 6):
        stream.send(event(n))
    stream.complete()
    read = list(stream.receive_chunks())

    covered = [(chunk.sequence_num, chunk.event_id) for chunk in read]
    assert covered == [(1, "1"), (2, "2"), (3, "5"), (6, "6")]


# -- the five kinds -----------------------------------------------------------------------


def test_validation_what_cannot_be_encoded_is_refused_at_its_sender_and_leaves_no_gap() -> (
    None
):
    stream = EventStream(SINGLE)
    told = opened(stream)
    stream.send(event(1))
    with pytest.raises(ValidationError) as refused:
        stream.send({"type": "CUSTOM", "value": object()})
    stream.send(event(2))
    stream.complete()
    read = list(stream.receive_chunks())

    assert values(read) == [1, 2]
    assert [chunk.event_id for chunk in read] == ["1", "2"]
    assert refused.value.number is None  # it never had one
    assert told == [refused.value]  # its sender knows, and those who watch
    assert counted(stream).processing_errors == 1
    assert counted(stream).events_dropped == 1


def test_processing_an_event_whose_number_cannot_be_read_goes_alone() -> None:
    stream = EventStream(ORDERED, number=number)
    told = opened(stream)
    stream.send(event(1))
    stream.send({"type": "CUSTOM", "name": "no value"})
    stream.send(event(2))
    stream.complete()

    assert values(stream.receive_chunks()) == [1, 2]
    assert [type(error) for error in told] == [ProcessingError]
    assert isinstance(told[0].__cause__, KeyError)


def test_compression_that_fails_sends_the_payload_as_it_is_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fragile(data: bytes) -> bytes:
        if b'"value":2,' in data:
            raise MemoryError("no room")
        return data[: len(data) // 2]  # never read by this test

    gzip = replace(PAYLOAD_CODECS["gzip"], packer=lambda level: fragile)
    monkeypatch.setattr(_compress, "PAYLOAD_CODECS", {"gzip": gzip})
    stream = EventStream(replace(SINGLE, min_compression_size=1, worker_count=1))
    told = opened(stream)
    for n in (1, 2, 3):
        stream.send(event(n, text="a" * 100))
    stream.complete()
    read = list(stream.receive_chunks())

    assert [chunk.encoding for chunk in read] == ["gzip", "identity", "gzip"]
    assert values(read[1:2]) == [2]
    assert [(type(error), error.number) for error in told] == [(CompressionError, 2)]
    assert isinstance(told[0].__cause__, MemoryError)
    assert counted(stream).compression_errors == 1
    assert counted(stream).events_dropped == 0


def test_sequencing_gaps_and_numbers_that_are_late_or_double_are_told_of() -> None:
    stream = EventStream(replace(ORDERED, out_of_order_buffer=2), number=number)
    told = opened(stream)
    for n in (1, 3, 4, 5, 2, 5, 6):
        stream.send(event(n))
    stream.complete()

    assert values(stream.receive_chunks()) == [1, 3, 4, 5, 6]
    assert [(type(error), error.number) for error in told] == [
        (GapError, 2),
        (LateError, 2),
        (DuplicateError, 5),
    ]
    assert all(isinstance(error, SequencingError) for error in told)
    assert counted(stream).sequencing_errors == 3
    assert counted(stream).sequencing.dropped_events == 2


def test_flow_control_a_sender_that_waited_too_long_is_told_and_counted() -> None:
    stream = EventStream(
        replace(
            SINGLE,
            max_concurrent_events=1,
            event_buffer_size=1,
            backpressure_timeout=0.01,
        )
    )
    opened(stream)
    while stream.try_send(event(1)):
        pass
    with pytest.raises(BackpressureTimeoutError, match=r"within 0\.01 s") as refused:
        stream.send(event(2))

    assert isinstance(refused.value, FlowControlError)
    flow = counted(stream).flow_control
    assert (flow.events_dropped, flow.backpressure_events) == (1, 1)
    assert flow.max_wait_time == flow.average_wait_time > 0
    stream.close(drain=False)


def test_a_configuration_is_refused_where_it_is_written() -> None:
    with pytest.raises(ConfigError, match="number must be left out, or the config"):
        EventStream(number=number)
    with pytest.raises(ConfigError, match="enable_metrics must be True"):
        EventStream(StreamConfig(enable_metrics=False)).metrics_changes()


# -- the observable of them -------------------------------------------------------------------


def test_errors_end_with_the_stream_and_do_not_end_it() -> None:
    ended: list[str] = []
    stream = EventStream(ORDERED, number=number)
    stream.errors.subscribe(on_completed=lambda: ended.append("first"))
    stream.start()
    stream.complete()
    list(stream.receive_chunks())
    stream.errors.subscribe(on_completed=lambda: ended.append("late"))

    assert ended == ["first", "late"]


def test_a_listener_that_raises_harms_nobody_but_itself() -> None:
    stream = EventStream(ORDERED, number=number)

    def fail(error: StreamError) -> None:
        raise RuntimeError("a listener of somebody's")

    stream.errors.subscribe(fail)
    told = opened(stream)
    for _ in range(2):
        stream.send({"type": "CUSTOM"})
    stream.send(event(1))
    stream.complete()

    assert values(stream.receive_chunks()) == [1]
    assert len(told) == 2


def test_a_listener_that_is_stuck_holds_nothing_up_and_misses_some() -> None:
    stuck, inside = threading.Event(), threading.Event()

    def hang(error: StreamError) -> None:
        inside.set()
        stuck.wait(SOON)

    stream = EventStream(ORDERED, number=number)
    stream.errors.subscribe(hang)
    stream.start()
    first = threading.Thread(target=stream.send, args=({"type": "CUSTOM"},))
    first.start()
    assert inside.wait(SOON)
    before = stream._faults.missed
    for _ in range(1100):  # it has said that 1000 may wait
        stream._faults.tell(GapError(1, 1))

    assert stream._faults.missed - before == 100
    stuck.set()
    first.join(SOON)
    stream.close(drain=False)


# -- a sink that dies in the midst of it --------------------------------------------------------


def test_after_a_dead_reader_has_recovered_everything_flows_and_nothing_comes_twice() -> (
    None
):
    """It fails for a while: senders are told when to try again.

    What was in its hands is told of as Lost, and all the rest arrives once.
    """
    down = threading.Event()
    written: list[bytes] = []

    def write(data: bytes) -> None:
        if down.is_set():
            raise OSError("the reader is down")
        written.append(data)

    config = replace(
        SINGLE,
        compression_enabled=False,
        circuit_breaker_enabled=True,
        breaker_minimum_calls=3,
        breaker_wait=0.02,
        backpressure_timeout=SOON,
    )
    stream = EventStream(config, name="chat")
    told = opened(stream)
    stream.receive_chunks().subscribe(SSEWriter(write))
    accepted: list[int] = []
    refusals: list[CircuitOpenError] = []

    def send(n: int) -> None:
        try:
            stream.send(event(n))
        except CircuitOpenError as error:
            refusals.append(error)
        else:
            accepted.append(n)

    for n in range(30):
        send(n)
    down.set()
    while not refusals:
        send(1000 + len(accepted))
    down.clear()
    assert refusals[0].name == "chat"
    assert 0 < refusals[0].retry_in <= 0.02

    def flows_again() -> bool:
        send(5000 + len(accepted))
        return accepted[-1] >= 5000

    until(flows_again)
    for n in range(9000, 9100):
        while accepted[-1] != n:
            send(n)
    stream.close()

    came = [int(part.split(b'"value":')[1].split(b"}")[0]) for part in written]
    lost = [error for error in told if isinstance(error, LostError)]
    assert len(came) == len(set(came))
    assert len(lost) == 10  # half of the last 20: it opened within its window
    numbers = {n + 1: v for n, v in enumerate(accepted)}
    assert set(accepted) - set(came) == {numbers[error.number or 0] for error in lost}


def test_what_was_not_sent_is_tried_again_with_patience_and_comes_once() -> None:
    written: list[bytes] = []
    failures = [NotSentError("not yet"), NotSentError("not yet")]

    def write(data: bytes) -> None:
        if failures:
            raise failures.pop()
        written.append(data)

    config = replace(SINGLE, circuit_breaker_enabled=True, retry_delay=0.001)
    with EventStream(config) as stream:
        told: list[StreamError] = []
        stream.errors.subscribe(told.append)
        stream.receive_chunks().subscribe(SSEWriter(write))
        for n in range(3):
            stream.send(event(n))

    assert b"".join(written).count(b"data: ") == 3
    assert told == []
    assert counted(stream).events_dropped == 0


def test_what_a_reader_raises_costs_one_chunk_where_there_is_a_breaker() -> None:
    config = replace(SINGLE, circuit_breaker_enabled=True)
    with EventStream(config) as stream:
        told: list[StreamError] = []
        stream.errors.subscribe(told.append)

        def fail(chunk: StreamChunk) -> None:
            raise OSError("it has left")

        stream.receive_chunks().subscribe(fail)
        stream.send(event(1))
        until(lambda: told)
        reading = Reading(stream)
        stream.send(event(2))

    assert reading.all() == [2]
    assert [(type(error), error.number) for error in told] == [(LostError, 1)]


@pytest.mark.parametrize("awaits", [False, True])
def test_errors_can_be_iterated_with_those_that_came_before(awaits: bool) -> None:
    from rx_agui.stream._faults import ErrorSubject

    errors = ErrorSubject()
    early, late = StreamError("early"), StreamError("late")

    async def gather() -> list[StreamError]:
        found = []
        async for error in errors:
            found.append(error)
            if error is early:
                errors.tell(late)
                errors.complete()
        return found

    errors.tell(early)
    if awaits:
        found = asyncio.run(gather())
    else:
        found = []
        for error in errors:
            found.append(error)
            if error is early:
                errors.tell(late)
                errors.complete()

    assert found == [early, late]
    assert list(errors) == []
