"""One reader of a stream in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Final

from rx_agui.errors import TrimmedError, UnknownStreamError
from rx_agui.frame import Frame
from rx_agui.replay._identity import StreamKey
from rx_agui.replay._stored import StoredStream

if TYPE_CHECKING:
    from rx_agui.replay._memory import MemoryLog

__all__ = ["Tail", "wake"]

#: Payloads, or kilobytes of them, that a reader is given before others on the loop have
#: a turn.
_AT_ONCE: Final = 100


class Tail:
    """An async iterator over one stream that holds nothing while it waits.

    Not an async generator: one that is left and not closed lives on in its loop's
    books, while this is gone with its last reference.
    """

    __slots__ = (
        "__weakref__",
        "_after",
        "_at_once",
        "_began",
        "_done",
        "_key",
        "_log",
        "_stream",
    )

    def __init__(
        self, log: MemoryLog, key: StreamKey, stream: StoredStream | None, after: int
    ) -> None:
        self._log = log
        self._key = key
        self._stream = stream
        self._after = after  # the last number this reader has
        self._began = False
        self._at_once = 0
        self._done = False

    def __aiter__(self) -> Tail:
        return self

    async def __anext__(self) -> Frame:
        if self._done:
            raise StopAsyncIteration
        if self._at_once >= _AT_ONCE:
            self._at_once = 0
            await asyncio.sleep(0)
        stream = self._stream
        if stream is None:
            self._done = True
            raise UnknownStreamError(self._key.name)
        while True:
            with self._log._lock:
                frame = self._next(stream)
                if frame is not None:
                    self._at_once += 1 + len(frame.data) // 1024
                    return frame
                if stream.finished:
                    self._done = True
                    raise StopAsyncIteration
                woken = stream.wait()
            self._at_once = 0
            try:
                await woken
            except BaseException:  # else its writer took it out
                with self._log._lock:  # its writer walks through them
                    stream.waiting.discard(woken)
                raise

    def get_nowait(self) -> Frame | None:
        """Return the next payload if it is there already, or None.

        Raises:
            TrimmedError, UnknownStreamError: As where the next is awaited.
        """
        stream = self._stream
        if self._done or stream is None:
            return None
        if self._began and self._after >= stream.last and not stream.gone:
            return None  # without the lock: what comes now is found by the next look
        with self._log._lock:
            return self._next(stream)

    async def aclose(self) -> None:
        """End the iteration."""
        self._done = True
        self._stream = None

    async def __aenter__(self) -> Tail:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        await self.aclose()

    def _next(self, stream: StoredStream) -> Frame | None:
        """Return the next payload, if there is one. Caller holds the lock."""
        after = self._after
        if stream.gone:
            self._done = True
            raise UnknownStreamError(self._key.name)
        if after < stream.lost or (not self._began and after > stream.last):
            self._done = True
            self._log._overtaken += 1
            raise TrimmedError(self._key.name, after, stream.position().first)
        self._began = True
        if after >= stream.last:
            return None
        frame = stream.behind(after)
        self._after = frame.last
        return frame


def wake(waiting: Collection[asyncio.Future[None]]) -> None:
    """Tell readers, each on its loop, that there is something to read."""
    here = asyncio.get_running_loop() if waiting else None
    for woken in waiting:
        loop = woken.get_loop()
        if loop is here:
            _set(woken)
        else:
            with suppress(RuntimeError):  # its loop is closed, and so is the reader
                loop.call_soon_threadsafe(_set, woken)


def _set(woken: asyncio.Future[None]) -> None:
    if not woken.done():  # cancelled meanwhile
        woken.set_result(None)
