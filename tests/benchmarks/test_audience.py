"""One run before many readers, over HTTP, beside a queue and sse-starlette for each."""

from __future__ import annotations

import pytest

from tests.benchmarks._audience import audience
from tests.benchmarks._fresh import NotToBeHad
from tests.benchmarks.bounds import STRICT, at_least


@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_an_event_reaches_a_reader_for_a_fraction(coding: str) -> None:
    """Guarded with room. What one costs grows with how many there are: caches."""
    times = audience(1_000 if STRICT else 100, coding)

    print(f"deliveries a processor second, {coding}, ours / sse-starlette: {times}")
    assert times.median >= at_least(24.0)


def test_more_sockets_than_a_system_allows_are_refused_in_words() -> None:
    with pytest.raises(NotToBeHad, match="open files are not allowed here"):
        audience(10**9)
