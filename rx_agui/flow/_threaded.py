"""An iterable that may block, as a source of an event loop: it runs in a thread.

    thread   next next next ······ next          up to as many as there are credits
               │    └────┘           │
    loop       a     b c             d           a at once; b and c within a millisecond

A hop to a thread costs more than most events, so a thread takes several. What it has is
handed on while it waits for the next: a `next` that blocks holds nothing back.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import Any, Final

from reactivex.abc import DisposableBase
from reactivex.disposable import Disposable

from rx_agui.clock import running_loop
from rx_agui.errors import StreamError, stops_process
from rx_agui.flow._pull import Demand, PullSource, end_by

__all__ = ["FromBlockingIterable"]

_log = logging.getLogger("rx_agui.flow")

#: Events taken in one stay in a thread. More save little, and take up a thread that
#: others wait for.
_STAY: Final = 64

#: Seconds between two looks at what a thread has that brings events quickly.
_GLANCE: Final = 0.001


class FromBlockingIterable(PullSource):
    """The events of an iterable, taken in threads of the loop's own executor.

    It is one piece of code, and runs in one context, whichever thread goes on: context
    variables and the current span last over a `yield`. It is closed in a thread too.

    Args:
        source: The iterable. It is walked once.
        closed: Called on the loop when it has been closed.
    """

    def __init__(
        self, source: Iterable[Any], closed: Callable[[], object] = lambda: None
    ) -> None:
        super().__init__()
        self._source = source
        self._closed = closed

    def attach(self, link: Demand) -> DisposableBase:
        pull = _ThreadPull(self._source, link, self._closed)
        pull.start()
        return Disposable(pull.stop)


class _ThreadPull:
    """One walk through an iterable that may block; all but `_stay` is on the loop."""

    def __init__(
        self, source: Iterable[Any], link: Demand, closed: Callable[[], object]
    ) -> None:
        self._source = source
        self._iterator: Iterator[Any] = iter(())
        self._link = link
        self._closed = closed
        self._loop = asyncio.get_running_loop()
        self._run = copy_context().run
        self._came: deque[Any] = deque()
        self._is_watched = False  # a look at what came is due
        self._stopped = False
        self._is_over = False  # the iterable has no more
        self._error: BaseException | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_waiting = False  # for credit
        self._most = 1  # events in the next stay
        self._glance: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin, on the loop."""
        self._task = self._loop.create_task(self._walk())

    def stop(self) -> None:
        """Take no more. A thread that is in the iterable cannot be called off."""
        self._stopped = True
        if running_loop() is self._loop:
            self._cancel()
            return
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        if self._is_waiting and self._task is not None:
            self._task.cancel()

    async def _walk(self) -> None:
        try:
            while not (self._stopped or self._is_over):
                n = await self._credits()
                if not n:
                    break
                begun = self._loop.time()
                taken = await self._in_thread(partial(self._stay, n))
                if taken < n:
                    self._link.credit.release(n - taken)
                # Credits are taken ahead only where events come quickly.
                is_quick = self._loop.time() - begun < n * _GLANCE
                self._most = min(2 * self._most, _STAY) if is_quick else 1
                self._hand_on()
        except asyncio.CancelledError as error:
            if not self._stopped:
                self._error = error
        except Exception:
            self._stopped = True  # a sink raised, and broke its stream off
            raise
        finally:
            if self._glance is not None:
                self._glance.cancel()
            await self._close()
        self._end()

    async def _credits(self) -> int:
        """Credits for the next stay; 0 if the stream has ended."""
        self._is_waiting = True
        try:
            await self._link.credit.awaited()
            more = self._most - 1
            return 1 + (self._link.credit.acquire_many(more) if more else 0)
        except Exception:  # it was told why
            self._stopped = True
            return 0
        finally:
            self._is_waiting = False

    async def _in_thread(self, job: Callable[[], Any]) -> Any:
        """Do a job in the context of the iterable; wait for it even if called off."""
        done = self._loop.run_in_executor(None, self._run, job)
        while True:
            try:
                return await asyncio.shield(done)
            except asyncio.CancelledError as error:
                if done.done():
                    raise
                self._is_over, self._error = True, error

    def _stay(self, n: int) -> int:
        """Take up to `n` events, in a thread. Return how many came."""
        for taken in range(n):
            if self._stopped or self._is_over:
                return taken
            try:
                if self._source is not None:
                    self._iterator, self._source = iter(self._source), None  # type: ignore[assignment]
                event = next(self._iterator)
            except StopIteration:
                self._is_over = True
                return taken
            except BaseException as error:
                self._is_over, self._error = True, error
                return taken
            self._came.append(event)
            if not self._is_watched:
                self._is_watched = True
                with suppress(RuntimeError):  # the loop is closed
                    self._loop.call_soon_threadsafe(self._look)
        return n

    def _look(self) -> None:
        """Hand on what came; look again soon if more may be on its way."""
        if not self._came:
            self._is_watched = False
            if not self._came:  # else it came between the two, and found us watching
                return
            self._is_watched = True
        self._hand_on()
        self._glance = self._loop.call_later(_GLANCE, self._look)

    def _hand_on(self) -> None:
        link, came = self._link, self._came
        while came:
            event = came.popleft()
            if self._stopped:
                link.credit.release(1)
                continue
            try:
                prepared = link.prepare(event)
            except StreamError as error:
                link.credit.release(1)
                link.refuse(error)
            else:
                link.admit(prepared)

    async def _close(self) -> None:
        close = getattr(self._iterator, "close", None)
        try:
            if close is not None:
                await self._in_thread(close)
        except BaseException as error:
            if stops_process(error):
                raise
            _log.error("a source failed to clean up", exc_info=error)
        finally:
            self._closed()

    def _end(self) -> None:
        if self._stopped:
            return
        if self._error is None:
            self._link.complete()
            return
        end_by(self._link, self._error)
        if stops_process(self._error) or isinstance(
            self._error, asyncio.CancelledError
        ):
            raise self._error
