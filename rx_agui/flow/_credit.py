"""What may be in flight, and what an event carries while it is.

    flow_control      batch              writer
    takes a credit    holds the permit   holds it until the bytes are written
        │                 │                  │
        ▼                 ▼                  ▼
    ┌────────┐ Permit ┌────────┐ Permit ┌────────┐
    │ Credit │───────▶│ ░░░░░  │───────▶│ ░      │──▶ write
    └────────┘        └────────┘        └────────┘
        ▲                                    │
        └──────── the credit comes home ─────┘

A Credit is the window of one subscription. Every event let in takes one, as a
Permit on its frame. The rule is Netty's: whoever keeps a frame beyond `on_next`
calls `hold`, and `release` when done; the last release brings the credit home.
If nobody holds, it comes home when `on_next` returns, so a plain
`.subscribe(print)` never stalls and never leaks.

Chosen over Reactive Streams' request(n), which every operator in between would
have to pass up, and RxPY's do not: a permit rides through them unseen.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from rx_agui.clock import running_loop
from rx_agui.errors import BackpressureTimeout, StreamClosed, require_positive

__all__ = ["NO_PERMIT", "Credit", "Permit"]

Wake = Callable[[], object]


class _Waiter:
    """Someone who waits for one credit."""

    __slots__ = ("accepted", "granted", "wake")

    def __init__(self, wake: Wake, accepted: bool) -> None:
        self.wake = wake
        self.accepted = accepted
        self.granted = False


class Credit:
    """The window of one subscription: how many events may be in flight.

    Any thread may use it. Credit that comes home is handed to whoever has waited
    longest, never raced for, so nobody starves.

    >>> credit = Credit(1)
    >>> credit.acquire(), credit.acquire()
    (True, False)
    >>> credit.give(1)
    >>> credit.free
    1

    Args:
        size: Events in flight at most. None: no bound, and nothing is counted.
    """

    __slots__ = (
        "_at_home",
        "_parked",
        "_parkers",
        "_pending",
        "_waiters",
        "abandoned",
        "closed",
        "error",
        "failed",
        "free",
        "keeper",
        "lock",
        "on_failure",
        "owners",
        "size",
    )

    def __init__(self, size: int | None = None) -> None:
        require_positive(size=size)
        self.size = size
        self.free = size or 0
        self.closed = False
        self.abandoned = False
        self.error: Exception | None = None
        self.failed = False
        self.lock = threading.Lock()
        self.on_failure: Callable[[Exception], object] | None = None
        #: The thread that lets events in now. What it brings home meanwhile is
        #: given back in one step: in two, producers would wake for a window of one.
        self.keeper = 0
        #: Asked whether the thread that is about to wait is inside this stream.
        self.owners: list[Callable[[int], bool]] = []
        self._pending = 0
        self._waiters: deque[_Waiter] = deque()
        self._parked = 0
        self._parkers: list[Wake] = []
        self._at_home: list[Wake] = []

    # -- taking -------------------------------------------------------------

    @property
    def in_flight(self) -> int:
        """Events let in and not yet written, dropped or stored on purpose."""
        return 0 if self.size is None else self.size - self.free

    def acquire(self) -> bool:
        """Take a credit if one is free and nobody has waited longer.

        Raises:
            StreamClosed: The stream has ended; or the error that ended it.
        """
        with self.lock:
            if self.closed:
                raise self.refusal()
            if self.size is None:
                return True
            if self.free > 0 and not self._waiters:
                self.free -= 1
                return True
            return False

    def acquire_or(self, wake: Wake, *, accepted: bool = False) -> _Waiter | None:
        """Take a credit (None), or queue for one: `wake` is called once it is ours.

        It is also called when the stream closes; then `waiter.granted` is False.

        Args:
            accepted: It is for an event that was accepted: closing does not undo it.
        """
        with self.lock:
            if self.abandoned or (self.closed and not accepted):
                raise self.refusal()
            if self.size is None:
                return None
            if self.free > 0 and not self._waiters:
                self.free -= 1
                return None
            waiter = _Waiter(wake, accepted)
            self._waiters.append(waiter)
            return waiter

    def leave(self, waiter: _Waiter) -> None:
        """Wait no longer. What was granted meanwhile is given back."""
        with self.lock:
            granted = waiter.granted
            if not granted and waiter in self._waiters:
                self._waiters.remove(waiter)
        if granted:
            self.give(1)

    def wait(self, timeout: float | None) -> None:
        """Block this thread until a credit is ours.

        Raises:
            BackpressureTimeout: None came home within `timeout` seconds.
            StreamClosed: The stream ended meanwhile; or the error that ended it.
        """
        if self.acquire():
            return
        came = threading.Event()
        waiter = self.acquire_or(came.set)
        if waiter is None:
            return
        try:
            in_time = came.wait(timeout)
        except BaseException:  # KeyboardInterrupt
            self.leave(waiter)
            raise
        self._settle(waiter, in_time, timeout)

    async def awaited(self) -> None:
        """Await a credit. Cancellation gives back what was granted meanwhile.

        Raises:
            StreamClosed: The stream ended meanwhile; or the error that ended it.
        """
        if self.acquire():
            return
        loop = asyncio.get_running_loop()
        came = loop.create_future()

        def wake() -> None:
            if running_loop() is loop:
                if not came.done():
                    came.set_result(None)
            elif not loop.is_closed():
                loop.call_soon_threadsafe(wake)

        waiter = self.acquire_or(wake)
        if waiter is None:
            return
        try:
            await came
        except BaseException:  # cancelled
            self.leave(waiter)
            raise
        self._settle(waiter, in_time=True, timeout=None)

    def _settle(self, waiter: _Waiter, in_time: bool, timeout: float | None) -> None:
        with self.lock:
            if not in_time and not waiter.granted and waiter in self._waiters:
                self._waiters.remove(waiter)
            closed, granted = self.closed, waiter.granted
        if closed:
            if granted:
                self.give(1)
            raise self.refusal()
        if not granted:
            raise BackpressureTimeout(timeout or 0.0, self.size)

    def is_inside(self, thread: int) -> bool:
        """Whether `thread` is handing on a signal of this stream just now.

        For it to wait would be to wait for itself.
        """
        return any(owns(thread) for owns in tuple(self.owners))

    # -- giving back --------------------------------------------------------

    def give(self, n: int) -> None:
        """`n` credits come home; those who wait get them, first come first served."""
        if self.size is None or n == 0:
            return
        if self.keeper and self.keeper == threading.get_ident():
            self._pending += n
            return
        woken: list[Wake] = []
        with self.lock:
            self.free += n
            while self._waiters and self.free > 0:
                self.free -= 1
                waiter = self._waiters.popleft()
                waiter.granted = True
                woken.append(waiter.wake)
            if self._at_home and self.free == self.size:
                woken += self._at_home
                self._at_home.clear()
        for wake in woken:  # never under the lock
            wake()

    def give_pending(self) -> None:
        """The keeper is done with an event: what it brought home counts now."""
        self.keeper = 0
        if self._pending:
            n, self._pending = self._pending, 0
            self.give(n)

    def when_home(self, wake: Wake) -> None:
        """Call `wake` once, as soon as nothing is in flight."""
        with self.lock:
            if self.size is not None and self.free < self.size:
                self._at_home.append(wake)
                return
        wake()

    # -- ending -------------------------------------------------------------

    def close(self, error: Exception | None = None, *, abandon: bool = False) -> None:
        """Refuse everyone from now on, and wake those who wait.

        Args:
            error: Raised at whoever sends from now on, instead of StreamClosed.
            abandon: The stream was disposed of: what is in flight need not be
                written any more.
        """
        with self.lock:
            self.abandoned = self.abandoned or abandon
            self.closed = True
            self.error = self.error or error
            turned_away = [w for w in self._waiters if self.abandoned or not w.accepted]
            for waiter in turned_away:
                self._waiters.remove(waiter)
        for waiter in turned_away:
            waiter.wake()

    def fail(self, error: Exception) -> None:
        """A write failed: the stream ends with `error`."""
        with self.lock:
            first, self.failed = not self.failed, True
            if first:
                self.error = error
        if first and self.on_failure is not None:
            self.on_failure(error)

    def refusal(self) -> Exception:
        """What to raise at someone who comes too late."""
        return self.error or StreamClosed()

    # -- waiting for more ---------------------------------------------------

    @property
    def parked(self) -> int:
        """Events in flight that a stage keeps until more come."""
        return self._parked

    @property
    def is_stalled(self) -> bool:
        """Whether nothing can move unless a stage lets go of what it has parked.

        There is no credit, and all that is in flight waits for more events, which
        cannot come. While anything else is under way its credit will come home, so
        it is worth waiting for: to leave whenever credit is zero would be TCP's
        silly window, one small acknowledgement, one small batch, for ever.
        """
        return self.free == 0 and self.size is not None and self._parked >= self.size

    def parks_here(self, flush: Wake) -> None:
        """A stage begins to park events; `flush` makes it let them go."""
        with self.lock:
            self._parkers.append(flush)

    def parks_no_more(self, flush: Wake) -> None:
        """The stage has let everything go."""
        with self.lock:
            if flush in self._parkers:
                self._parkers.remove(flush)

    def relieve(self) -> None:
        """If nothing can move, let the stage go that has parked for longest."""
        with self.lock:
            flush = self._parkers[0] if self.is_stalled and self._parkers else None
        if flush is not None:
            flush()


class Permit:
    """Credits that come home when the last who holds it lets go.

    `flow_control` puts one on each frame and holds it while `on_next` runs. A
    batch has one for all its events; the pieces of a chunked payload share one.
    """

    __slots__ = ("_credit", "_holds", "_lock", "_n", "_parks", "_parts")

    def __init__(
        self, credit: Credit, n: int = 1, parts: Sequence[Permit] = ()
    ) -> None:
        self._credit = credit
        self._lock = credit.lock
        self._n = n
        self._holds = 1
        self._parks = 0
        self._parts = parts

    @property
    def credit(self) -> Credit | None:
        """Where the credits came from, and go."""
        return self._credit

    @property
    def is_abandoned(self) -> bool:
        """Whether the stream was disposed of: the frame need not be written."""
        return self._credit.abandoned

    def hold(self) -> Permit:
        """Keep the frame beyond `on_next`. Call `release` when done with it."""
        with self._lock:
            self._holds += 1
        return self

    def park(self) -> bool:
        """Hold the frame until more come. True if now nothing can move (stalled)."""
        credit = self._credit
        with self._lock:
            self._holds += 1
            self._parks += 1
            if self._parks == 1:
                credit._parked += self._weight()
            return credit.is_stalled

    def unpark(self) -> None:
        """Hold it still, but not for want of more events."""
        with self._lock:
            self._unpark()

    def release(self, error: Exception | None = None) -> None:
        """Be done with the frame: written, dropped, or stored elsewhere.

        Args:
            error: The frame could not be written. The stream ends with this error.
        """
        credit = self._credit
        if error is not None:
            credit.fail(error)
        with self._lock:
            n = self._let_go()
            parts: Sequence[Permit] = ()
            if not self._holds and self._parts:
                parts, self._parts = self._parts, ()
                for part in parts:
                    if part._credit is credit and not part._parts:
                        n += part._let_go()
        for part in parts:
            if part._credit is not credit or part._parts:
                part.release(error)
        credit.give(n)

    def _let_go(self) -> int:
        """One hold less. How many credits that frees. Under the lock."""
        if self._holds == 0:
            return 0
        self._holds -= 1
        if self._holds:
            return 0
        n, self._n = self._n, 0
        return n

    def _unpark(self) -> None:
        if self._parks:
            self._parks -= 1
            if self._parks == 0:
                self._credit._parked -= self._weight()

    def _weight(self) -> int:
        """Credits that cannot come home before this permit lets go."""
        return self._n + sum(part._n for part in self._parts)

    @staticmethod
    def gather(permits: Iterable[Permit]) -> Permit:
        """One permit for many parked frames. It takes over one hold of each."""
        waiting = [p for p in permits if p is not NO_PERMIT]
        if not waiting:
            return NO_PERMIT
        credit = waiting[0]._credit
        n = 0
        shared: list[Permit] = []
        with credit.lock:
            for permit in waiting:
                if permit._credit is not credit:
                    shared.append(permit)
                    continue
                permit._unpark()
                if permit._holds == 1 and not permit._parts:
                    n += permit._n
                    permit._n = permit._holds = 0
                else:
                    shared.append(permit)
        for permit in shared:
            if permit._credit is not credit:
                permit.unpark()
        return Permit(credit, n, shared)


class _NoPermit(Permit):
    """The permit of a frame that nobody counts."""

    __slots__ = ()

    def __init__(self) -> None: ...

    @property
    def credit(self) -> Credit | None:
        return None

    @property
    def is_abandoned(self) -> bool:
        return False

    def hold(self) -> Permit:
        return self

    def park(self) -> bool:
        return False

    def unpark(self) -> None: ...

    def release(self, error: Exception | None = None) -> None: ...

    def __repr__(self) -> str:
        return "NO_PERMIT"


#: The permit of a frame that nobody counts: there was no flow_control.
NO_PERMIT: Final[Permit] = _NoPermit()
