"""The stage of `batch`: gathers events until the batch leaves; see _batch.py."""

from __future__ import annotations

from math import inf
from time import time_ns
from typing import cast

from rx_agui.clock import Timer
from rx_agui.engine import (
    AnyHead,
    AnyStage,
    BatchSink,
    Errors,
    Stage,
    Subscription,
)
from rx_agui.flow import NO_PERMIT, Credit, Permit
from rx_agui.flow._permit import joint_permit
from rx_agui.frame import IDENTITY, Frame
from rx_agui.probe import PayloadTrace, StreamObservation

__all__ = ["PATIENCE", "BatchStage", "join_frames"]

#: How many times as long an event may be held when `degrade` enlarges batches. A reader
#: who is a second behind already does not feel a fifth of it.
PATIENCE = 4


class BatchStage(Stage):
    __slots__ = (
        "_bytes",
        "_credit",
        "_due",
        "_events",
        "_fused",
        "_limit",
        "_lines",
        "_loans",
        "_most",
        "_opened",
        "_permits",
        "_size",
        "_timeout",
        "_timer",
        "_usual",
        "_waiting",
        "pending",
        "room",
        "small",
    )
    word = "batch"
    gathers = True

    def __init__(
        self,
        subscription: Subscription,
        size: int,
        timeout: float,
        most: int,
        max_bytes: int | None,
        errors: Errors,
    ) -> None:
        super().__init__(subscription, errors)
        self._size = size
        self._timeout = timeout
        self._most = most
        self._usual = size, timeout
        self._limit: float = inf if max_bytes is None else max_bytes
        self._timer: Timer | None = None
        self._due = 0.0
        self._opened = 0
        self._credit: Credit | None = None
        self._fused: tuple[AnyStage, ...] = ()
        #: Events that wait to be gathered several at a time; see QueuedSink.
        self.pending: list[bytes | Frame] = []
        self.small = self._limit / max(size, most) / 2
        self._begin()

    def ease(self, step: str, taken: bool) -> None:
        """Enlarge batches and their time-out while `degrade` asks for it."""
        if step != "batch":
            return
        self._size, self._timeout = self._usual
        if taken:
            self._size = max(self._size, self._most)
            self._timeout *= PATIENCE
        self._absorb()
        if self.waiting >= self._size:
            self._leave("size")
        self._make_room()

    def _begin(self) -> None:
        self._lines: list[bytes] = []  # events that never were frames; see `gather`
        self._waiting: list[Frame] = []
        self._events = 0
        self._bytes = 0
        self._loans = 0
        self._permits: list[Permit] = []
        self.room = 1  # the next event opens a batch

    def _make_room(self) -> None:
        """Let as many events be pending as the open batch still takes."""
        fits = self._lines and self._bytes <= self._limit / 2  # with many small ones
        self.room = max(self._size - len(self._lines), 1) if fits else 1

    def _absorb(self) -> None:
        """Gather the pending events, which came before what is done next."""
        if self.pending:
            cast(AnyHead, self.subscription.head).absorb()

    def request_fusion(self, above: tuple[AnyStage, ...]) -> BatchSink:
        """Do the work of the transparent stages above as well, once per batch.

        They count or number events, which arithmetic does for a whole batch. So no event
        needs to be a Frame before its batch is.
        """
        self._fused = above
        return self

    def gather(self, line: bytes, credit: Credit) -> None:
        """Add one encoded event, for which the head took a credit."""
        lines = self._lines
        size = self._bytes + len(line) + 1  # the LF behind it
        if not lines or size > self._limit:
            self._gather_slowly(line, credit)
            return
        self._bytes = size
        lines.append(line)
        if len(lines) >= self._size:
            self._leave("size")
            return
        self._make_room()
        if not credit.tokens:
            credit.relieve()

    def _gather_slowly(self, line: bytes, credit: Credit) -> None:
        """Add an event that opens a batch or may exceed its bytes."""
        if self._waiting:
            self.next(Frame(line, credit))
            return
        size = self._bytes + len(line)
        if size > self._limit and self._lines:
            self._leave("bytes")
            size = len(line)
        if not self._lines:
            self._open(credit, 1)
        self._bytes = size + 1
        self._lines.append(line)
        if len(self._lines) >= self._size:
            self._leave("size")
        elif size >= self._limit:
            self._leave("bytes")
        else:
            self._make_room()
            if not credit.tokens:
                credit.relieve()

    def gather_many(self, lines: list[bytes], size: int, credit: Credit) -> None:
        """Add several encoded events, each with a credit."""
        size += len(lines)  # the LF behind each
        fits = not self._waiting and self._bytes + size <= self._limit
        while lines and not self._ended:
            if not fits:
                self.gather(lines.pop(0), credit)
                continue
            if not self._lines:
                self._open(credit, len(lines))
            room = max(1, self._size - len(self._lines))
            part, lines = lines[:room], lines[room:]
            more = sum(map(len, part)) + len(part) if lines else size
            size -= more
            self._lines += part
            self._bytes += more
            if len(self._lines) >= self._size:
                try:
                    self._leave("size")
                except BaseException:
                    self.pending[:0] = lines  # to be counted as dropped
                    raise
        self._make_room()
        if lines:
            credit.release(len(lines))
        elif not credit.tokens:
            credit.relieve()

    def next(self, frame: Frame) -> None:
        if self._lines:
            self._frame_lines()
        events = frame.events
        plain = frame.encoding == IDENTITY
        self._make_room_for(frame)
        if not self._waiting:
            permit = frame._permit
            credit = permit if isinstance(permit, Credit) else frame.permit.credit
            self._open(credit, events)
        self._waiting.append(frame)
        self._events += events
        permit = frame._permit
        if isinstance(permit, Credit):
            # On loan, and no other operator has seen the frame: take it over as it is.
            frame._permit = NO_PERMIT
            self._loans += 1
        elif permit is not NO_PERMIT and permit is not self._last_permit():
            # Pieces of one event share theirs, which is one credit and not many.
            self._permits.append(frame.permit.hold())
        if self._events >= self._size:
            self._leave("size")
        elif not plain or self._bytes > self._limit:
            self._leave("bytes")  # nothing can join it
        elif self._credit is not None and not self._credit.tokens:
            self._credit.relieve()

    @property
    def waiting(self) -> int:
        return self._events + len(self._lines) + len(self.pending)

    @property
    def is_over(self) -> bool:
        """Whether the terminal signal has gone down; see QueuedSink."""
        return self._ended

    @property
    def parked(self) -> int:
        """Credits of the events that wait here; see Credit.is_stalled."""
        held = sum([permit.credits for permit in self._permits])
        return len(self._lines) + len(self.pending) + self._loans + held

    def _last_permit(self) -> Permit | None:
        return self._permits[-1] if self._permits else None

    def _make_room_for(self, frame: Frame) -> None:
        """Send the current batch if this frame would make it too large."""
        size = len(frame.data)
        if self._waiting:
            if self._events + frame.events > self._size:
                self._leave("size")
            elif frame.encoding != IDENTITY or self._bytes + size > self._limit:
                self._leave("bytes")
        self._bytes += size + 1  # the LF behind it

    def _open(self, credit: Credit | None, events: int) -> None:
        """Begin a batch: register its credit and arm the timer."""
        if self._size <= events:
            return  # it leaves at once
        self._credit = credit
        if self.subscription.watch is not None:
            self._opened = time_ns()
        if self._credit is not None:
            self._credit.add_buffering(self)
        # One timer is out at most, and looks at the time when it rings: to replace it
        # for every batch would leave thousands of dead ones in a scheduler's queue.
        self._due = self.subscription.clock.now() + self._timeout
        if self._timer is None:
            self._timer = self.after(self._first_look(), self._ring)

    def _first_look(self) -> float:
        """Seconds after which the batch that begins now may leave."""
        return self._timeout

    def _ring(self, _: object) -> None:
        self._absorb()
        self._timer = None
        if not self.waiting:
            return
        left = self._due - self.subscription.clock.now()
        if left <= 1e-6:  # what clocks lose in rounding
            self._leave("timeout")
        else:
            self._timer = self.after(left, self._ring)

    def flush(self) -> None:
        """Send the batch: everything in flight waits here."""
        self.subscription.execute(self._flush)

    def _flush(self, _: object) -> None:
        self._absorb()
        self._leave("stalled")

    def _leave(self, trigger: str) -> None:
        begun = time_ns()
        if self._lines:
            payload = Frame(b"\n".join(self._lines), NO_PERMIT, len(self._lines))
        elif self._waiting:
            payload = join_frames(self._waiting)
        else:
            return
        payload.trigger = trigger
        payload._permit = permit = self._permit_for_all()
        frames = self._waiting
        # Begin anew first: `emit` may push into our source while it handles this.
        self._begin()
        for stage in self._fused:
            stage.on_batch(payload)
        self.taken += payload.events
        self.counts()["batches", trigger] += 1
        if self.subscription.watch is not None:
            payload.trace = self._send(self.subscription.watch, payload, frames)
            self.count("operator.time", time_ns() - begun)
        self.sent += payload.events
        try:
            self.emit(payload)
        finally:
            permit.release()
        if self.pending:  # appended while `room` was still that of this batch
            self.subscription.execute(cast(AnyHead, self.subscription.head).absorb)

    def _send(
        self, watch: StreamObservation, payload: Frame, frames: list[Frame]
    ) -> PayloadTrace:
        """Return the trace of a payload, from the arrival of its first event."""
        now = time_ns()
        opened = self._opened or now
        self._opened = 0
        send = PayloadTrace(watch, opened, payload.events)
        send.trigger = payload.trigger
        send.first, send.last = payload.first, payload.last
        for frame in frames:
            came = frame.trace
            if isinstance(came, PayloadTrace):
                if came.watch is watch:
                    send.absorb(came)
            elif came is not None:
                send.add_origin(came, frame.events)
        if watch.wants_steps:
            told = [step.name for step in send.steps]  # in a line further up
            for stage in self.subscription.above(self):
                if stage.word not in told:
                    stage.trace_step(send, opened)
            send.step(self.word, opened, now, size=payload.events)
        watch.sending(send)
        return send

    @property
    def levels(self) -> dict[str, int]:
        waiting = sum([len(line) for line in tuple(self._lines)])
        waiting += sum([len(frame.data) for frame in tuple(self._waiting)])
        return {"operator.buffer.usage": waiting}

    def _frame_lines(self) -> None:
        """Turn gathered lines into frames, since a frame joins them."""
        lines, self._lines = self._lines, []
        self.room = 1
        self._waiting = [Frame(line) for line in lines]
        self._events = self._loans = len(lines)

    def _permit_for_all(self) -> Permit:
        """Return one permit for all that waits, which releases its credits in one step."""
        credit, self._credit = self._credit, None
        if credit is not None:
            credit.remove_buffering(self)
        loans = self._loans + len(self._lines)
        if loans:
            head = cast(AnyHead, self.subscription.head)
            return Permit(head.credit, loans, self._permits)
        return joint_permit(self._permits)

    def on_end(self, error: Exception | None) -> None:
        if not self._ended:
            self._absorb()
        super().on_end(error)

    def finish(self, error: Exception | None) -> None:
        self._leave("completed" if error is None else "error")
        self._cancel()
        self.end(error)

    def drop(self) -> None:
        self._cancel()
        head = self.subscription.head
        pending = head.discard_pending() if self.pending and head else 0
        lost = Frame(b"", events=self.waiting + pending)
        if not lost.events:
            return
        permit = self._permit_for_all()
        self._begin()
        for stage in self._fused:
            stage.on_batch(lost)
        self.taken += lost.events
        self.count_drop("cancelled", lost.events)
        permit.release()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def join_frames(frames: list[Frame]) -> Frame:
    """Join frames into one payload: their lines and their numbers."""
    first = frames[0]
    if len(frames) == 1:
        # A copy: the head looks at the frame's own permit when this call returns.
        return first.copy(permit=NO_PERMIT)
    payload = Frame(
        b"\n".join([frame.data for frame in frames]),
        NO_PERMIT,
        sum([frame.events for frame in frames]),
        first.first,
        frames[-1].last,
    )
    if payload.last and not _is_consecutive(frames, payload):
        payload.numbers = tuple(n for frame in frames for n in frame.line_numbers())
    return payload


def _is_consecutive(frames: list[Frame], payload: Frame) -> bool:
    """Return True if the events cover one number each: first, first + 1, ... last."""
    if payload.last - payload.first + 1 != payload.events:
        return False
    if len(frames) == payload.events:
        last = [frame.last for frame in frames]
        return last == list(range(payload.first, payload.last + 1))
    numbers = [n for frame in frames for n in frame.line_numbers()]
    return numbers == list(range(payload.first, payload.last + 1))
