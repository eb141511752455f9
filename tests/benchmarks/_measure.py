"""Times that can be compared: of the processor, in one process, in turns.

Wall time counts what everybody else does on the machine. A median of five, taken in
turns, survives a machine that becomes slower in between; the spread says how much it
did. Many machines do, by half, several times a second, as another takes the other half
of their core: so short runs take turns within a round, until it has lasted a while.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

__all__ = ["Spread", "in_turns", "ratio", "seconds"]

Run = Callable[[], object]

#: Seconds a round lasts at least, if ten turns do.
_ROUND = 0.2


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
    """Of each, its seconds, round by round, in which all take turns."""
    for run in runs:
        run()  # warm: imports, caches, a first thread
    gc.collect()
    turns = round(_ROUND / sum([seconds(run) for run in runs]))
    turns = min(max(1, turns), 10)
    times = [
        [sum(each) / turns for each in zip(*one, strict=True)]
        for one in (
            [[seconds(run) for run in runs] for _ in range(turns)]
            for _ in range(rounds)
        )
    ]
    return [list(each) for each in zip(*times, strict=True)]


def ratio(theirs: Run, ours: Run, rounds: int = 5) -> Spread:
    """How many times as fast `ours` is, in each round."""
    slow, fast = in_turns(theirs, ours, rounds=rounds)
    return Spread.of([a / b for a, b in zip(slow, fast, strict=True)])
