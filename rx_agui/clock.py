"""Where time comes from, and where work that was put off goes on.

A stream keeps the clock it was subscribed with:

    the scheduler given to it        RxPY's; virtual time in tests
    else the running event loop      asyncio's; signals stay on the loop
    else one timer thread            shared by all streams; it ends when idle

The timer thread only marks what is due and hands it to `workers.CALLBACK_POOL`: user
code never runs on it, so a sink that blocks cannot make another stream late.
RxPY's own default, TimeoutScheduler, starts a thread for every timer (920 µs;
this costs 5): 200 idle connections are 200 threads.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from reactivex.abc import SchedulerBase
from reactivex.scheduler import VirtualTimeScheduler
from reactivex.scheduler.eventloop import AsyncIOScheduler

from rx_agui.workers import CALLBACK_POOL, COMPUTE

__all__ = ["Clock", "LoopClock", "SchedulerClock", "Timer", "clock_for", "running_loop"]

#: The event loop that runs in this thread, or None. A name of its own because
#: asyncio's public way to ask raises, which costs six times as much.
running_loop: Callable[[], asyncio.AbstractEventLoop | None] = asyncio._get_running_loop

T = TypeVar("T")
Action = Callable[[], object]

#: Seconds between two looks at whether the hands are stuck, while work waits for them.
_GLANCE = 0.01


class Timer(Protocol):
    """Something that will happen, unless cancelled first."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """Time, as one subscription sees it. Every method may be called by any thread."""

    def now(self) -> float:
        """Seconds since some moment."""

    def after(self, seconds: float, action: Action) -> Timer:
        """Do `action` in `seconds`."""

    def soon(self, action: Action) -> None:
        """Do `action` where signals of this stream belong, not now but next."""

    def work(self, job: Callable[[], T], done: Callable[[T], object]) -> None:
        """Do a job that takes long on another thread, then `done` with its result."""

    def is_here(self) -> bool:
        """Whether this thread is one where signals of this stream belong."""

    def must_not_wait(self) -> bool:
        """Whether to block this thread would stop the clock itself."""


def clock_for(scheduler: SchedulerBase | None) -> Clock:
    """Return the clock of a subscription that is being made now, in this thread."""
    if isinstance(scheduler, AsyncIOScheduler):
        # RxPY's own calls the loop from any thread, which asyncio forbids and forgets.
        return LoopClock(scheduler._loop)
    if scheduler is not None:
        return SchedulerClock(scheduler)
    loop = running_loop()
    return ThreadClock.shared if loop is None else LoopClock(loop)


class SchedulerClock:
    """The time of an RxPY scheduler."""

    def __init__(self, scheduler: SchedulerBase) -> None:
        self._scheduler = scheduler

    def now(self) -> float:
        return self._scheduler.to_seconds(self._scheduler.now)

    def after(self, seconds: float, action: Action) -> Timer:
        return _Disposing(
            self._scheduler.schedule_relative(seconds, lambda *_: _quietly(action))
        )

    def soon(self, action: Action) -> None:
        self._scheduler.schedule(lambda *_: _quietly(action))

    def work(self, job: Callable[[], T], done: Callable[[T], object]) -> None:
        # Threads know nothing of virtual time; a scheduler that plays it may know
        # how long work takes there (see rx_agui.testing).
        play = getattr(self._scheduler, "work", None)
        if play is not None:
            play(job, done)
        elif isinstance(self._scheduler, VirtualTimeScheduler):
            self.soon(lambda: done(job()))
        else:
            _compute(job, lambda result: self.soon(lambda: done(result)))

    def is_here(self) -> bool:
        return True

    def must_not_wait(self) -> bool:
        if running_loop() is not None:
            return True
        if isinstance(self._scheduler, VirtualTimeScheduler):
            return True
        # An EventLoopScheduler has one thread; the name is RxPY's, hence the getattr.
        return getattr(self._scheduler, "_thread", None) is threading.current_thread()


class LoopClock:
    """The time of an asyncio event loop; signals that were put off go on there."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def now(self) -> float:
        return self._loop.time()

    def after(self, seconds: float, action: Action) -> Timer:
        timer = _LoopTimer(self._loop)
        if running_loop() is self._loop:
            timer.start(seconds, action)
            return timer
        try:
            self._loop.call_soon_threadsafe(timer.start, seconds, action)
        except RuntimeError:  # a thread goes on after asyncio.run() returned
            return ThreadClock.shared.after(seconds, action)
        return timer

    def soon(self, action: Action) -> None:
        if running_loop() is self._loop:
            self._loop.call_soon(action)
            return
        try:
            self._loop.call_soon_threadsafe(action)
        except RuntimeError:  # the loop is closed; what was accepted is still owed
            ThreadClock.shared.soon(action)

    def work(self, job: Callable[[], T], done: Callable[[T], object]) -> None:
        _compute(job, done)

    def is_here(self) -> bool:
        return running_loop() is self._loop

    def must_not_wait(self) -> bool:
        return running_loop() is not None


