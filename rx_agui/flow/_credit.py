"""The window of a subscription: the events in flight, and the senders that wait.

    source ──▶ takes a credit ──▶ ... ──▶ written
                  ▲                          │
                  └── the credit comes home ─┘

Chosen over Reactive Streams' request(n), which every operator in between would have to
pass up, and RxPY's do not: a permit (rx_agui.flow._permit) rides through them unseen.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from math import inf
from threading import TIMEOUT_MAX
from time import time_ns
from typing import Any, Final, Protocol

from rx_agui.clock import running_loop
from rx_agui.deprecation import renamed
from rx_agui.errors import BackpressureTimeoutError, StreamClosedError, require_positive

__all__ = ["AdmissionBlock", "Buffering", "Credit", "Waiter", "Wake"]

Wake = Callable[[], object]

#: Tokens laid out at a time.
_HANDFUL = 256
_TOKENS = (None,) * _HANDFUL


class Buffering(Protocol):
    """A stage that keeps events until more come, such as a batch."""

    @property
    def parked(self) -> int:
        """Credits of the events it keeps."""

    def flush(self) -> object:
        """Send them on as they are: no more can come before they have gone."""


class AdmissionBlock:
    """A reason to grant no credit for a while, though some may be free.

    Attributes:
        refusal: Makes the error for a sender that has an event. A source that is pulled
            asks before it has one, and waits instead.
        exempts: Whether an event is let in all the same.
    """

    __slots__ = ("exempts", "refusal")

    def __init__(
        self,
        refusal: Callable[[], Exception],
        exempts: Callable[[Any], bool] = lambda _: False,
    ) -> None:
        self.refusal = refusal
        self.exempts = exempts


class Waiter:
    """A place in the queue for one credit.

    Attributes:
        event: The event that needs it; None: not known yet, or accepted already.
        refused: The error to raise, if a block came down meanwhile.
        takes: Credits it gets; 0 if it only asks for room.
    """

    __slots__ = ("accepted", "event", "granted", "refused", "since", "takes", "wake")

    def __init__(self, wake: Wake, accepted: bool, event: Any, takes: int = 1) -> None:
        self.takes = takes
        self.since = time_ns()
        self.wake = wake
        self.accepted = accepted
        self.event = event
        self.granted = False
        self.refused: Exception | None = None


#: The waiters of a window in which no wait was ever needed.
_NO_WAITERS: Final[deque[Waiter]] = deque(maxlen=0)


class Credit:
    """The window of one subscription: how many events may be in flight.

    Any thread may use it. Released credit goes to the waiter that has waited
    longest, never raced for, so none starves.

    >>> credit = Credit(1)
    >>> credit.acquire(), credit.acquire()
    (True, False)
    >>> credit.release(1)
    >>> credit.free
    1

    Args:
        size: Events in flight at most. None: no bound, and nothing is counted.
    """

    __slots__ = (
        "_at_home",
        "_blocks",
        "_buffering",
        "_recent",
        "_reserve",
        "_waiters",
        "abandoned",
        "closed",
        "error",
        "failed",
        "given_up",
        "is_inside",
        "lock",
        "longest_wait",
        "on_failure",
        "on_wait",
        "size",
        "tokens",
        "waited",
        "waits",
    )

    def __init__(self, size: int | None = None) -> None:
        if size is not None:
            require_positive(size=size)
        self.size = size
        #: Free credits; a list pops in one step, in half the time of a lock.
        #: Only some of them, so that a window of a million is not a million objects.
        self.tokens: list[None] = []
        self._reserve: float = inf if size is None else size
        self.closed = False
        self.abandoned = False
        self.given_up = False
        self.error: Exception | None = None
        self.failed = False
        self.lock = threading.Lock()
        self.on_failure: Callable[[Exception], object] | None = None
        #: Whether a thread is handing on a signal of this stream just now. For it to
        #: wait for credit would be to wait for itself.
        self.is_inside: Callable[[int], bool] = _is_nowhere
        #: How many waits there were, and how long, in ns; what to call then
        #: with the wait and how it ended: admitted, timeout or cancelled.
        self.waits = 0
        self.waited = 0
        self.longest_wait = 0
        self._recent = 0, 0, 0
        self.on_wait: Callable[[int, str], object] | None = None
        self._waiters = _NO_WAITERS
        self._buffering: list[Buffering] = []
        self._at_home: tuple[Wake, ...] = ()
        self._blocks: tuple[AdmissionBlock, ...] = ()

    # -- taking -------------------------------------------------------------

    @property
    def free(self) -> float:
        """Free credits. While there are any, no sender waits for one."""
        return self._reserve + len(self.tokens)

    @property
    def in_flight(self) -> int:
        """Events let in and not yet written, dropped or stored on purpose."""
        return 0 if self.size is None else self.size - int(self.free)

    def acquire(self) -> bool:
        """Take a credit if one is free and no sender waits.

        Raises:
            StreamClosedError: The stream has ended; or the error that ended it.
        """
        try:
            self.tokens.pop()
        except IndexError:
            return self._take_from_reserve()
        return True

    def acquire_despite(self, event: Any) -> bool:
        """Take a credit for an event that the blocks spare, if there is one.

        Raises:
            FlowControlError: What a block has to say. Nothing is raised without one.
        """
        with self.lock:
            if not self._blocks:
                return False
            refused = self._refused_by_block(event)
            if refused is not None:
                raise refused
            if self.closed or self._reserve <= 0:
                return False
            self._reserve -= 1
            return True

    def acquire_or(
        self, wake: Wake, *, accepted: bool = False, event: Any = None
    ) -> Waiter | None:
        """Take a credit (None), or queue for one: `wake` is called once it is ours.

        It is also called when the stream closes; then `waiter.granted` is False.

        Args:
            accepted: It is for an event that was accepted: closing does not undo it.
            event: What it is for, which a block may refuse; None: not known yet.
        """
        with self.lock:
            if self.abandoned or (self.closed and not accepted):
                raise self.refusal()
            self._gather_tokens()
            if self._blocks and event is not None:
                refused = self._refused_by_block(event)
                if refused is not None:
                    raise refused
            if self._reserve > 0 and (not self._blocks or event is not None):
                self._reserve -= 1
                return None
            waiter = Waiter(wake, accepted, event)
            if self._waiters is _NO_WAITERS:
                self._waiters = deque()
            self._waiters.append(waiter)
            return waiter

    @property
    def has_room(self) -> bool:
        """True if an event would be let in now. A window that has ended holds no one back."""
        if self.tokens or self.closed:
            return True
        return self._reserve > 0 and not (self._blocks or self._waiters)

    def when_room(self, wake: Wake) -> bool:
        """Call `wake` once there is room; False if there is now. Takes no credit."""
        with self.lock:
            if self.has_room:
                return False
            if self._waiters is _NO_WAITERS:
                self._waiters = deque()
            self._waiters.append(Waiter(wake, False, None, takes=0))
            return True

    def _take_from_reserve(self) -> bool:
        with self.lock:
            if self.closed:
                raise self.refusal()
            if self._reserve <= 0 or self._blocks or self._waiters:
                return False
            handful = int(min(self._reserve, _HANDFUL))
            self._reserve -= handful
            self.tokens += _TOKENS[: handful - 1]
            return True

    def acquire_many(self, most: int) -> int:
        """Take the free credits for which no sender waits; return how many.

        Raises:
            StreamClosedError: The stream has ended; or the error that ended it.
        """
        with self.lock:
            if self.closed:
                raise self.refusal()
            if self._blocks:
                return 0
            self._gather_tokens()
            n = most if self._reserve >= most else max(0, int(self._reserve))
            self._reserve -= n
            return n

    def _gather_tokens(self) -> None:
        """Move free tokens to the reserve, disabling the lock-free path. Caller locks."""
        while self.tokens:
            try:
                self.tokens.pop()
            except IndexError:  # another thread took the last
                return
            self._reserve += 1

    def give_back(self, n: int) -> None:
        """`n` credits that were granted are not used after all."""
        self.release(n)

    def charge(self, n: int) -> None:
        """Take `n` more at once, even if that leaves fewer than none.

        For what is in already and turns out to weigh more. No credit is granted until
        the debt is paid, by what comes home.
        """
        with self.lock:
            self._gather_tokens()
            self._reserve -= n

    def leave(self, waiter: Waiter) -> None:
        """Wait no longer. What was granted meanwhile is given back."""
        with self.lock:
            granted = waiter.granted
            wait = None
            if waiter in self._waiters:
                self._waiters.remove(waiter)
                wait = self._note_wait(waiter)
        if wait is not None:
            self._tell_wait(wait, "cancelled")
        if granted:
            self.give_back(1)

    def wait(self, timeout: float | None, event: Any = None) -> None:
        """Block this thread until a credit is ours.

        Args:
            event: What it is for, which a block may refuse.

        Raises:
            BackpressureTimeoutError: None came home within `timeout` seconds.
            StreamClosedError: The stream ended meanwhile; or the error that ended it.
            FlowControlError: What a block has to say.
        """
        if self.acquire():
            return
        came = threading.Event()
        waiter = self.acquire_or(came.set, event=event)
        if waiter is None:
            return
        try:
            in_time = came.wait(None if timeout is None else min(timeout, TIMEOUT_MAX))
        except BaseException:  # KeyboardInterrupt
            self.leave(waiter)
            raise
        self._settle(waiter, in_time, timeout)

    async def awaited(self, event: Any = None) -> None:
        """Await a credit. Cancellation gives back what was granted meanwhile.

        Args:
            event: What it is for, which a block may refuse.

        Raises:
            StreamClosedError: The stream ended meanwhile; or the error that ended it.
            FlowControlError: What a block has to say.
        """
        if self.acquire():
            return
        loop = asyncio.get_running_loop()
        came = loop.create_future()

        def wake() -> None:
            if running_loop() is loop:
                if not came.done():
                    came.set_result(None)
                return
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(wake)

        waiter = self.acquire_or(wake, event=event)
        if waiter is None:
            return
        try:
            await came
        except BaseException:  # cancelled
            self.leave(waiter)
            raise
        self._settle(waiter, in_time=True, timeout=None)

    def _settle(self, waiter: Waiter, in_time: bool, timeout: float | None) -> None:
        wait = None
        with self.lock:
            if not in_time and waiter in self._waiters:
                self._waiters.remove(waiter)
                wait = self._note_wait(waiter)
            closed, granted = self.closed, waiter.granted
        if wait is not None:
            self._tell_wait(wait, "timeout")
        if closed:
            if granted:
                self.give_back(1)
            raise self.refusal()
        if waiter.refused is not None:
            raise waiter.refused
        if not granted:
            raise BackpressureTimeoutError(timeout or 0.0, self.size)

    # -- giving back --------------------------------------------------------

    give = renamed("Credit.give", "release")
    bar = renamed("Credit.bar", "block")
    unbar = renamed("Credit.unbar", "unblock")

    def release(self, n: int) -> None:
        """`n` credits come home; those who wait get them, first come first served."""
        with self.lock:
            self._reserve += n
            if not self._waiters and not self._at_home:
                return
            woken: list[Wake] = []
            waits: list[int] = []
            while self._reserve > 0 and (waiter := self._next_waiter()) is not None:
                self._reserve -= waiter.takes
                waiter.granted = True
                woken.append(waiter.wake)
                waits.append(self._note_wait(waiter))
            if self._at_home and self.in_flight == 0:
                woken += self._at_home
                self._at_home = ()
        for wait in waits:
            self._tell_wait(wait, "admitted")
        for wake in woken:  # never under the lock
            wake()

    def _next_waiter(self) -> Waiter | None:
        """Remove and return the longest waiter that no block keeps out. Caller locks."""
        if not self._blocks:
            return self._waiters.popleft() if self._waiters else None
        for waiter in self._waiters:
            if (
                waiter.event is not None
                and self._refused_by_block(waiter.event) is None
            ):
                self._waiters.remove(waiter)
                return waiter
        return None

    def _note_wait(self, waiter: Waiter) -> int:
        """Record the end of a wait; return its duration in ns. Caller holds the lock."""
        now = time_ns()
        wait = now - waiter.since
        self.waits += 1
        self.waited += wait
        self.longest_wait = max(self.longest_wait, wait)
        begun, _, recent = self._recent
        self._recent = begun or waiter.since, now, recent + wait
        return wait

    def take_waits(self) -> tuple[int, int, int]:
        """Return the waits since the last call: begin, end and total.

        Zeros if there was no wait.
        """
        with self.lock:
            recent, self._recent = self._recent, (0, 0, 0)
            return recent

    def _tell_wait(self, wait: int, outcome: str) -> None:
        if self.on_wait is not None:
            self.on_wait(wait, outcome)

    def when_home(self, wake: Wake) -> None:
        """Call `wake` once, as soon as nothing is in flight."""
        with self.lock:
            if self.in_flight:
                self._at_home += (wake,)
                return
        wake()

    # -- keeping out ----------------------------------------------------------

    def block(self, block: AdmissionBlock) -> None:
        """Block admission. Senders that wait with an event in hand are refused."""
        with self.lock:
            self._blocks += (block,)
            self._gather_tokens()
            refused = []
            for waiter in tuple(self._waiters):
                if waiter.event is not None and not block.exempts(waiter.event):
                    self._waiters.remove(waiter)
                    waiter.refused = block.refusal()
                    refused.append((waiter, self._note_wait(waiter)))
        for waiter, wait in refused:
            self._tell_wait(wait, "cancelled")
            waiter.wake()

    def unblock(self, block: AdmissionBlock) -> None:
        """Let everybody in again, if no other block is left."""
        with self.lock:
            if block not in self._blocks:
                return
            self._blocks = tuple(other for other in self._blocks if other is not block)
        self.release(0)

    def _refused_by_block(self, event: Any) -> Exception | None:
        """Return the refusal of the first block that does not exempt the event. Caller locks."""
        for block in self._blocks:
            if not block.exempts(event):
                return block.refusal()
        return None

    # -- ending -------------------------------------------------------------

    def close(self, error: Exception | None = None, *, abandon: bool = False) -> None:
        """Refuse everyone from now on, and wake those who wait.

        Args:
            error: Raised at senders from now on, instead of StreamClosedError.
            abandon: The stream was disposed of: what is in flight need not be
                written any more.
        """
        with self.lock:
            self.abandoned = self.abandoned or abandon
            self.closed = True
            self.error = self.error or error
            self._gather_tokens()
            turned_away = [w for w in self._waiters if self.abandoned or not w.accepted]
            waits = []
            for waiter in turned_away:
                self._waiters.remove(waiter)
                waits.append(self._note_wait(waiter))
        for wait in waits:
            self._tell_wait(wait, "cancelled")
        for waiter in turned_away:
            waiter.wake()

    def give_up(self) -> None:
        """Note that the deadline of closing has passed: events in flight were told as lost.

        So it must not be written any more, even if the stream had ended before.
        """
        self.given_up = True
        self.close(abandon=True)

    def fail(self, error: Exception) -> None:
        """End the stream with `error`, since a write failed."""
        with self.lock:
            first, self.failed = not self.failed, True
            if first:
                self.error = error
        if first and self.on_failure is not None:
            self.on_failure(error)

    def refusal(self) -> Exception:
        """Return the error for a sender that comes too late."""
        return self.error or StreamClosedError()

    # -- waiting for more ---------------------------------------------------

    @property
    def is_stalled(self) -> bool:
        """True if nothing can move unless a stage lets go of what it has parked.

        There is no credit, and all that is in flight waits for more events, which
        cannot come. While anything else is under way its credit will come home, so
        it is worth waiting for: to leave whenever credit is zero would be TCP's
        silly window, one small acknowledgement, one small batch, for ever.
        """
        if self.free > 0 or self.size is None:
            return False
        return sum([stage.parked for stage in tuple(self._buffering)]) >= self.size

    def add_buffering(self, stage: Buffering) -> None:
        """Register a stage that begins to keep events until more come."""
        with self.lock:
            self._buffering.append(stage)

    def remove_buffering(self, stage: Buffering) -> None:
        """Remove a stage that has flushed everything."""
        with self.lock:
            if stage in self._buffering:
                self._buffering.remove(stage)

    def relieve(self) -> None:
        """If nothing can move, let the stage go that has parked for longest."""
        stages = tuple(self._buffering)
        if stages and self.is_stalled:
            stages[0].flush()


def _is_nowhere(thread: int) -> bool:
    """No thread hands on signals of a stream that has not begun."""
    return False
