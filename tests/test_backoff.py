"""Waits grow, are bounded, and are spread by chance."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rx_agui import Backoff, ConfigError
from rx_agui.backoff import as_backoff


@given(
    first=st.floats(0.001, 10),
    factor=st.floats(1, 10),
    failures=st.integers(1, 100_000),
    jitter=st.floats(0, 1),
    chance=st.floats(0, 1),
)
def test_a_wait_is_at_most_the_most_and_at_least_what_chance_leaves(
    first: float, factor: float, failures: int, jitter: float, chance: float
) -> None:
    backoff = Backoff(first, factor, most=20.0, jitter=jitter)
    exact = Backoff(first, factor, most=20.0, jitter=0)

    wait, longest = backoff.delay(failures, lambda: chance), exact.delay(failures)

    assert longest * (1 - jitter) <= wait <= longest <= 20.0
    assert longest <= exact.delay(failures + 1)


@pytest.mark.parametrize(
    ("setting", "value", "must"),
    [
        ("first", 0, "positive"),
        ("factor", 0.5, "at least 1"),
        ("most", 0.01, "at least 0.1"),
        ("jitter", -0.1, "at least 0"),
        ("jitter", 1.5, "from 0 to 1"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_where_it_is_written(
    setting: str, value: Any, must: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        Backoff(**{setting: value})

    assert str(refused.value) == f"{setting} must be {must}, got {value!r}"


def test_a_number_is_a_wait_that_never_changes() -> None:
    assert [as_backoff("wait", 3.0).delay(n) for n in (1, 2, 9)] == [3.0, 3.0, 3.0]
