"""What the tests share."""

from __future__ import annotations

import pytest
from hypothesis import settings

from rx_agui.operators import _stage


@pytest.fixture(params=[True, False], ids=["fused", "unfused"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Operators behave the same whether or not they are fused."""
    monkeypatch.setattr(_stage, "FUSION", request.param)


# Machines are shared, and a deadline tells of their noise and not of our code.
settings.register_profile("rx_agui", deadline=None)
settings.load_profile("rx_agui")
