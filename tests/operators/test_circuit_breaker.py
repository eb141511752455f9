"""What a marble cannot show of `circuit_breaker`: writers, threads, shares of failures.

What it can show is in marbles/circuit_breaker.marble, and its rules are in
test_circuit.py.
"""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
import reactivex as rx
from reactivex import Observable

from rx_agui import (
    CircuitOpenError,
    ConfigError,
    Frame,
    Gate,
    LostError,
    NotSentError,
    Permit,
    ProcessingError,
    SSEWriter,
    StreamChunk,
    StreamError,
    StreamMeter,
    WouldBlockError,
    batch,
    chunk,
    circuit_breaker,
    compress,
    flow_control,
    from_iterable,
    pipeline,
    sequence,
)
from rx_agui.probe import OperatorCounters, Probe, StreamObservation, watching
from rx_agui.testing import MarbleScheduler

Event = dict[str, Any]


def event(n: int) -> Event:
    return {"type": "X", "n": n}


def numbers_in(data: bytes) -> list[int]:
    return [int(n) for n in re.findall(rb'"n":(\d+)', data)]


class Sink:
    """A `write` that fails when it is told to, and remembers what it took."""

    def __init__(self) -> None:
        self.written: list[int] = []
        self.tried: list[list[int]] = []
        self.fails: Callable[[], Exception | None] = lambda: None

    def write(self, data: bytes) -> None:
        numbers = numbers_in(data)
        self.tried.append(numbers)
        error = self.fails()
        if error is not None:
            raise error
        self.written += numbers


class Rig:
    """A gate, a breaker and a writer, on virtual time."""

    def __init__(self, *operators: Any, window: int = 50, **settings: Any) -> None:
        self.clock = MarbleScheduler()
        self.sink = Sink()
        self.told: list[StreamError] = []
        self.gate = Gate()
        self.writer = SSEWriter(self.sink.write)
        breaker = circuit_breaker(errors=self.told.append, **settings)
        self.operators = Tallies()
        with watching(self.operators):
            self.gate.pipe(
                pipeline("it", flow_control(window), sequence(), *operators, breaker)
            ).subscribe(self.writer, scheduler=self.clock)

    @property
    def lost(self) -> list[int]:
        return [
            number
            for error in self.told
            if isinstance(error, LostError)
            for number in range(error.first, error.last + 1)
        ]

    @property
    def breaker(self) -> OperatorCounters:
        return next(t for t in self.operators.operators if t.name == "circuit_breaker")

    @property
    def state(self) -> str:
        return next(state for (_, state), is_in in self.breaker.states.items() if is_in)


class Tallies(Probe):
    def __init__(self) -> None:
        self.operators: list[OperatorCounters] = []
        self.transitions: list[tuple[str, str, str]] = []

    def joined(self, _: StreamObservation, tally: OperatorCounters) -> None:
        self.operators.append(tally)

    def transitioned(
        self, _: StreamObservation, name: str, before: str, after: str
    ) -> None:
        self.transitions.append((name, before, after))


