"""What it costs to be watched, beside what the SDK alone asks for the same.

A ratio to a pipeline without telemetry says little: it falls as the pipeline becomes
faster. What telemetry adds to a payload is said in µs, and in how many times the bare
SDK costs: three histogram records, or seven spans with three attributes each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace

from rx_agui.errors import MissingExtraError
from rx_agui.telemetry import Telemetry
from tests.benchmarks._measure import Run, Spread, in_turns
from tests.benchmarks._pipelines import ours
from tests.benchmarks._workloads import deltas

try:
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import (
        BatchSpanProcessor,
        SpanExporter,
        SpanExportResult,
    )
except ImportError:
    raise MissingExtraError(
        "measuring telemetry", "opentelemetry-sdk", "otel"
    ) from None

__all__ = ["Added", "Dropping", "Encoding", "metrics", "spans"]

#: Events in a payload, and payloads in a run.
SIZE, PAYLOADS = 100, 100


class Added:
    """What telemetry adds to a payload.

    Attributes:
        off: µs of processor time for an unwatched payload.
        added: µs more for one that is watched.
        bare: µs the SDK alone asks for as much.
        times_bare: How many times as much as that is added; less is better.
    """

    def __init__(self, off: list[float], on: list[float], bare: list[float]) -> None:
        per = 1e6 / PAYLOADS
        self.off = Spread.of([t * per for t in off])
        self.added = Spread.of([(b - a) * per for a, b in zip(off, on, strict=True)])
        self.bare = Spread.of([t * per for t in bare])
        rounds = zip(off, on, bare, strict=True)
        self.times_bare = Spread.of([(b - a) / c for a, b, c in rounds])

    @property
    def on_off(self) -> float:
        """How fast the watched pipeline is, if an unwatched one is 1."""
        return self.off.median / (self.off.median + self.added.median)


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


def metrics(kind: Any, rounds: int = 5) -> Added:
    """Of metrics: "counters", beside which the bare SDK does nothing; or "full"."""
    provider = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)
    telemetry = Telemetry(meter_provider=provider, metrics=kind, spans="off")
    meter = provider.get_meter("bare")
    records = [meter.create_histogram(name).record for name in ("one", "two", "three")]
    facts = {"pipeline": "bench", "trigger": "size"}

    def bare() -> None:
        for value in range(PAYLOADS):
            for record in records:
                record(value, facts)

    off, on, alone = in_turns(_run(None), _run(telemetry), bare, rounds=rounds)
    return Added(off, on, alone)


def spans(
    exporter: Dropping, per_second: float | None = None, rounds: int = 5
) -> Added:
    """Of spans: of every payload (None), or of so many a second."""
    with _provider(exporter) as provider:
        telemetry = Telemetry(provider, traced_per_second=per_second, metrics="off")
        run = _run(telemetry)
        tracer = provider.get_tracer("bare")
        facts: dict[str, Any] = {"first": "one", "second": 2, "third": 3}

        def watched() -> None:
            run()
            provider.force_flush()

        def bare() -> None:
            with tracer.start_as_current_span("stream") as stream:
                inside = trace.set_span_in_context(stream)
                for _ in range(PAYLOADS * 7):
                    span = tracer.start_span(
                        "send", inside, attributes=facts, start_time=1
                    )
                    span.end(end_time=2)
            provider.force_flush()

        off, on, alone = in_turns(_run(None), watched, bare, rounds=rounds)
    return Added(off, on, alone)


@contextmanager
def _provider(exporter: SpanExporter) -> Iterator[TracerProvider]:
    provider = TracerProvider(shutdown_on_exit=False)
    processor = BatchSpanProcessor(exporter, max_queue_size=100_000)
    provider.add_span_processor(processor)
    try:
        yield provider
    finally:
        provider.shutdown()


def _run(telemetry: Telemetry | None) -> Run:
    events = deltas(SIZE * PAYLOADS)
    return lambda: ours(events, lambda data: None, size=SIZE, telemetry=telemetry)
