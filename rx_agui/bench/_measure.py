"""Times that can be compared: of the processor, in one process, in turns.

Wall time counts what everybody else does on the machine. A median of five, taken in
turns, survives a machine that becomes slower in between; the spread says how much it
did.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

__all__ = ["Spread", "in_turns", "ratio", "seconds"]

Run = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure measured several times: its median, and the least and the most."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """Of what was measured.

        >>> Spread.of([3.0, 1.0, 2.0])
        Spread(median=2.0, least=1.0, most=3.0)
        """
        return cls(median(values), min(values), max(values))


def seconds(run: Run) -> float:
    """Processor time of all our threads: what other processes do does not count."""
    begun = time.process_time()
    run()
    return time.process_time() - begun


def in_turns(*runs: Run, rounds: int = 5) -> list[list[float]]:
    """Of each, its seconds, round by round: one of each in every round."""
    for run in runs:
        run()  # warm: imports, caches, a first thread
    gc.collect()
    times = [[seconds(run) for run in runs] for _ in range(rounds)]
    return [list(each) for each in zip(*times, strict=True)]


def ratio(theirs: Run, ours: Run, rounds: int = 5) -> Spread:
    """How many times as fast `ours` is: of the medians, and of single rounds."""
    slow, fast = in_turns(theirs, ours, rounds=rounds)
    by_round = [a / b for a, b in zip(slow, fast, strict=True)]
    return Spread(median(slow) / median(fast), min(by_round), max(by_round))
