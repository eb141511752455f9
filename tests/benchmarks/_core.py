"""What this core is worth just now.

µs are promised for an idle core on which RxPY's own operators take 5.5 µs for an event
of this benchmark: that of docs/performance.md. Where they take 11, ours may take twice
as long. Chosen over the time of an empty call, which says nothing of caches: a core that
makes those as fast may need twice as long for whole operators.
"""

from __future__ import annotations

from tests.benchmarks._measure import Spread, seconds
from tests.benchmarks._pipelines import rxpys
from tests.benchmarks._workloads import deltas

__all__ = ["reference", "slower", "slowness"]

#: Seconds RxPY's own operators take for an event, on the core µs are promised for.
_RXPYS = 5.5e-6

_EVENTS = deltas(2_000)


def reference() -> None:
    """What this core is measured by."""
    rxpys(_EVENTS, _ignore)


def slower(seconds: float) -> float:
    """How many times as long as the core of the promise one takes whose `reference` is so.

    At least 1: who has a faster one gets no harder promise.
    """
    return max(1.0, seconds / len(_EVENTS) / _RXPYS)


def slowness(rounds: int = 3) -> float:
    """How many times as long as the core of the promise this one takes just now."""
    return slower(Spread.of([seconds(reference) for _ in range(rounds)]).median)


def _ignore(_: bytes) -> None: ...
