"""What a reader that lags is given together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from virtual import play

from rx_agui import Frame
from rx_agui.asgi._lagging import gathered


def test_a_tail_that_is_a_generator_is_closed_while_it_waits_for_more() -> None:
    closed: list[bool] = []

    async def tail() -> AsyncIterator[Frame]:
        try:
            for number in (1, 2):
                yield Frame(b'{"type":"A"}', first=number, last=number)
            await asyncio.Event().wait()
        finally:
            closed.append(True)

    async def main() -> None:
        payloads = gathered(tail(), lambda frame: False)
        assert (await anext(payloads)).events == 2
        await payloads.aclose()  # its reader leaves while it is being written
        assert closed

    play(main())
