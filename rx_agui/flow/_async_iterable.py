"""An async iterable as a source: one task, which goes on with each credit."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import suppress
from typing import Any

from reactivex import Observable
from reactivex.abc import DisposableBase
from reactivex.disposable import Disposable

from rx_agui.clock import running_loop
from rx_agui.errors import ConfigError, StreamError, stops_process
from rx_agui.flow._pull import SLICE, Demand, PullSource, T, admit_all, end_by

__all__ = ["FromAsyncLists", "from_async_iterable"]

_log = logging.getLogger("rx_agui.flow")


def from_async_iterable(
    source: AsyncIterable[T] | Callable[[], AsyncIterable[T]],
    *,
    loop: asyncio.AbstractEventLoop | None = None,
) -> Observable[T]:
    """Emit the events of an async iterable, such as an agent's async generator.

    >>> async def agent():
    ...     for delta in "Hi":
    ...         yield delta
    >>> async def main():
    ...     from reactivex import operators as ops
    ...     return await from_async_iterable(agent).pipe(ops.to_list())
    >>> asyncio.run(main())
    ['H', 'i']

    It is advanced in one task of its own. Disposing cancels that task, which closes
    the generator there, so its `finally` and `async with` see a normal cancellation.

    Args:
        source: An async iterable, or a function that makes one for each subscriber.
            Give the function for what can be read only once.
        loop: Where to run it. The default is the loop in which `subscribe` is called.

    Errors:
        What the iterable raises ends the stream, behind the events before it.
        ConfigError: No loop was given, and none runs where `subscribe` is called.
    """
    return FromAsyncIterable(source, loop)


class FromAsyncIterable(PullSource):
    """See from_async_iterable."""

    def __init__(
        self,
        source: AsyncIterable[Any] | Callable[[], AsyncIterable[Any]],
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__()
        self._source = source
        self._loop = loop

    def attach(self, link: Demand) -> DisposableBase:
        here = running_loop()
        loop = self._loop or here
        if loop is None:
            must = "a loop, or subscribe must be called where one runs"
            raise ConfigError("from_async_iterable(loop)", None, must)
        pull = AsyncPull(self._source, link, loop)
        if here is loop:
            pull.start()
        else:
            loop.call_soon_threadsafe(pull.start)
        return Disposable(pull.stop)


class AsyncPull:
    """One subscriber's walk through an async iterable, in one task."""

    def __init__(
        self,
        source: AsyncIterable[Any] | Callable[[], AsyncIterable[Any]],
        link: Demand,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._source = source
        self._link = link
        self._loop = loop
        self._task: asyncio.Task[None] | None = None
        self.stopped = False
        self._is_advancing = False  # and not in an on_next, or cleaning up

    def start(self, done: Callable[[], object] | None = None) -> None:
        """Begin; `done` is called when the iterable has been closed, or never began."""
        if not self.stopped:
            self._task = task = self._loop.create_task(self._walk())
            if done is not None:
                task.add_done_callback(lambda _: done())

    def stop(self) -> None:
        self.stopped = True
        if running_loop() is self._loop:
            self._cancel()
            return
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        # Elsewhere it is enough that we have been told, since no more is asked for; and
        # a cancellation would strike in the iterable's own `finally`, as it is closed.
        if self._task is not None and self._is_advancing:
            self._task.cancel()

    async def _walk(self) -> None:
        if self.stopped:
            return
        link, failure = self._link, None
        try:
            iterator = aiter(self._source() if callable(self._source) else self._source)
        except BaseException as error:
            end_by(link, error)
            if stops_process(error):
                raise
            return
        try:
            await self._advance(iterator)
        except BaseException as error:
            failure = error
        was_advancing, self._is_advancing = self._is_advancing, False
        try:
            if (close := getattr(iterator, "aclose", None)) is not None:
                await close()
        except BaseException as error:
            _log_cleanup(error)
            failure = failure or error
        if failure is None:
            if not self.stopped:
                link.complete()
            return
        is_told = not self.stopped
        if is_told:
            self.stopped = True
            end_by(link, failure)
        if (
            not (is_told and was_advancing)  # a sink raised, or we are called off
            or stops_process(failure)
            or self._is_called_off(failure)
        ):
            raise failure

    def _is_called_off(self, error: BaseException) -> bool:
        """Return True if it is a cancellation of this task, and not one that leaked."""
        task = self._task
        is_cancelled = isinstance(error, asyncio.CancelledError)
        return is_cancelled and task is not None and task.cancelling() > 0

    async def _advance(self, iterator: AsyncIterator[Any]) -> None:
        """Take events until there are no more, or none is wanted."""
        link = self._link
        yield_at = time.monotonic() + SLICE
        self._is_advancing = True
        take, step = link.credit.tokens.pop, iterator.__anext__
        while not self.stopped:
            try:
                take()  # credit.awaited, written out: this is done for every event
            except IndexError:
                try:
                    await link.credit.awaited()
                except Exception:  # the stream has ended, and was told why
                    self.stopped = True
                    return
            try:
                event = await step()
            except StopAsyncIteration:
                link.credit.release(1)
                return
            except BaseException:
                link.credit.release(1)
                raise
            self._is_advancing = False
            try:
                prepared = link.prepare(event)
            except StreamError as error:
                link.credit.release(1)
                link.refuse(error)
            else:
                link.admit(prepared)
            self._is_advancing = True
            if time.monotonic() >= yield_at:
                await asyncio.sleep(0)
                yield_at = time.monotonic() + SLICE


class FromAsyncLists(PullSource):
    """An async iterable of lists of events, each list encoded and admitted together.

    Args:
        source: An async iterable of lists, or a function that makes one for each
            subscriber. It is advanced with a credit, and behind the whole list before.

    Attributes:
        closed: When the iterable has been closed, in its own task.
    """

    def __init__(
        self,
        source: AsyncIterable[list[Any]] | Callable[[], AsyncIterable[list[Any]]],
    ) -> None:
        super().__init__()
        self._source = source
        self.closed = asyncio.Event()

    def attach(self, link: Demand) -> DisposableBase:
        loop = running_loop()
        if loop is None:
            raise ConfigError("subscribe", None, "called where an event loop runs")
        pull = _PullLists(self._source, link, loop)
        pull.start(self.closed.set)
        return Disposable(pull.stop)


class _PullLists(AsyncPull):
    """One subscriber's walk through lists of events."""

    async def _advance(self, iterator: AsyncIterator[Any]) -> None:
        link = self._link
        yield_at = time.monotonic() + SLICE
        self._is_advancing = True
        taken = 0
        while not self.stopped:
            taken = taken or await self._take(1)
            if self.stopped:
                break
            try:
                events = await iterator.__anext__()
            except BaseException as error:
                link.credit.release(taken)
                if isinstance(error, StopAsyncIteration):
                    return
                raise
            at = 0
            while at < len(events) and not self.stopped:
                if more := len(events) - at - taken:
                    taken += await self._take(more, waits=not taken)
                    if self.stopped:
                        break
                some = events[at : at + taken]
                at, taken = at + taken, 0
                self._is_advancing = False
                admit_all(link, some, self)
                self._is_advancing = True
            if time.monotonic() >= yield_at:
                await asyncio.sleep(0)
                yield_at = time.monotonic() + SLICE
        link.credit.release(taken)

    async def _take(self, most: int, *, waits: bool = True) -> int:
        """Take up to so many credits, at least one if it waits; 0: the stream has ended."""
        credit = self._link.credit
        try:
            taken = credit.acquire_many(most)
            if waits and not taken:
                await credit.awaited()
                taken = 1
        except Exception:  # the stream has ended, and was told why
            self.stopped = True
            return 0
        return taken


def _log_cleanup(error: BaseException) -> None:
    if not isinstance(error, asyncio.CancelledError):
        _log.error("a source failed to clean up", exc_info=error)
