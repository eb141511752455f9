"""What a reader that lags is given together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from rx_agui import Frame
from rx_agui.asgi.reader._reader import gathered
from tests.support.virtual import play


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


def test_others_on_the_loop_have_their_turn_however_much_there_is() -> None:
    class Kept:
        """All of it is there, and nobody has to wait."""

        def __init__(self) -> None:
            self.given = 0

        def __aiter__(self) -> Kept:
            return self

        async def __anext__(self) -> Frame:
            self.given += 1
            return Frame(b'{"type":"A"}', first=self.given, last=self.given)

    async def main() -> None:
        kept, turns = Kept(), 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        beside = asyncio.create_task(other())
        async for payload in gathered(kept, lambda frame: True):
            if turns > 3 or payload.last > 1_000_000:
                break
        beside.cancel()
        assert turns > 3

    asyncio.run(main())
