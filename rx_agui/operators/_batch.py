"""Gather many small events into one payload.

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
from threading import get_ident
from time import time_ns
from typing import Any

from reactivex.abc import SchedulerBase

from rx_agui.agui.encoding import decode
from rx_agui.clock import Timer
from rx_agui.engine import (
    AnyStage,
    BatchSink,
    Errors,
    HeadSubscriber,
    Stage,
    Subscription,
    lift,
    operator,
)
from rx_agui.errors import (
    StreamError,
    WireError,
    require_positive,
    require_whole,
    warn_if_milliseconds,
)
from rx_agui.flow import NO_PERMIT, AckPermit, Credit, Permit
from rx_agui.flow._credit import joint_permit
from rx_agui.frame import IDENTITY, Frame
from rx_agui.operators._rate import LINGER, RateEstimator
from rx_agui.probe import PayloadTrace, StreamObservation
from rx_agui.types import Item, Operator

__all__ = ["batch", "unbatch"]

#: How many times as long an event may be held when `degrade` enlarges batches. A reader
#: who is a second behind already does not feel a fifth of it.
_PATIENCE = 4


@operator
def batch(
    batch_size: int = 50,
    batch_timeout: float = 0.05,
    *,
    max_batch_size: int = 500,
    max_bytes: int | None = 1024 * 1024,
    adaptive: bool = False,
    errors: Errors = None,
    scheduler: SchedulerBase | None = None,
) -> Operator[Item, Frame]:
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
        max_batch_size: Events in a batch at most, where the size moves: with `adaptive`,
            or when `degrade` enlarges batches.
        max_bytes: Bytes a batch may have; only an event that is larger goes beyond,
            alone. 1 MiB is cut and encoded in a millisecond or so: without a bound
            (None) fifty snapshots of a megabyte would keep an event loop for twenty.
        adaptive: Let the size follow the rate and the sink, between 1 and
            `max_batch_size`: a lone event leaves at once, a flood fills batches.
            `batch_size` says nothing then.
        errors: Told of events that cannot be encoded, if this operator is the first;
            the stream goes on without them. Without it they end the stream.
        scheduler: Whose time to use. The default is the subscription's.

    Raises:
        ConfigError: A setting makes no sense.
    """
    counts = {"batch_size": batch_size, "max_batch_size": max_batch_size}
    require_positive(batch_size=batch_size, batch_timeout=batch_timeout)
    require_positive(max_batch_size=max_batch_size)
    require_whole(**counts)
    warn_if_milliseconds(batch_timeout=batch_timeout)
    if max_bytes is not None:
        require_positive(max_bytes=max_bytes)
        require_whole(max_bytes=max_bytes)
    return lift(
        _AdaptiveBatch if adaptive else _Batch,
        batch_size,
        batch_timeout,
        max_batch_size,
        max_bytes,
        errors,
        scheduler=scheduler,
    )


