"""Number events, and put numbered events back in order.

    in    a-b-c--|                 in    1-3-2----|
          sequence()                     sequence(number=digit)
    out   A-B-C--|  A = 1:a ...    out   1---(23)-|

Numbers are what a reader who was cut off asks by, so they have no holes: where a
number never came, the next event covers it too. AG-UI readers need order (a
CONTENT before its START ends the run), so nothing overtakes; a late event is waited
for, `gap_timeout` seconds at most, in a buffer of bounded size.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from math import inf
from time import time_ns
from typing import Any, Final, NamedTuple, get_args

from reactivex.abc import SchedulerBase

from rx_agui.agui.encoding import decode
from rx_agui.clock import Timer
from rx_agui.engine import Errors, Stage, Subscription, lift, operator
from rx_agui.errors import (
    ConfigError,
    CorruptError,
    DuplicateError,
    GapError,
    LateError,
    ProcessingError,
    StreamError,
    require_at_least,
    require_one_of,
    require_positive,
    require_whole,
    stops_process,
)
from rx_agui.flow import NO_PERMIT, Credit, Permit
from rx_agui.frame import IDENTITY, Frame
from rx_agui.probe import PayloadTrace
from rx_agui.types import Item, OnGap, Operator

__all__ = ["resequence", "sequence"]

Number = Callable[[Mapping[str, Any]], int]

ON_GAP: Final = get_args(OnGap)


@operator
def sequence(
    *,
    start: int = 1,
    number: Number | None = None,
    out_of_order_buffer: int = 1000,
    out_of_order_bytes: int | None = None,
    gap_timeout: float = 5.0,
    on_gap: OnGap = "skip",
    errors: Errors = None,
    scheduler: SchedulerBase | None = None,
) -> Operator[Item, Frame]:
    """Give events the numbers 1, 2, 3; or order them by their own numbers.

    >>> from rx_agui import from_iterable
    >>> from reactivex import operators as ops
    >>> events = [{"type": "CUSTOM", "name": "n", "value": n} for n in (1, 3, 2)]
    >>> _ = from_iterable(events).pipe(
    ...     sequence(number=lambda event: event["value"]),
    ...     ops.map(lambda frame: frame.last),
    ... ).subscribe(print)
    1
    2
    3

    Events that are held for order give their credit back: they are bounded by
    `out_of_order_buffer` alone. Else a window of 100 could never bring in the one
    event that the others wait for. As they go on they take it again, all at once, and
    no new event is admitted until they are written: a slow reader bounds them too.

    Args:
        start: The first number. With `number`, the first that is expected.
        number: Reads the producer's own number from an event, given as a mapping.
            Use it where several producers were merged.
        out_of_order_buffer: Events held at most for one that is late.
        out_of_order_bytes: Bytes held at most for one that is late; None: no bound.
        gap_timeout: Seconds a late event is waited for. A reader sees nothing new
            meanwhile.
        on_gap: When a number is given up: "skip" it, counted and told to `errors` as
            a Gap, or end the stream with the Gap as its "error". What came behind it
            is then dropped and counted, since text with a hole is worse than none.
        errors: Told of gaps that are skipped, and of events that are dropped: their
            number cannot be read, came before (Duplicate), or was given up (Late).
            Without it the first of these end the stream, and the others are counted.
        scheduler: Whose time to use. The default is the subscription's.

    Raises:
        ConfigError: A setting makes no sense.
    """
    require_at_least(1, start=start)
    require_positive(out_of_order_buffer=out_of_order_buffer, gap_timeout=gap_timeout)
    require_whole(start=start, out_of_order_buffer=out_of_order_buffer)
    if out_of_order_bytes is not None:
        require_positive(out_of_order_bytes=out_of_order_bytes)
        require_whole(out_of_order_bytes=out_of_order_bytes)
    require_one_of(ON_GAP, on_gap=on_gap)
    if number is not None and not callable(number):
        raise ConfigError("number", number, must="a function")
    if number is None:
        return lift(_Number, start, errors, scheduler=scheduler)
    rule = _Rule(
        start, out_of_order_buffer, gap_timeout, on_gap, out_of_order_bytes or inf
    )
    return lift(_Sequence, rule, number, errors, scheduler=scheduler)


@operator
def resequence(
    *,
    start: int = 1,
    out_of_order_buffer: int = 1000,
    gap_timeout: float = 5.0,
    on_gap: OnGap = "skip",
    errors: Errors = None,
    scheduler: SchedulerBase | None = None,
) -> Operator[Item, Frame]:
    """Put numbered payloads back in order and drop what came twice.

    >>> import reactivex as rx
    >>> came = [Frame(b'{"n":%d}' % n, first=n, last=n) for n in (2, 1, 2, 3)]
    >>> _ = rx.from_iterable(came).pipe(resequence()).subscribe(
    ...     lambda frame: print(frame.last)
    ... )
    1
    2
    3

    The inverse of `sequence`, for readers; it stands before `unbatch`. It is needed
    behind `compress(ordered=False)`, and wherever two connections overlap. Payloads
    without numbers pass as they come. A plain AG-UI frame carries only the last number
    it covers: where those have holes, behind a gap or a conflation, one connection is
    in order anyway, and this would wait for what was covered.

    Args:
        start: The first number that is expected: 1, or one more than the last seen.
        out_of_order_buffer, gap_timeout, on_gap, errors, scheduler: As for `sequence`.

    Raises:
        ConfigError: A setting makes no sense.
    """
    require_at_least(1, start=start)
    require_positive(out_of_order_buffer=out_of_order_buffer, gap_timeout=gap_timeout)
    require_whole(start=start, out_of_order_buffer=out_of_order_buffer)
    require_one_of(ON_GAP, on_gap=on_gap)
    rule = _Rule(start, out_of_order_buffer, gap_timeout, on_gap)
    return lift(_Resequence, rule, errors, scheduler=scheduler)


class _Number(Stage):
    """`sequence` without `number`: counts."""

    __slots__ = ("_number",)
    word = "sequence"
    is_transparent = True

    def __init__(self, subscription: Subscription, start: int, errors: Errors) -> None:
        super().__init__(subscription, errors)
        self._number = start

    def next(self, frame: Frame) -> None:
        events = frame.events
        frame.first = first = self._number
        self._number = following = first + events
        frame.last = following - 1
        if frame.numbers is not None:
            frame.numbers = None
        self.passed += events
        self.emit(frame)

    def on_batch(self, payload: Frame) -> None:
        payload.first = self._number
        self._number += payload.events
        payload.last = self._number - 1
        if payload.numbers is not None:
            payload.numbers = None
        self.passed += payload.events


class _Rule(NamedTuple):
    """Settings of reordering: bounds, time-out and what follows a gap."""

    start: int
    buffer: int
    timeout: float
    on_gap: str
    max_bytes: float = inf


class _Held(NamedTuple):
    """A frame held for an earlier number, its time of arrival and its credit."""

    frame: Frame
    since: float
    credit: Credit | None


class _Reorder(Stage):
    """Hold early frames until the earlier ones have come or are given up."""

    __slots__ = (
        "_gaps",
        "_held",
        "_held_bytes",
        "_held_events",
        "_rule",
        "_timer",
        "expected",
    )

    def __init__(self, subscription: Subscription, rule: _Rule, errors: Errors) -> None:
        super().__init__(subscription, errors)
        self._rule = rule
        self.expected = rule.start
        #: By first number, in order of arrival.
        self._held: dict[int, _Held] = {}
        self._held_events = 0
        self._held_bytes = 0
        self._timer: Timer | None = None
        #: The last ranges given up: a number in them is late, not a duplicate.
        self._gaps: deque[range] = deque(maxlen=32)

    def order(self, frame: Frame) -> None:
        """Send, hold or drop a frame by its numbers."""
        if frame.last < self.expected:
            late = any(frame.last in gap for gap in self._gaps)
            self.count_drop("late" if late else "duplicate", frame.events)
            self.dropped_as(
                LateError(frame.last) if late else DuplicateError(frame.last)
            )
        elif frame.first <= self.expected:
            self._send(frame)
            self._send_held()
        else:
            self._hold(frame)

    def dropped_as(self, error: StreamError) -> None:
        """Handle an event that was dropped because of its number."""

    @property
    def levels(self) -> dict[str, int]:
        return {
            "sequence.buffer.size": self._held_events,
            "sequence.buffer.capacity": self._rule.buffer,
            "operator.buffer.usage": self._held_bytes,
        }

    def _hold(self, frame: Frame) -> None:
        since = self.subscription.clock.now()
        known = self._held.get(frame.first)
        if known is not None:
            # Two connections cut their batches differently: the longer has all of it.
            if frame.last <= known.frame.last:
                self.count_drop("duplicate", frame.events)
                self.dropped_as(DuplicateError(frame.last))
                return
            self.count_drop("duplicate", known.frame.events)
            self._take(frame.first)
            since = known.since
        self.count("sequence.out_of_order.events", frame.events)
        # Stored on purpose: the credit comes home when on_next returns.
        permit = frame._permit
        credit = permit if isinstance(permit, Credit) else frame.permit.credit
        stored = frame.copy(permit=NO_PERMIT)
        self._keep(frame.first, _Held(stored, since, credit))
        while (
            self._held_events > self._rule.buffer
            or self._held_bytes > self._rule.max_bytes
        ):
            self._give_up()
        if self._held and self._timer is None:
            self._timer = self.after(self._rule.timeout, self._ring)

    def _send(self, frame: Frame, held: float = 0.0) -> None:
        send = frame.trace
        if isinstance(send, PayloadTrace):
            now = time_ns()
            send.step(self.word, max(now - int(held * 1e9), send.begun), now)
        if frame.first < self.expected and frame.encoding == IDENTITY:
            lines, numbers = len(frame.lines()), len(frame.line_numbers())
            if lines != numbers:
                self.count_drop("invalid", frame.events)
                self.refuse(CorruptError(f"{lines} events came with {numbers} numbers"))
                return
            frame = _behind(frame, self.expected, self)
        self.expected = frame.last + 1
        self.sent += frame.events
        self.emit(frame)

    def _send_held(self) -> None:
        while self._held and (first := self._first_held()) <= self.expected:
            frame, since, credit = self._take(first)
            if frame.last < self.expected:  # it came by another way meanwhile
                self.count_drop("duplicate", frame.events)
                self.dropped_as(DuplicateError(frame.last))
                continue
            held = self.subscription.clock.now() - since
            if self.subscription.watch is not None:
                self.subscription.watch.reordered(held)
            self._send_in_debt(frame, held, credit)

    def _send_in_debt(self, frame: Frame, held: float, credit: Credit | None) -> None:
        """Send a held frame, charging its credit again, below zero if need be."""
        if credit is None or credit.size is None:
            self._send(frame, held)
            return
        credit.charge(frame.events)
        frame.permit = debt = Permit(credit, frame.events)
        try:
            self._send(frame, held)
        finally:
            debt.release()

    def _keep(self, first: int, held: _Held) -> None:
        self._held[first] = held
        self._held_events += held.frame.events
        self._held_bytes += len(held.frame.data)

    def _take(self, first: int) -> _Held:
        held = self._held.pop(first)
        self._held_events -= held.frame.events
        self._held_bytes -= len(held.frame.data)
        return held

    def _first_held(self) -> int:
        return self.expected if self.expected in self._held else min(self._held)

    def _ring(self, _: object) -> None:
        self._timer = None
        if not self._held or self._ended:
            return
        if self._left() <= 1e-6:  # what clocks lose in rounding
            self._give_up()
        if self._held and self._timer is None and not self._ended:
            self._timer = self.after(max(self._left(), 0.0), self._ring)

    def _left(self) -> float:
        """Seconds until the event held longest has waited long enough."""
        oldest = next(iter(self._held.values()))
        return oldest.since + self._rule.timeout - self.subscription.clock.now()

    def _give_up(self) -> None:
        """Give up the missing number and continue after it."""
        gap = self._skip_gap()
        if self._rule.on_gap == "error":
            self._drop_held("behind_gap")
            self.fail(gap)
        else:
            self._send_held()

    def _skip_gap(self) -> GapError:
        first = min(self._held)
        gap = GapError(self.expected, first - 1)
        self.count("sequence.gaps", 1)
        self.count("errors", 1, type(gap).__qualname__)
        self._gaps.append(range(gap.first, gap.last + 1))
        held = self._take(first)
        # The next frame covers what was given up, so that a reader sees no hole.
        held.frame.numbers = tuple(held.frame.line_numbers())
        held.frame.first = self.expected
        self._keep(self.expected, held)
        if self.tell is not None and self._rule.on_gap == "skip":
            self.tell(gap)
        return gap

    def finish(self, error: Exception | None) -> None:
        while self._held:
            gap = self._skip_gap()
            if self._rule.on_gap == "error":
                self._drop_held("behind_gap")
                error = error or gap
                break
            self._send_held()
        self._cancel()
        self.end(error)

    def drop(self) -> None:
        self._cancel()
        self._drop_held("cancelled")

    def _drop_held(self, reason: str) -> None:
        for held in self._held.values():
            self.count_drop(reason, held.frame.events)
        self._held.clear()
        self._held_events = self._held_bytes = 0

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _Sequence(_Reorder):
    """`sequence(number=...)`: orders events by their producers' numbers."""

    __slots__ = ("_number",)
    word = "sequence"

    def __init__(
        self, subscription: Subscription, rule: _Rule, number: Number, errors: Errors
    ) -> None:
        super().__init__(subscription, rule, errors)
        self._number = number

    def dropped_as(self, error: StreamError) -> None:
        # A reader's two connections overlap; a producer that repeats itself is wrong.
        self.count("errors", 1, type(error).__qualname__)
        if self.tell is not None:
            self.tell(error)

    def next(self, frame: Frame) -> None:
        self.taken += frame.events
        try:
            event = decode(frame.lines()[0])
        except StreamError as error:  # it is compressed, or was never JSON
            self.count_drop("invalid", frame.events)
            self.refuse(error)
            return
        try:
            number = self._number(event)
            if type(number) is not int:
                raise TypeError(f"a number must be an int, got {number!r}")
        except BaseException as error:
            self.count_drop("invalid", frame.events)
            self.refuse(ProcessingError("number", event, error))
            if stops_process(error):
                raise
            return
        frame.first = number
        frame.last = number + frame.events - 1
        if frame.numbers is not None:
            frame.numbers = None
        self.order(frame)


class _Resequence(_Reorder):
    """`resequence`: orders frames by the numbers that `sequence` gave."""

    __slots__ = ()
    word = "resequence"

    def next(self, frame: Frame) -> None:
        self.taken += frame.events
        if frame.last:
            self.order(frame)
        else:
            self.sent += frame.events
            self.emit(frame)


def _behind(frame: Frame, expected: int, stage: Stage) -> Frame:
    """Return `frame` without the events already sent: those below `expected`."""
    fresh = [
        (number, line)
        for number, line in zip(frame.line_numbers(), frame.lines(), strict=True)
        if number >= expected
    ]
    stage.count_drop("duplicate", frame.events - len(fresh))
    numbers = tuple(number for number, _ in fresh)
    rest = frame.copy(data=b"\n".join(line for _, line in fresh))
    rest.events = len(fresh)
    rest.first = expected
    whole = numbers == tuple(range(expected, frame.last + 1))
    rest.numbers = None if whole else numbers
    return rest
