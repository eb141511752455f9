"""Spans: one stream, under it sampled payloads, under each what operators did."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import reactivex as rx
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanContext, SpanKind, StatusCode
from reactivex import Observable
from reactivex import operators as ops
from reactivex.scheduler import ThreadPoolScheduler
from reactivex.subject import BehaviorSubject, Subject

from rx_agui import (
    Frame,
    Gate,
    NotSentError,
    SSEWriter,
    batch,
    chunk,
    circuit_breaker,
    compress,
    decompress,
    flow_control,
    from_async_iterable,
    from_iterable,
    pipeline,
    reassemble,
    resequence,
    sequence,
    unbatch,
)
from rx_agui.probe import Probe, watching
from rx_agui.telemetry import _probe
from rx_agui.testing import MarbleScheduler, simulated_run
from tests.support.patience import until
from tests.support.told import Told
from tests.support.waits import Clock, who_wait

OPERATORS = ["flow_control", "sequence", "batch", "compress", "chunk", "sink.write"]
EVENTS = list(simulated_run(words=100))


def five(size: int = 50, **compressing: Any) -> list[Any]:
    return [
        flow_control(),
        sequence(),
        batch(size, 5.0),
        compress(min_size=1, **compressing),
        chunk(),
    ]


def run(
    telemetry: Probe,
    events: Observable[Any] | None = None,
    *operators: Any,
    write: Callable[[bytes], Any] | None = None,
) -> list[bytes]:
    """Everything through a pipeline named chat, to a writer."""
    written: list[bytes] = []
    writer = SSEWriter(write or written.append)
    source = from_iterable(EVENTS) if events is None else events
    chat = pipeline("chat", *(operators or five()), telemetry=telemetry)
    source.pipe(chat).subscribe(writer)
    writer.done.result(10)
    return written


def send_all(gate: Gate, events: list[Any]) -> None:
    for event in events:
        gate.send(event)


def first_of(pair: Any) -> Any:
    return pair[0]


def numbers(span: ReadableSpan, *names: str) -> list[Any]:
    return [(span.attributes or {}).get(f"rx_agui.{name}") for name in names]


def begun(span: ReadableSpan) -> int:
    assert span.start_time is not None
    return span.start_time


def ended(span: ReadableSpan) -> int:
    assert span.end_time is not None
    return span.end_time


def linked(span: ReadableSpan) -> list[tuple[int, Any]]:
    """Whom it links to, and how many events came from there."""
    return [
        (link.context.span_id, (link.attributes or {})["rx_agui.event.count"])
        for link in span.links
    ]


def assert_well_made(told: Told) -> None:
    """Each payload under the stream, each operator once under it, all in time."""
    stream = told.span("stream")
    for send in told.children(stream):
        children = told.children(send)
        assert sorted(c.name for c in children) == sorted(OPERATORS)
        assert begun(stream) <= begun(send) <= ended(send) <= ended(stream)
        ends = 0
        for child in sorted(children, key=lambda c: OPERATORS.index(c.name)):
            assert begun(send) <= begun(child) <= ended(child) <= ended(send)
            assert ended(child) >= ends, f"{child.name} ended before what is above it"
            if child.name not in OPERATORS[:3]:
                assert begun(child) >= ends
                ends = ended(child)
        assert send.context.trace_id == stream.context.trace_id


# -- the tree -------------------------------------------------------------------------


def test_a_run_through_the_five_is_one_tree(told: Told) -> None:
    run(told.telemetry())

    payloads = -(-len(EVENTS) // 50)
    one = ["  send chat", *(f"    {name}" for name in OPERATORS)]
    assert told.tree().splitlines() == ["stream chat", *(one * payloads)]
    assert_well_made(told)


def test_a_span_says_what_its_operator_did(told: Told) -> None:
    written = run(told.telemetry(), from_iterable(EVENTS[:60]))

    stream = told.span("stream")
    assert dict(stream.attributes or {}) == {
        "rx_agui.pipeline.name": "chat",
        "rx_agui.session.close.reason": "completed",
    }
    first, second = told.spans("send")
    assert dict(second.attributes or {}) == {
        "rx_agui.pipeline.name": "chat",
        "rx_agui.batch.producer.count": 0,
        "rx_agui.batch.size": 10,
        "rx_agui.batch.trigger": "completed",
        "rx_agui.sequence.first": 51,
        "rx_agui.sequence.last": 60,
    }
    by_name = {child.name: child for child in told.children(first)}
    assert numbers(by_name["batch"], "batch.size", "batch.trigger") == [50, "size"]
    assert numbers(by_name["sequence"], "sequence.first", "sequence.last") == [1, 50]
    payload = json.loads(written[0].split(b"data: ")[1])
    size = len(base64.b64decode(payload["data"]))
    facts = "compress.algorithm", "compress.output.size", "compress.outcome"
    assert numbers(by_name["compress"], *facts) == ["gzip", size, "compressed"]
    assert numbers(by_name["chunk"], "chunk.count") == [1]
    assert numbers(by_name["sink.write"], "sink.size") == [len(written[0])]
    for span in told.spans():
        assert span.status.status_code is StatusCode.UNSET
        assert span.kind is SpanKind.INTERNAL


def test_a_payload_that_was_sent_again_went_well_and_one_given_up_did_not(
    told: Told,
) -> None:
    errors = iter([NotSentError("busy"), None, OSError("gone")])

    def write(data: bytes) -> None:
        error = next(errors, None)
        if error is not None:
            raise error

    breaker = circuit_breaker(backoff=0.001, errors=lambda _: None)
    events = rx.of(*EVENTS[:3])
    run(told.telemetry(), events, flow_control(), sequence(), breaker, write=write)

    sends = sorted(told.spans("send chat"), key=lambda span: span.start_time or 0)
    assert [span.status.status_code for span in sends] == [
        *(StatusCode.UNSET, StatusCode.ERROR, StatusCode.UNSET),
    ]
    steps = [[child.name for child in told.children(send)] for send in sends]
    assert all("circuit_breaker" in names for names in steps)
    states = {
        (span.attributes or {})["rx_agui.circuit_breaker.state"]
        for span in told.spans("circuit_breaker")
    }
    assert states == {"closed"}


def test_a_payload_in_pieces_has_one_child_per_operator_all_the_same(
    told: Told,
) -> None:
    pieces = five()[:-1]

    written = run(told.telemetry(), from_iterable(EVENTS[:50]), *pieces, chunk(100))

    assert len(written) > 3
    assert_well_made(told)
    assert numbers(told.span("chunk"), "chunk.count") == [len(written)]
    assert numbers(told.span("sink"), "sink.size") == [len(b"".join(written))]
    assert begun(told.span("sink")) < ended(told.span("sink"))


def test_steps_begin_a_microsecond_apart_as_back_ends_sort_by_them(told: Told) -> None:
    run(told.telemetry())

    sends = told.spans("send chat")
    assert len(sends) > 1
    for send in sends:
        inside = told.children(send)
        begun = [(span.start_time or 0) // 1000 for span in inside]
        assert [span.name for span in inside] == OPERATORS
        assert len(set(begun)) == len(OPERATORS)
        assert all((span.end_time or 0) >= (span.start_time or 0) for span in inside)
        assert max(span.end_time or 0 for span in inside) <= (send.end_time or 0)


def test_pieces_that_go_out_in_one_write_are_one_step(told: Told) -> None:
    written: list[bytes] = []
    writer = SSEWriter(written.append, flush_interval=60)
    chat = pipeline("chat", *five()[:-1], chunk(100), telemetry=told.telemetry())
    from_iterable(EVENTS[:50]).pipe(chat).subscribe(writer)
    writer.done.result(10)

    assert len(written) == 1
    assert_well_made(told)


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_do_not_mix_up_whose_child_is_whose(told: Told, workers: int) -> None:
    run(told.telemetry(), None, *five(10, workers=workers))

    assert_well_made(told)
    sends = told.spans("send")
    assert len(sends) == -(-len(EVENTS) // 10)
    for send in sends:
        (own,) = [c for c in told.children(send) if c.name == "sequence"]
        ours = numbers(send, "sequence.first", "sequence.last")
        assert numbers(own, "sequence.first", "sequence.last") == ours


def test_senders_on_three_threads_make_one_stream(told: Told) -> None:
    gate, writer = Gate(), SSEWriter(lambda data: None)
    chat = pipeline("chat", *five(10), telemetry=told.telemetry())
    gate.pipe(chat).subscribe(writer)
    contexts: list[SpanContext] = []

    def produce(name: str) -> None:
        with told.tracer.start_as_current_span(name) as span:
            contexts.append(span.get_span_context())
            for event in EVENTS[:40]:
                gate.send(event)

    threads = [threading.Thread(target=produce, args=[name]) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gate.close()

    assert_well_made(told)
    sends = told.spans("send")
    assert sum(numbers(send, "batch.size")[0] for send in sends) == 120
    from_each: dict[int, int] = {}
    for send in sends:
        for span_id, events in linked(send):
            from_each[span_id] = from_each.get(span_id, 0) + events
    assert from_each == {context.span_id: 40 for context in contexts}


def test_on_an_event_loop_nothing_is_mixed_up_and_nothing_leaks(told: Told) -> None:
    seen: list[SpanContext] = []

    async def agent() -> AsyncIterator[Any]:
        for event in EVENTS[:30]:
            seen.append(trace.get_current_span().get_span_context())
            yield event
            await asyncio.sleep(0)

    async def write(data: bytes) -> None:
        seen.append(trace.get_current_span().get_span_context())
        await asyncio.sleep(0)
        seen.append(trace.get_current_span().get_span_context())

    async def serve() -> SpanContext:
        with told.tracer.start_as_current_span("request") as request:
            writer = SSEWriter(write)
            chat = pipeline("chat", *five(10), telemetry=told.telemetry())
            from_async_iterable(agent).pipe(chat).subscribe(writer)
            assert trace.get_current_span() is request
            await writer.done
            assert trace.get_current_span() is request
            return request.get_span_context()

    request = asyncio.run(serve())

    assert_well_made(told)
    assert len(told.spans("send")) == 3
    stream = told.span("stream")
    assert stream.parent is not None
    assert stream.parent.span_id == request.span_id
    assert {context.span_id for context in seen} == {request.span_id}


def test_nothing_is_current_while_user_code_runs(told: Told) -> None:
    seen: list[Any] = []

    def agent() -> Iterator[Any]:
        for event in EVENTS[:20]:
            seen.append(trace.get_current_span())
            yield event

    def write(data: bytes) -> None:
        seen.append(trace.get_current_span())

    run(told.telemetry(), from_iterable(agent), write=write)

    assert {span.get_span_context().is_valid for span in seen} == {False}
    assert not trace.get_current_span().get_span_context().is_valid


def test_an_event_that_waited_for_credit_shows_it(told: Told, clock: Clock) -> None:
    gate = Gate()
    slow = [flow_control(10), *five(10)[1:]]
    written: list[bytes] = []

    def write(data: bytes) -> None:
        written.append(data)
        if len(written) == 1:  # the other sender comes for more, and finds none
            until(lambda: who_wait(gate) == 1)
            clock.pass_by(0.01)

    writer = SSEWriter(write)
    gate.pipe(pipeline("chat", *slow, telemetry=told.telemetry())).subscribe(writer)
    threads = [
        threading.Thread(target=send_all, args=[gate, EVENTS[:50]]) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gate.close()

    assert_well_made(told)
    waits = [numbers(s, "flow_control.wait")[0] for s in told.spans("flow_control")]
    assert max(waits) == pytest.approx(0.01)


# -- streams and what is none of theirs ---------------------------------------------


def test_a_pipeline_with_operators_of_rxpy_in_between_is_one_stream(told: Told) -> None:
    first, *others = five()
    middle = [first, ops.map(lambda frame: frame), *others[:3]]

    run(told.telemetry(), None, *middle, ops.do_action(lambda f: None), others[3])

    assert_well_made(told)
    assert len(told.spans("send")) == -(-len(EVENTS) // 50)


def test_an_operator_of_rxpy_between_keeps_whom_events_come_from(told: Told) -> None:
    source: Subject[Any] = Subject()
    writer = SSEWriter(lambda data: None)
    first, *others = five()
    chat = pipeline(
        "chat", first, ops.map(lambda frame: frame), *others, telemetry=told.telemetry()
    )
    source.pipe(chat).subscribe(writer)
    with told.tracer.start_as_current_span("agent") as agent:
        source.on_next(EVENTS[0])
    source.on_next(EVENTS[1])
    source.on_completed()

    assert linked(told.span("send")) == [(agent.get_span_context().span_id, 1)]


def test_a_line_further_up_says_nothing_of_why_the_stream_ended(told: Told) -> None:
    one: Subject[Any] = Subject()
    other: Subject[Any] = Subject()
    paired: Observable[Any] = one.pipe(
        flow_control(),
        ops.with_latest_from(other.pipe(sequence())),
        ops.map(first_of),
    )
    subscription = paired.pipe(
        pipeline("chat", batch(2), telemetry=told.telemetry())
    ).subscribe()
    other.on_next(EVENTS[0])
    other.on_completed()
    one.on_next(EVENTS[1])
    one.on_next(EVENTS[2])
    assert told.spans("stream") == []
    subscription.dispose()

    assert numbers(told.span("stream"), "session.close.reason") == ["client_disconnect"]
    children = told.children(told.span("send"))
    assert [child.name for child in children] == ["flow_control", "batch"]


def test_a_stream_subscribed_by_who_hears_another_is_its_own(told: Told) -> None:
    def subscribe_another(_: object) -> None:
        from_iterable(EVENTS[:1]).pipe(
            pipeline("other", batch(), telemetry=told.telemetry())
        ).subscribe()
        BehaviorSubject(EVENTS[0]).pipe(ops.map(lambda e: e), batch(1)).subscribe()

    BehaviorSubject(EVENTS[0]).pipe(
        pipeline(
            "chat", ops.map(lambda event: event), batch(1), telemetry=told.telemetry()
        )
    ).subscribe(subscribe_another)

    assert [span.name for span in told.spans("stream")] == ["stream other"]
    assert told.read().value("session.active", pipeline="chat") == 1


def test_what_an_agent_subscribes_is_not_part_of_who_runs_it(told: Told) -> None:
    async def agent() -> AsyncIterator[Any]:
        from_iterable(EVENTS[:1]).pipe(batch()).subscribe()
        yield EVENTS[0]

    async def serve() -> None:
        writer = SSEWriter(lambda data: None)
        from_async_iterable(agent).pipe(
            ops.map(lambda event: event), pipeline("chat", telemetry=told.telemetry())
        ).subscribe(writer)
        await writer.done

    asyncio.run(serve())

    assert len(told.spans("stream")) == 1
    assert told.read().value("operator.received.events", operator="batch") == 1


def test_a_disposal_ends_the_stream_as_a_reader_who_left(told: Told) -> None:
    gate = Gate()
    chat = pipeline("chat", *five(), telemetry=told.telemetry())
    subscription = gate.pipe(chat).subscribe(SSEWriter(lambda data: None))
    gate.send(EVENTS[0])
    subscription.dispose()
    subscription.dispose()

    stream = told.span("stream")
    assert numbers(stream, "session.close.reason") == ["client_disconnect"]
    assert stream.status.status_code is StatusCode.UNSET
    assert told.tree() == "stream chat"  # the event was dropped, so nothing was sent


def test_so_does_a_disposal_within_a_write(told: Told) -> None:
    gate = Gate()
    write = SSEWriter(lambda data: subscription.dispose())
    with watching(told.telemetry()):
        subscription = gate.pipe(*five(1)).subscribe(write)
    gate.send(EVENTS[0])

    stream = told.span("stream")
    assert numbers(stream, "session.close.reason") == ["client_disconnect"]
    assert stream.status.status_code is StatusCode.UNSET
    assert told.read().value("session.active") == 0


def test_an_end_that_waited_behind_a_queue_goes_with_the_queue(told: Told) -> None:
    source: Subject[Any] = Subject()
    operators = [flow_control(1, buffer_size=1), *five()[1:]]
    chat = pipeline("chat", *operators, telemetry=told.telemetry())

    def hold(payload: Any) -> None:
        payload.permit.hold()

    subscription = source.pipe(chat, ops.do_action(hold)).subscribe(
        SSEWriter(lambda data: None), scheduler=MarbleScheduler()
    )
    for event in EVENTS[:2]:
        source.on_next(event)
    source.on_completed()
    subscription.dispose()

    stream = told.span("stream")
    assert numbers(stream, "session.close.reason") == ["client_disconnect"]
    assert told.read().value("session.active") == 0


def test_a_subscription_that_fails_does_not_stay_open(told: Told) -> None:
    async def agent() -> AsyncIterator[Any]:
        yield EVENTS[0]

    chat = pipeline("chat", telemetry=told.telemetry())
    errors: list[Exception] = []
    from_async_iterable(agent).pipe(chat).subscribe(
        on_error=errors.append
    )  # no loop runs

    assert len(errors) == 1
    assert numbers(told.span("stream"), "session.close.reason") == ["error"]
    assert told.read().value("session.active") == 0


def test_an_unsampled_stream_makes_no_spans_under_it() -> None:
    asked: list[str] = []

    class Refusing(type(ALWAYS_OFF)):  # type: ignore[misc]
        def should_sample(self, *args: Any, **more: Any) -> Any:
            asked.append(args[2] if len(args) > 2 else more["name"])
            return ALWAYS_OFF.should_sample(*args, **more)

    told = Told(Refusing(ALWAYS_OFF.should_sample(None, 0, "").decision))
    run(told.telemetry())

    assert asked == ["stream chat"]
    assert told.spans() == []
    assert told.read().value("sink.sent.frames") > 0


@pytest.mark.parametrize(
    ("level", "names"),
    [
        ("off", set()),
        ("stream", {"stream chat"}),
        ("batch", {"stream chat", "send chat"}),
        ("operator", {"stream chat", "send chat", *OPERATORS}),
    ],
)
def test_a_level_says_how_much_is_told(told: Told, level: str, names: set[str]) -> None:
    run(told.telemetry(spans=level))

    assert {span.name for span in told.spans()} == names


def test_without_a_batch_an_event_is_a_payload(told: Told) -> None:
    run(
        told.telemetry(), from_iterable(EVENTS[:3]), flow_control(), sequence(), chunk()
    )

    sends = told.spans("send")
    names = ["flow_control", "sequence", "chunk", "sink.write"]
    assert [[c.name for c in told.children(send)] for send in sends] == [names] * 3
    assert [numbers(s, "sequence.first")[0] for s in sends] == [1, 2, 3]


def test_an_event_that_was_late_shows_how_long_others_waited(
    told: Told, clock: Clock
) -> None:
    source: Subject[Any] = Subject()
    scheduler = MarbleScheduler()
    by_value = sequence(number=lambda event: int(event["value"]))
    written: list[bytes] = []
    source.pipe(
        pipeline("chat", by_value, chunk(), telemetry=told.telemetry())
    ).subscribe(SSEWriter(written.append), scheduler=scheduler)
    source.on_next({"type": "CUSTOM", "name": "n", "value": 2})
    clock.pass_by(0.01)
    late = {"type": "CUSTOM", "name": "n", "value": 1}
    scheduler.at(0.01, source.on_next, late)
    scheduler.play()
    source.on_completed()

    lasted = [ended(s) - begun(s) for s in told.spans("sequence")]
    assert len(lasted) == 2
    assert max(lasted) == pytest.approx(10_000_000, abs=10)


def test_the_whole_way_and_back_tells_of_one_stream(told: Told) -> None:
    back = [reassemble(), decompress(), resequence(), unbatch()]
    heard: list[Any] = []

    from_iterable(EVENTS).pipe(
        pipeline("chat", *five(), *back, telemetry=told.telemetry())
    ).subscribe(heard.append)

    assert heard == EVENTS
    assert len(told.spans("stream")) == 1


# -- links ---------------------------------------------------------------------------


def test_a_payload_links_to_each_producer_once(told: Told) -> None:
    gate = Gate()
    gate.pipe(pipeline("chat", *five(9), telemetry=told.telemetry())).subscribe(
        SSEWriter(lambda data: None)
    )
    agents = [told.tracer.start_span(name) for name in "abc"]
    for turn in range(3):
        for agent in agents[: 3 - turn]:
            with trace.use_span(agent):
                gate.send(EVENTS[0])
    for _ in range(3):
        gate.send(EVENTS[0])  # from nobody
    gate.close()

    send = told.span("send")
    ids = [agent.get_span_context().span_id for agent in agents]
    assert linked(send) == [(ids[0], 3), (ids[1], 2), (ids[2], 1)]
    assert numbers(send, "batch.producer.count") == [3]


def test_links_are_capped_and_the_true_number_is_told(told: Told) -> None:
    gate = Gate()
    gate.pipe(
        pipeline("chat", *five(), telemetry=told.telemetry(max_links=2))
    ).subscribe(SSEWriter(lambda data: None))
    for name in "abcde":
        with told.tracer.start_as_current_span(name):
            gate.send(EVENTS[0])
    gate.close()

    send = told.span("send")
    assert len(send.links) == 2
    assert send.dropped_links == 0
    assert numbers(send, "batch.producer.count") == [5]


def test_two_threads_never_get_each_others_producer(told: Told) -> None:
    origin = _probe._ORIGIN.here
    wrong: list[object] = []

    def look() -> None:
        with told.tracer.start_as_current_span("own") as span:
            for _ in range(20_000):
                seen = origin()
                if seen is not span.get_span_context():
                    wrong.append(seen)

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []


# -- errors --------------------------------------------------------------------------


def broken(data: bytes) -> None:
    raise ConnectionResetError("the reader is gone")


@pytest.mark.parametrize("traced_per_second", [None, 0.0])
def test_a_write_that_fails_is_told_even_if_the_budget_is_spent(
    told: Told, traced_per_second: float | None
) -> None:
    with pytest.raises(ConnectionResetError):
        run(told.telemetry(traced_per_second=traced_per_second), write=broken)

    for name in ("stream", "send", "sink.write"):
        span = told.spans(name)[0]
        assert span.status.status_code is StatusCode.ERROR
        assert span.status.description == "the reader is gone"
        assert (span.attributes or {})["error.type"] == "ConnectionResetError"
    assert told.span("compress").status.status_code is StatusCode.UNSET
    assert_well_made(told)


def test_a_write_that_fails_is_told_on_an_event_loop(told: Told) -> None:
    async def write(data: bytes) -> None:
        await asyncio.sleep(0)
        raise BrokenPipeError("gone")

    async def serve() -> None:
        writer = SSEWriter(write)
        chat = pipeline("chat", *five(), telemetry=told.telemetry())
        from_iterable(EVENTS).pipe(chat).subscribe(writer)
        with pytest.raises(BrokenPipeError):
            await writer.done

    asyncio.run(serve())

    assert numbers(told.span("stream"), "session.close.reason") == ["error"]
    failed = [s for s in told.spans("send") if s.status.status_code is StatusCode.ERROR]
    assert failed
    assert (failed[0].attributes or {})["error.type"] == "BrokenPipeError"


def test_what_comes_after_a_write_failed_was_not_sent(told: Told) -> None:
    no_credit = [batch(10), compress(), chunk()]  # so the source cannot be told

    with pytest.raises(ConnectionResetError):
        run(told.telemetry(), from_iterable(EVENTS[:50]), *no_credit, write=broken)

    assert [s.status.status_code for s in told.spans("send")] == [StatusCode.ERROR]
    numbers = told.read()
    assert numbers.histogram("event.delivery.duration")[0] == 0
    assert numbers.value("operator.dropped.events", reason="write_failed") == 50


def test_an_observer_that_raises_ends_the_stream_with_its_error(told: Told) -> None:
    def listen(_: object) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError):
        from_iterable(EVENTS).pipe(
            pipeline("chat", *five(), telemetry=told.telemetry())
        ).subscribe(listen)

    assert numbers(told.span("stream"), "session.close.reason") == ["error"]
    assert (told.span("send").attributes or {})["error.type"] == "KeyError"


def test_an_agent_that_fails_is_the_streams_error(told: Told) -> None:
    def agent() -> Iterator[Any]:
        yield EVENTS[0]
        raise ValueError("no model")

    with pytest.raises(ValueError, match="no model"):
        run(told.telemetry(), from_iterable(agent))

    stream = told.span("stream")
    assert stream.status.status_code is StatusCode.ERROR
    assert stream.status.description == "no model"
    assert told.span("send").status.status_code is StatusCode.UNSET


# -- the budget -----------------------------------------------------------------------


def test_the_budget_is_refilled_as_time_passes() -> None:
    now = [100.0]
    budget = _probe._Budget(lambda: now[0])

    def spent(per_second: float) -> int:
        return sum(budget.spend(per_second) for _ in range(100))

    assert spent(20) == 20
    now[0] += 0.5
    assert spent(20) == 10
    now[0] += 3600
    assert spent(20) == 20  # a second's worth at most
    assert budget.spend(None)
    assert not budget.spend(0)


def test_a_budget_below_one_a_second_is_one_now_and_then() -> None:
    now = [0.0]
    budget = _probe._Budget(lambda: now[0])
    traced = 0
    for _ in range(100):  # seconds
        now[0] += 1.0
        traced += budget.spend(0.1)

    assert 9 <= traced <= 11


@pytest.mark.parametrize("few", [0, 0.1])
def test_a_stream_that_asks_for_few_takes_nothing_from_the_others(few: float) -> None:
    now = 0.0
    budget = _probe._Budget(lambda: now)
    traced = 0
    for hundredth in range(1000):
        now = hundredth / 100
        budget.spend(few)
        if hundredth % 10 == 0:
            traced += budget.spend(20)

    assert traced == 100


def test_the_budget_is_one_for_the_process(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_probe, "_BUDGET", _probe._Budget(lambda: 0.0))

    for _ in range(3):
        run(told.telemetry(traced_per_second=3), None, *five(10))

    assert len(told.spans("send")) == 3
    assert len(told.spans("stream")) == 3


# -- what travels with a payload ------------------------------------------------------


def traceparents(written: list[bytes]) -> list[str | None]:
    envelopes = [json.loads(data.split(b"data: ")[1]) for data in written]
    return [envelope.get("traceparent") for envelope in envelopes]


@pytest.mark.parametrize("cut", [65536, 100])
def test_a_reader_can_go_on_from_the_span_of_its_payload(told: Told, cut: int) -> None:
    operators = [*five()[:-1], chunk(cut)]

    written = run(told.telemetry(propagate="envelope"), None, *operators)

    sends = told.spans("send")
    spans = [
        f"00-{s.context.trace_id:032x}-{s.context.span_id:016x}-{s.context.trace_flags:02x}"
        for s in sends
        for _ in range(numbers(told.children(s)[4], "chunk.count")[0])
    ]
    assert traceparents(written) == spans
    assert {span.kind for span in sends} == {SpanKind.PRODUCER}
    assert_well_made(told)


def test_a_frame_that_was_not_cut_takes_its_context_along_as_well(told: Told) -> None:
    written = run(told.telemetry(propagate="envelope"), None, *five()[:-1])

    assert None not in traceparents(written)


def test_what_is_over_budget_travels_without_a_context(told: Told) -> None:
    written = run(
        told.telemetry(propagate="envelope", traced_per_second=1), None, *five(10)
    )

    assert [context is not None for context in traceparents(written)] == [
        True,
        *([False] * (len(written) - 1)),
    ]


def test_nothing_travels_unless_asked(told: Told) -> None:
    assert set(traceparents(run(told.telemetry()))) == {None}


def test_a_payload_with_a_context_is_read_like_any_other(told: Told) -> None:
    back = [reassemble(), decompress(), unbatch()]
    heard: list[Any] = []
    from_iterable(EVENTS).pipe(
        pipeline("chat", *five(), telemetry=told.telemetry(propagate="envelope"))
    ).pipe(*back).subscribe(heard.append)

    assert heard == EVENTS


def test_a_payload_that_hops_to_another_thread_keeps_its_stream(told: Told) -> None:
    pool = ThreadPoolScheduler(1)
    first, *others = five()
    hopping = [first, ops.observe_on(pool), *others]

    run(told.telemetry(), None, *hopping)
    pool.executor.shutdown()

    assert len(told.spans("stream")) == 1
    assert_well_made(told)


def test_a_frame_that_was_in_another_stream_is_new_in_this_one(told: Told) -> None:
    frames: list[Frame] = []
    telemetry = told.telemetry()
    from_iterable(EVENTS[:4]).pipe(
        pipeline("first", batch(2), telemetry=telemetry)
    ).subscribe(frames.append)
    rx.of(*frames).pipe(pipeline("second", compress(), telemetry=telemetry)).subscribe()

    names = [span.name for span in told.spans("send")]
    assert names == ["send first"] * 2 + ["send second"] * 2
