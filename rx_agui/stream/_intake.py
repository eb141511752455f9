"""Where events wait before they are under way: a burst is swallowed, a flood waits.

    senders ──▶ ▒▒▒▒▒▒ event_buffer_size ──▶ ░░░ max_concurrent_events ──▶ written
                a place each, by weight          a flight each

`flow_control` lets a sender wait as soon as everything in flight is. Here the sender
waits only when the buffer in front of it is full too: in events or in bytes. An event
has a place from `send` until it is written; a large one has several, so that one bound
holds for both. It may go beyond the bound by itself, since it must pass some time; the
next one pays for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rx_agui.engine import Errors, Operator, Stage, Subscription, lift
from rx_agui.errors import BufferOverflowError
from rx_agui.flow import NO_PERMIT, Credit, Permit
from rx_agui.frame import Frame
from rx_agui.operators._flow_control import WindowedHead, _FlowControl

__all__ = ["Ledger", "intake"]


def intake(
    max_concurrent_events: int,
    *,
    buffer_size: int,
    buffer_bytes: int,
    timeout: float | None,
    is_reader: Callable[[int], bool] = lambda _: False,
    ledger: Ledger | None = None,
    errors: Errors = None,
) -> Operator:
    """As `flow_control` behind a Gate, with a buffer that senders fill before they wait.

    Args:
        max_concurrent_events, timeout, errors: As there.
        buffer_size, buffer_bytes: The buffer in front of those that are in flight.
        is_reader: Whether a thread is the reader's, who must not wait for itself.
        ledger: Where to count who was let in.
    """
    return lift(
        _Intake,
        max_concurrent_events,
        buffer_size,
        buffer_bytes,
        timeout,
        is_reader,
        ledger or Ledger(),
        errors,
    )


class Ledger:
    """Events that were accepted: each is delivered, or told of, or reported as lost."""

    __slots__ = ("accepted",)

    def __init__(self) -> None:
        self.accepted = 0


class _Intake(_FlowControl):
    """The stage is flow_control's own; what differs is who may come in."""

    __slots__ = ()

    def __init__(
        self,
        subscription: Subscription,
        size: int,
        buffer_size: int,
        buffer_bytes: int,
        timeout: float | None,
        is_reader: Callable[[int], bool],
        ledger: Ledger,
        errors: Errors,
    ) -> None:
        Stage.__init__(self, subscription, errors)
        subscription.head = _Buffered(
            subscription,
            self,
            size,
            buffer_size,
            buffer_bytes,
            timeout,
            is_reader,
            ledger,
        )

    @property
    def levels(self) -> dict[str, int]:
        places = self.credit
        assert isinstance(places, _Places)
        return {
            **super().levels,
            "flow_control.inflight": places.flights.in_flight,
            "flow_control.limit": places.flights.size or 0,
        }


class _Places(Credit):
    """Who has a place; and whether those who have one are under way.

    What comes home here gives both back, in one step. What waits in the buffer has a
    place and no flight.
    """

    __slots__ = ("flights",)

    def __init__(self, size: int, flights: int) -> None:
        super().__init__(size)
        self.flights = Credit(flights)

    def release(self, n: int) -> None:
        super().release(n)
        self.flights.release(n)

    def give_back(self, n: int) -> None:
        super().release(n)  # whoever gives up waiting for a place has no flight

    def charge(self, n: int) -> None:
        super().charge(n)
        self.flights.charge(n)

    def close(self, error: Exception | None = None, *, abandon: bool = False) -> None:
        # Who has a place was accepted, and still gets a flight; unless all is over.
        super().close(error, abandon=abandon)
        if abandon:
            self.flights.close(error, abandon=True)

    @property
    def is_stalled(self) -> bool:
        if self.flights.free > 0 and self.free > 0:
            return False
        parked = sum([stage.parked for stage in tuple(self._buffering)])
        return parked >= min(self.flights.size or 0, self.in_flight)


