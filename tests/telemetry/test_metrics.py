"""Metrics: the table of instruments, that sums are right, and that nothing grows."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import weakref
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import pytest
import reactivex as rx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    Histogram,
    InMemoryMetricReader,
    Metric,
    Sum,
)
from opentelemetry.sdk.metrics.view import DropAggregation, View
from reactivex import operators as ops
from reactivex.subject import Subject

from rx_agui import (
    Gate,
    SSEWriter,
    batch,
    chunk,
    circuit_breaker,
    compress,
    degrade,
    flow_control,
    from_async_iterable,
    from_iterable,
    pipeline,
    sequence,
)
from rx_agui.agui.encoding import encode
from rx_agui.engine import _stage
from rx_agui.errors import StreamError
from rx_agui.operators._flow_control import OVERFLOWS
from rx_agui.probe import OperatorCounters, Probe, StreamObservation, watching
from rx_agui.telemetry import Telemetry
from rx_agui.telemetry._metrics import Meters
from rx_agui.testing import MarbleScheduler, simulated_deltas, simulated_run
from rx_agui.types import OnGap, Overflow
from tests.support.patience import until
from tests.support.told import Told
from tests.support.waits import Clock, who_wait

EVENTS = list(simulated_run(words=100))

#: Every instrument: its kind, unit and attributes; P and O are the pipeline and operator.
TABLE = """
operator.received.events              counter    {event}       P O
operator.emitted.events               counter    {event}       P O
operator.created.events               counter    {event}       P O
operator.merged.events                counter    {event}       P O
operator.held.events                  updown     {event}       P O
operator.dropped.events               counter    {event}       P O rx_agui.drop.reason
operator.errors                       counter    {error}       P O error.type
operator.time                         counter    s             P O
operator.buffer.usage                 updown     By            P O
flow_control.inflight                 updown     {event}       P
flow_control.limit                    updown     {event}       P
flow_control.queue.size               updown     {event}       P
flow_control.queue.capacity           updown     {event}       P
flow_control.backpressure.activations counter    {activation}  P
flow_control.wait.time                counter    s             P
flow_control.wait.duration            histogram  s             P rx_agui.flow_control.wait.outcome
sequence.out_of_order.events          counter    {event}       P
sequence.gaps                         counter    {gap}         P
sequence.buffer.size                  updown     {event}       P
sequence.buffer.capacity              updown     {event}       P
sequence.reorder.duration             histogram  s             P
batch.size                            histogram  {event}       P rx_agui.batch.trigger
batch.fill.duration                   histogram  s             P rx_agui.batch.trigger
event.delivery.duration               histogram  s             P
compress.input.size                   counter    By            P rx_agui.compress.algorithm
compress.output.size                  counter    By            P rx_agui.compress.algorithm
compress.events                       counter    {event}       P rx_agui.compress.outcome
chunk.emitted.chunks                  counter    {chunk}       P
chunk.split.frames                    counter    {frame}       P
sink.sent.frames                      counter    {frame}       P
sink.sent.size                        counter    By            P
sink.write.duration                   histogram  s             P error.type
session.active                        updown     {session}     P
session.duration                      histogram  s             P rx_agui.session.close.reason error.type
session.time_to_first_event           histogram  s             P
session.resumptions                   counter    {resumption}  P
session.replayed.events               counter    {event}       P
degrade.level                         updown     1             P
circuit_breaker.status                updown     1             P rx_agui.circuit_breaker.name rx_agui.circuit_breaker.state
circuit_breaker.transitions           counter    {transition}  rx_agui.circuit_breaker.name rx_agui.circuit_breaker.state.from rx_agui.circuit_breaker.state.to
"""
ROWS = [line.split() for line in TABLE.strip().splitlines()]


def run_everything(
    told: Told, name: str = "chat", telemetry: Telemetry | None = None
) -> None:
    """Streams in which everything happens at least once."""
    telemetry = telemetry or told.telemetry(fill_duration=True)
    source: Subject[Any] = Subject()
    operators = [
        flow_control(5, timeout=0.001, errors=lambda error: None),
        sequence(number=lambda event: int(event["n"]), on_gap="skip"),
        batch(2),
        compress(min_size=1),
        chunk(16),
    ]
    source.pipe(pipeline(name, *operators, telemetry=telemetry)).subscribe(
        SSEWriter(lambda data: None)
    )
    for number in (1, 3, 2, 2, 6):
        source.on_next({"type": "CUSTOM", "n": number, "text": "a" * 200})
    source.on_next({"n": object()})
    source.on_completed()

    def fail(data: bytes) -> None:
        raise ConnectionResetError

    gate = Gate()
    first = [b""]

    def write(data: bytes) -> None:
        if first:
            first.clear()
            until(lambda: who_wait(gate) == 4)

    gate.pipe(
        pipeline(name, flow_control(1), degrade(), batch(2), telemetry=telemetry)
    ).subscribe(SSEWriter(write))
    threads = [threading.Thread(target=gate.send, args=[EVENTS[0]]) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gate.close()
    from_iterable(EVENTS).pipe(pipeline(name, telemetry=telemetry)).subscribe(
        SSEWriter(fail)
    )

    dead = from_iterable(EVENTS).pipe(
        pipeline(
            name,
            flow_control(),
            circuit_breaker(minimum_number_of_calls=1, name="model"),
            telemetry=telemetry,
        )
    )
    dead.subscribe(SSEWriter(fail)).dispose()

    watch = StreamObservation(name, (telemetry,))
    rest = OperatorCounters("session")
    rest.count("session.resumptions", 1)
    rest.count("session.replayed.events", 3)
    watch.joined(rest)


def send_all(gate: Gate, events: Iterable[Any]) -> None:
    for event in events:
        gate.send(event)


def holding(permits: list[Any]) -> Callable[[Any], None]:
    """A slow reader: what it holds is not written before it releases it."""
    return lambda item: permits.append(item.permit.hold())


def kind(metric: Metric) -> str:
    if isinstance(metric.data, Histogram):
        return "histogram"
    assert isinstance(metric.data, Sum)
    return "counter" if metric.data.is_monotonic else "updown"


def attributes_of(metric: Metric) -> set[str]:
    short = {"rx_agui.pipeline.name": "P", "rx_agui.operator.name": "O"}
    names = {name for p in metric.data.data_points for name in (p.attributes or {})}
    return {short.get(name, name) for name in names}


def table_of(told: Told) -> list[list[object]]:
    return [
        [
            metric.name.removeprefix("rx_agui."),
            kind(metric),
            metric.unit,
            attributes_of(metric),
        ]
        for metric in told.metrics().values()
    ]


def by_name(rows: list[list[object]]) -> dict[object, list[object]]:
    return {row[0]: row for row in rows}


TRUE_TABLE = by_name(
    [[name, kind, unit, set(labels)] for name, kind, unit, *labels in ROWS]
)


# -- the table ------------------------------------------------------------------------


def test_every_instrument_is_as_in_the_table(told: Told) -> None:
    run_everything(told)

    assert by_name(table_of(told)) == TRUE_TABLE


def test_so_it_is_through_a_second_telemetry_and_on_a_second_provider(
    told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    other = Told()
    with caplog.at_level(logging.WARNING, "opentelemetry.sdk"):
        for each in (told, told, other):
            run_everything(each)

    assert by_name(table_of(told)) == by_name(table_of(other)) == TRUE_TABLE
    first, second = told.read(), other.read()
    written = first.value("sink.sent.frames"), second.value("sink.sent.frames")
    assert written[0] == 2 * written[1] > 0
    loud = [record for record in caplog.records if record.name != "rx_agui"]
    assert loud == []  # the SDK warns of instruments that are made twice


def test_scope_and_bounds_are_ours(told: Told) -> None:
    run_everything(told)
    data = told.reader.get_metrics_data()
    assert data is not None
    (scope,) = data.resource_metrics[0].scope_metrics
    bounds = {
        metric.name: metric.data.data_points[0].explicit_bounds
        for metric in scope.metrics
        if isinstance(metric.data, Histogram)
    }

    assert scope.scope.name == "rx_agui"
    assert scope.schema_url.startswith("https://opentelemetry.io/schemas/1.")
    sizes = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000)
    assert tuple(bounds["rx_agui.batch.size"]) == sizes
    assert bounds["rx_agui.session.duration"][-1] == 3600
    assert bounds["rx_agui.session.time_to_first_event"][0] == 0.01


def test_ids_are_never_attributes_of_a_metric(told: Told) -> None:
    for number in range(20):
        events = simulated_run(3, run_id=f"run-{number}", thread_id=f"thread-{number}")
        from_iterable(events).pipe(
            pipeline("chat", telemetry=told.telemetry())
        ).subscribe(SSEWriter(lambda data: None))

    numbers = told.read()
    for name in numbers.metrics:
        points = numbers.points(name.removeprefix("rx_agui."))
        assert len(points) <= 8, f"{name} has {len(points)} sets of attributes"
        for attributes in points:
            assert not any(
                "run-" in str(v) or "thread-" in str(v) for _, v in attributes
            )


# -- nothing grows, nothing falls -----------------------------------------------------


def test_a_hundred_streams_make_no_instrument_and_leave_nothing(told: Told) -> None:
    class Noting(Probe):
        def started(self, watch: StreamObservation) -> None:
            refs.append(weakref.ref(watch))

    refs: list[weakref.ref[StreamObservation]] = []
    telemetry = told.telemetry()
    run_everything(told)
    before = len(told.metrics())
    meters = Meters.of(told.meters)
    live = len(meters._live)

    with watching(Noting()):
        for _ in range(100):
            gate = Gate()
            subscription = gate.pipe(pipeline("chat", telemetry=telemetry)).subscribe(
                SSEWriter(lambda data: None)
            )
            gate.send(EVENTS[0])
            subscription.dispose()
    del gate, subscription
    gc.collect()

    assert len(told.metrics()) == before
    assert Meters.of(told.meters) is meters
    assert len(meters._live) == live
    assert meters._leaving == []
    assert [ref() for ref in refs if ref() is not None] == []


def test_a_provider_that_is_let_go_takes_its_instruments_along() -> None:
    provider = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)
    from_iterable(EVENTS).pipe(
        pipeline("chat", telemetry=Telemetry(meter_provider=provider))
    ).subscribe()
    alive = weakref.ref(provider)
    provider.shutdown()
    del provider
    gc.collect()

    assert alive() is None


@pytest.mark.parametrize("collections", [0, 1, 2])
def test_sums_never_fall_when_streams_end(told: Told, collections: int) -> None:
    seen: dict[Any, float] = {}
    telemetry = told.telemetry()

    def collect() -> None:
        numbers = told.read()
        for name, metric in numbers.metrics.items():
            if kind(metric) == "counter":
                for labels, point in numbers.points(
                    name.removeprefix("rx_agui.")
                ).items():
                    assert point.value >= seen.get((name, labels), 0), name
                    seen[name, labels] = point.value
        missing = {name for name, _ in seen} - numbers.metrics.keys()
        assert not missing

    for _ in range(3):
        gate = Gate()
        subscription = gate.pipe(pipeline("chat", telemetry=telemetry)).subscribe(
            SSEWriter(lambda data: None)
        )
        for event in EVENTS[:60]:
            gate.send(event)
        for _ in range(collections):
            collect()
        subscription.dispose()
        for _ in range(collections):
            collect()
    collect()

    assert told.read().value("operator.received.events", operator="flow_control") == 180


def test_what_an_ended_stream_held_is_told_as_nothing(told: Told) -> None:
    gate = Gate()
    subscription = gate.pipe(pipeline("chat", telemetry=told.telemetry())).subscribe()
    gate.send(EVENTS[0])
    during = told.read()
    subscription.dispose()
    after = told.read()

    for name in (
        "operator.held.events",
        "operator.buffer.usage",
        "flow_control.inflight",
        "session.active",
    ):
        assert during.value(name) > 0
        assert after.points(name).keys() == during.points(name).keys()
        assert after.value(name) == 0


def test_a_view_that_drops_some_instruments_changes_no_other() -> None:
    told = Told()
    told.reader = InMemoryMetricReader()
    dropped = View(instrument_name="rx_agui.operator.*", aggregation=DropAggregation())
    told.meters = MeterProvider([told.reader], views=[dropped], shutdown_on_exit=False)
    gate = Gate()
    gate.pipe(pipeline("chat", flow_control(), telemetry=told.telemetry())).subscribe(
        SSEWriter(lambda data: None)
    )

    for sent in range(1, 4):
        gate.send(EVENTS[0])
        numbers = told.read()
        assert numbers.value("sink.sent.frames") == sent
        assert numbers.points("operator.received.events") == {}


def test_two_readers_of_one_provider_see_the_same() -> None:
    told = Told()
    told.reader, other = InMemoryMetricReader(), InMemoryMetricReader()
    told.meters = MeterProvider([told.reader, other], shutdown_on_exit=False)
    run_everything(told)
    first = told.read()
    told.reader = other
    second = told.read()

    name = "operator.received.events"
    values = [{k: p.value for k, p in n.points(name).items()} for n in (first, second)]
    assert values[0] == values[1] != {}


# -- the balance ----------------------------------------------------------------------

OPERATORS = ["flow_control", "sequence", "batch", "compress", "chunk", "sink"]


def assert_balanced(told: Told, operators: list[OperatorCounters]) -> None:
    """Each operator's sums fit, fit its neighbours', and are what is exported."""
    numbers = told.read()
    for tally in operators:
        lost = sum(tally.dropped.values())
        assert tally.held >= 0
        assert (
            tally.received + tally.created
            == tally.emitted + lost + tally.merged + tally.held
        )
        words = ("received", "emitted", "created", "merged", "held", "dropped")
        exported = [
            numbers.value(f"operator.{w}.events", operator=tally.name) for w in words
        ]
        assert exported == [
            tally.received, tally.emitted, tally.created, tally.merged, tally.held, lost,
        ]  # fmt: skip
    for above, below in pairwise(operators):
        assert above.emitted == below.received, f"{above.name} to {below.name}"


class Listening(Probe):
    """Keeps the operators of one stream."""

    def __init__(self) -> None:
        self.watch: StreamObservation | None = None

    def started(self, watch: StreamObservation) -> None:
        self.watch = watch

    @property
    def operators(self) -> list[OperatorCounters]:
        return [] if self.watch is None else self.watch.operators


Step = tuple[str, Any]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(1, 12)),
        st.tuples(st.just("garbage"), st.none()),
        st.tuples(st.just("wait"), st.sampled_from([0.1, 1.0, 9.0])),
        st.tuples(st.just("stuck"), st.booleans()),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    steps=STEPS,
    fusion=st.booleans(),
    window=st.integers(1, 12),
    overflow=st.sampled_from(OVERFLOWS),
    buffer_size=st.integers(1, 4),
    own_numbers=st.booleans(),
    on_gap=st.sampled_from(["skip", "error"]),
    buffer=st.integers(1, 4),
    size=st.integers(1, 6),
    max_bytes=st.sampled_from([None, 60]),
    workers=st.integers(1, 2),
    tells=st.booleans(),
    fails_at=st.sampled_from([None, 1, 3]),
    ending=st.sampled_from(["completed", "error", "dispose"]),
)
def test_what_came_in_is_accounted_for_whatever_happens(
    steps: list[Step],
    fusion: bool,
    window: int,
    overflow: Overflow,
    buffer_size: int,
    own_numbers: bool,
    on_gap: OnGap,
    buffer: int,
    size: int,
    max_bytes: int | None,
    workers: int,
    tells: bool,
    fails_at: int | None,
    ending: str,
) -> None:
    told, listening, clock = Told(), Listening(), MarbleScheduler()
    source: Subject[Any] = Subject()
    writes: list[bytes] = []
    stuck: list[Any] = []  # pieces whose permits a slow reader holds
    is_stuck = False
    errors = (lambda error: None) if tells else None

    def write(data: bytes) -> None:
        writes.append(data)
        if len(writes) == fails_at:
            raise ConnectionResetError

    def hold(item: Any) -> None:
        if is_stuck:
            stuck.append(item.permit.hold())

    number: Callable[[Any], int] | None = (
        (lambda e: int(e["n"])) if own_numbers else None
    )
    operators = [
        flow_control(window, buffer_size=buffer_size, overflow=overflow, errors=errors),
        sequence(
            number=number,
            out_of_order_buffer=buffer,
            gap_timeout=3.0,
            on_gap=on_gap,
            errors=errors,
        ),
        batch(size, 2.0, max_bytes=max_bytes),
        compress(min_size=60, workers=workers),
        chunk(50),
    ]
    before, _stage.FUSION = _stage.FUSION, fusion
    try:
        with watching(listening):
            subscription = (
                source.pipe(pipeline("chat", *operators, telemetry=told.telemetry()))
                .pipe(ops.do_action(hold))
                .subscribe(SSEWriter(write), scheduler=clock)
            )
    finally:
        _stage.FUSION = before
    sent = 0
    for what, value in steps:
        if what == "send":
            sent += 1
            source.on_next({"n": value})
        elif what == "garbage":
            source.on_next({"n": object()})
        elif what == "wait":
            clock.play(clock.seconds + value)
        else:
            is_stuck = value
            while stuck and not is_stuck:
                stuck.pop().release()
        clock.play(clock.seconds)
        assert_balanced(told, listening.operators)

    if ending == "dispose":
        subscription.dispose()
    elif ending == "completed":
        source.on_completed()
    else:
        source.on_error(ValueError("the agent"))
    while stuck:
        stuck.pop().release()
    clock.play()
    assert_balanced(told, listening.operators)
    assert [tally.held for tally in listening.operators] == [0] * len(
        listening.operators
    )
    assert told.read().value("session.active") == 0


def test_an_event_that_waits_is_counted_where_it_waits(told: Told) -> None:
    clock = MarbleScheduler()
    source: Subject[Any] = Subject()
    operators = [flow_control(3), sequence(), batch(10, 60.0)]
    held: list[Any] = []
    source.pipe(
        pipeline("chat", *operators, telemetry=told.telemetry()),
        ops.do_action(holding(held)),
    ).subscribe(scheduler=clock)
    for event in EVENTS[:5]:
        source.on_next(event)

    numbers = told.read()  # 3 left as they were stalled, 2 wait for credit
    values = {
        word: [
            numbers.value(f"operator.{word}.events", operator=o) for o in OPERATORS[:3]
        ]
        for word in ("received", "emitted", "held")
    }
    assert values == {"received": [5, 3, 3], "emitted": [3, 3, 3], "held": [2, 0, 0]}
    assert numbers.value("flow_control.queue.size") == 2
    assert numbers.value("flow_control.inflight") == 3
    queued = sum(len(encode(event)) for event in EVENTS[3:5])
    assert numbers.value("operator.buffer.usage", operator="flow_control") == queued


def test_a_batch_that_fills_is_counted_above_it_too(told: Told) -> None:
    gate = Gate()
    operators = [flow_control(), sequence(), batch(10, 60.0)]
    run = gate.pipe(pipeline("chat", *operators, telemetry=told.telemetry()))
    with run.subscribe():
        for event in EVENTS[:3]:
            gate.send(event)
        numbers = told.read()

    received = [
        numbers.value("operator.received.events", operator=o) for o in OPERATORS[:3]
    ]
    held = [numbers.value("operator.held.events", operator=o) for o in OPERATORS[:3]]
    assert (received, held) == ([3, 3, 3], [0, 0, 3])


def test_under_load_a_collection_still_fits_together(told: Told) -> None:
    gate, writer = Gate(), SSEWriter(lambda data: None)
    window, size = 200, 50
    gate.pipe(
        pipeline(
            "chat",
            flow_control(window),
            sequence(),
            batch(size),
            compress(workers=2),
            chunk(),
            telemetry=told.telemetry(spans="off"),
        )
    ).subscribe(writer)
    deltas = list(simulated_deltas(6000))
    threads = [threading.Thread(target=send_all, args=[gate, deltas]) for _ in range(3)]
    for thread in threads:
        thread.start()
    before: dict[str, float] = {}
    collections = 0
    while any(thread.is_alive() for thread in threads):
        numbers = told.read()
        collections += 1
        for operator in numbers.labels("operator.received.events", "operator"):
            value = {
                word: numbers.value(f"operator.{word}.events", operator=operator)
                for word in (
                    "received",
                    "created",
                    "emitted",
                    "dropped",
                    "merged",
                    "held",
                )
            }
            assert value["received"] + value["created"] == (
                value["emitted"] + value["dropped"] + value["merged"] + value["held"]
            )
            assert 0 <= value["held"] <= window + size
            assert value["received"] >= before.get(operator, 0), "it fell"
            before[operator] = value["received"]
    gate.close()

    assert collections > 3
    assert told.read().value("operator.emitted.events", operator="sink") == 18_000


# -- disposal under way ---------------------------------------------------------------


def test_a_write_that_ends_after_the_disposal_is_still_counted(told: Told) -> None:
    began, may_end = threading.Event(), threading.Event()

    def write(data: bytes) -> None:
        began.set()
        may_end.wait(10)

    gate = Gate()
    subscription = gate.pipe(
        pipeline("chat", flow_control(), batch(2), telemetry=told.telemetry())
    ).subscribe(SSEWriter(write))
    sender = threading.Thread(target=send_all, args=[gate, EVENTS[:2]])
    sender.start()
    began.wait(10)
    subscription.dispose()
    during = told.read()
    may_end.set()
    sender.join()
    after = told.read()

    assert during.value("operator.held.events", operator="sink") == 2
    assert after.value("operator.held.events", operator="sink") == 0
    assert after.value("operator.emitted.events", operator="sink") == 2
    assert after.value("sink.sent.frames") == 1
    assert Meters.of(told.meters)._leaving == []


def test_what_waits_to_be_written_when_the_reader_leaves_is_dropped(told: Told) -> None:
    async def serve() -> None:
        began, may_end, over = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def write(data: bytes) -> None:
            began.set()
            await may_end.wait()
            asyncio.get_running_loop().call_soon(over.set)

        gate = Gate()
        subscription = gate.pipe(
            pipeline("chat", flow_control(), batch(1), telemetry=told.telemetry())
        ).subscribe(SSEWriter(write))
        gate.try_send(EVENTS[0])
        await began.wait()
        gate.try_send(EVENTS[1])
        gate.try_send(EVENTS[2])
        subscription.dispose()
        may_end.set()
        await over.wait()

    asyncio.run(serve())

    numbers = told.read()
    assert numbers.value("operator.emitted.events", operator="sink") == 1
    dropped = {"operator": "sink", "reason": "cancelled"}
    assert numbers.value("operator.dropped.events", **dropped) == 2
    assert numbers.value("operator.held.events") == 0


# -- histograms -----------------------------------------------------------------------


def test_batches_are_counted_by_what_made_them_leave(told: Told) -> None:
    source: Subject[Any] = Subject()
    clock = MarbleScheduler()
    source.pipe(
        pipeline(
            "chat",
            batch(3, 2.0, max_bytes=100),
            telemetry=told.telemetry(fill_duration=True),
        )
    ).subscribe(scheduler=clock)
    for event in [{"n": 1}] * 3:
        source.on_next(event)  # size
    source.on_next({"n": 1})
    clock.play()  # timeout
    source.on_next({"text": "a" * 80})
    source.on_next({"text": "a" * 80})  # bytes: the first goes
    source.on_completed()  # completed: the second

    numbers = told.read()
    sizes = {
        trigger: numbers.histogram("batch.size", trigger=trigger)[:2]
        for trigger in numbers.labels("batch.size", "trigger")
    }
    assert sizes == {
        "size": (1, 3),
        "timeout": (1, 1),
        "bytes": (1, 1),
        "completed": (1, 1),
    }
    assert numbers.histogram("batch.fill.duration")[0] == 4


def test_a_payload_is_as_old_as_its_first_event(told: Told, clock: Clock) -> None:
    gate = Gate()
    gate.pipe(
        pipeline("chat", flow_control(), batch(2), telemetry=told.telemetry())
    ).subscribe(SSEWriter(lambda data: clock.pass_by(0.02)))
    clock.pass_by(0.01)
    gate.send(EVENTS[0])
    clock.pass_by(0.03)
    gate.send(EVENTS[1])
    gate.close()

    numbers = told.read()
    count, age, _ = numbers.histogram("event.delivery.duration")
    assert count == 1
    assert age == pytest.approx(0.05)
    count, written, _ = numbers.histogram("sink.write.duration")
    assert count == 1
    assert written == pytest.approx(0.02)
    count, first, _ = numbers.histogram("session.time_to_first_event")
    assert count == 1
    assert first == pytest.approx(0.06)


def test_a_stream_has_one_first_event_however_coarse_the_clock(
    told: Told, clock: Clock
) -> None:
    from_iterable(EVENTS[:3]).pipe(
        pipeline("chat", sequence(), telemetry=told.telemetry())
    ).subscribe(SSEWriter(lambda data: None))

    assert told.read().histogram("session.time_to_first_event")[0] == 1


def test_a_wait_for_credit_is_told_with_how_it_ended(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Waiting(threading.Event):
        """While somebody waits for credit, the next of these happens."""

        def wait(self, timeout: float | None = None) -> bool:
            happens.pop(0)()
            return self.is_set()

    source: Subject[Any] = Subject()
    held: list[Any] = []
    errors: list[StreamError] = []
    subscription = source.pipe(
        pipeline(
            "chat",
            flow_control(1, timeout=0.02, errors=errors.append),
            telemetry=told.telemetry(),
        ),
        ops.do_action(holding(held)),
    ).subscribe()
    happens: list[Callable[[], object]] = [
        lambda: None,  # timeout
        lambda: held.pop().release(),  # admitted
        subscription.dispose,  # cancelled
    ]
    source.on_next(EVENTS[0])
    with monkeypatch.context() as patched:
        patched.setattr(threading, "Event", Waiting)
        for event in EVENTS[1:4]:
            source.on_next(event)

    numbers = told.read()
    outcomes = {
        outcome: numbers.histogram("flow_control.wait.duration", outcome=outcome)[0]
        for outcome in ("admitted", "timeout", "cancelled")
    }
    assert outcomes == {"admitted": 1, "timeout": 1, "cancelled": 1}
    assert numbers.value("flow_control.backpressure.activations") == 3
    _, total, _ = numbers.histogram("flow_control.wait.duration")
    assert numbers.value("flow_control.wait.time") == pytest.approx(total)
    assert numbers.value("operator.dropped.events", reason="backpressure_timeout") == 1
    assert numbers.value("operator.errors", error="BackpressureTimeoutError") == 1


def test_a_coroutine_that_gives_up_waiting_is_told_as_cancelled(told: Told) -> None:
    async def serve() -> None:
        gate = Gate()
        held: list[Any] = []
        gate.pipe(
            pipeline("chat", flow_control(1), telemetry=told.telemetry()),
            ops.do_action(holding(held)),
        ).subscribe()
        await gate.asend(EVENTS[0])
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await gate.asend(EVENTS[1])

    asyncio.run(serve())

    numbers = told.read()
    assert numbers.histogram("flow_control.wait.duration", outcome="cancelled")[0] == 1
    assert numbers.value("flow_control.backpressure.activations") == 1


def test_who_was_held_for_order_is_told_for_how_long(told: Told) -> None:
    clock = MarbleScheduler()
    source: Subject[Any] = Subject()
    source.pipe(
        pipeline(
            "chat", sequence(number=lambda e: int(e["n"])), telemetry=told.telemetry()
        )
    ).subscribe(scheduler=clock)
    source.on_next({"n": 2})
    source.on_next({"n": 3})
    clock.play(1.0)
    clock.at(2.0, source.on_next, {"n": 1})
    clock.play()

    numbers = told.read()
    assert numbers.histogram("sequence.reorder.duration") == (2, 4.0, 2.0)
    assert numbers.value("sequence.out_of_order.events") == 2


def test_a_write_that_fails_is_measured_with_its_error(told: Told) -> None:
    def write(data: bytes) -> None:
        if writes:
            raise BrokenPipeError
        writes.append(data)

    writes: list[bytes] = []
    from_iterable(EVENTS).pipe(
        pipeline("chat", flow_control(), batch(10), telemetry=told.telemetry())
    ).subscribe(SSEWriter(write))

    numbers = told.read()
    assert numbers.labels("sink.write.duration", "error") == {"BrokenPipeError"}
    assert numbers.histogram("sink.write.duration")[0] == 2
    assert numbers.histogram("sink.write.duration", error="BrokenPipeError")[0] == 1
    assert (
        numbers.histogram("session.duration", reason="error", error="BrokenPipeError")[
            0
        ]
        == 1
    )
    assert (
        numbers.value("operator.errors", operator="sink", error="BrokenPipeError") == 1
    )


def test_a_stream_is_measured_by_why_it_ended(told: Told) -> None:
    telemetry = told.telemetry()
    rx.of(*EVENTS).pipe(pipeline("chat", telemetry=telemetry)).subscribe()
    rx.never().pipe(pipeline("chat", telemetry=telemetry)).subscribe().dispose()
    rx.throw(ValueError("no")).pipe(pipeline("chat", telemetry=telemetry)).subscribe(
        on_error=lambda error: None
    )

    numbers = told.read()
    reasons = {
        reason: numbers.histogram("session.duration", reason=reason)[0]
        for reason in numbers.labels("session.duration", "reason")
    }
    assert reasons == {"completed": 1, "client_disconnect": 1, "error": 1}
    assert numbers.labels("session.duration", "error") == {"ValueError"}


def test_counters_alone_make_no_histogram(told: Told) -> None:
    from_iterable(EVENTS).pipe(
        pipeline("chat", telemetry=told.telemetry(metrics="counters"))
    ).subscribe(SSEWriter(lambda data: None))

    metrics = told.metrics()
    assert "rx_agui.sink.sent.frames" in metrics
    assert not [m for m in metrics.values() if isinstance(m.data, Histogram)]


def test_metrics_can_be_off_while_spans_are_on(told: Told) -> None:
    from_iterable(EVENTS).pipe(
        pipeline("chat", telemetry=told.telemetry(metrics="off"))
    ).subscribe(SSEWriter(lambda data: None))

    assert told.metrics() == {}
    assert told.spans("send")


def test_bytes_an_operator_holds_are_told(told: Told) -> None:
    began, may_end = threading.Event(), threading.Event()

    def write(data: bytes) -> None:
        sizes.append(len(data))
        began.set()
        may_end.wait(10)

    sizes: list[int] = []

    async def agent() -> Any:
        for event in EVENTS[:3]:
            yield event

    def serve() -> None:
        async def go() -> None:
            writer = SSEWriter(write)
            from_async_iterable(agent).pipe(
                pipeline("chat", flow_control(), batch(3), telemetry=told.telemetry())
            ).subscribe(writer)
            await writer.done

        asyncio.run(go())

    thread = threading.Thread(target=serve)
    thread.start()
    began.wait(10)
    held = told.read().value("operator.buffer.usage", operator="sink")
    may_end.set()
    thread.join()

    assert [held] == sizes
    assert told.read().value("operator.buffer.usage", operator="sink") == 0
