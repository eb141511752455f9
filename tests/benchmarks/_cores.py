"""What a second core is worth, to payloads that are large.

    one core     encode ▸ compress ▸ encode ▸ compress ▸ ...
    two cores    encode ▸ encode ▸ encode ▸ ...               the loop, or the sender
                          compress ▸ compress ▸ ...           compress(workers=2)

Codecs let go of Python's lock while they work; nothing else here does. So a second core
is worth what compression costs, and to small events nothing. Wall time, as that is what
is saved, in an interpreter that may use so many cores.
"""

from __future__ import annotations

import os
from time import perf_counter

from rx_agui.flow import from_iterable
from rx_agui.operators import batch, chunk, compress, flow_control, sequence
from rx_agui.writer import SSEWriter
from tests.benchmarks._fresh import NotToBeHad, fresh
from tests.benchmarks._measure import Spread
from tests.benchmarks._workloads import snapshots

__all__ = ["worth_of_two_cores"]


def worth_of_two_cores(size: int = 1_400_000) -> Spread:
    """How many times as fast snapshots of `size` bytes are on two cores as on one.

    Raises:
        NotToBeHad: There is one core, or this system does not let a process choose.
    """
    if not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2:
        raise NotToBeHad("this row needs two cores, and a system that lets one choose")
    one, two = fresh(_measure, 1, size), fresh(_measure, 2, size)
    return Spread.of([a / b for a, b in zip(one, two, strict=True)])


def _measure(cores: int, size: int, rounds: int = 5) -> list[float]:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    events = snapshots(max(2, 7_000_000 // size), size)
    times = []
    for _ in range(rounds + 1):
        begun = perf_counter()
        writer = SSEWriter(_ignore)
        from_iterable(events).pipe(
            flow_control(), sequence(), batch(1), compress(workers=cores), chunk()
        ).subscribe(writer)
        writer.done.result(60)
        times.append(perf_counter() - begun)
    return times[1:]


def _ignore(_: bytes) -> None: ...
