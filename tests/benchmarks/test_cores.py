"""A second core is worth something where payloads are large, since codecs leave the lock."""

from __future__ import annotations

import os

import pytest

from rx_agui.errors import MissingExtraError
from tests.benchmarks import worth_of_two_cores
from tests.benchmarks.bounds import STRICT


def test_two_workers_on_two_cores() -> None:
    try:
        worth = worth_of_two_cores(1_400_000 if STRICT else 200_000)
    except MissingExtraError as missing:
        pytest.skip(str(missing))

    print(f"two cores beside one: {worth}")
    assert worth.least > 0
    if STRICT:
        assert worth.median >= 1.1  # of wall time: other processes have a core as well


def test_who_has_one_core_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)

    with pytest.raises(MissingExtraError, match="this row needs two cores"):
        worth_of_two_cores()
