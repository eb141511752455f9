"""An iterable as a source: a loop that goes on with each credit, never a recursion."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextvars import copy_context
from functools import partial
from itertools import islice
from threading import Lock
from typing import Any

from reactivex import Observable
from reactivex.abc import DisposableBase
from reactivex.disposable import Disposable
from reactivex.scheduler import CurrentThreadScheduler

from rx_agui.clock import running_loop
from rx_agui.errors import StreamError, stops_process
from rx_agui.flow._credit import Waiter
from rx_agui.flow._pull import SLICE, Demand, PullSource, T, admit_all, end_by

__all__ = ["from_iterable"]

_log = logging.getLogger("rx_agui.flow")

#: Events taken at a time from what is there already: about 20 µs of an event loop.
_MANY = 128


def from_iterable(
    source: Iterable[T] | Callable[[], Iterable[T]],
) -> Observable[T]:
    """Emit the events of an iterable, one by one, as the reader has room.

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


class _FromIterable(PullSource):
    def __init__(self, source: Iterable[Any] | Callable[[], Iterable[Any]]) -> None:
        super().__init__()
        self._source = source

    def attach(self, link: Demand) -> DisposableBase:
        try:
            source = self._source() if callable(self._source) else self._source
            iterator = iter(source)
        except BaseException as error:
            end_by(link, error)
            if stops_process(error):
                raise
            return Disposable()
        # Lists are in memory, so take several items a step.
        kind = _PullMany if type(source) in (list, tuple) else _Pull
        pull = kind(iterator, link)
        # By way of RxPY's trampoline, so that the subscriber has something to
        # dispose of before the first event: `take(1)` must be able to stop us.
        CurrentThreadScheduler.singleton().schedule(lambda *_: pull.run())
        return Disposable(pull.stop)


class _Pull:
    """One subscriber's walk through an iterable: a loop, never a recursion."""

    def __init__(self, iterator: Iterator[Any], link: Demand) -> None:
        self._iterator = iterator
        #: A generator is one piece of code: it runs in one context, on every thread.
        self._run: Callable[..., Any] = _directly
        if isinstance(iterator, Generator):
            self._run = copy_context().run
        self._link = link
        self._token = Lock()
        self._woken = False
        self.stopped = False
        self._waiter: Waiter | None = None

    def run(self) -> None:
        """Go on as far as there is credit, unless it is under way already."""
        while self._token.acquire(blocking=False):
            try:
                self._woken = False
                self._walk()
            finally:
                if self.stopped:
                    self._close()
                self._token.release()
            if not self._woken:  # else credit came home while we were leaving
                return

    def stop(self) -> None:
        self.stopped = True
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
        yield_at = time.monotonic() + SLICE
        step, prepare, admit = self._iterator.__next__, link.prepare, link.admit
        if self._run is not _directly:
            step, prepare = partial(self._run, step), partial(self._run, prepare)
        take = link.credit.tokens.pop
        has_credit = self._waiter is not None
        if has_credit and not self._is_granted():
            return
        while not self.stopped:
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
                self.stopped = True
                link.credit.release(1)
                link.complete()
                return
            except BaseException as error:
                self.stopped = True
                link.credit.release(1)
                end_by(link, error)
                if stops_process(error):
                    raise
                return
            try:
                prepared = prepare(event)
            except StreamError as error:
                link.credit.release(1)
                link.refuse(error)
            else:
                try:
                    admit(prepared)
                except Exception:
                    raise  # a sink did: raise it where the credit came home
                except BaseException as error:
                    self.stopped = True
                    end_by(link, error)
                    raise
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
        except Exception:  # the stream has ended, and its error was told
            self.stopped = True
            return 0
        return int(self._waiter is None or self._is_granted())

    def _is_granted(self) -> bool:
        """Return True if the credit that we queued for is ours."""
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
        if close is None:
            return
        try:
            self._run(close)
        except BaseException as error:
            if stops_process(error):
                raise
            _log.exception("a source failed to clean up")


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
        yield_at = time.monotonic() + SLICE
        n = 0
        if self._waiter is not None:
            n = int(self._is_granted())
            if not n:
                return
        while not self.stopped:
            n = n or self._acquire(self._most)
            if not n:
                return
            events = list(islice(self._iterator, n))
            if len(events) < n:
                link.credit.release(n - len(events))
            if not events:
                self.stopped = True
                link.complete()
                return
            # A few at first: their size is unknown.
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
        together = admit_all(self._link, events, self)
        self._in_vain = 0 if together else self._in_vain + 1
        return together == len(events)


def _directly(call: Callable[..., T], *args: Any) -> T:
    """Call as it is: only generators have a context of their own."""
    return call(*args)
