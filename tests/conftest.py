"""What the tests share."""

from __future__ import annotations

import pytest

from rx_agui.operators import _stage


@pytest.fixture(params=[True, False], ids=["fused", "unfused"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Operators behave the same whether or not they are fused."""
    monkeypatch.setattr(_stage, "FUSION", request.param)