class ThreadClock:
    """Time without a loop: one thread for all timers of the process."""

    shared: ThreadClock

    def __init__(self, *, idle: float = 1.0) -> None:
        self._idle = idle
        self._due: list[tuple[float, int, _Due]] = []
        self._order = itertools.count()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def forget(self) -> None:
        """Begin anew in a forked child, where the timer thread does not run.

        Timers that are due belong to the parent, whose streams set them.
        """
        self._due = []
        self._changed = threading.Condition()
        self._thread = None

    def now(self) -> float:
        return time.monotonic()

    def after(self, seconds: float, action: Action) -> Timer:
        due = _Due(action)
        with self._changed:
            when = self.now() + seconds
            heapq.heappush(self._due, (when, next(self._order), due))
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._watch, name="rx_agui-timer", daemon=True
                )
                self._thread.start()
            elif self._due[0][2] is due:
                self._changed.notify()
        return due

    def soon(self, action: Action) -> None:
        self.after(0.0, action)  # so that a stuck pool is noticed

    def work(self, job: Callable[[], T], done: Callable[[T], object]) -> None:
        _compute(job, lambda result: self.soon(lambda: done(result)))

    def is_here(self) -> bool:
        # A reader on a loop brings credit home there. What it sets off, such as an
        # iterable that reads from a socket, was begun in a thread because it may block.
        return running_loop() is None

    def must_not_wait(self) -> bool:
        return running_loop() is not None

    def _watch(self) -> None:
        while True:
            with self._changed:
                while self._due and self._due[0][2].action is None:
                    heapq.heappop(self._due)  # cancelled: do not wait for it
                backlog = CALLBACK_POOL.backlog
                if not self._due and not self._changed.wait_for(
                    lambda: self._due, timeout=_GLANCE if backlog else self._idle
                ):
                    if not backlog:
                        self._thread = None
                        return
                elif (left := self._due[0][0] - self.now()) > 0:
                    # Not longer than idle: it may be cancelled, which wakes no thread.
                    self._changed.wait(min(left, _GLANCE if backlog else self._idle))
                else:
                    action = heapq.heappop(self._due)[2].action
                    if action is not None:
                        CALLBACK_POOL.submit(action)
            CALLBACK_POOL.relieve()


ThreadClock.shared = ThreadClock()
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=ThreadClock.shared.forget)


class _Due:
    __slots__ = ("action",)

    def __init__(self, action: Action) -> None:
        self.action: Action | None = action

    def cancel(self) -> None:
        self.action = None  # frees what it refers to at once, wherever it is queued


class _Disposing:
    __slots__ = ("_disposable",)

    def __init__(self, disposable: Any) -> None:
        self._disposable = disposable

    def cancel(self) -> None:
        self._disposable.dispose()


class _LoopTimer:
    """A loop's timer that any thread may cancel; asyncio's own is not made for that."""

    __slots__ = ("_cancelled", "_handle", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._handle: asyncio.TimerHandle | None = None
        self._cancelled = False

    def start(self, seconds: float, action: Action) -> None:
        if self._cancelled:
            return
        self._handle = self._loop.call_later(seconds, action)
        if self._cancelled:  # meanwhile, by one who did not see the handle
            self._handle.cancel()

    def cancel(self) -> None:
        self._cancelled = True
        if self._handle is None:
            return
        if running_loop() is self._loop:
            self._handle.cancel()
            return
        with suppress(RuntimeError):  # a loop that is closed rings no more
            self._loop.call_soon_threadsafe(self._handle.cancel)


def _quietly(action: Action) -> None:
    """Do `action`, and return None: RxPY takes what an action returns for a disposable."""
    action()


def _compute(job: Callable[[], T], done: Callable[[T], object]) -> None:
    COMPUTE.submit(lambda: done(job()))
