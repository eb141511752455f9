"""The dashboard's queries, evaluated by Prometheus itself after a real run.

PROMETHEUS_BIN names the program, or it is `prometheus` on PATH: Debian has it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from prometheus_client import start_http_server

from rx_agui import (
    Gate,
    SSEWriter,
    batch,
    chunk,
    compress,
    flow_control,
    pipeline,
    sequence,
)
from rx_agui.telemetry import Telemetry
from rx_agui.testing import simulated_deltas
from tests.support.receivers import free_port, running, until
from tests.support.scraped import Scraped, queries

PROMETHEUS = os.environ.get("PROMETHEUS_BIN") or shutil.which("prometheus")

WRITTEN = 'rx_agui_operator_emitted_events_total{rx_agui_operator_name="sink"}'
HELD = 'rx_agui_operator_held_events{rx_agui_operator_name="batch"}'

#: What a run that goes well has to show. Nothing is dropped in one.
SHOWN = {
    "A write",
    "Compressed to",
    "Delivery",
    "Delivery, p95",
    "Dropped",  # as 0
    "Errors",  # as 0
    "Events in a batch",
    "Events written",
    "Frames and chunks",
    "Held",
    "How long streams last",
    "How payloads fared",
    "In flight",
    "Out of each operator",
    "Queue",
    "Streams",
    "Streams, and why they end",
    "Time to first event",
    "Why batches leave",
    "Window used",
    "Work of each operator",
    "Written",
}


@pytest.mark.skipif(
    PROMETHEUS is None, reason="prometheus is not installed: .ci/run says how"
)
def test_every_query_of_the_dashboard_evaluates_and_the_important_ones_show_a_run(
    tmp_path: Path,
) -> None:
    scraped = Scraped()
    telemetry = Telemetry(meter_provider=scraped.provider)
    with exposed(scraped) as port, prometheus(tmp_path, port) as ask:
        stream(telemetry).close()
        until(lambda: ask("rx_agui_session_duration_seconds_count == 1") or None)
        # A counter that Prometheus meets for the first time has no rate: so once more.
        stream(telemetry).close()
        until(lambda: ask("rx_agui_session_duration_seconds_count == 2") or None)
        goes_on = stream(telemetry)
        until(lambda: ask(f"{WRITTEN} == 150 + 150 + 100") or None)

        shown = {
            query.panel
            for query in queries()
            if [value for value in ask(query.over("1m")) if value == value]
        }
        active, held = ask("rx_agui_session_active"), ask(HELD)
        goes_on.close()

    assert shown >= SHOWN
    assert (active, held) == ([1], [50])


def stream(telemetry: Telemetry) -> Gate:
    """A stream of 150 events, the last 50 of which wait in a batch until it is closed."""
    gate = Gate()
    operators = (
        flow_control(),
        sequence(),
        batch(100, batch_timeout=9),
        compress(),
        chunk(),
    )
    gate.pipe(pipeline("chat", *operators, telemetry=telemetry)).subscribe(
        SSEWriter(lambda data: None)
    )
    for event in simulated_deltas(150):
        gate.send(event)
    return gate


@contextmanager
def exposed(scraped: Scraped) -> Iterator[int]:
    """The port at which Prometheus can scrape us."""
    server, thread = start_http_server(0, "127.0.0.1", registry=scraped.registry)
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def prometheus(directory: Path, scraped: int) -> Iterator[Callable[[str], list[float]]]:
    """Prometheus scrapes this port, and can be asked: the values of a query."""
    assert PROMETHEUS is not None
    config = directory / "prometheus.yml"
    config.write_text(f"""
global: {{scrape_interval: 100ms, scrape_timeout: 100ms}}
scrape_configs:
  - job_name: rx_agui
    static_configs: [{{targets: ["127.0.0.1:{scraped}"]}}]
""")
    port = free_port()

    def ask(query: str) -> list[float]:
        asked = urlencode({"query": query})
        try:
            with urlopen(f"http://127.0.0.1:{port}/api/v1/query?{asked}") as response:
                answer = json.load(response)
        except HTTPError as error:
            if error.code == 503:  # it listens, but is not ready
                return []
            raise AssertionError(f"{query}: {error.read().decode()}") from error
        assert answer["status"] == "success", answer
        return [float(series["value"][1]) for series in answer["data"]["result"]]

    argv = [
        PROMETHEUS,
        f"--config.file={config}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    with running(argv, port, directory=directory):
        yield ask
