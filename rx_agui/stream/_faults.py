"""Errors that cost an event and not the stream, as an Observable and as an iterable.

    errors.subscribe(print)             each error, from the first that was kept
    for error in errors: ...            a thread; ends with the stream
    async for error in errors: ...      a coroutine

Up to 1,000 errors are kept until the first listener comes, which hears them. A slow
listener is not waited for: it misses some, and `missed` counts them.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Final

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import Disposable

from rx_agui.errors import StreamError
from rx_agui.serial import SerialExecutor

__all__ = ["ErrorSubject"]

_log = logging.getLogger("rx_agui")

#: Errors that are kept for a listener that has not come yet, or is busy.
_KEPT: Final = 1000


class ErrorSubject(Observable[StreamError]):
    """A hot Observable of errors, for any number of listeners. Completes with the stream.

    Attributes:
        missed: Errors that came while so many waited for a listener.
    """

    def __init__(self) -> None:
        super().__init__()
        self.missed = 0
        self._listeners: tuple[ObserverBase[StreamError], ...] = ()
        self._waiting: deque[StreamError] = deque()
        self._is_over = False
        self._mutex = threading.Lock()
        self._executor = SerialExecutor()

    def tell(self, error: StreamError) -> None:
        """Tell the listeners of an error, one at a time. From any thread."""
        with self._mutex:
            if len(self._waiting) >= _KEPT:
                self.missed += 1
                return
            self._waiting.append(error)
        if self._listeners:
            self._executor.run(self._send)

    def complete(self) -> None:
        """Complete the listeners, behind the errors that wait."""
        self._is_over = True
        self._executor.run(self._send)

    def __iter__(self) -> Iterator[StreamError]:
        """Wait for each error in this thread, until the stream has ended."""
        came = threading.Event()
        reader = _Reader(came.set)
        subscription = self.subscribe(reader)
        try:
            while True:
                came.clear()  # first: what comes from now on sets it again
                yield from reader.take()
                if reader.is_over and not reader.waiting:
                    return
                came.wait()
        finally:
            subscription.dispose()

    async def __aiter__(self) -> AsyncIterator[StreamError]:
        """Await each error, until the stream has ended."""
        loop, came = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(came.set)

        reader = _Reader(wake)
        subscription = self.subscribe(reader)
        try:
            while True:
                came.clear()
                for error in reader.take():
                    yield error
                if reader.is_over and not reader.waiting:
                    return
                await came.wait()
        finally:
            subscription.dispose()

    def _send(self, _: object) -> None:
        while self._waiting and self._listeners:
            error = self._waiting.popleft()
            for listener in self._listeners:
                try:
                    listener.on_next(error)
                except Exception:  # it harms only itself
                    _log.exception("a listener of errors failed, and hears no more")
                    self._leave(listener)
        if self._is_over:
            with self._mutex:
                listeners, self._listeners = self._listeners, ()
            for listener in listeners:
                listener.on_completed()

    def _leave(self, listener: ObserverBase[StreamError]) -> None:
        with self._mutex:
            self._listeners = tuple(x for x in self._listeners if x is not listener)

    def _subscribe_core(
        self,
        observer: ObserverBase[StreamError],
        scheduler: SchedulerBase | None = None,
    ) -> DisposableBase:
        with self._mutex:
            self._listeners = (*self._listeners, observer)
        self._executor.run(self._send)  # what was kept, and the end if it has come
        return Disposable(lambda: self._leave(observer))


class _Reader(ObserverBase[StreamError]):
    """A listener that keeps errors for an iterator: the newest, if it is slow."""

    def __init__(self, wake: Callable[[], object]) -> None:
        self.waiting: deque[StreamError] = deque(maxlen=_KEPT)
        self.is_over = False
        self._wake = wake

    def take(self) -> Iterator[StreamError]:
        """Yield the errors that wait."""
        while self.waiting:
            yield self.waiting.popleft()

    def on_next(self, value: StreamError) -> None:
        self.waiting.append(value)
        self._wake()

    def on_error(self, error: Exception) -> None:
        self.on_completed()

    def on_completed(self) -> None:
        self.is_over = True
        self._wake()
