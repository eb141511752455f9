"""Sources that are pulled: they go no further than the reader has credit for.

    agent     async def run(): yield ...          advanced only with a credit
                 │
    from_async_iterable(run) ──▶ flow_control(100) ──▶ ... ──▶ writer
                 ▲                                                │
                 └────────────────── credit ──────────────────────┘

There is no timeout: a reader may pause as long as policy lets it, and the agent
pauses with it. Without `flow_control` behind it, a source runs at its own speed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
)
from contextlib import suppress
from itertools import islice
from threading import Lock
from typing import Any, Protocol, TypeVar

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import Disposable
from reactivex.scheduler import CurrentThreadScheduler

from rx_agui.clock import Clock, clock_for, running_loop
from rx_agui.errors import ConfigError, StreamError
from rx_agui.flow._credit import Credit, Waiter
from rx_agui.flow._downstream import (
    DownstreamWindow,
    asking,
    window_here,
)
from rx_agui.serial import SerialExecutor

T = TypeVar("T")

__all__ = ["Demand", "PullSource", "from_async_iterable", "from_iterable"]

#: Seconds a source may keep an event loop busy before it lets others run.
_SLICE = 0.001

#: Events taken at a time from what is there already: about 20 µs of an event loop.
_MANY = 128


class Demand(Protocol):
    """What a paced source is handed at subscribe: where events go, and the credit."""

    @property
    def credit(self) -> Credit:
        """The window. Who has taken a credit from it may `admit` one event."""

    @property
    def clock(self) -> Clock:
        """The time of this subscription."""

    @property
    def timeout(self) -> float | None:
        """Seconds a sender waits for credit, unless it says otherwise."""

    @property
    def waits(self) -> bool:
        """Whether senders wait for credit. If not, they `offer`."""

    def prepare(self, event: Any) -> Any:
        """Encode the event: what to `admit`. Raises ValidationError."""

    def admit(self, prepared: Any) -> None:
        """Let one event in, for which a credit was taken."""

    def admit_many(self, events: list[Any]) -> int:
        """Encode and let in several, for each of which a credit was taken: how many.

        The first so many. 0: somebody has to look at them one by one.
        """

    def offer(self, prepared: Any) -> bool:
        """Let one event in if there is room; if not, the policy decides.

        False: it says that this one has to wait for a credit after all.
        """

    def refuse(self, error: StreamError) -> None:
        """Tell that one event could not be prepared."""

    def lose(self, error: StreamError) -> None:
        """Count an event that was not let in; whoever sent it is told."""

    def complete(self) -> None:
        """No more events will come."""

    def fail(self, error: Exception) -> None:
        """No more events will come, because of `error`."""

    def abandon(self) -> int:
        """Dispose of the stream. How many accepted events that loses."""


class PullSource(Observable[Any]):
    """A source that takes its credit from the `flow_control` behind it."""

    def attach(self, link: Demand) -> DisposableBase:
        """Begin to send through `link`. What is returned ends it."""
        raise NotImplementedError(f"{type(self).__name__} must say how it is paced")

    def _subscribe_core(
        self, observer: ObserverBase[Any], scheduler: SchedulerBase | None = None
    ) -> DisposableBase:
        return self.attach(_Unpaced(observer, clock_for(scheduler), window_here()))


def from_iterable(
    source: Iterable[T] | Callable[[], Iterable[T]],
) -> Observable[T]:
    """The events of an iterable, taken one by one as the reader has room.

    >>> from reactivex import operators as ops
    >>> from_iterable([1, 2, 3]).pipe(ops.to_list()).run()
    [1, 2, 3]

    On an event loop it lets others run every millisecond; elsewhere it goes on in
    whichever thread brings the credit home. However fast that is, nothing recurses.

    Args:
        source: An iterable, or a function that makes one for each subscriber. Give
            the function for what can be read only once, such as a generator.

    Errors:
        What the iterable raises ends the stream, behind the events before it.
    """
    return _FromIterable(source)


def from_async_iterable(
    source: AsyncIterable[T] | Callable[[], AsyncIterable[T]],
    *,
    loop: asyncio.AbstractEventLoop | None = None,
) -> Observable[T]:
    """The events of an async iterable, such as an agent's async generator.

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


