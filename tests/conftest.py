"""What the tests share."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from rx_agui.operators import _stage
from rx_agui.telemetry import _probe

if TYPE_CHECKING:
    from told import Told

# Machines are shared, and a deadline tells of their noise and not of our code.
settings.register_profile("rx_agui", deadline=None)
settings.load_profile("rx_agui")


@pytest.fixture(params=[True, False], ids=["fused", "unfused"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Operators behave the same whether or not they are fused."""
    monkeypatch.setattr(_stage, "FUSION", request.param)


@pytest.fixture
def told() -> Told:
    """Providers of the test's own."""
    from told import Told

    return Told()


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