# -- settings -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "value", "must"),
    [
        ("failure_rate_threshold", 0, "positive"),
        ("failure_rate_threshold", 50, "a share, from 0 to 1"),
        ("slow_call_rate_threshold", 1.1, "a share, from 0 to 1"),
        ("slow_call_duration", 0, "positive"),
        ("sliding_window", "both", "one of count, time"),
        ("sliding_window_size", 0, "positive"),
        ("sliding_window_size", 2.5, "a whole number"),
        ("minimum_number_of_calls", 0, "positive"),
        ("wait_in_open", 0, "positive"),
        ("permitted_calls_in_half_open", 0, "positive"),
        ("when_open", "panic", "one of refuse, wait"),
        ("attempts", 0, "positive"),
        ("backoff", -1, "positive"),
        ("buffer_size", 0, "positive"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_where_it_is_written(
    setting: str, value: Any, must: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        circuit_breaker(**{setting: value})

    assert str(refused.value) == f"{setting} must be {must}, got {value!r}"


# -- a sink that dies, recovers, and dies again ------------------------------------


@pytest.mark.parametrize("kind", [OSError, NotSentError])
@pytest.mark.parametrize("share", [1.0, 0.5, 0.05])
def test_every_event_is_delivered_once_or_told_once_however_often_the_sink_fails(
    share: float, kind: type[Exception]
) -> None:
    chance = Random(f"{share} {kind}")
    rig = Rig(batch(3, 0.5), wait_in_open=2.0, backoff=0.25)
    is_ill = False

    def fails() -> Exception | None:
        return kind("no") if is_ill and chance.random() < share else None

    rig.sink.fails = fails
    refused: list[int] = []
    accepted: list[int] = []
    for n in range(1, 1501):
        is_ill = 300 <= n < 600 or 900 <= n < 1200  # ill, well, ill again, well
        rig.clock.play(until=n * 0.1)
        rig.clock.advance_to(n * 0.1)
        try:
            rig.gate.send(event(n))
            accepted.append(n)
        except (CircuitOpenError, WouldBlockError):
            refused.append(n)
    rig.gate.close()
    rig.clock.play()

    # Numbers are given to what was let in, in that order.
    delivered = rig.sink.written
    given = dict(zip(accepted, range(1, len(accepted) + 1), strict=True))
    told = [n for n in accepted if given[n] in set(rig.lost)]
    assert delivered == sorted(delivered), "out of order"
    assert sorted(delivered + told) == accepted
    assert len(rig.lost) == len(told)
    assert rig.writer.done.result() is None
    for tally in rig.operators.operators:
        assert tally.held == 0, tally.name
    if share == 1.0:
        assert refused
        assert len([n for n in accepted if 600 <= n < 900]) > 250, "it has recovered"
        assert delivered[-1] == 1500
    if share == 0.05:
        assert not refused


def test_a_sink_that_dies_opens_the_breaker_within_its_window() -> None:
    rig = Rig(minimum_number_of_calls=3)
    for n in (1, 2, 3):
        rig.gate.send(event(n))
    rig.sink.fails = lambda: OSError("gone")
    sent = 3
    while rig.state == "closed":
        sent += 1
        rig.gate.send(event(sent))

    assert sent == 6  # 3 of 6 failed
    with pytest.raises(
        CircuitOpenError, match="sink keeps failing: try again in"
    ) as told:
        rig.gate.send(event(7))
    assert 0 < told.value.retry_in <= 1
    assert not rig.gate.try_send(event(7))
    assert rig.operators.transitions == [("sink", "closed", "open")]

    rig.sink.fails = lambda: None
    rig.clock.play()
    rig.gate.send(event(8))

    assert rig.state == "half_open"
    assert rig.sink.written == [1, 2, 3, 8]
    assert rig.lost == [4, 5, 6]


def test_a_thread_that_waits_for_credit_is_refused_when_the_breaker_opens() -> None:
    held: list[Permit] = []
    gate = Gate()
    subscription = gate.pipe(
        flow_control(1),
        circuit_breaker(minimum_number_of_calls=1, wait_in_open=60, errors=lambda _: 0),
    ).subscribe(lambda frame: held.append(frame.permit.hold()))
    gate.send(event(1))
    heard: list[Exception] = []

    def send() -> None:
        try:
            gate.send(event(2), timeout=30)
        except Exception as error:
            heard.append(error)

    sender = threading.Thread(target=send)
    sender.start()
    link = gate._link
    assert link is not None
    while not link.credit._waiters:
        threading.Event().wait(0.001)
    held.pop().release(OSError("gone"))
    sender.join(10)

    assert [type(error) for error in heard] == [CircuitOpenError]
    assert link.credit.free == 1
    subscription.dispose()


def test_a_coroutine_that_waits_is_refused_and_goes_on_when_the_wait_is_over() -> None:
    async def run() -> list[int]:
        sink = Sink()
        sink.fails = lambda: OSError("gone")

        async def write(data: bytes) -> None:
            await asyncio.sleep(0)
            sink.write(data)

        gate = Gate()
        writer = SSEWriter(write)
        gate.pipe(
            flow_control(1),
            circuit_breaker(
                minimum_number_of_calls=1, wait_in_open=0.05, errors=lambda _: None
            ),
        ).subscribe(writer)
        await gate.asend(event(1))
        with pytest.raises(CircuitOpenError) as told:
            await gate.asend(event(2))
        sink.fails = lambda: None
        while True:
            try:
                await gate.asend(event(3))
                break
            except CircuitOpenError as again:
                await asyncio.sleep(again.retry_in)
        await gate.aclose()
        await writer.done
        assert told.value.retry_in > 0
        return sink.written

    assert asyncio.run(run()) == [3]


def test_what_waits_behind_a_write_that_failed_is_written_once_and_in_order() -> None:
    async def run() -> tuple[list[int], list[list[int]], list[str]]:
        sink = Sink()
        go = asyncio.Event()
        errors = iter([OSError("reset"), None, NotSentError("busy")])
        sink.fails = lambda: next(errors, None)

        async def write(data: bytes) -> None:
            await go.wait()
            sink.write(data)

        told: list[StreamError] = []
        gate = Gate()
        writer = SSEWriter(write)
        gate.pipe(
            flow_control(),
            sequence(),
            circuit_breaker(backoff=0.001, errors=told.append),
        ).subscribe(writer)
        for n in range(1, 7):
            await gate.asend(event(n))
            await asyncio.sleep(0)
        go.set()
        await gate.aclose()
        await writer.done
        return sink.written, sink.tried, [str(error) for error in told]

    written, tried, told = asyncio.run(run())

    assert tried[0] == [1]
    assert written == [2, 3, 4, 5, 6]
    assert sum(len(numbers) for numbers in tried) == 6 + (len(tried) - 2)
    assert told == ["1 event (number 1) was lost: OSError('reset')"]


def test_a_writer_that_has_ended_is_not_taken_for_one_that_writes() -> None:
    told: list[StreamError] = []
    source: rx.subject.Subject[Event] = rx.subject.Subject()
    writer = SSEWriter(lambda _: None)
    source.pipe(
        sequence(), circuit_breaker(minimum_number_of_calls=9, errors=told.append)
    ).subscribe(writer.on_next)
    source.on_next(event(1))
    writer.disposed()

    source.on_next(event(2))

    assert [type(error) for error in told] == [LostError]


def test_the_reader_gets_a_payload_in_pieces_whole_or_not_at_all() -> None:
    rig = Rig(
        batch(4, 0.5), compress(min_size=1), chunk(20), failure_rate_threshold=1.0
    )
    failing = iter([False, False, True])
    rig.sink.fails = lambda: OSError("cut") if next(failing, False) else None

    for n in range(1, 9):
        rig.gate.send(event(n))
    rig.gate.close()
    rig.clock.play()

    assert rig.lost == [1, 2, 3, 4]
    assert rig.writer.done.result() is None


def test_what_a_writer_gave_back_and_was_sent_again_is_not_counted_as_dropped() -> None:
    meter = StreamMeter()
    sink = Sink()
    errors = iter([NotSentError("busy")])
    sink.fails = lambda: next(errors, None)
    clock = MarbleScheduler()
    with watching(meter):
        from_iterable([event(1), event(2)]).pipe(
            flow_control(), circuit_breaker()
        ).subscribe(SSEWriter(sink.write), scheduler=clock)
    clock.play()

    metrics = meter.metrics()
    assert sink.written == [1, 2]
    assert metrics.events_processed == 2
    assert metrics.events_dropped == 0


# -- the fallback ----------------------------------------------------------------------


def opened(**settings: Any) -> tuple[Any, list[StreamError], Callable[[int], None]]:
    """A breaker that is open, what it has told, and how to send through it."""
    told: list[StreamError] = []
    source: rx.subject.Subject[Event] = rx.subject.Subject()
    breaker = circuit_breaker(
        minimum_number_of_calls=1, wait_in_open=60, errors=told.append, **settings
    )

    def fail(frame: Frame | StreamChunk) -> None:
        frame.permit.hold().release(OSError("gone"))

    chain: Observable[Any] = source.pipe(breaker)
    subscription = chain.subscribe(fail)
    source.on_next(event(0))
    assert [type(error) for error in told] == [LostError]
    told.clear()
    return subscription, told, lambda n: source.on_next(event(n))


def test_a_fallback_may_be_an_observer_and_keeps_what_it_holds() -> None:
    heard: list[Frame] = []
    subscription, told, send = opened(fallback=rx.Observer(heard.append))

    send(1)

    assert [numbers_in(frame.data) for frame in heard] == [[1]]
    assert told == []
    subscription.dispose()


def test_a_fallback_that_raises_is_told_and_costs_its_payload_alone() -> None:
    def fallback(_: Any) -> None:
        raise KeyError("no disk")

    subscription, told, send = opened(fallback=fallback)

    send(1)
    send(2)

    assert [type(error) for error in told] == [ProcessingError, ProcessingError]
    assert str(told[0]).startswith("the fallback raised KeyError('no disk')")
    subscription.dispose()


def test_a_fallback_gets_what_was_certainly_not_sent_and_was_tried_enough() -> None:
    heard: list[Frame] = []
    rig = Rig(attempts=1, fallback=heard.append)
    rig.sink.fails = lambda: NotSentError("full")

    rig.gate.send(event(1))

    assert [numbers_in(frame.data) for frame in heard] == [[1]]
    assert rig.told == []


# -- what it tells -----------------------------------------------------------------------


def test_without_anybody_to_tell_the_log_is_told_with_numbers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def write(_: bytes) -> None:
        raise OSError("the reader has left")

    with caplog.at_level(logging.INFO, "rx_agui"):
        from_iterable([event(1), event(2)]).pipe(
            flow_control(),
            sequence(),
            circuit_breaker(minimum_number_of_calls=2, name="tv"),
        ).subscribe(SSEWriter(write), scheduler=MarbleScheduler())

    assert [record.getMessage() for record in caplog.records] == [
        "tv: 1 event (number 1) was lost: OSError('the reader has left')",
        "circuit breaker tv: open, was closed",
        "tv: 1 event (number 2) was lost: OSError('the reader has left')",
    ]


def test_errors_that_are_the_payloads_fault_count_neither_way() -> None:
    rig = Rig(minimum_number_of_calls=1, ignore=(ValueError,))
    rig.sink.fails = lambda: ValueError("not for me")

    for n in range(1, 5):
        rig.gate.send(event(n))

    assert rig.state == "closed"
    assert rig.lost == [1, 2, 3, 4]


def test_two_subscribers_have_a_breaker_each() -> None:
    chain = rx.of(event(1), event(2)).pipe(
        circuit_breaker(minimum_number_of_calls=1, errors=lambda _: None)
    )
    heard: list[int] = []

    broken = chain.subscribe(lambda f: f.permit.hold().release(OSError("gone")))
    chain.subscribe(lambda frame: heard.extend(numbers_in(frame.data)))

    assert heard == [1, 2]
    broken.dispose()
