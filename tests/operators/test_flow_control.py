"""Settings of `flow_control` that make no sense. What it does is in tests/flow."""

from __future__ import annotations

from math import nan
from typing import Any

import pytest

from rx_agui import ConfigError, flow_control


@pytest.mark.parametrize("value", [0, -1, nan, True, "5"])
@pytest.mark.parametrize("setting", ["max_concurrent_events", "buffer_size", "timeout"])
def test_a_setting_that_makes_no_sense_is_refused_where_it_is_written(
    setting: str, value: Any
) -> None:
    with pytest.raises(ConfigError) as refused:
        flow_control(**{setting: value})

    assert str(refused.value) == f"{setting} must be positive, got {value!r}"
    assert (refused.value.name, refused.value.value) == (setting, value)


@pytest.mark.parametrize(
    ("setting", "value", "must"),
    [
        ("max_concurrent_events", None, "positive"),
        ("max_concurrent_events", 2.5, "a whole number"),
        ("buffer_size", None, "positive"),
        ("buffer_size", 2.5, "a whole number"),
    ],
)
def test_nothing_is_no_setting_and_nobody_counts_by_halves(
    setting: str, value: Any, must: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        flow_control(**{setting: value})

    assert str(refused.value) == f"{setting} must be {must}, got {value!r}"


@pytest.mark.parametrize("value", ["", "WAIT", "drop", None, True, 1, nan, ["wait"]])
def test_overflow_is_one_of_six_words(value: Any) -> None:
    with pytest.raises(ConfigError) as refused:
        flow_control(overflow=value)

    words = "wait, error, drop_oldest, drop_newest, latest, conflate"
    assert str(refused.value) == f"overflow must be one of {words}, got {value!r}"


def test_only_the_timeout_may_be_none() -> None:
    flow_control(timeout=None)
