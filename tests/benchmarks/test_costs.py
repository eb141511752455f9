"""One event's way, those who wait, and what becomes of many.

Ordinary runs do it shortly, and assert no time: only that costs are flat where they are
promised to be, within a factor that a busy machine does not reach.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.benchmarks import (
    GROWTHS,
    Growth,
    bytes_per_subscription,
    idle_streams,
    latency_of_send,
    slowness,
    subscribing,
)
from tests.benchmarks._idle import _five
from tests.benchmarks.bounds import STRICT, at_least, at_most, n


@pytest.mark.parametrize("kind", ["thread", "asyncio", "subject", "queue"])
def test_from_send_to_bytes(kind: str) -> None:
    slow = slowness() if STRICT else 1.0
    latency = latency_of_send(kind, 50_000 if STRICT else 500)

    print(f"from send to bytes, {kind}: {latency}")
    assert 0 < latency.p50 <= latency.p90 <= latency.p99 <= latency.p999
    assert latency.p999 <= latency.worst
    if STRICT:
        slow = max(slow, slowness())
        assert latency.p50 <= 20 * slow
        assert latency.p99 <= 100 * slow


@pytest.mark.benchmark(group="subscribe to five operators and dispose")
def test_subscribing(benchmark: Any) -> None:
    five = _five()
    rounds = n(benchmark, 1_000)

    def run() -> None:
        for _ in range(rounds):
            five.subscribe(lambda _: None).dispose()

    benchmark(run)


def test_a_subscription_of_five_operators_is_cheap() -> None:
    cost = subscribing()

    print(f"subscribe and dispose: {cost}")
    assert cost.beside_rxpy.median >= at_least(1)
    if STRICT:
        assert cost.microseconds.median <= 50 * cost.slowness


def test_a_subscription_of_five_operators_holds_at_most_5_and_a_half_kb() -> None:
    """Of memory, which is the same on every machine."""
    assert bytes_per_subscription(100) <= 5632


def test_streams_that_wait_have_no_thread_and_no_timer() -> None:
    idle = idle_streams(10_000 if STRICT else 500, 2.0 if STRICT else 0.1)

    print(f"idle: {idle}")
    assert idle.threads == 0
    assert idle.timers == 0
    assert idle.bytes_each <= 40 * 1024
    if STRICT:
        assert idle.cpu <= 0.01


@pytest.mark.parametrize("growth", GROWTHS, ids=lambda growth: growth.name)
def test_costs_stay_flat(growth: Growth) -> None:
    curve = growth.curve(short=not STRICT, rounds=3)

    print(f"{growth.name}: {curve.growth:.2f} {curve.points}")
    assert curve.growth <= at_most(growth.most)
