"""An agent types; what it says leaves as Server-Sent Events, at the reader's pace.

python examples/quickstart.py
"""

import asyncio
from collections.abc import AsyncIterator

from ag_ui.core import BaseEvent, TextMessageContentEvent

from rx_agui import SSEWriter, batch, flow_control, from_async_iterable, sequence

HAIKU = "An old silent pond… a frog jumps into the pond, splash! Silence again."


async def agent() -> AsyncIterator[BaseEvent]:
    """Yours, or anybody's: whatever yields AG-UI events."""
    for word in HAIKU.split():
        await asyncio.sleep(0.02)
        yield TextMessageContentEvent(message_id="haiku", delta=f"{word} ")


async def write(data: bytes) -> None:
    """In an application, the `send` of ASGI: see rx_agui/demo.py."""
    print(data.decode().rstrip(), f"      (a write of {len(data)} bytes)", sep="\n")
    await asyncio.sleep(0.05)  # a reader who is not the fastest


async def main() -> None:
    writer = SSEWriter(write)
    from_async_iterable(agent).pipe(
        flow_control(max_concurrent_events=100),  # no further ahead than this
        sequence(),  # 1, 2, 3
        batch(batch_size=5, batch_timeout=0.1),  # few writes, and no wait one feels
    ).subscribe(writer)
    await writer.done  # every byte was written


asyncio.run(main())
