"""The way in for code that pushes: a thread, a coroutine, a callback.

    gate = Gate()
    gate.pipe(flow_control(), ...).subscribe(...)

    gate.send(event)              a thread: blocks while the reader is behind
    await gate.asend(event)       a coroutine: awaits
    gate.try_send(event)          a callback: says whether there was room
    gate.close()                  no more events; waits until all are written

A Gate is hot and has one subscriber. Whatever it accepts is delivered or told of.
Chosen over RxPY's Subject, whose `on_next` costs ten times a bare call, waits
for no one, and interleaves threads in the sink.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from reactivex.abc import DisposableBase
from reactivex.disposable import Disposable

from rx_agui.clock import Timer, running_loop
from rx_agui.errors import (
    AlreadySubscribedError,
    BackpressureTimeoutError,
    CircuitOpenError,
    DrainTimeoutError,
    FlowControlError,
    NotSubscribedError,
    OverloadedError,
    StreamClosedError,
    StreamError,
    ValidationError,
    WouldBlockError,
)
from rx_agui.flow._credit import Credit
from rx_agui.flow._pull import Demand, PullSource
from rx_agui.types import Item

__all__ = ["Gate"]

#: "As the flow_control behind the gate says", since None means: for ever.
_AS_CONFIGURED: float = -1.0

#: Events that `send_many` lets in at a time: 20 µs in which no other thread has a turn.
_TOGETHER = 128

#: What says that an event will not be seen; the sender is told, and it is counted.
_NOT_LET_IN = (
    ValidationError,
    BackpressureTimeoutError,
    CircuitOpenError,
    OverloadedError,
)


class Gate(PullSource):
    """Lets in events from any thread or coroutine, as the reader has room.

    >>> from rx_agui import flow_control, unbatch
    >>> gate = Gate()
    >>> _ = gate.pipe(flow_control(), unbatch()).subscribe(print)
    >>> gate.send({"type": "STEP_STARTED", "stepName": "think"})
    {'type': 'STEP_STARTED', 'stepName': 'think'}
    >>> gate.close()
    >>> gate.send({"type": "STEP_FINISHED", "stepName": "think"})
    Traceback (most recent call last):
    ...
    rx_agui.errors.StreamClosedError: the gate was closed
    """

    def __init__(self) -> None:
        super().__init__()
        self._link: Demand | None = None
        self._mutex = threading.Lock()
        self._subscribed = False
        self._closed = False
        #: One entry for each sender inside. A list counts in one step, without a lock.
        self._senders: list[None] = []
        self._completed = False
        self._drained = threading.Event()
        self._wakers: list[Callable[[], object]] = []
        self._deadline: Timer | None = None
        self._awaits_deadline = False  # completed, and no deadline was given
        self._gave_up = False
        self._late: DrainTimeoutError | None = None

    # -- sending ------------------------------------------------------------

    def send(self, event: Item, timeout: float | None = _AS_CONFIGURED) -> None:
        """Let an event in, blocking this thread while the reader is behind.

        Args:
            event: Anything `rx_agui.agui.encoding.encode` takes.
            timeout: Seconds to wait at most; None: as long as it takes. The default
                is the `timeout` of the `flow_control` behind the gate.

        Raises:
            BackpressureTimeoutError: The reader made no room in time; the event was not
                let in, and may be sent again.
            CircuitOpenError, Overloaded: A `circuit_breaker` or `degrade` behind the gate
                refuses; the event was not let in.
            WouldBlockError: There is no room, and this thread runs the event loop or is
                inside this stream's own `on_next`. At once, whatever the timeout.
            ValidationError: The event cannot be encoded.
            NotSubscribedError, StreamClosedError: There is no subscriber yet, or no longer. If a write
                failed, its error is raised instead.
        """
        # What all of these have in common is written out: it is done for every event.
        self._senders.append(None)
        try:
            link = self._link
            if self._closed or link is None:
                raise self._refusal()
            if not link.admit_now(event):
                self._send_slowly(link, event, timeout)
        except _NOT_LET_IN as error:
            self._lose(error)
            raise
        finally:
            self._senders.pop()
            if self._closed:
                self._complete_behind_senders()

    async def asend(self, event: Item) -> None:
        """Let an event in, awaiting while the reader is behind.

        Cancelling gives back what was granted meanwhile, so `asyncio.timeout` bounds
        the wait without losing credit.

        Raises:
            As `send`, but never BackpressureTimeoutError or WouldBlockError.
        """
        self._senders.append(None)
        try:
            link = self._link
            if self._closed or link is None:
                raise self._refusal()
            if not link.admit_now(event):
                await self._asend_slowly(link, event)
        except _NOT_LET_IN as error:
            self._lose(error)
            raise
        finally:
            self._senders.pop()
            if self._closed:
                self._complete_behind_senders()

    def _send_slowly(self, link: Demand, event: Item, timeout: float | None) -> None:
        prepared = link.prepare(event)
        if not link.waits and link.offer(prepared):
            return
        credit = link.credit
        if not credit.acquire() and not credit.acquire_despite(prepared):
            self._refuse_to_block(link)
            wait = link.timeout if timeout == _AS_CONFIGURED else timeout
            credit.wait(wait, prepared)
        link.admit(prepared)

    async def _asend_slowly(self, link: Demand, event: Item) -> None:
        prepared = link.prepare(event)
        if not link.waits and link.offer(prepared):
            return
        credit = link.credit
        if not credit.acquire() and not credit.acquire_despite(prepared):
            await self.await_credit(link, prepared)
        link.admit(prepared)

    def send_many(
        self, events: Sequence[Item], timeout: float | None = _AS_CONFIGURED
    ) -> None:
        """Let several events in, in order, for about half of what as many `send` cost.

        Args:
            events: As many as are there; for 50 at a time most of that is saved.
            timeout: Seconds to wait at most for each event; as in `send`.

        Raises:
            As `send`. The events before the one that failed were let in; a note on the
            error says how many.
        """
        at = 0
        try:
            while at < len(events):
                at += self._let_in_together(events[at : at + _TOGETHER])
                if at < len(events):
                    self.send(events[at], timeout)
                    at += 1
        except Exception as error:
            error.add_note(f"{at} of {len(events)} events were let in before")
            raise

    async def asend_many(self, events: Sequence[Item]) -> None:
        """As `send_many`, awaiting while the reader is behind."""
        at = 0
        try:
            while at < len(events):
                at += self._let_in_together(events[at : at + _TOGETHER])
                if at < len(events):
                    await self.asend(events[at])
                    at += 1
        except Exception as error:
            error.add_note(f"{at} of {len(events)} events were let in before")
            raise

    def _let_in_together(self, events: Sequence[Item]) -> int:
        """Let in as many as there is credit for and can be encoded at once: how many."""
        self._senders.append(None)
        try:
            link = self._link
            if self._closed or link is None:
                raise self._refusal()
            if len(events) == 1 or not link.waits:
                return 0
            credit = link.credit
            n = credit.acquire_many(len(events))
            taken = link.admit_many(list(events[:n])) if n else 0
            if taken < n:
                credit.give_back(n - taken)
            return taken
        finally:
            self._senders.pop()
            if self._closed:
                self._complete_behind_senders()

    async def await_credit(self, link: Demand, prepared: Any) -> None:
        """There is none just now: await one."""
        await link.credit.awaited(prepared)

    def try_send(self, event: Item) -> bool:
        """Let an event in if there is room now, and nothing refuses it. Whether it was.

        Raises:
            As `send`, but never BackpressureTimeoutError, CircuitOpenError, Overloaded or
            WouldBlockError.
        """
        self._senders.append(None)
        try:
            link = self._link
            if self._closed or link is None:
                raise self._refusal()
            if link.admit_now(event):
                return True
            prepared = link.prepare(event)
            if not link.waits:
                return link.offer(prepared)
            credit = link.credit
            if not credit.acquire() and not self._is_spared(credit, prepared):
                return False
            link.admit(prepared)
            return True
        except _NOT_LET_IN as error:
            self._lose(error)
            raise
        finally:
            self._senders.pop()
            if self._closed:
                self._complete_behind_senders()

    # -- closing ------------------------------------------------------------

    def close(self, timeout: float = 30.0) -> None:
        """Refuse new events, complete the stream, and wait until all is written.

        On an event loop, or inside this stream's own `on_next`, waiting would stop
        what is waited for: there it starts the drain and returns, and the deadline
        still holds. `await aclose()` waits on a loop. Without `flow_control` no credit is
        out, and there is nothing to wait for: wait for the writer's `done` instead.

        Args:
            timeout: Seconds until what is left is dropped and counted.

        Raises:
            DrainTimeoutError: The deadline passed; it says how many events were lost.
        """
        self._shut(timeout)
        if self._may_block():
            if not self._drained.wait(min(timeout, threading.TIMEOUT_MAX)):
                self._give_up(timeout)
                self._drained.wait()  # for another thread that gives up
            self._report()

    async def aclose(self, timeout: float = 30.0) -> None:  # noqa: ASYNC109  # a drain has a deadline
        """As `close`, awaiting instead of blocking."""
        self._shut(timeout)
        loop = asyncio.get_running_loop()
        home = asyncio.Event()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(home.set)

        with self._mutex:
            drained = self._drained.is_set()
            if not drained:
                self._wakers.append(wake)
        if not drained:
            try:
                async with asyncio.timeout(timeout):
                    await home.wait()
            except TimeoutError:
                self._give_up(timeout)
                await home.wait()  # for another thread that gives up
        self._report()

    @property
    def link(self) -> Demand | None:
        """Where events go; None before the first subscription."""
        return self._link

    @property
    def is_closed(self) -> bool:
        """True if the gate refuses events."""
        return self._closed

    def complete(self) -> None:
        """Refuse new events and complete the stream, and wait for nothing.

        What was let in is delivered, however long that takes. `close` may follow.
        """
        with self._mutex:
            if self._closed:
                return
            self._closed = self._awaits_deadline = True
            link = self._link
        if link is None:
            self._end_drain()
            return
        link.credit.close(StreamClosedError("the gate was closed"))  # wakes senders
        self._complete_behind_senders()

    def _shut(self, timeout: float) -> None:
        self.complete()
        link = self._link
        with self._mutex:
            due = self._awaits_deadline and not self._drained.is_set()
            self._awaits_deadline = False
        if due and link is not None:
            self._deadline = link.clock.after(timeout, lambda: self._give_up(timeout))
            if self._drained.is_set():  # meanwhile
                self._deadline.cancel()

    def _complete_behind_senders(self) -> None:
        """Complete the closed stream, if no sender is inside any more. Once."""
        link = self._link
        with self._mutex:
            # A sender that comes from now on sees that we are closed.
            if self._senders or self._completed:
                return
            self._completed = True
        if link is not None:
            link.complete()
            link.credit.when_home(self._end_drain)

    def _give_up(self, timeout: float) -> None:
        with self._mutex:
            if self._link is None or self._gave_up or self._drained.is_set():
                return
            self._gave_up = True
        try:
            lost = self._link.abandon()
            if lost:
                self._late = DrainTimeoutError(lost, timeout)
        finally:
            self._end_drain(gave_up=True)

    def _end_drain(self, gave_up: bool = False) -> None:
        with self._mutex:
            if self._gave_up and not gave_up:
                return  # the caller that gives up reports what is lost
            self._drained.set()
            wakers, self._wakers = self._wakers, []
        if self._deadline is not None:
            self._deadline.cancel()
        for wake in wakers:
            wake()

    def _report(self) -> None:
        late, self._late = self._late, None
        if late is not None:
            raise late

    # -- the subscription ---------------------------------------------------

    def attach(self, link: Demand) -> DisposableBase:
        with self._mutex:
            taken, self._subscribed = self._subscribed, True
            closed = self._closed
            if not taken and not closed:
                self._link = link
        if taken:
            link.fail(AlreadySubscribedError("a Gate", "use Hub for more viewers"))
        elif closed:
            link.complete()
        else:
            return Disposable(self._unsubscribed)
        return Disposable()

    def _unsubscribed(self) -> None:
        self._closed = True
        if self._link is not None:
            self._link.credit.when_home(self._end_drain)

    # -- who is inside ------------------------------------------------------

    def _refusal(self) -> Exception:
        """Return what to raise at a sender of a gate that is not open."""
        link = self._link
        if not self._closed:
            return NotSubscribedError()
        return (
            StreamClosedError("the gate was closed")
            if link is None
            else link.credit.refusal()
        )

    def _lose(self, error: StreamError) -> None:
        if self._link is not None:
            self._link.lose(error)

    def _is_spared(self, credit: Credit, prepared: Any) -> bool:
        try:
            return credit.acquire_despite(prepared)
        except FlowControlError:
            return False

    def _may_block(self) -> bool:
        link = self._link
        if running_loop() is not None:
            return False
        if link is None:
            return True
        inside = link.credit.is_inside(threading.get_ident())
        return not inside and not link.clock.must_not_wait()

    def _refuse_to_block(self, link: Demand) -> None:
        if running_loop() is not None:
            raise WouldBlockError(
                "`await asend(event)` here, or `try_send(event)`: no credit is free, and "
                "waiting in `send` would stop the event loop"
            )
        if link.credit.is_inside(threading.get_ident()):
            raise WouldBlockError(
                "no credit is free, and this is the stream's own on_next, which must "
                "return before any comes home: use `try_send(event)`"
            )
        if link.clock.must_not_wait():
            raise WouldBlockError(
                "no credit is free, and waiting here would stop the stream's "
                "scheduler: use `try_send(event)`, or send from another thread"
            )
