"""What the tests share."""

from __future__ import annotations

import logging
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from rx_agui.clock import ThreadClock, _Due
from rx_agui.engine import _stage
from rx_agui.telemetry import _probe
from tests.support.nginx import NGINX, nginx_before

if TYPE_CHECKING:
    from tests.support.told import Told
    from tests.support.waits import Clock

# Machines are shared, and a deadline tells of their noise and not of our code.
settings.register_profile("rx_agui", deadline=None)
settings.load_profile("rx_agui")


@pytest.fixture(params=[True, False], ids=["fused", "unfused"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Operators behave the same whether or not they are fused."""
    monkeypatch.setattr(_stage, "FUSION", request.param)


#: Where the npm packages are: `npm ci --prefix tests/node`.
NODE = Path(__file__).parent / "node"

#: Both are on npm; the older is what CopilotKit's runtime pins.
AG_UI_CLIENTS = {"1.0.0": "@ag-ui/client", "0.0.59": "ag-ui-client-0.0.59"}


@pytest.fixture(scope="session")
def node() -> Callable[..., str]:
    """Run a script of tests/node in Node: its arguments, what it reads, what it prints."""
    if shutil.which("node") is None:
        pytest.skip("no node to be had: Node.js 20 or later")
    if not (NODE / "node_modules").is_dir():
        pytest.skip("no packages for node: npm ci --prefix tests/node")

    def run(script: str, *args: str, read: str = "", timeout: float = 120) -> str:
        done = subprocess.run(
            ["node", str(NODE / script), *args],
            input=read,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture(
    scope="session", params=list(AG_UI_CLIENTS.values()), ids=list(AG_UI_CLIENTS)
)
def ag_ui_client(request: pytest.FixtureRequest) -> str:
    """The npm package of an unmodified AG-UI client."""
    package: str = request.param
    return package


@pytest.fixture(scope="session")
def nginx() -> Callable[..., AbstractContextManager[str]]:
    """`with nginx(upstream, http="gzip on;", location="...") as url`: see nginx.py."""
    if NGINX is None:
        pytest.skip("no nginx to be had: nginx 1.19.5 or later")
    return nginx_before


@pytest.fixture(scope="session")
def chromium() -> str:
    """Where it is: for scripts of tests/node that open a page."""
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("no chromium to be had")
    return found


@pytest.fixture
def told() -> Told:
    """Providers of the test's own."""
    from tests.support.told import Told

    return Told()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Time that stands still."""
    from rx_agui import metrics, probe, sink
    from rx_agui.engine import _head
    from rx_agui.flow import _credit
    from rx_agui.operators import _batch_stage, _chunk, _compress, _sequence
    from tests.support.waits import Clock

    clock = Clock()
    for module in (
        probe,
        sink,
        _credit,
        _head,
        _sequence,
        _batch_stage,
        _compress,
        _chunk,
        metrics,
    ):
        monkeypatch.setattr(module, "time_ns", clock)
    monkeypatch.setattr("time.time_ns", clock)  # as telemetry._probe reads it
    return clock


@pytest.fixture(autouse=True)
def no_timer_is_left() -> Iterator[None]:
    """What one test left running does not speak, a minute later, in the middle of another."""
    yield
    deadline = time.monotonic() + 5.0
    while (due := _still_due()) and time.monotonic() < deadline:
        threading.Event().wait(0.001)
    left = [f"{timer.action!r} in {seconds:.3f} s" for seconds, timer in due]
    for _, timer in due:
        timer.cancel()  # so that none but this test hears of it
    assert not left


def _still_due() -> list[tuple[float, _Due]]:
    shared = ThreadClock.shared
    waiting = [(when - shared.now(), timer) for when, _, timer in list(shared._due)]
    return [(seconds, timer) for seconds, timer in waiting if timer.action is not None]


@pytest.fixture(autouse=True)
def telemetry_is_quiet(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Iterator[None]:
    """What one test has spent of the budget is not missing in the next.

    And no test makes OpenTelemetry complain of contexts or attributes.
    """
    monkeypatch.setattr(_probe, "_BUDGET", _probe._Budget())
    yield
    loud = ("opentelemetry.context", "opentelemetry.attributes")
    complaints = [
        record.getMessage()
        for when in ("setup", "call")
        for record in caplog.get_records(when)
        if record.name in loud and record.levelno >= logging.WARNING
    ]
    assert complaints == []
