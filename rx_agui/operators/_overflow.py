"""What happens to an event for which there is no credit, where nothing may wait.

    event ──▶ EventQueue.put ──▶ ▒▒▒▒ limit ──▶ let in when a credit comes home
                    │
                    └ full: refuse it · drop the oldest · drop this one · merge

There is one class for each policy of `flow_control(overflow=...)`. Losses are noted on
any thread, and counted on the executor, where counters are written.
"""

from __future__ import annotations

from collections import Counter, deque
from threading import Lock
from typing import TYPE_CHECKING, Final, cast

from rx_agui.errors import (
    BackpressureTimeoutError,
    BufferOverflowError,
    CircuitOpenError,
    OverloadedError,
    StreamError,
)
from rx_agui.frame import Frame

if TYPE_CHECKING:
    from rx_agui.engine import Stage

__all__ = ["QUEUES", "REASONS", "EventQueue", "events_of"]

#: The reason under which an event is dropped, by the error that its sender is told.
REASONS: Final[dict[type, str]] = {
    BackpressureTimeoutError: "backpressure_timeout",
    CircuitOpenError: "circuit_open",
    OverloadedError: "overloaded",
}

#: The events of every queue until the first event waits: few ever need any.
_NOTHING: Final[deque[Frame | bytes]] = deque(maxlen=0)


def events_of(item: Frame | bytes) -> int:
    """How many events a queued item is: encoded bytes are one."""
    return 1 if type(item) is bytes else cast(Frame, item).events


class EventQueue:
    """A bounded queue of events that wait for credit; when it is full it refuses.

    Any thread may put; the executor takes.

    Attributes:
        frames: The events that wait, oldest first: frames, or as encoded where a sender's
            buffer is in front, which any thread appends to.
        limit: Events that may wait.
        merges: Whether later events become part of earlier ones.
    """

    __slots__ = ("_errors", "_lost", "_merged", "frames", "limit", "mutex")

    merges = False

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.frames = _NOTHING
        self.mutex = Lock()
        self._merged = 0
        self._lost: Counter[str] | None = None
        self._errors: Counter[str] | None = None

    def put(self, frame: Frame) -> None:
        """Let a frame wait, or apply the policy.

        Raises:
            BufferOverflowError: The queue is full and the policy is to refuse.
        """
        dropped: Frame | bytes | None = None
        why = ""
        with self.mutex:
            if len(self.frames) >= self.limit:
                dropped, why = self.drop_for(frame)
            if dropped is not frame:
                self.append(frame)
        if dropped is not None:
            if dropped is not frame and isinstance(dropped, Frame):
                dropped.permit.release()
            self.note_loss(why, events_of(dropped))

    def drop_for(self, frame: Frame) -> tuple[Frame | bytes, str]:
        """Return the frame to drop, and the reason. The queue is full; under the mutex.

        Raises:
            BufferOverflowError: None: the new frame is refused.
        """
        raise BufferOverflowError(self.limit)

    def append(self, frame: Frame) -> None:
        """Put a frame behind the others, and hold its permit. Under the mutex."""
        if self.frames is _NOTHING:
            self.frames = deque()
        frame.permit.hold()
        self.frames.append(frame)

    def pop(self) -> Frame | bytes:
        """Take the oldest event; the caller releases the permit of a frame."""
        with self.mutex:
            return self.frames.popleft()

    @property
    def events(self) -> int:
        """Events that wait."""
        with self.mutex:
            return sum(map(events_of, tuple(self.frames)))

    @property
    def bytes(self) -> int:
        """Bytes of the events that wait."""
        with self.mutex:
            return sum(
                [
                    len(item if isinstance(item, bytes) else item.data)
                    for item in tuple(self.frames)
                ]
            )

    def drop_all(self, reason: str) -> int:
        """Drop what waits; return how many frames that were."""
        lost: list[Frame | bytes] = []
        with self.mutex:
            while self.frames:
                lost.append(self.frames.popleft())
        for item in lost:
            if isinstance(item, Frame):
                item.permit.release()
            self.note_loss(reason, events_of(item))
        return len(lost)

    # -- what is counted later -----------------------------------------------------

    def note_loss(
        self, reason: str, events: int, error: StreamError | None = None
    ) -> None:
        """Note events that are not delivered, and the error that said so."""
        with self.mutex:
            self._lost = self._lost or Counter()
            self._lost[reason] += events
            if error is not None:
                self._errors = self._errors or Counter()
                self._errors[type(error).__qualname__] += 1

    def settle(self, stage: Stage) -> None:
        """Add what was noted to the counters of `stage`. On the executor."""
        if not (self._lost or self._errors or self._merged):
            return
        with self.mutex:
            lost, self._lost = self._lost, None
            errors, self._errors = self._errors, None
            merged, self._merged = self._merged, 0
        stage.taken += merged
        stage.merged += merged
        for kind, n in (errors or {}).items():
            stage.count("errors", n, kind)
        for reason, events in (lost or {}).items():
            stage.taken += events
            stage.count_drop(reason, events)


class _DroppingOldest(EventQueue):
    __slots__ = ()

    def drop_for(self, frame: Frame) -> tuple[Frame | bytes, str]:
        return self.frames.popleft(), "overflow_oldest"


class _DroppingNewest(EventQueue):
    __slots__ = ()

    def drop_for(self, frame: Frame) -> tuple[Frame, str]:
        return frame, "overflow_newest"


class _Latest(_DroppingOldest):
    __slots__ = ()

    def __init__(self, limit: int) -> None:
        super().__init__(1)


class _Merging(EventQueue):
    """Later events become part of those that wait, as `conflate()` does it."""

    __slots__ = ("_merging",)

    merges = True

    def __init__(self, limit: int) -> None:
        from rx_agui.operators._conflate import MergingQueue

        super().__init__(limit)
        self._merging = MergingQueue()
        self.frames = self._merging  # type: ignore[assignment]  # as far as it is used

    def put(self, frame: Frame) -> None:
        with self.mutex:
            has_room = len(self._merging) < self.limit
            merged = self._merging.append(frame, room=has_room)
            if merged is None:
                raise BufferOverflowError(self.limit)
            self._merged += merged

    def append(self, frame: Frame) -> None:
        self._merged += self._merging.append(frame, room=True) or 0

    @property
    def bytes(self) -> int:
        with self.mutex:
            return self._merging.size


#: The queue of each policy.
QUEUES: Final[dict[str, type[EventQueue]]] = {
    "wait": EventQueue,
    "error": EventQueue,
    "drop_oldest": _DroppingOldest,
    "drop_newest": _DroppingNewest,
    "latest": _Latest,
    "conflate": _Merging,
}
