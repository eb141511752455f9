"""What Prometheus sees of us: names and labels as the exporter really writes them.

A run does not do everything: no event is dropped, no breaker opens. `Everything` is an
operator that did.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CollectorRegistry

from rx_agui.probe import OperatorCounters
from rx_agui.telemetry._instruments import OBSERVABLES
from tests.support.receivers import ROOT

__all__ = ["DASHBOARD", "Everything", "Query", "Scraped", "labels_by_name", "queries"]

#: What operators count under, and what they call what goes up and down.
WORDS: Final = [seen.name.removeprefix("rx_agui.") for seen in OBSERVABLES]

DASHBOARD: Final = ROOT / "examples" / "telemetry" / "grafana" / "rx_agui.json"


class Scraped:
    """A meter provider that Prometheus can scrape, of a test's own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.reader = PrometheusMetricReader(registry=self.registry)
        self.provider = MeterProvider(metric_readers=[self.reader])


class Everything(OperatorCounters):
    """An operator to which everything has happened that instruments can tell of."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("sequence")
        self.count_drop("late", 1)
        for word in ("errors", *WORDS):
            self.count(word, 1, "of some kind")

    @property
    def levels(self) -> dict[str, int]:
        return dict.fromkeys(WORDS, 1)

    @property
    def states(self) -> dict[tuple[str, str], int]:
        return {("model", "open"): 1, ("model", "closed"): 0}


def labels_by_name(registry: CollectorRegistry) -> dict[str, set[str]]:
    """The labels of each sample, by its name: `…_total`, `…_bucket` and the like."""
    labels: dict[str, set[str]] = {}
    for metric in registry.collect():
        for sample in metric.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    return labels


@dataclass(frozen=True)
class Query:
    """One query of the dashboard."""

    panel: str
    text: str

    @property
    def metrics(self) -> set[str]:
        """Names of the metrics it reads."""
        return set(re.findall(r"(rx_agui_\w+)\{", self.text))

    @property
    def labels(self) -> set[str]:
        """Labels it groups by or selects."""
        groups = ",".join(re.findall(r"by \(([^)]*)\)", self.text))
        selected = re.findall(r'(\w+)=~?"', self.text)
        return {label.strip() for label in groups.split(",") if label.strip()} | {
            *selected
        }

    def over(self, interval: str) -> str:
        """As Grafana sends it, for all pipelines."""
        return self.text.replace("$__rate_interval", interval).replace(
            "$pipeline", ".*"
        )


def queries() -> list[Query]:
    """Every query of the dashboard."""
    board: Any = json.loads(DASHBOARD.read_text("utf-8"))
    return [
        Query(panel["title"], target["expr"])
        for panel in board["panels"]
        for target in panel.get("targets", ())
    ]
