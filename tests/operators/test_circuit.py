"""The circuit breaker's rules alone: the table of states, and the window of calls."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rx_agui import Backoff
from rx_agui.operators._circuit import (
    CLOSED,
    HALF_OPEN,
    NEXT,
    OPEN,
    STATES,
    Circuit,
    Rules,
    _Calls,
    _Seconds,
)


def rules(**changes: Any) -> Rules:
    usual: dict[str, Any] = {
        "failure_rate_threshold": 0.5,
        "slow_call_rate_threshold": 1.0,
        "slow_call_duration": 10.0,
        "sliding_window": "count",
        "sliding_window_size": 4,
        "minimum_number_of_calls": 2,
        "wait_in_open": Backoff(5.0, jitter=0),
        "permitted_calls_in_half_open": 2,
    }
    return Rules(**{**usual, **changes})


def call(circuit: Circuit, *, failed: bool = False, now: float = 0.0) -> None:
    circuit.ended(circuit.begins(), now=now, failed=failed, lasted=0.0)


def in_state(state: str) -> Circuit:
    circuit = Circuit(rules())
    if state != CLOSED:
        call(circuit, failed=True)
        call(circuit, failed=True)
    if state == HALF_OPEN:
        circuit.waited()
    assert circuit.state == state
    return circuit


def do(circuit: Circuit, what: str) -> None:
    if what == "waited":
        circuit.waited()
        return
    call(circuit, failed=what == "badly")
    call(circuit, failed=what == "badly")


@pytest.mark.parametrize(
    ("state", "what"), list(product(STATES, ["badly", "well", "waited"]))
)
def test_the_table_says_what_is_next_and_nothing_else_changes_it(
    state: str, what: str
) -> None:
    circuit = in_state(state)
    told: list[tuple[str, str]] = []
    circuit.changed = lambda *change: told.append(change)

    if state == OPEN and what != "waited":
        circuit.ended(0, now=0.0, failed=what == "badly", lasted=0.0)  # an old call
    else:
        do(circuit, what)

    after = NEXT.get((state, what), state)
    assert circuit.state == after
    assert told == ([(state, after)] if (state, what) in NEXT else [])


def test_a_call_that_began_before_the_state_says_nothing_of_it() -> None:
    circuit = Circuit(rules())
    old = [circuit.begins() for _ in range(4)]
    circuit.ended(old[0], now=0.0, failed=True, lasted=0.0)
    circuit.ended(old[1], now=0.0, failed=True, lasted=0.0)
    circuit.waited()

    circuit.ended(old[2], now=1.0, failed=True, lasted=0.0)
    circuit.ended(old[3], now=1.0, failed=True, lasted=0.0)

    assert circuit.state == HALF_OPEN


def test_half_open_lets_as_many_through_as_it_says() -> None:
    circuit = in_state(HALF_OPEN)
    begun = 0

    while circuit.lets_through:
        circuit.begins()
        begun += 1

    assert begun == 2


def test_a_call_that_is_ignored_makes_room_for_another() -> None:
    circuit = in_state(HALF_OPEN)
    eras = [circuit.begins(), circuit.begins()]

    circuit.ignore(eras[0])

    assert circuit.lets_through
    assert circuit.state == HALF_OPEN


def test_the_wait_grows_until_the_sink_has_recovered() -> None:
    circuit = Circuit(rules(permitted_calls_in_half_open=1))
    waits = []
    for _ in range(3):
        call(circuit, failed=True)
        call(circuit, failed=True)
        waits.append(circuit.retry_in(now=0.0))
        circuit.waited()
    call(circuit)
    call(circuit, failed=True)
    call(circuit, failed=True)

    assert waits == [5.0, 10.0, 20.0]
    assert circuit.retry_in(now=2.0) == 3.0


@pytest.mark.parametrize(("share", "opens"), [(0.25, True), (0.26, False)])
def test_a_share_that_is_reached_exactly_opens(share: float, opens: bool) -> None:
    circuit = Circuit(rules(failure_rate_threshold=share, minimum_number_of_calls=4))

    for failed in (True, False, False, False):
        call(circuit, failed=failed)

    assert (circuit.state == OPEN) is opens


Called = tuple[float, bool, bool]
CALLS = st.lists(st.tuples(st.floats(0, 5), st.booleans(), st.booleans()), max_size=60)


def sums(calls: list[Called]) -> tuple[int, int, int]:
    return len(calls), sum(c[1] for c in calls), sum(c[2] for c in calls)


@given(CALLS, st.integers(1, 9))
def test_a_window_counts_the_last_calls(calls: list[Called], size: int) -> None:
    window = _Calls(size)
    for now, failed, slow in calls:
        window.add(now, failed, slow)

    assert (window.calls, window.failures, window.slow) == sums(calls[-size:])


@given(CALLS, st.integers(1, 9))
def test_a_window_of_time_counts_whole_seconds_and_keeps_few_of_them(
    calls: list[Called], size: int
) -> None:
    window, now, timed = _Seconds(size), 0.0, []
    for gap, failed, slow in calls:
        now += gap
        window.add(now, failed, slow)
        timed.append((now, failed, slow))

    recent = [c for c in timed if int(c[0]) > int(now) - size]
    assert (window.calls, window.failures, window.slow) == sums(recent)
    assert len(window._sums) <= size
