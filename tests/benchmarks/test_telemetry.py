"""What it costs to be watched.

    pytest tests/benchmarks/test_telemetry.py

Times mean nothing across machines; what is asserted are ratios of two medians of five,
taken in turns in one process: of 100-byte deltas, batch 100, gzip 6.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SpanExporter,
    SpanExportResult,
)

from benchmarks.bounds import at_least, seconds
from rx_agui import (
    SSEWriter,
    batch,
    chunk,
    compress,
    flow_control,
    from_iterable,
    pipeline,
    sequence,
)
from rx_agui.probe import Probe, listeners
from rx_agui.telemetry import Telemetry
from rx_agui.testing import simulated_deltas

EVENTS = list(simulated_deltas(20_000))


class Dropping(SpanExporter):
    """Exports nothing."""

    def __init__(self) -> None:
        self.spans = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.spans += len(spans)
        return SpanExportResult.SUCCESS


class Encoding(Dropping):
    """Encodes as OTLP does, and sends nothing."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        encode_spans(spans).SerializeToString()
        return super().export(spans)


class Tracing:
    """A tracer provider as an application sets it up, with an exporter of ours."""

    def __init__(self, exporter: Dropping) -> None:
        self.exporter = exporter
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(
            BatchSpanProcessor(exporter, max_queue_size=100_000)
        )


def run(telemetry: Probe | None) -> None:
    operators = flow_control(), sequence(), batch(100), compress(), chunk()
    writer = SSEWriter(lambda data: None)
    from_iterable(EVENTS).pipe(
        pipeline("chat", *operators, telemetry=telemetry)
    ).subscribe(writer)
    writer.done.result(60)


def ratio(
    off: Callable[[], object], on: Callable[[], object], rounds: int = 5
) -> float:
    """How fast `on` is, if `off` is 1."""
    off(), on()  # warm
    times = [(seconds(off), seconds(on)) for _ in range(rounds)]
    without, with_it = (median(each) for each in zip(*times, strict=True))
    return float(without / with_it)


def unwatched() -> None:
    run(None)


@pytest.fixture
def traced() -> Iterator[Callable[[Dropping], Tracing]]:
    """Makes tracer providers, and shuts them down."""
    made: list[Tracing] = []

    def make(exporter: Dropping) -> Tracing:
        made.append(Tracing(exporter))
        return made[-1]

    yield make
    for each in made:
        each.provider.shutdown()


def test_metrics_on_is_at_least_four_fifths_as_fast_as_off() -> None:
    meters = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)
    telemetry = Telemetry(meter_provider=meters)

    reached = ratio(unwatched, lambda: run(telemetry))

    print(f"metrics on / off: {reached:.2f}")
    assert reached >= at_least(0.8)


def test_spans_at_the_default_budget_cost_hardly_anything(
    traced: Callable[[Dropping], Tracing],
) -> None:
    telemetry = Telemetry(traced(Dropping()).provider)

    reached = ratio(unwatched, lambda: run(telemetry))

    print(f"spans at the default budget / off: {reached:.2f}")
    assert reached >= at_least(0.8)


def bare_spans(tracing: Tracing) -> None:
    """What the SDK alone asks for as many spans, with as many attributes."""
    tracer = tracing.provider.get_tracer("bare")
    facts: dict[str, Any] = {"first": "one", "second": 2, "third": 3}
    with tracer.start_as_current_span("stream") as stream:
        inside = trace.set_span_in_context(stream)
        for _ in range(200 * 7):
            span = tracer.start_span("send", inside, attributes=facts, start_time=1)
            span.end(end_time=2)


@pytest.mark.parametrize(("exporter", "least"), [(Dropping, 0.38), (Encoding, 0.25)])
def test_every_batch_traced_costs_little_more_than_its_spans(
    traced: Callable[[Dropping], Tracing], exporter: type[Dropping], least: float
) -> None:
    """Seven spans cost SDK 1.45 as much as the whole pipeline costs for their batch."""
    tracing = traced(exporter())
    telemetry = Telemetry(tracing.provider, traced_per_second=None)

    def every_batch() -> None:
        run(telemetry)
        tracing.provider.force_flush()

    def the_spans_alone() -> None:
        bare_spans(tracing)
        tracing.provider.force_flush()

    for warm in (unwatched, every_batch, the_spans_alone):
        warm()
    tracing.exporter.spans = 0
    times = [
        (seconds(unwatched), seconds(the_spans_alone), seconds(every_batch))
        for _ in range(5)
    ]
    off, spans, on = (median(each) for each in zip(*times, strict=True))

    print(f"every batch traced, {exporter.__name__} / off: {off / on:.2f}")
    print(f"  off, the spans alone, both: {off:.3f} {spans:.3f} {on:.3f} s")
    assert tracing.exporter.spans == 5 * 2 * (1 + 200 * 7)
    assert off / on >= at_least(least)
    assert (off + spans) / on >= at_least(0.74)


def test_everything_on_together(traced: Callable[[Dropping], Tracing]) -> None:
    meters = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)
    telemetry = Telemetry(traced(Dropping()).provider, meters)

    reached = ratio(unwatched, lambda: run(telemetry))

    print(f"metrics and spans, as they are by default / off: {reached:.2f}")
    assert reached >= at_least(0.7)


def test_while_nobody_watches_nothing_is_paid() -> None:
    def without_telemetry() -> None:
        kept = listeners[:]
        listeners.clear()
        try:
            run(None)
        finally:
            listeners.extend(kept)

    reached = ratio(without_telemetry, unwatched, rounds=9)

    print(f"nobody watches / no telemetry: {reached:.2f}")
    assert reached >= at_least(0.9)


@pytest.mark.benchmark(group="20,000 deltas, batch 100, gzip 6")
@pytest.mark.parametrize("metrics", ["off", "counters", "full"])
def test_the_price_of_metrics(benchmark: Any, metrics: Any) -> None:
    meters = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)
    benchmark(run, Telemetry(meter_provider=meters, metrics=metrics))
