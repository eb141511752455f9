"""One event's way, without batches: from `send` to its bytes at the writer.

    thread     gate.send(event)           writes before it returns
    asyncio    await gate.asend(event)    a task on the loop writes

Wall time, every event of many, and the worst of them with a name: Python's collector
of garbage stops everything while it runs, and is asked when it did.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any

from rx_agui.bench._workloads import deltas
from rx_agui.flow import Gate
from rx_agui.operators import flow_control, sequence
from rx_agui.writer import SSEWriter

__all__ = ["Latency", "latency_of_send"]

#: Events sent before any is measured: imports, caches, the interpreter's own warming.
_WARM = 1000


@dataclass(frozen=True, slots=True)
class Latency:
    """Of many events, µs.

    Attributes:
        p50, p90, p99, p999, worst: So long at most for half of them, nine of ten, ...
        collections: How often the garbage collector ran meanwhile.
        longest_collection: Its longest pause.
        in_a_collection: Of the slowest thousandth, the share that met one.
    """

    p50: float
    p90: float
    p99: float
    p999: float
    worst: float
    collections: int
    longest_collection: float
    in_a_collection: float


def latency_of_send(kind: str = "thread", events: int = 50_000) -> Latency:
    """Measure it in a thread, or on an asyncio loop."""
    work = deltas(_WARM)
    sent = [0] * (_WARM + events)
    came = [0] * (_WARM + events)
    if kind == "thread":
        pauses = _in_a_thread(work, sent, came)
    else:
        pauses = asyncio.run(_on_a_loop(work, sent, came))
    return _percentiles(sent[_WARM:], came[_WARM:], pauses)


def _in_a_thread(
    work: list[Any], sent: list[int], came: list[int]
) -> list[tuple[int, int]]:
    arrived = iter(range(len(sent)))

    def write(_: bytes) -> None:
        came[next(arrived)] = perf_counter_ns()

    gate = Gate()
    gate.pipe(flow_control(), sequence()).subscribe(SSEWriter(write))
    for event in work:
        gate.send(event)
    with _collections() as pauses:
        for n in range(_WARM, len(sent)):
            event = work[n % _WARM]
            sent[n] = perf_counter_ns()
            gate.send(event)
    gate.close()
    return pauses


async def _on_a_loop(
    work: list[Any], sent: list[int], came: list[int]
) -> list[tuple[int, int]]:
    arrived = iter(range(len(sent)))
    here = asyncio.Event()

    async def write(_: bytes) -> None:
        came[next(arrived)] = perf_counter_ns()
        here.set()

    gate = Gate()
    gate.pipe(flow_control(), sequence()).subscribe(SSEWriter(write))

    for event in work:
        here.clear()
        await gate.asend(event)
        await here.wait()
    with _collections() as pauses:
        for n in range(_WARM, len(sent)):
            event = work[n % _WARM]
            here.clear()
            sent[n] = perf_counter_ns()
            await gate.asend(event)
            await here.wait()
    await gate.aclose()
    return pauses


@contextmanager
def _collections() -> Iterator[list[tuple[int, int]]]:
    """When the garbage collector ran, from and to."""
    pauses: list[tuple[int, int]] = []
    begun = 0

    def note(phase: str, _: dict[str, int]) -> None:
        nonlocal begun
        if phase == "start":
            begun = perf_counter_ns()
        else:
            pauses.append((begun, perf_counter_ns()))

    gc.collect()
    gc.callbacks.append(note)
    try:
        yield pauses
    finally:
        gc.callbacks.remove(note)


def _percentiles(
    sent: list[int], came: list[int], pauses: list[tuple[int, int]]
) -> Latency:
    ways = sorted(zip(sent, came, strict=True), key=lambda way: way[1] - way[0])
    took = [(end - start) / 1000 for start, end in ways]
    n = len(took)
    slowest = ways[n - max(1, n // 1000) :]
    met = sum(
        any(start < until and since < end for since, until in pauses)
        for start, end in slowest
    )
    return Latency(
        p50=took[n // 2],
        p90=took[n * 9 // 10],
        p99=took[n * 99 // 100],
        p999=took[n * 999 // 1000],
        worst=took[-1],
        collections=len(pauses),
        longest_collection=max([b - a for a, b in pauses], default=0) / 1000,
        in_a_collection=met / len(slowest),
    )
