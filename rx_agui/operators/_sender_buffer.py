"""A buffer that senders fill before they wait: a burst is swallowed, a flood waits.

    senders ──▶ ▒▒▒▒▒▒ sender_buffer ──▶ ░░░ max_concurrent_events ──▶ written
                a place each, by weight      a flight each

`flow_control` lets a sender wait as soon as everything in flight is. With a sender's
buffer it waits only when the buffer in front is full too: in events or in bytes. An
event has a place from `send` until it is written; a large one has several, so that one
bound holds for both. It may go beyond the bound by itself, since it must pass some time;
the next one pays for it.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from rx_agui.engine import QueuedSink, Stage, Subscription
from rx_agui.errors import BufferOverflowError
from rx_agui.flow import NO_PERMIT, Credit, Permit
from rx_agui.frame import Frame
from rx_agui.operators._window import Quick, WindowedHead

__all__ = ["BufferedHead"]


class _Places(Credit):
    """The credit of places; of the events that have one, `flights` are under way.

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
        super().release(n)  # a sender that gives up waiting for a place has no flight

    def charge(self, n: int) -> None:
        super().charge(n)
        self.flights.charge(n)

    def close(self, error: Exception | None = None, *, abandon: bool = False) -> None:
        # An event that has a place was accepted, and still gets a flight.
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
    """The places of an event beyond its first, which say how large it is."""

    __slots__ = ("_places",)

    def __init__(self, places: _Places) -> None:
        super().__init__(None)
        self._places = places

    def take(self, n: int) -> Permit:
        """Take `n` places at once, even if that leaves fewer than none."""
        Credit.charge(self._places, n)
        return Permit(self, n)

    def release(self, n: int) -> None:
        Credit.release(self._places, n)


class BufferedHead(WindowedHead):
    """The head of flow_control with a sender's buffer: a place first, then a flight."""

    __slots__ = ("_places", "_portion", "_weight")

    def __init__(
        self,
        subscription: Subscription,
        stage: Stage,
        size: int,
        buffer_size: int,
        buffer_bytes: int,
        timeout: float | None,
    ) -> None:
        places = size + buffer_size
        self._places = _Places(places, size)
        super().__init__(
            subscription, stage, self._places, buffer_size, timeout, "wait"
        )
        self.flights = self._places.flights
        self.queue.frames = deque()
        self._weight = _Weight(self._places)
        #: Bytes that one place is good for.
        self._portion = max(buffer_bytes // places, 1)

    def _quick(self, sink: QueuedSink, largest: float = 0.0) -> Quick:
        return super()._quick(sink, largest or self._portion)

    def _takes(self, frame: Frame | bytes) -> bool:
        if not self._may_not_wait():
            self._places.wait(self.timeout, frame)
        elif not self._places.acquire():
            raise BufferOverflowError(self.queue.limit)
        return True

    def _has_room_for(self, prepared: Any) -> bool:
        if not self._places.acquire():
            raise BufferOverflowError(self.queue.limit)
        self.admit(prepared)
        return False

    def admit_many(self, events: list[Any]) -> int:
        return 0  # each has a weight of its own

    def admit(self, prepared: Any) -> None:
        """Let an event in that has a place: under way, or to wait in the buffer."""
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
        # The queue is left on the executor; an event that finds it empty is behind it.
        if not self.queue.frames and self.flights.acquire():
            if self._sink is not None:
                super().admit(prepared)
                return
            if self.subscription.try_execute(self._let_in, prepared):
                self._relieve()
                return
            self.flights.release(1)
        if type(prepared) is not bytes:
            prepared.permit.hold()
        self.queue.frames.append(prepared)
        self._wake()

    def absorb(self, _: object = None) -> None:
        super().absorb()
        self._relieve()

    def _let_in_queue(self) -> None:
        super()._let_in_queue()
        self._relieve()

    def _drop_late(self, events: int, tokens: int) -> None:
        super()._drop_late(events, tokens)
        self._lose("write_failed" if self._places.failed else "cancelled", events)

    def _relieve(self) -> None:
        if not self.flights.tokens:  # all may be parked in a batch that is larger
            self._places.relieve()

    def _drop_queue(self, reason: str) -> int:
        lost = super()._drop_queue(reason)
        Credit.release(self._places, lost)  # what waits has a place, and no flight
        return lost