class _Weight(Credit):
    """The places of an event beyond its first: they say how large it is."""

    __slots__ = ("_places",)

    def __init__(self, places: _Places) -> None:
        super().__init__(None)
        self._places = places

    def take(self, n: int) -> Permit:
        Credit.charge(self._places, n)
        return Permit(self, n)

    def release(self, n: int) -> None:
        Credit.release(self._places, n)


class _Buffered(WindowedHead):
    """The head: a place first, which a sender may have to wait for; then a flight."""

    def __init__(
        self,
        subscription: Subscription,
        stage: _Intake,
        size: int,
        buffer_size: int,
        buffer_bytes: int,
        timeout: float | None,
        is_reader: Callable[[int], bool],
        ledger: Ledger,
    ) -> None:
        super().__init__(subscription, stage, size, buffer_size, timeout, "wait")
        places = size + buffer_size
        is_ours = subscription.executor.is_owned_by
        self._places = _Places(places, size)
        self._places.is_inside = lambda thread: is_ours(thread) or is_reader(thread)
        self._places.on_failure = self.credit.on_failure
        self._flights = self._places.flights
        self.credit = self._asked.credit = self._places
        self._weight = _Weight(self._places)
        #: Bytes that one place is good for.
        self._portion = max(buffer_bytes // places, 1)
        self._ledger = ledger

    def _takes(self, frame: Frame) -> bool:
        if not self._may_not_wait():
            self._places.wait(self.timeout, frame)
        elif not self._places.acquire():
            raise BufferOverflowError(self._limit)
        return True

    def admit_many(self, events: list[Any]) -> int:
        return 0  # each has a weight of its own

    def _has_room_for(self, prepared: Any) -> bool:
        if not self._places.acquire():
            raise BufferOverflowError(self._limit)
        self.admit(prepared)
        return False

    def admit(self, prepared: Any) -> None:
        """Let an event in that has a place: under way, or to wait in the buffer."""
        with self._mutex:
            self._ledger.accepted += 1
        data = prepared if type(prepared) is bytes else prepared.data
        more = len(data) // self._portion
        if not more:
            self._go_or_wait(prepared)
            return
        frame = Frame(data) if type(prepared) is bytes else prepared
        weight = self._weight.take(more)
        outer = frame._permit
        if outer is not NO_PERMIT:
            weight = Permit(self._weight, 0, (weight, frame.permit.hold()))
        frame._permit = weight
        try:
            self._go_or_wait(frame)
        finally:
            weight.release()

    def _go_or_wait(self, prepared: Any) -> None:
        # The queue is left in turn; whoever finds it empty comes behind it all the same.
        if not self._queue and self._flights.acquire():
            super().admit(prepared)
            self._relieve()
        else:
            frame = Frame(prepared) if type(prepared) is bytes else prepared
            frame.permit.hold()  # of its weight
            with self._mutex:
                self._keep(frame)
            self._wake()

    @property
    def in_flight(self) -> int:
        return self._flights.in_flight

    def _let_in(self, frame: Any) -> None:
        if self.top._ended:  # meanwhile: a write failed, or all was disposed of
            lost = Frame(frame) if type(frame) is bytes else frame
            self._lose("write_failed" if self._places.failed else "cancelled", lost)
        super()._let_in(frame)
        self._relieve()

    def _relieve(self) -> None:
        if not self._flights.tokens:  # all may be parked in a batch that is larger
            self._places.relieve()

    def _has_credit(self) -> bool:
        if self._waiter is None:
            try:
                self._waiter = self._flights.acquire_or(self._wake, accepted=True)
            except Exception:  # disposed of; what came to the queue since goes as well
                self._lose_queue("cancelled")
                return False
            if self._waiter is None:
                return True
        if self._waiter.granted:
            self._waiter = None
            return True
        return False

    def _lose_queue(self, reason: str) -> int:
        lost = super()._lose_queue(reason)
        Credit.release(self._places, lost)  # what waits has a place, and no flight
        return lost

    def abandon(self) -> int:
        lost = self._flights.in_flight + len(self._queue)
        self._places.give_up()
        self.subscription.dispose()
        return lost

    def _forget(self, _: object) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            self._flights.leave(waiter)
        self._lose_queue("cancelled")
