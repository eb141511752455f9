"""Under pressure less is sent, step by step; and back, when the reader has caught up.

    age of the oldest   ▁▁▂▄▆███████▇▅▃▂▁▁▁▁▁▁▁▁      ── max_age
    level               0000000112223333332221100

    level   what is done besides                   by
    1       compression at its cheapest            compress
    2       batches up to max_batch_size, which
            may wait four times as long            batch
    3       conflation                             conflate
    4       no RAW events, no rawEvent             degrade
    5       producers are refused (Overloaded),    flow_control
            but for what begins, ends or answers

    pressure                          how it is measured
    age of the oldest in flight       the sink's acknowledgement, and all before it: an
                                      event is in flight until it is written
    the queue of those who may not    its share of buffer_size: 4/5 is pressure, 2/5 is
    wait (flow_control)               relief
    credit in flight                  is none: a source that is pulled always fills the
                                      window, and a reader who is quick empties it

The rule is CoDel's (RFC 8289): how long things wait tells a standing queue from a burst,
and a queue's length does not; and it must stand for a while before anything is done.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol, cast, get_args, runtime_checkable

from reactivex.abc import SchedulerBase

from rx_agui.agui.priority import (
    as_it_is,
    lighten,
    must_pass,
    without_raw,
    without_raw_event,
)
from rx_agui.clock import Timer
from rx_agui.engine import BatchSink, Errors, Stage, Subscription, lift, operator
from rx_agui.errors import (
    ConfigError,
    OverloadedError,
    require_one_of,
    require_positive,
)
from rx_agui.flow import AdmissionBlock, Credit
from rx_agui.frame import Frame
from rx_agui.operators._window import WindowedHead
from rx_agui.types import Item, Operator, Raw, Step

__all__ = ["STEPS", "Eases", "degrade"]

_log = logging.getLogger("rx_agui")

#: Every step, in the order in which a reader would miss what is taken away.
STEPS: Final[tuple[Step, ...]] = get_args(Step)

#: Looks at the pressure in the time that it must last.
_LOOKS: Final = 4
#: Shares of the queue at which it is pressure, and no more.
_FULL, _EMPTY = 0.8, 0.4


#: What "shed" makes of a line.
_LIGHTERS: Final[dict[str, Callable[[bytes], bytes | None]]] = {
    "keep": as_it_is,
    "strip": without_raw_event,
    "drop": without_raw,
}


@runtime_checkable
class Eases(Protocol):
    """A stage that can do with less."""

    def ease(self, step: str, taken: bool) -> None:
        """Take a step of degradation, or take it back. On the executor."""


@operator
def degrade(
    steps: tuple[Step, ...] = STEPS,
    *,
    max_age: float = 1.0,
    relief: float = 0.5,
    dwell: float = 1.0,
    on_level: Callable[[int, str], object] | None = None,
    raw: Raw = "drop",
    errors: Errors = None,
    scheduler: SchedulerBase | None = None,
) -> Operator[Item, Frame]:
    """Send less while the reader cannot keep up.

    >>> from rx_agui import batch, compress, flow_control, from_iterable, sequence, unbatch
    >>> events = [{"type": "STEP_STARTED", "stepName": "think"}]
    >>> _ = from_iterable(events).pipe(
    ...     flow_control(), degrade(), sequence(), batch(), unbatch()
    ... ).subscribe(print)
    {'type': 'STEP_STARTED', 'stepName': 'think'}

    It stands before `sequence`, so that what is shed leaves no gap, and acts on the
    operators of ours that follow each other directly in one line with it; `conflate`
    merges only from its step on then. Its level is what a `flow_control` in that line
    shows of the reader; without one nothing is in flight and the level is 0.

    Args:
        steps: What is done at level 1, 2, ...: any of "compress", "batch", "conflate",
            "shed" and "refuse", in this order. "compress" is for a server that is short
            of processors; where the network is what is slow, larger payloads are no
            help: leave it out.
        max_age: Seconds the oldest event in flight may have been under way. A second
            behind is when a reader begins to wonder.
        relief: The share of `max_age` below which the reader has caught up. Far below
            one, so that the level does not go up and down with each step's success.
        dwell: Seconds either must last before one level is taken, or left.
        on_level: Told of each new level, and what its step is ("normal" at 0).
        raw: What "shed" takes away: "drop", RAW events and the field `rawEvent`;
            "strip", the field alone; "keep", nothing.
        errors: Told of events that cannot be encoded, if this operator is the first.
        scheduler: Whose time to use. The default is the subscription's.

    Raises:
        ConfigError: A setting makes no sense.

    Chosen over dropping: a delta that is missing makes text wrong without a trace. Who
    cannot be told to wait, at level 5, is a producer on an event loop: its events queue
    in `flow_control`, whose `overflow` decides.
    """
    in_order = [step for step in STEPS if step in steps]
    if list(steps) != in_order:
        must = f"some of {', '.join(STEPS)}, in this order"
        raise ConfigError("steps", steps, must)
    require_one_of(tuple(_LIGHTERS), raw=raw)
    require_positive(max_age=max_age, relief=relief, dwell=dwell)
    if relief >= 1:
        raise ConfigError("relief", relief, must="a share below 1")
    return lift(
        _Degrade,
        tuple(steps),
        max_age,
        relief,
        dwell,
        on_level,
        _LIGHTERS[raw],
        errors,
        scheduler=scheduler,
    )


class _Degrade(Stage):
    __slots__ = (
        "_bar",
        "_barred",
        "_credit",
        "_dwell",
        "_is_ahead",
        "_is_cut",
        "_max_age",
        "_mood",
        "_on_level",
        "_relief",
        "_samples",
        "_since",
        "_steps",
        "_timer",
        "level",
        "lighter",
    )
    word = "degrade"
    is_transparent = True

    def __init__(
        self,
        subscription: Subscription,
        steps: tuple[str, ...],
        max_age: float,
        relief: float,
        dwell: float,
        on_level: Callable[[int, str], object] | None,
        lighter: Callable[[bytes], bytes | None],
        errors: Errors,
    ) -> None:
        super().__init__(subscription, errors)
        self._steps = steps
        self._max_age = max_age
        self._relief = relief * max_age
        self._dwell = dwell
        self._on_level = on_level
        self.lighter = lighter
        self.level = 0
        self._mood = 0  # 1: pressure, -1: relief
        self._since = 0.0  # when that began
        self._samples: deque[tuple[float, int]] = deque()  # seconds, events let in
        self._bar = AdmissionBlock(self._refusal, must_pass)
        self._barred: Credit | None = None
        self._credit: Credit | None = None
        self._timer: Timer | None = None
        self._is_cut = False
        self._is_ahead = False  # of the folded stages, to shed what they gather
        self._ease()

    # -- what passes ------------------------------------------------------------------

    def next(self, frame: Frame) -> None:
        if self._credit is None and self._window_credit is None:
            self._credit = frame.permit.credit
        self._watch()
        if not self._sheds:
            self.passed += frame.events
            self.emit(frame)
        elif self.shed(frame):
            self.emit(frame)

    def on_batch(self, payload: Frame) -> None:
        self._watch()
        self.passed += payload.events

    @property
    def _sheds(self) -> bool:
        return "shed" in self._taken_steps

    def shed(self, frame: Frame) -> bool:
        """Take out of a frame what may be shed; whether anything is left."""
        self.taken += frame.events
        events, size = lighten(frame, self.lighter)
        self.count_drop("shed", events)
        self.count_size(size)
        self.sent += frame.events
        return frame.events > 0

    def count_size(self, size: int) -> None:
        if size:
            self.count("degrade.shed.size", size)

    def account(self, events: int, size: int) -> None:
        """So many events were taken out ahead of the folded stages, and so many bytes."""
        for stage in self.subscription.above(self):
            stage.passed += events
        self.taken += events
        self.count_drop("shed", events)
        self.count_size(size)

    # -- the pressure -------------------------------------------------------------------

    def _watch(self) -> None:
        if self._timer is None and not self._is_cut:
            self._timer = self.after(self._dwell / _LOOKS, self._look)

    def _look(self, _: object) -> None:
        self._timer = None
        if self._is_cut:
            return
        credit = self._window_credit
        if credit is None:
            return
        now = self.subscription.clock.now()
        in_flight = self._in_flight(credit)
        age = self._age(now, in_flight)
        queued = self._queued
        mood = 0
        if age > self._max_age or queued > _FULL:
            mood = 1
        elif age < self._relief and queued < _EMPTY:
            mood = -1
        if mood != self._mood:
            self._mood, self._since = mood, now
        elif mood and now - self._since >= self._dwell - 1e-6:
            self._since = now
            self._go_to(self.level + mood)
        if in_flight or self.level or queued:
            self._watch()
        else:
            self._samples.clear()
            self._mood = 0

    @property
    def _window_credit(self) -> Credit | None:
        """The window of this line, or else of one further up."""
        head = self.subscription.head
        if head is not None and head.credit.size is not None:
            return head.credit
        return self._credit

    def _in_flight(self, credit: Credit) -> int:
        head = self.subscription.head
        is_here = isinstance(head, WindowedHead) and head.credit is credit
        return cast(WindowedHead, head).in_flight if is_here else credit.in_flight

    @property
    def _queued(self) -> float:
        """How full the queue is of those who may not wait: a share."""
        head = self.subscription.head
        return head.queued if isinstance(head, WindowedHead) else 0.0

    def _age(self, now: float, in_flight: int) -> float:
        """Seconds the oldest event in flight has been under way, at least.

        Events leave in the order they came, so the oldest is the first of the last
        `in_flight`; when so many had come is known, give or take a look.
        """
        came, samples = self.received, self._samples
        if not samples or samples[-1][1] != came:
            samples.append((now, came))
        oldest = came - in_flight + 1
        while samples and samples[0][1] < oldest:
            samples.popleft()
        return now - samples[0][0] if in_flight and samples else 0.0

    # -- the level ------------------------------------------------------------------------

    @property
    def _taken_steps(self) -> tuple[str, ...]:
        return self._steps[: self.level]

    def _go_to(self, level: int) -> None:
        level = max(0, min(len(self._steps), level))
        if level == self.level:
            return
        before, self.level = self.level, level
        step = self._steps[level - 1] if level else "normal"
        say = _log.warning if level > before else _log.info
        say("degrade: level %d (%s), was %d", level, step, before)
        self._ease()
        if self._on_level is not None:
            try:
                self._on_level(level, step)
            except Exception:
                _log.exception("%r failed to hear of level %d", self._on_level, level)

    def _ease(self) -> None:
        steps = self._taken_steps
        for stage in self.subscription.stages:
            if isinstance(stage, Eases):
                for step in self._steps:
                    stage.ease(step, step in steps)
        self._reroute()
        credit = self._window_credit if "refuse" in steps else None
        if credit is not self._barred:
            if self._barred is not None:
                self._barred.unblock(self._bar)
            if credit is not None:
                credit.block(self._bar)
            self._barred = credit

    def _reroute(self) -> None:
        """Shed what comes before the stages that are folded have it; or no more."""
        head, batch_sink = self.subscription.head, self.fused_into
        if batch_sink is None or not isinstance(head, WindowedHead):
            return
        if self._sheds != self._is_ahead:
            self._is_ahead = self._sheds
            folded = cast(BatchSink, batch_sink)
            head.reroute(_Ahead(self, folded) if self._sheds else folded)

    def _refusal(self) -> OverloadedError:
        first = self._samples[0][0] if self._samples else self.subscription.clock.now()
        return OverloadedError(self.subscription.clock.now() - first)

    @property
    def levels(self) -> dict[str, int]:
        return {"degrade.level": self.level}

    # -- the end ----------------------------------------------------------------------------

    def finish(self, error: Exception | None) -> None:
        self._stop()
        self.end(error)

    def drop(self) -> None:
        self._stop()

    def _stop(self) -> None:
        self._is_cut = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        barred, self._barred = self._barred, None
        if barred is not None:
            barred.unblock(self._bar)
        self._samples.clear()


class _Ahead:
    """Sheds what comes before it is gathered, as encoded, by the stage that folds us."""

    __slots__ = ("_degrade", "_gatherer")

    def __init__(self, degrade: _Degrade, batch_sink: BatchSink) -> None:
        self._degrade = degrade
        self._gatherer = batch_sink

    def gather(self, line: bytes, credit: Credit) -> None:
        lighter = self._degrade.lighter(line)
        if lighter is None:
            self._degrade.account(1, len(line))
            credit.release(1)
            return
        if lighter is not line:
            self._degrade.account(0, len(line) - len(lighter))
        self._gatherer.gather(lighter, credit)

    def gather_many(self, lines: list[bytes], size: int, credit: Credit) -> None:
        kept = [
            light
            for line in lines
            if (light := self._degrade.lighter(line)) is not None
        ]
        shed = len(lines) - len(kept)
        rest = sum(map(len, kept))
        if rest < size:
            self._degrade.account(shed, size - rest)
        if kept:
            self._gatherer.gather_many(kept, rest, credit)
        if shed:
            credit.release(shed)

    def next(self, frame: Frame) -> None:
        events, size = lighten(frame, self._degrade.lighter)
        if size:
            self._degrade.account(events, size)
        if frame.events:
            self._gatherer.next(frame)
