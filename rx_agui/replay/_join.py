"""Join a stream late: the prelude, and the tail right behind it.

log      1 2 3 4 5 6 ▶
join     [· · · 4] 5 6 ▶       the prelude covers 1 to 4; then every event
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from rx_agui.frame import Frame
from rx_agui.replay._identity import StreamKey
from rx_agui.replay._log import ReplayLog

__all__ = ["join"]


def join(log: ReplayLog, stream: StreamKey) -> AsyncIterator[Frame]:
    """Yield all of a stream for a reader that has nothing: its prelude, then its tail.

    They meet exactly, since the prelude's number is the tail's cursor. A log that
    trimmed so much meanwhile that they would not is asked for another prelude before
    anything is handed on.

    >>> import asyncio
    >>> from rx_agui.replay import MemoryLog
    >>> async def example() -> None:
    ...     log = MemoryLog()
    ...     stream = (await log.open("run-7")).stream
    ...     for n, delta in enumerate(["Hel", "lo"], start=1):
    ...         line = b'{"type":"CUSTOM","name":"word","value":"%b"}' % delta.encode()
    ...         await log.append(stream, Frame(line, first=n, last=n))
    ...     await log.close(stream)
    ...     async for frame in join(log, stream):
    ...         print(frame.events, frame.line_numbers())
    >>> asyncio.run(example())
    2 (0, 2)

    Raises:
        TrimmedError: The reader was so slow that it was overtaken, or there is no
            prelude any more.
        UnknownStreamError: The stream was not opened, or was dropped.
    """
    return _Joined(log, stream)


class _Joined(AsyncIterator[Frame]):
    """An iterator, since an async generator left in the middle leaves a task behind."""

    __slots__ = ("_log", "_stream", "_tail")

    def __init__(self, log: ReplayLog, stream: StreamKey) -> None:
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
