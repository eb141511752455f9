"""Providers of a test's own, and what they were told. Nothing here is global."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, Metric
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler

from rx_agui.telemetry import Telemetry

P = "rx_agui.pipeline.name"
O = "rx_agui.operator.name"  # noqa: E741  # as the table of instruments calls it

Labels = frozenset[tuple[str, Any]]


class Told:
    """A tracer provider and a meter provider that remember."""

    def __init__(self, sampler: Sampler = ALWAYS_ON) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)
        self.tracer = self.tracers.get_tracer("test")

    def telemetry(self, **settings: Any) -> Telemetry:
        """What tells us; every payload, unless the settings say otherwise."""
        settings.setdefault("traced_per_second", None)
        return Telemetry(self.tracers, self.meters, **settings)

    # -- spans -----------------------------------------------------------------------

    def spans(self, word: str = "") -> list[ReadableSpan]:
        """Those whose name begins so, in the order they began."""
        found = [
            s for s in self.exporter.get_finished_spans() if s.name.startswith(word)
        ]
        return sorted(found, key=lambda span: span.start_time or 0)

    def span(self, word: str) -> ReadableSpan:
        """The only one whose name begins so."""
        (span,) = self.spans(word)
        return span

    def children(self, parent: ReadableSpan) -> list[ReadableSpan]:
        """Those under it, in the order they began."""
        return [
            span
            for span in self.spans()
            if span.parent is not None and span.parent.span_id == parent.context.span_id
        ]

    def tree(self) -> str:
        """All of them, those without a parent first, children indented."""
        roots = [span for span in self.spans() if span.parent is None]
        return "\n".join(self._lines(roots, ""))

    def _lines(self, spans: Iterable[ReadableSpan], indent: str) -> list[str]:
        lines: list[str] = []
        for span in spans:
            lines += [
                indent + span.name,
                *self._lines(self.children(span), indent + "  "),
            ]
        return lines

    # -- metrics ---------------------------------------------------------------------

    def metrics(self) -> dict[str, Metric]:
        """One collection, by name."""
        data = self.reader.get_metrics_data()
        if data is None:
            return {}
        return {
            metric.name: metric
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def read(self) -> Numbers:
        """The numbers of one collection."""
        return Numbers(self.metrics())


class Numbers:
    """One collection, to ask for numbers."""

    def __init__(self, metrics: dict[str, Metric]) -> None:
        self.metrics = metrics

    def points(self, name: str) -> dict[Labels, Any]:
        """The points of an instrument, by attributes."""
        metric = self.metrics.get(f"rx_agui.{name}")
        if metric is None:
            return {}
        return {
            frozenset((p.attributes or {}).items()): p for p in metric.data.data_points
        }

    def value(self, name: str, **labels: str) -> float:
        """The sum of all points that have these labels; 0 if there is none.

        Labels are named by what they tell apart: operator, pipeline, reason.
        """
        return sum(
            float(point.value)
            for attributes, point in self.points(name).items()
            if labels.items() <= _short(attributes).items()
        )

    def histogram(self, name: str, **labels: str) -> tuple[int, float, float]:
        """How many, their sum and the greatest; of all points with these labels."""
        points = [
            point
            for attributes, point in self.points(name).items()
            if labels.items() <= _short(attributes).items()
        ]
        return (
            sum(point.count for point in points),
            sum(point.sum for point in points),
            max((point.max for point in points), default=0.0),
        )

    def labels(self, name: str, label: str) -> set[str]:
        """What values a label has."""
        found = (_short(attributes).get(label) for attributes in self.points(name))
        return {value for value in found if value is not None}


def _short(attributes: Labels) -> dict[str, Any]:
    """By one word: rx_agui.operator.name is operator, rx_agui.drop.reason is reason."""
    words: dict[str, Any] = {}
    for key, value in attributes:
        *before, last = key.split(".")
        words[before[-1] if last in ("name", "type") else last] = value
    return words
