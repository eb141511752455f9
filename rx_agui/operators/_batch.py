"""Many small events leave as one.

    in    a-b-c-d------|
          batch(batch_size=3, batch_timeout=4)
    out   ----X-----Y--|      X = a b c,  Y = d

A batch leaves when it is full, when its first event has waited `batch_timeout`
seconds, when nothing else can move, or when the stream ends. So order is kept,
nothing is lost, no event is held longer than `batch_timeout`, and a silent stream
stays silent. marbles/batch.marble draws every case, and the tests play it.

The contract is that of RxPY's `buffer_with_time_or_count`, with its faults mended:

                              buffer_with_time_or_count     batch
    timer                     a thread per window           one, when needed
    it is armed by            the boundary before           the first event
    nothing came              [] is emitted                 nothing is
    on_error                  drops what is held            delivers it first
    a sink that raises        ends it without a word        ends it, and raises
    behind a small window     waits for ever                leaves when stalled
"""

from __future__ import annotations

from math import inf
from time import time_ns
from typing import cast

from reactivex.abc import SchedulerBase

from rx_agui.clock import Timer
from rx_agui.codec import decode
from rx_agui.errors import StreamError, WireError, require_positive, require_whole
from rx_agui.flow import NO_PERMIT, Credit, Permit
from rx_agui.frame import IDENTITY, Frame
from rx_agui.operators._stage import (
    Entrance,
    Errors,
    Gatherer,
    Line,
    Operator,
    Stage,
    lift,
)
from rx_agui.probe import Send, Watch

__all__ = ["batch", "unbatch"]

#: Lines kept one by one; see `_look`.
_HANDFUL = 64


def batch(
    batch_size: int = 50,
    batch_timeout: float = 0.05,
    *,
    max_bytes: int | None = 1024 * 1024,
    errors: Errors = None,
    scheduler: SchedulerBase | None = None,
) -> Operator:
    """Gather events into payloads of at most `batch_size` events.

    Large batches compress better and cost the reader less; a long wait fills them and
    keeps the reader waiting. With the defaults, text typed by a model looks live.

    >>> from rx_agui import from_iterable
    >>> events = [{"type": "STEP_STARTED", "stepName": name} for name in "abc"]
    >>> _ = from_iterable(events).pipe(batch(2)).subscribe(print)
    Frame(2 events, 77 bytes, identity)
    Frame(1 events, 38 bytes, identity)

    Behind a window of credit that is smaller than the batch, the events that would
    fill it cannot come. Then, and only then, it leaves early: when all that is in
    flight waits in batches (Nagle's rule). To leave whenever credit is zero would be
    TCP's silly window, one small acknowledgement, one small batch, for ever.

    Args:
        batch_size: Events in a full batch. 1 passes each event on by itself.
        batch_timeout: Seconds the first event of a batch may be held.
        max_bytes: Bytes a batch may have; only an event that is larger goes beyond,
            alone. 1 MiB is cut and encoded in a millisecond or so: without a bound
            (None) fifty snapshots of a megabyte would keep an event loop for twenty.
        errors: Told of events that cannot be encoded, if this operator is the first;
            the stream goes on without them. Without it they end the stream.
        scheduler: Whose time to use. The default is the subscription's.

    Raises:
        ConfigError: A setting makes no sense.
    """
    require_positive(batch_size=batch_size, batch_timeout=batch_timeout)
    require_whole(batch_size=batch_size)
    if max_bytes is not None:
        require_positive(max_bytes=max_bytes)
        require_whole(max_bytes=max_bytes)
    return lift(
        _Batch, batch_size, batch_timeout, max_bytes, errors, scheduler=scheduler
    )


def unbatch(*, errors: Errors = None) -> Operator:
    """Give back the events of each payload, in order, as mappings.

    The inverse of `batch`, for readers. Single events come through as well.

    Args:
        errors: Told of lines that are not JSON objects; the others go on. Without it
            such a line ends the stream, behind the others of its payload.
    """
    return lift(_Unbatch, errors)


