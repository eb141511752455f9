"""Many runs one after the other, with readers who come and go: memory stays flat.

    RX_AGUI_SOAK_STREAMS=1000 pytest tests/soak/test_replay.py

runs 1,000 streams of 1,000 events; without the variable it is a few seconds.
"""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import AsyncIterator
from random import Random

from rx_agui.agui.encoding import encode
from rx_agui.errors import ReplayError
from rx_agui.frame import Frame
from rx_agui.replay import MemoryLog, StreamKey, join
from rx_agui.testing import simulated_run
from tests.soak.test_slow_reader import resident

STREAMS = int(os.environ.get("RX_AGUI_SOAK_STREAMS", "120"))
EVENTS, AT_ONCE, READERS = 1000, 20, 4


async def read(tail: AsyncIterator[Frame], upto: int) -> int:
    """Read to the end, or leave in the middle without a word."""
    last = 0
    try:
        async for frame in tail:
            assert frame.last > last
            last = frame.last
            if last >= upto:
                break
            await asyncio.sleep(0)
    except ReplayError:
        return last  # it was too slow, or came too late
    return last


async def fill(log: MemoryLog, name: str, chance: Random) -> None:
    assert await log.open(name)
    readers: list[asyncio.Task[int]] = []
    run = simulated_run(EVENTS - 60, run_id=name, messages=2)
    for number, event in enumerate(run, start=1):
        await log.append(name, Frame(encode(event), first=number, last=number))
        if number % (EVENTS // READERS) == 1:
            tail = chance.choice(
                [log.tail(name, number - 1), join(log, StreamKey(name))]
            )
            readers.append(
                asyncio.create_task(read(tail, chance.randint(1, 2 * EVENTS)))
            )
        if number % 20 == 0:
            await asyncio.sleep(0)
        if number % 400 == 0:
            readers[-1].cancel()
    await log.close(name)
    await asyncio.gather(*readers, return_exceptions=True)


def test_memory_is_flat_while_runs_and_readers_come_and_go() -> None:
    memory: list[int] = []

    async def main() -> None:
        log = MemoryLog(max_events=300, max_streams=20, max_age=None)
        for first in range(0, STREAMS, AT_ONCE):
            names = [f"run-{n}" for n in range(first, first + AT_ONCE)]
            await asyncio.gather(*(fill(log, name, Random(name)) for name in names))
            gc.collect()
            memory.append(resident())
            stats = log.stats()
            assert stats.streams <= 20
            assert stats.events <= 20 * 300
            assert stats.waiting == 0
            assert stats.running == 0

        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())

    grown = memory[-1] - memory[1]  # the first round fills what is kept
    assert grown < 4 * 1024 * 1024, f"{grown / 1e6:.1f} MB more at the end"
