"""A reader who is slow for a long time: the agent waits, and memory stays where it is.

    RX_AGUI_SOAK_EVENTS=1000000 pytest tests/soak

runs it at full length; without the variable it is a few seconds.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from rx_agui import (
    SSEWriter,
    batch,
    chunk,
    compress,
    flow_control,
    from_async_iterable,
    sequence,
)
from rx_agui.testing import simulated_deltas

EVENTS = int(os.environ.get("RX_AGUI_SOAK_EVENTS", "50000"))
WINDOW, BATCH = 100, 50


def resident() -> int:
    """Bytes of this process in memory; 0 where the system does not say."""
    status = Path("/proc/self/statm")
    if not status.exists():
        return 0
    return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_slow_reader_holds_back_the_agent_and_memory_is_flat() -> None:
    made = written = ahead = 0
    memory: list[int] = []

    async def agent() -> AsyncIterator[dict[str, Any]]:
        nonlocal made, ahead
        for event in simulated_deltas(EVENTS):
            made += 1
            ahead = max(ahead, made - written)
            if made % (EVENTS // 10) == 0:
                memory.append(resident())
            yield event

    async def write(data: bytes) -> None:
        nonlocal written
        await asyncio.sleep(0.001)
        written += data.count(b"\nid: ") + data.startswith(b"id: ")

    async def main() -> None:
        writer = SSEWriter(write)
        from_async_iterable(agent).pipe(
            flow_control(WINDOW), sequence(), batch(BATCH), compress("none"), chunk()
        ).subscribe(writer)
        await writer.done

    asyncio.run(main())

    assert written == made == EVENTS
    assert ahead <= WINDOW + BATCH
    grown = memory[-1] - memory[0]
    assert grown < 4 * 1024 * 1024, f"{grown / 1e6:.1f} MB more at the end"
