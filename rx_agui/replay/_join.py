"""For who comes late: the prelude, and the tail right behind it.

log      1 2 3 4 5 6 ▶
join     [· · · 4] 5 6 ▶       the prelude covers 1 to 4; then every event
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from rx_agui.frame import Frame
from rx_agui.replay._log import ReplayLog

__all__ = ["join"]


def join(log: ReplayLog, stream: str) -> AsyncIterator[Frame]:
    """Everything of a stream, for a reader who has seen nothing: first its prelude.

    They meet exactly, since the prelude's number is the tail's cursor. A log that
    trimmed so much meanwhile that they would not is asked for another prelude; only
    then something is handed on.

    >>> import asyncio
    >>> from rx_agui.replay import MemoryLog
    >>> async def example() -> None:
    ...     log = MemoryLog()
    ...     await log.open("run-7")
    ...     for n, delta in enumerate(["Hel", "lo"], start=1):
    ...         line = b'{"type":"CUSTOM","name":"word","value":"%b"}' % delta.encode()
    ...         await log.append("run-7", Frame(line, first=n, last=n))
    ...     await log.close("run-7")
    ...     async for frame in join(log, "run-7"):
    ...         print(frame.events, frame.line_numbers())
    >>> asyncio.run(example())
    2 (0, 2)

    Raises:
        Trimmed: The reader was so slow that it was overtaken.
        UnknownStreamError: The stream was never opened, or has been dropped.
    """
    return _Joined(log, stream)


class _Joined(AsyncIterator[Frame]):
    """Not an async generator, which leaves a task behind if it is left in the middle."""

    __slots__ = ("_log", "_stream", "_tail")

    def __init__(self, log: ReplayLog, stream: str) -> None:
        self._log = log
        self._stream = stream
        self._tail: AsyncIterator[Frame] | None = None

    async def __anext__(self) -> Frame:
        while self._tail is None:
            prelude = await self._log.prelude(self._stream)
            place = await self._log.position(self._stream)
            if place is None or place.first <= prelude.last + 1:
                self._tail = self._log.tail(self._stream, prelude.last)
                if prelude.events:
                    return prelude
        return await anext(self._tail)
