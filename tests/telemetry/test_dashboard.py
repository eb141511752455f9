"""The dashboard asks for what there is, and no more."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest

from rx_agui import SSEWriter, from_iterable, pipeline
from rx_agui.probe import StreamObservation
from rx_agui.telemetry import Telemetry
from rx_agui.telemetry._instruments import HISTOGRAMS, OBSERVABLES
from rx_agui.testing import simulated_run
from tests.support.receivers import ROOT
from tests.support.scraped import (
    DASHBOARD,
    Everything,
    Query,
    Scraped,
    labels_by_name,
    queries,
)

QUERIES = queries()
TABLE = [seen.name for seen in OBSERVABLES] + [h.name for h in HISTOGRAMS.values()]


@cache
def exported() -> dict[str, set[str]]:
    """All that can be exported, with its labels: of a run, and of what it lacks."""
    scraped = Scraped()
    telemetry = Telemetry(meter_provider=scraped.provider, fill_duration=True)
    stream = from_iterable(simulated_run()).pipe(pipeline("chat", telemetry=telemetry))
    writer = SSEWriter(lambda data: None)
    stream.subscribe(writer)
    writer.done.result(10)

    watch = StreamObservation("chat", (telemetry,))
    watch.joined(Everything())
    watch.waited(1_000_000, "timeout")
    watch.reordered(0.001)
    telemetry.transitioned(watch, "model", "closed", "open")
    return labels_by_name(scraped.registry)


def underscored(name: str) -> str:
    return name.replace(".", "_")


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.panel)
def test_a_query_reads_metrics_that_are_exported(query: Query) -> None:
    assert query.metrics
    assert query.metrics <= exported().keys()


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.panel)
def test_a_query_groups_by_labels_that_its_metrics_have(query: Query) -> None:
    for name in query.metrics:
        assert query.labels <= exported()[name] | {"le"}


def test_every_instrument_of_the_table_is_exported() -> None:
    names = "\n".join(exported())

    for name in TABLE:
        assert underscored(name) in names


def test_nearly_every_instrument_is_on_the_dashboard() -> None:
    asked = "\n".join(query.text for query in QUERIES)
    unseen = {name for name in TABLE if underscored(name) not in asked}

    assert unseen == {
        "rx_agui.batch.fill.duration",  # only if asked for
        "rx_agui.operator.buffer.usage",
        "rx_agui.operator.created.events",
        "rx_agui.operator.merged.events",
        "rx_agui.operator.received.events",  # what came in, went out of the one before
    }


def test_the_dashboard_is_one_that_grafana_imports() -> None:
    board: Any = json.loads(DASHBOARD.read_text("utf-8"))
    panels = board["panels"]
    boxes = [panel["gridPos"] for panel in panels]

    assert board["title"] == "rx_agui"
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(box["x"] + box["w"] <= 24 for box in boxes)
    assert not any(_overlap(a, b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert {
        panel["datasource"]["uid"] for panel in panels if "datasource" in panel
    } == {"${datasource}"}


def test_the_page_for_those_on_call_tells_of_every_instrument() -> None:
    page = (ROOT / "docs" / "telemetry.md").read_text("utf-8")

    for name in TABLE:
        assert f"`{name.removeprefix('rx_agui.')}`" in page, name


def _overlap(a: dict[str, int], b: dict[str, int]) -> bool:
    beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
    above = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
    return not (beside or above)
