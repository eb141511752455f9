"""What it costs to be watched.

    pytest tests/benchmarks/test_telemetry.py

A ratio to the unwatched pipeline says little: it falls as the pipeline becomes faster.
So what telemetry adds to a payload is held against what the bare SDK asks for the same:
three histogram records, or seven spans. Of 100-byte deltas, batch 100, gzip 6.
"""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from rx_agui.probe import listeners
from rx_agui.telemetry import Telemetry
from tests.benchmarks import ratio
from tests.benchmarks._pipelines import ours
from tests.benchmarks._watching import (
    PAYLOADS,
    Added,
    Dropping,
    Encoding,
    metrics,
    spans,
)
from tests.benchmarks._workloads import deltas
from tests.benchmarks.bounds import at_least, at_most, n


def say(what: str, added: Added) -> None:
    print(
        f"{what}: {added.added.median:.1f} µs a payload beside {added.off.median:.1f}, "
        f"{added.times_bare.median:.2f} times the bare SDK's; on / off {added.on_off:.2f}"
    )


def test_counters_on_is_at_least_four_fifths_as_fast_as_off() -> None:
    added = metrics("counters")

    say("counters", added)
    assert added.on_off >= at_least(0.8)


def test_histograms_cost_little_more_than_three_bare_records() -> None:
    added = metrics("full")

    say("histograms", added)
    assert added.times_bare.median <= at_most(1.8)


def test_at_the_default_budget_a_payload_costs_a_quarter_of_its_spans() -> None:
    added = spans(Dropping(), 20.0)

    say("spans at the default budget", added)
    assert added.times_bare.median <= at_most(0.25)


@pytest.mark.parametrize(("exporter", "most"), [(Dropping, 1.6), (Encoding, 1.35)])
def test_every_payload_traced_costs_little_more_than_seven_bare_spans(
    exporter: type[Dropping], most: float
) -> None:
    counts = exporter()
    added = spans(counts)

    say(f"every payload traced, {exporter.__name__}", added)
    runs, rest = divmod(counts.spans, 2 * (1 + PAYLOADS * 7))
    assert runs > 5
    assert rest == 0
    assert added.times_bare.median <= at_most(most)


def test_while_nobody_watches_nothing_is_paid() -> None:
    events = deltas(20_000)

    def unwatched() -> None:
        ours(events, lambda data: None)

    def without_telemetry() -> None:
        kept = listeners[:]
        listeners.clear()
        try:
            unwatched()
        finally:
            listeners.extend(kept)

    reached = ratio(without_telemetry, unwatched, rounds=9)

    print(f"no watcher / no telemetry: {reached}")
    assert reached.median >= at_least(0.9)


@pytest.mark.benchmark(group="deltas, batch 100, gzip 6")
@pytest.mark.parametrize("kind", ["off", "counters", "full"])
def test_the_price_of_metrics(benchmark: Any, kind: Any) -> None:
    meters = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)
    telemetry = Telemetry(meter_provider=meters, metrics=kind)
    events = deltas(n(benchmark, 20_000))
    benchmark(ours, events, lambda data: None, telemetry=telemetry)
