"""Those who wait: what a subscription costs, and what ten thousand do all day."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import tracemalloc
from dataclasses import dataclass
from typing import Any, NamedTuple

import reactivex as rx
from reactivex import Observable
from reactivex import operators as ops
from reactivex.abc import DisposableBase
from reactivex.disposable import Disposable

from rx_agui.flow import Demand, Gate, PullSource
from rx_agui.operators import batch, chunk, compress, flow_control, sequence
from rx_agui.writer import SSEWriter
from tests.benchmarks._core import reference, slower
from tests.benchmarks._measure import Spread, in_turns

__all__ = [
    "Idle",
    "Subscribing",
    "bytes_per_subscription",
    "idle_streams",
    "subscribing",
]


class _Silent(PullSource):
    """A source that never says anything."""

    def attach(self, link: Demand) -> DisposableBase:
        return Disposable()


def _five() -> Observable[Any]:
    return _Silent().pipe(flow_control(), sequence(), batch(), compress(), chunk())


def _rxpys() -> Observable[Any]:
    """The same steps of RxPY's own, but for its timed buffer, which starts a thread."""
    source: Any = rx.never()  # mypy cannot follow so long a pipe
    steps: Observable[Any] = source.pipe(
        ops.map(_ignore),
        ops.scan(lambda last, data: (last[0] + 1, data), (0, b"")),
        ops.buffer_with_count(50),
        ops.filter(bool),
        ops.map(_ignore),
        ops.flat_map(_silent),
        ops.map(_ignore),
    )
    return steps


def _ignore(_: Any) -> None: ...


def _silent(_: Any) -> Observable[Any]:
    return rx.never()


class Subscribing(NamedTuple):
    """What it takes to subscribe and dispose again.

    Attributes:
        microseconds: Of the processor, for the five operators.
        beside_rxpy: How many times as fast that is as the same steps of RxPY's own.
        slowness: Of this core meanwhile; see _core.
    """

    microseconds: Spread
    beside_rxpy: Spread
    slowness: float


def subscribing(rounds: int = 5) -> Subscribing:
    """Measure it."""
    five, theirs, n = _five(), _rxpys(), 500

    def subscribe(to: Observable[Any]) -> None:
        for _ in range(n):
            to.subscribe(_ignore).dispose()

    slow, fast, core = in_turns(
        lambda: subscribe(theirs), lambda: subscribe(five), reference, rounds=rounds
    )
    return Subscribing(
        Spread.of([seconds / n * 1e6 for seconds in fast]),
        Spread.of([a / b for a, b in zip(slow, fast, strict=True)]),
        slower(Spread.of(core).median),
    )


def bytes_per_subscription(n: int = 500) -> float:
    """Bytes that one subscription of the five operators holds, RxPY's part included."""
    five, kept = _five(), []
    five.subscribe(_ignore).dispose()
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        kept = [five.subscribe(_ignore) for _ in range(n)]
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    for subscription in kept:
        subscription.dispose()
    return (after - before) / n


@dataclass(frozen=True, slots=True)
class Idle:
    """What streams cost that have said something, and now wait.

    Attributes:
        streams: How many.
        bytes_each: Resident memory that each adds: gate, operators, writer.
        cpu: Processor seconds that all of them took in one second of waiting.
        threads: Threads that are there because of them.
        timers: Timers of the loop that are there because of them.
    """

    streams: int
    bytes_each: float
    cpu: float
    threads: int
    timers: int


def idle_streams(n: int = 10_000, wait: float = 2.0) -> Idle:
    """Open `n` streams on one loop, send something through each, and wait."""
    return asyncio.run(_idle_streams(n, wait))


async def _idle_streams(n: int, wait: float) -> Idle:
    loop: Any = asyncio.get_running_loop()

    async def write(_: bytes) -> None: ...

    async def open_stream() -> tuple[Gate, Any]:
        gate = Gate()
        subscription = gate.pipe(
            flow_control(), sequence(), batch(batch_timeout=0.01)
        ).subscribe(SSEWriter(write))
        await gate.asend({"type": "RUN_STARTED", "threadId": "t", "runId": "r"})
        return gate, subscription

    def timers() -> int:
        # asyncio has no public list of timers; those that were cancelled do not count.
        scheduled = getattr(loop, "_scheduled", ())
        return sum(not handle.cancelled() for handle in scheduled)

    for _ in range(100):
        await open_stream()  # warm
    await asyncio.sleep(0.1)
    gc.collect()
    memory, threads, due = _resident(), threading.active_count(), timers()
    streams = [await open_stream() for _ in range(n)]
    await asyncio.sleep(0.1)  # the batches' timers ring
    gc.collect()
    grown = _resident() - memory
    begun = time.process_time()
    await asyncio.sleep(wait)
    cpu = (time.process_time() - begun) / wait
    idle = Idle(n, grown / n, cpu, threading.active_count() - threads, timers() - due)
    for gate, subscription in streams:
        subscription.dispose()
        gate.complete() if hasattr(gate, "complete") else None
    return idle


def _resident() -> int:
    """Resident memory of this process, in bytes; 0 where the system does not say."""
    try:
        with open("/proc/self/statm") as statm:
            pages = int(statm.read().split()[1])
    except OSError:
        return 0
    import resource

    return pages * resource.getpagesize()
