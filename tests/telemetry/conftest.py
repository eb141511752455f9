"""What the tests of telemetry share."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from told import Told

from rx_agui.telemetry import _probe


@pytest.fixture
def told() -> Told:
    """Providers of the test's own."""
    return Told()


@pytest.fixture(autouse=True)
def quiet_contexts(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No test makes OpenTelemetry complain of contexts, or a probe of ours fail."""
    yield
    loud = ("opentelemetry.context", "opentelemetry.attributes")
    complaints = [
        record.getMessage()
        for when in ("setup", "call")
        for record in caplog.get_records(when)
        if record.name in loud and record.levelno >= logging.WARNING
    ]
    assert complaints == []


@pytest.fixture(autouse=True)
def fresh_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test has spent is not missing in the next."""
    monkeypatch.setattr(_probe, "_BUDGET", _probe._Budget())