class _Batch(Stage):
    __slots__ = (
        "_bytes",
        "_credit",
        "_due",
        "_events",
        "_folded",
        "_joined",
        "_joined_events",
        "_limit",
        "_lines",
        "_loans",
        "_opened",
        "_permits",
        "_size",
        "_timeout",
        "_timer",
        "_waiting",
    )
    word = "batch"
    gathers = True

    def __init__(
        self,
        line: Line,
        size: int,
        timeout: float,
        max_bytes: int | None,
        errors: Errors,
    ) -> None:
        super().__init__(line, errors)
        self._size = size
        self._timeout = timeout
        self._limit: float = inf if max_bytes is None else max_bytes
        self._timer: Timer | None = None
        self._due = 0.0
        self._opened = 0
        self._credit: Credit | None = None
        self._folded: tuple[Stage, ...] = ()
        self._begin()

    def _begin(self) -> None:
        #: Events that never were frames, see `gather`; and those joined already.
        self._lines: list[bytes] = []
        self._joined: list[bytes] = []
        self._joined_events = 0
        self._waiting: list[Frame] = []
        self._events = 0
        self._bytes = 0
        self._loans = 0
        self._permits: list[Permit] = []

    def fold(self, above: tuple[Stage, ...]) -> Gatherer:
        """Do the work of the stages above as well, once per batch.

        They would pass each event on as it is: to count it, or to number it, which
        arithmetic does. So no event needs to be a Frame before its batch is.
        """
        self._folded = above
        return self

    def gather(self, line: bytes, credit: Credit) -> None:
        """An event came straight from the entrance, for which it took a credit."""
        lines = self._lines
        size = self._bytes + len(line) + 1  # the LF behind it
        if not lines or size > self._limit:
            self._gather_slowly(line, credit)
            return
        self._bytes = size
        lines.append(line)
        n = len(lines)
        if n >= _HANDFUL or n + self._joined_events >= self._size:
            self._look()
        if not credit.tokens:
            credit.relieve()

    def _gather_slowly(self, line: bytes, credit: Credit) -> None:
        """The first of a batch, and what might be too much for it."""
        if self._waiting:
            self.next(Frame(line, credit))
            return
        size = self._bytes + len(line)
        if size > self._limit and self._bytes:
            self._leave("bytes")
            size = len(line)
        if not self._bytes:
            self._open(credit, 1)
        self._bytes = size + 1
        self._lines.append(line)
        if self._joined_events + len(self._lines) >= self._size:
            self._leave("size")
        elif size >= self._limit:
            self._leave("bytes")
        elif not credit.tokens:
            credit.relieve()

    def gather_many(self, lines: list[bytes], credit: Credit) -> None:
        """Events came together straight from the entrance, each with a credit."""
        size = sum(map(len, lines)) + len(lines)
        if self._waiting or self._bytes + size > self._limit:
            for n, line in enumerate(lines):
                if self._ended:
                    credit.give(len(lines) - n)
                    return
                self.gather(line, credit)
            return
        while lines:
            if self._ended:
                credit.give(len(lines))
                return
            if not self._bytes:
                self._open(credit, 1)
            room = min(self._size - self._joined_events, _HANDFUL) - len(self._lines)
            part, lines = lines[:room], lines[room:]
            self._lines += part
            self._bytes += sum(map(len, part)) + len(part)
            if len(part) == room:
                self._look()
        if not credit.tokens:
            credit.relieve()

    def _look(self) -> None:
        """Enough lines have come to be a batch, or to be joined and make room.

        What a line was encoded into is larger than the line. As long as few are kept,
        the next one goes where the last one was; a thousand drive the heap up and down.
        """
        events = self._joined_events + len(self._lines)
        if events >= self._size:
            self._leave("size")
            return
        self._joined.append(b"\n".join(self._lines))
        self._joined_events = events
        self._lines = []

    def next(self, frame: Frame) -> None:
        if self._lines or self._joined:
            self._frame_lines()
        events = frame.events
        plain = frame.encoding == IDENTITY
        self._make_room_for(frame)
        if not self._waiting:
            permit = frame._permit
            credit = permit if type(permit) is Credit else frame.permit.credit
            self._open(credit, events)
        self._waiting.append(frame)
        self._events += events
        permit = frame._permit
        if type(permit) is Credit:
            # On loan, and nobody else has seen the frame: take it over as it is.
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
        return self._events + self._joined_events + len(self._lines)

    @property
    def parked(self) -> int:
        """Credits of the events that wait here; see Credit.is_stalled."""
        held = sum([permit.credits for permit in self._permits])
        return self._joined_events + len(self._lines) + self._loans + held

    def _last_permit(self) -> Permit | None:
        return self._permits[-1] if self._permits else None

    def _make_room_for(self, frame: Frame) -> None:
        """Let the batch go that the frame would make too large."""
        size = len(frame.data)
        if self._waiting:
            if self._events + frame.events > self._size:
                self._leave("size")
            elif frame.encoding != IDENTITY or self._bytes + size > self._limit:
                self._leave("bytes")
        self._bytes += size + 1  # the LF behind it

    def _open(self, credit: Credit | None, events: int) -> None:
        """The first event of a batch has come."""
        if self._size <= events:
            return  # it leaves at once
        self._credit = credit
        if self.line.watch is not None:
            self._opened = time_ns()
        if self._credit is not None:
            self._credit.parks(self)
        # One timer is out at most, and looks at the time when it rings: to replace it
        # for every batch would leave thousands of dead ones in a scheduler's queue.
        self._due = self.line.clock.now() + self._timeout
        if self._timer is None:
            self._timer = self.after(self._timeout, self._ring)

    def _ring(self, _: object) -> None:
        self._timer = None
        if not self.waiting:
            return
        left = self._due - self.line.clock.now()
        if left <= 1e-6:  # what clocks lose in rounding
            self._leave("timeout")
        else:
            self._timer = self.after(left, self._ring)

    def let_go(self) -> None:
        """Nothing in flight can move unless what waits here does."""
        self.line.post(self._leave, "stalled")

    def _leave(self, trigger: str) -> None:
        begun = time_ns()
        if self._joined:
            data = b"\n".join([*self._joined, *self._lines])
            payload = Frame(data, NO_PERMIT, self.waiting)
        elif self._lines:
            payload = Frame(b"\n".join(self._lines), NO_PERMIT, len(self._lines))
        elif self._waiting:
            payload = _join(self._waiting)
        else:
            return
        # Begin anew first: `emit` may push into our source while it handles this.
        payload.trigger = trigger
        payload.permit = permit = self._permit_for_all()
        frames = self._waiting
        self._begin()
        for stage in self._folded:
            stage.pass_many(payload)
        self.taken += payload.events
        self.count("batches", 1, trigger)
        if self.line.watch is not None:
            payload.trace = self._send(self.line.watch, payload, frames)
            self.count("operator.time", time_ns() - begun)
        self.sent += payload.events
        try:
            self.emit(payload)
        finally:
            permit.release()

    def _send(self, watch: Watch, payload: Frame, frames: list[Frame]) -> Send:
        """The record of the payload's way, from when its first event came."""
        now = time_ns()
        opened = self._opened or now
        self._opened = 0
        send = Send(watch, opened, payload.events)
        send.trigger = payload.trigger
        send.first, send.last = payload.first, payload.last
        for frame in frames:
            came = frame.trace
            if isinstance(came, Send):
                if came.watch is watch:
                    send.absorb(came)
            elif came is not None:
                send.comes_from(came, frame.events)
        if watch.wants_steps:
            told = [step.name for step in send.steps]  # in a line further up
            for stage in self.line.above(self):
                if stage.word not in told:
                    stage.tell_step(send, opened)
            send.step(self.word, opened, now, size=payload.events)
        watch.sending(send)
        return send

    @property
    def levels(self) -> dict[str, int]:
        lines = *self._joined, *self._lines
        waiting = sum([len(line) for line in lines])
        waiting += sum([len(frame.data) for frame in tuple(self._waiting)])
        return {"operator.buffer.usage": waiting}

    def _frame_lines(self) -> None:
        """A frame comes among events that are none."""
        self._events = self._loans = self.waiting
        joined = b"\n".join(self._joined)
        self._waiting = [Frame(line) for line in self._lines]
        if joined:
            self._waiting.insert(0, Frame(joined, events=self._joined_events))
        self._lines, self._joined, self._joined_events = [], [], 0

    def _permit_for_all(self) -> Permit:
        """One permit for all that waits, whose credits come home in one step."""
        credit, self._credit = self._credit, None
        if credit is not None:
            credit.parks_no_more(self)
        loans = self._loans + self._joined_events + len(self._lines)
        if loans:
            entrance = cast(Entrance, self.line.entrance)
            return Permit(entrance.credit, loans, self._permits)
        if len(self._permits) == 1:
            return self._permits[0]
        if self._permits:
            return Permit(cast(Credit, self._permits[0].credit), 0, self._permits)
        return NO_PERMIT

    def finish(self, error: Exception | None) -> None:
        self._leave("completed" if error is None else "error")
        self._cancel()
        self.end(error)

    def drop(self) -> None:
        self._cancel()
        lost = Frame(b"", events=self.waiting)
        permit = self._permit_for_all()
        self._begin()
        for stage in self._folded:
            stage.pass_many(lost)
        self.taken += lost.events
        self.count_drop("cancelled", lost.events)
        permit.release()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _Unbatch(Stage):
    __slots__ = ()
    word = "unbatch"
    emits = object

    def next(self, frame: Frame) -> None:
        self.taken += frame.events
        if frame.encoding != IDENTITY:
            self.count_drop("invalid", frame.events)
            why = f"a {frame.encoding} payload: decompress() must go before unbatch()"
            self.refuse(WireError(why))
            return
        for line in frame.lines():
            if self.line.disposed:
                self.count_drop("cancelled", 1)
                continue
            try:
                event = decode(line)
            except StreamError as error:
                self.count_drop("invalid", 1)
                self.refuse(error)
                continue
            self.sent += 1
            self.emit(event)


def _join(frames: list[Frame]) -> Frame:
    """One payload of many: their lines, and what they cover."""
    first = frames[0]
    if len(frames) == 1:
        return first
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
    """Whether the events cover one number each, first, first + 1, ... last."""
    if payload.last - payload.first + 1 != payload.events:
        return False
    if len(frames) == payload.events:
        last = [frame.last for frame in frames]
        return last == list(range(payload.first, payload.last + 1))
    numbers = [n for frame in frames for n in frame.line_numbers()]
    return numbers == list(range(payload.first, payload.last + 1))
