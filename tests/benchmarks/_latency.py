"""One event's way, without batches: from `send` to its bytes at the writer.

    thread     gate.send(event)           writes before it returns
    asyncio    await gate.asend(event)    a task on the loop writes

and what one would take instead, without flow control and an orderly end:

    subject    subject.on_next(event)     RxPY's own operators encode, number and write
    queue      await queue.put(event)     a task takes it, encodes, numbers and writes

Wall time, every event of many, and the worst of them with a name: Python's collector
of garbage stops everything while it runs, and is asked when it did.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from time import perf_counter_ns
from typing import Any

import orjson
from reactivex import operators as ops
from reactivex.subject import Subject

from rx_agui.flow import Gate
from rx_agui.operators import flow_control, sequence
from rx_agui.writer import SSEWriter
from tests.benchmarks._workloads import Event, deltas

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
    """Measure it, for one of the four of above."""
    work = deltas(_WARM)
    sent = [0] * (_WARM + events)
    came = [0] * (_WARM + events)
    if kind in _THREADS:
        pauses = _in_a_thread(_THREADS[kind], work, sent, came)
    else:
        pauses = asyncio.run(_on_a_loop(_LOOPS[kind], work, sent, came))
    return _percentiles(sent[_WARM:], came[_WARM:], pauses)


Write = Callable[[bytes], None]
Send = Callable[[Event], object]
AsyncWrite = Callable[[bytes], Awaitable[object]]
AsyncSend = Callable[[Event], Awaitable[object]]


def _thread(write: Write) -> Send:
    gate = Gate()
    gate.pipe(flow_control(), sequence()).subscribe(SSEWriter(write))
    return gate.send


def _subject(write: Write) -> Send:
    subject: Subject[Any] = Subject()
    subject.pipe(
        ops.map(orjson.dumps),
        ops.scan(lambda last, data: (last[0] + 1, data), (0, b"")),
        ops.starmap(lambda number, data: b"id: %d\ndata: %b\n\n" % (number, data)),
    ).subscribe(write)
    return subject.on_next


async def _asyncio(write: AsyncWrite) -> AsyncSend:
    gate = Gate()
    gate.pipe(flow_control(), sequence()).subscribe(SSEWriter(write))
    return gate.asend


async def _queue(write: AsyncWrite) -> AsyncSend:
    queue: asyncio.Queue[Event] = asyncio.Queue(100)

    async def pump() -> None:
        for number in count(1):
            event = await queue.get()
            await write(b"id: %d\ndata: %b\n\n" % (number, orjson.dumps(event)))

    task = asyncio.ensure_future(pump())
    _PUMPS.add(task)
    task.add_done_callback(_PUMPS.discard)
    return queue.put


_THREADS = {"thread": _thread, "subject": _subject}
_LOOPS = {"asyncio": _asyncio, "queue": _queue}

#: A loop alone keeps no task alive.
_PUMPS: set[asyncio.Future[None]] = set()


def _in_a_thread(
    make: Callable[[Write], Send], work: list[Event], sent: list[int], came: list[int]
) -> list[tuple[int, int]]:
    arrived = iter(range(len(sent)))

    def write(_: bytes) -> None:
        came[next(arrived)] = perf_counter_ns()

    send = make(write)
    for event in work:
        send(event)
    with _collections() as pauses:
        for n in range(_WARM, len(sent)):
            event = work[n % _WARM]
            sent[n] = perf_counter_ns()
            send(event)
    return pauses


async def _on_a_loop(
    make: Callable[[AsyncWrite], Awaitable[AsyncSend]],
    work: list[Event],
    sent: list[int],
    came: list[int],
) -> list[tuple[int, int]]:
    arrived = iter(range(len(sent)))
    here = asyncio.Event()

    async def write(_: bytes) -> None:
        came[next(arrived)] = perf_counter_ns()
        here.set()

    send = await make(write)
    for event in work:
        here.clear()
        await send(event)
        await here.wait()
    with _collections() as pauses:
        for n in range(_WARM, len(sent)):
            event = work[n % _WARM]
            here.clear()
            sent[n] = perf_counter_ns()
            await send(event)
            await here.wait()
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