@operator
def unbatch(*, errors: Errors = None) -> Operator[Item, dict[str, Any]]:
    """Give back the events of each payload, in order, as mappings.

    The inverse of `batch`, for readers. Single events come through as well.

    >>> from rx_agui import from_iterable
    >>> events = [{"type": "A"}, {"type": "B"}]
    >>> _ = from_iterable(events).pipe(batch(2), unbatch()).subscribe(print)
    {'type': 'A'}
    {'type': 'B'}

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
        self._begin()

    def ease(self, step: str, taken: bool) -> None:
        """Enlarge batches and their time-out while `degrade` asks for it."""
        if step != "batch":
            return
        self._size, self._timeout = self._usual
        if taken:
            self._size = max(self._size, self._most)
            self._timeout *= _PATIENCE
        if self.waiting >= self._size:
            self._leave("size")

    def _begin(self) -> None:
        self._lines: list[bytes] = []  # events that never were frames; see `gather`
        self._waiting: list[Frame] = []
        self._events = 0
        self._bytes = 0
        self._loans = 0
        self._permits: list[Permit] = []

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
        elif not credit.tokens:
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
        elif not credit.tokens:
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
                self._leave("size")
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
        return self._events + len(self._lines)

    @property
    def parked(self) -> int:
        """Credits of the events that wait here; see Credit.is_stalled."""
        held = sum([permit.credits for permit in self._permits])
        return len(self._lines) + self._loans + held

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
            self._timer = self.after(self._timeout, self._ring)

    def _ring(self, _: object) -> None:
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
        self.subscription.execute(self._leave, "stalled")

    def _leave(self, trigger: str) -> None:
        begun = time_ns()
        if self._lines:
            payload = Frame(b"\n".join(self._lines), NO_PERMIT, len(self._lines))
        elif self._waiting:
            payload = _join(self._waiting)
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
        self._waiting = [Frame(line) for line in lines]
        self._events = self._loans = len(lines)

    def _permit_for_all(self) -> Permit:
        """Return one permit for all that waits, which releases its credits in one step."""
        credit, self._credit = self._credit, None
        if credit is not None:
            credit.remove_buffering(self)
        loans = self._loans + len(self._lines)
        if loans:
            head: HeadSubscriber = self.subscription.head  # type: ignore[assignment]
            return Permit(head.credit, loans, self._permits)
        return joint_permit(self._permits)

    def finish(self, error: Exception | None) -> None:
        self._leave("completed" if error is None else "error")
        self._cancel()
        self.end(error)

    def drop(self) -> None:
        self._cancel()
        if not self.waiting:
            return
        lost = Frame(b"", events=self.waiting)
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


class _AdaptiveBatch(_Batch):
    """A batch whose size follows the rate and the sink; see operators/_rate.py."""

    __slots__ = ("_first_came", "_pace", "_soon", "_under_way")

    def __init__(
        self,
        subscription: Subscription,
        size: int,
        timeout: float,
        most: int,
        max_bytes: int | None,
        errors: Errors,
    ) -> None:
        super().__init__(subscription, 1, timeout, most, max_bytes, errors)
        self._pace = RateEstimator(most, timeout, subscription.clock.now())
        self._under_way = 0  # payloads the sink has
        self._first_came = 0.0
        self._soon: Timer | None = None

    def ease(self, step: str, taken: bool) -> None:
        if step == "batch":
            timeout = self._usual[1]
            self._timeout = timeout * _PATIENCE if taken else timeout
            self._pace.linger = timeout if taken else timeout * LINGER

    def _open(self, credit: Credit | None, events: int) -> None:
        self._first_came = now = self.subscription.clock.now()
        self._size = self._most if self._under_way else self._pace.aim(now)
        super()._open(credit, events)
        if events < self._size and not self._under_way:
            self._linger(self._pace.linger)

    def _leave(self, trigger: str) -> None:
        events = self.waiting
        if not events:
            return
        self._pace.left(events, self.subscription.clock.now())
        if trigger == "size" and events < self._most:
            trigger = "adaptive"
        super()._leave(trigger)

    def _permit_for_all(self) -> Permit:
        permit = super()._permit_for_all()
        self._under_way += 1
        acknowledged = AckPermit(permit, self._acknowledged)
        permit.release()  # the AckPermit holds it now
        return acknowledged

    def _acknowledged(self, _: Exception | None) -> None:
        """Handle the acknowledgement of a payload. Called on any thread."""
        if not self.subscription.executor.is_owned_by(get_ident()):
            self.subscription.on_own_loop(self._is_idle)
            return
        self._under_way -= 1
        if self.waiting and not self._under_way:
            self.subscription.execute(self._go)

    def _is_idle(self, _: object) -> None:
        self._under_way -= 1
        if not self._under_way:
            self._go(None)

    def _go(self, _: object) -> None:
        """Send what waits to the idle sink, unless more is expected within `linger`."""
        if not self.waiting or self._under_way:
            return
        now = self.subscription.clock.now()
        self._size = self._pace.aim(now)
        left = self._first_came + self._pace.linger - now
        if self.waiting >= self._size or left <= 1e-6:  # what clocks lose in rounding
            self._leave("adaptive")
        else:
            self._linger(left)

    def _linger(self, seconds: float) -> None:
        if self._soon is None:
            self._soon = self.after(seconds, self._lingered)

    def _lingered(self, _: object) -> None:
        self._soon = None
        self._go(None)

    def _cancel(self) -> None:
        super()._cancel()
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None


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
            if self.subscription.disposed:
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