class _Unpaced:
    """The link to an observer that knows no credit: everything is let in at once."""

    timeout = None
    waits = True

    def __init__(
        self,
        observer: ObserverBase[Any],
        clock: Clock,
        below: DownstreamWindow | None,
    ) -> None:
        self.credit = Credit() if below is None else below.credit_for(clock)
        self._below = below
        self.clock = clock
        self._observer = observer
        self._executor = SerialExecutor()
        self.credit.is_inside = self._executor.is_owned_by

    def prepare(self, event: Any) -> Any:
        return event

    def admit(self, prepared: Any) -> None:
        if self._below is None:
            self._executor.run(self._observer.on_next, prepared)
            return
        with asking(self._below):  # for sources that `flat_map` subscribes in between
            self._executor.run(self._observer.on_next, prepared)

    def admit_many(self, events: list[Any]) -> int:
        return 0

    def offer(self, prepared: Any) -> bool:
        self.admit(prepared)
        return True

    def refuse(self, error: StreamError) -> None:
        self.fail(error)

    def lose(self, error: StreamError) -> None: ...

    def complete(self) -> None:
        with asking(self._below):  # for the next of `concat`, or the next try
            self._executor.run(lambda _: self._observer.on_completed())

    def fail(self, error: Exception) -> None:
        with asking(self._below):
            self._executor.run(self._observer.on_error, error)

    def abandon(self) -> int:
        return 0


class _FromIterable(PullSource):
    def __init__(self, source: Iterable[Any] | Callable[[], Iterable[Any]]) -> None:
        super().__init__()
        self._source = source

    def attach(self, link: Demand) -> DisposableBase:
        source = self._source() if callable(self._source) else self._source
        # What is there already keeps nobody waiting: several are taken at a time.
        kind = _PullMany if type(source) in (list, tuple) else _Pull
        pull = kind(iter(source), link)
        # By way of RxPY's trampoline, so that whoever subscribes has something to
        # dispose of before the first event: `take(1)` must be able to stop us.
        CurrentThreadScheduler.singleton().schedule(lambda *_: pull.run())
        return Disposable(pull.stop)


class _Pull:
    """One subscriber's walk through an iterable: a loop, never a recursion."""

    def __init__(self, iterator: Iterator[Any], link: Demand) -> None:
        self._iterator = iterator
        self._link = link
        self._token = Lock()
        self._woken = False
        self._stopped = False
        self._waiter: Waiter | None = None

    def run(self) -> None:
        """Go on as far as there is credit, unless somebody is at it already."""
        while self._token.acquire(blocking=False):
            try:
                self._woken = False
                self._walk()
            finally:
                if self._stopped:
                    self._close()
                self._token.release()
            if not self._woken:  # else credit came home while we were leaving
                return

    def stop(self) -> None:
        self._stopped = True
        if self._token.acquire(blocking=False):  # else who walks will close it
            try:
                self._close()
            finally:
                self._token.release()

    def _wake(self) -> None:
        self._woken = True
        if self._link.clock.is_here():
            self.run()
        else:
            self._link.clock.soon(self.run)

    def _walk(self) -> None:
        link = self._link
        loop = running_loop()
        yield_at = time.monotonic() + _SLICE
        step, prepare, admit = self._iterator.__next__, link.prepare, link.admit
        take = link.credit.tokens.pop
        has_credit = self._waiter is not None
        if has_credit and not self._is_granted():
            return
        while not self._stopped:
            if has_credit:
                has_credit = False
            else:
                try:
                    take()  # credit.acquire, written out: this is done for every event
                except IndexError:
                    if not self._acquire(1):
                        return
            try:
                event = step()
            except StopIteration:
                self._stopped = True
                link.credit.release(1)
                link.complete()
                return
            except Exception as error:
                self._stopped = True
                link.credit.release(1)
                link.fail(error)
                return
            try:
                prepared = prepare(event)
            except StreamError as error:
                link.credit.release(1)
                link.refuse(error)
            else:
                admit(prepared)
            if loop is not None and time.monotonic() >= yield_at:
                loop.call_soon(self.run)
                return

    def _acquire(self, most: int) -> int:
        """Credits for the next events; 0: the stream has ended, or we queue for one."""
        credit = self._link.credit
        try:
            n = int(credit.acquire()) if most == 1 else credit.acquire_many(most)
            if n:
                return n
            self._waiter = credit.acquire_or(self._wake)
        except Exception:  # the stream has ended; whoever ended it says why
            self._stopped = True
            return 0
        return int(self._waiter is None or self._is_granted())

    def _is_granted(self) -> bool:
        """Whether the credit that we queued for is ours."""
        if self._waiter is None or not self._waiter.granted:
            return False
        self._waiter = None
        return True

    def _close(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            self._link.credit.leave(waiter)
        iterator, self._iterator = self._iterator, iter(())
        close = getattr(iterator, "close", None)
        if close is not None:
            close()


class _PullMany(_Pull):
    """The same, where all events are there already: it takes as many as it may."""

    _most = 1
    _in_vain = 0  # times in a row that nothing could be let in together

    def _walk(self) -> None:
        if self._in_vain > 1:  # not here: to try it for every event would cost too much
            super()._walk()
            return
        link = self._link
        loop = running_loop()
        yield_at = time.monotonic() + _SLICE
        n = 0
        if self._waiter is not None:
            n = int(self._is_granted())
            if not n:
                return
        while not self._stopped:
            n = n or self._acquire(self._most)
            if not n:
                return
            events = list(islice(self._iterator, n))
            if len(events) < n:
                link.credit.release(n - len(events))
            if not events:
                self._stopped = True
                link.complete()
                return
            # A few at first: nobody knows how large they are.
            went_well = self._admit(events)
            self._most = min(self._most * 2, _MANY) if went_well else 1
            n = 0
            if self._in_vain > 1:
                super()._walk()
                return
            if loop is not None and time.monotonic() >= yield_at:
                loop.call_soon(self.run)
                return

    def _admit(self, events: list[Any]) -> bool:
        """Let them in, together as far as possible; whether all were."""
        link = self._link
        together = link.admit_many(events)
        if together == len(events):
            self._in_vain = 0
            return True
        self._in_vain = 0 if together else self._in_vain + 1
        for n, event in enumerate(events[together:], together):
            if self._stopped:
                link.credit.release(len(events) - n)
                break
            try:
                prepared = link.prepare(event)
            except StreamError as error:
                link.credit.release(1)
                link.refuse(error)
            else:
                link.admit(prepared)
        return False


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
        pull = _AsyncPull(self._source, link, loop)
        if here is loop:
            pull.start()
        else:
            loop.call_soon_threadsafe(pull.start)
        return Disposable(pull.stop)


class _AsyncPull:
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
        self._stopped = False
        self._is_advancing = False  # and not in somebody's on_next, or cleaning up

    def start(self) -> None:
        if not self._stopped:
            self._task = self._loop.create_task(self._walk())

    def stop(self) -> None:
        self._stopped = True
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
        if self._stopped:
            return
        link = self._link
        try:
            source = self._source() if callable(self._source) else self._source
            iterator = aiter(source)
        except Exception as error:
            link.fail(error)
            return
        ending: Callable[[], None] | None = None
        try:
            ending = await self._advance(iterator)
        finally:
            self._is_advancing = False
            close = getattr(iterator, "aclose", None)
            if close is not None:
                await close()
            if ending is not None and not self._stopped:
                ending()

    async def _advance(self, iterator: AsyncIterator[Any]) -> Callable[[], None] | None:
        link = self._link
        yield_at = time.monotonic() + _SLICE
        self._is_advancing = True
        take, step = link.credit.tokens.pop, iterator.__anext__
        while not self._stopped:
            try:
                take()  # credit.awaited, written out: this is done for every event
            except IndexError:
                try:
                    await link.credit.awaited()
                except Exception:  # the stream has ended; whoever ended it says why
                    return None
            try:
                event = await step()
            except StopAsyncIteration:
                link.credit.release(1)
                return link.complete
            except Exception as error:
                link.credit.release(1)
                return _failing(link, error)
            except BaseException:  # cancelled: the credit must not be lost with us
                link.credit.release(1)
                raise
            self._is_advancing = False
            self._hand_on(event)
            self._is_advancing = True
            if time.monotonic() >= yield_at:
                await asyncio.sleep(0)
                yield_at = time.monotonic() + _SLICE
        return None

    def _hand_on(self, event: Any) -> None:
        link = self._link
        try:
            prepared = link.prepare(event)
        except StreamError as error:
            link.credit.release(1)
            link.refuse(error)
            return
        link.admit(prepared)


def _failing(link: Demand, error: Exception) -> Callable[[], None]:
    return lambda: link.fail(error)
