"""What operators promise in company: in chains of three, in every order.

    candidate ── batch ── refuser      batch ── candidate ── refuser      ... six orders

A fault between two operators shows in no rule for one alone: what `batch` holds goes
down together with the end, and who refuses it then must still be heard.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import permutations
from typing import Any, Final

from reactivex import compose
from reactivex import operators as ops
from reactivex.scheduler import NewThreadScheduler

from rx_agui.engine import Stage, Subscription, lift
from rx_agui.errors import BrokenOffError, StreamError, WireError
from rx_agui.flow import NO_PERMIT, Permit, from_iterable
from rx_agui.flow._downstream import permit_here
from rx_agui.frame import Frame
from rx_agui.operators import batch, flow_control
from rx_agui.testing._rig import (
    Candidate,
    Operator,
    ProbeSource,
    RecordingSink,
    Rig,
    Rule,
    count_events,
)
from rx_agui.testing._scheduler import MarbleScheduler

__all__ = ["COMPANY_RULES"]

#: How the events that `batch` holds may leave: the end, an error, its timer, its size.
_TRIGGERS: Final = ("completed", "error", "timeout", "size")

#: Inputs of a source that a stuck reader must hold back: more than any window in use.
_MANY: Final = 900

#: Seconds until everything has come to rest.
_A_WHILE: Final = 10.0

_Make = Callable[[], Operator]


class _Refuser(Stage):
    """Refuses every `step`-th payload, beginning with the first."""

    __slots__ = ("_payloads", "_step")
    word = "refuser"

    def __init__(self, subscription: Subscription, step: int) -> None:
        super().__init__(subscription)
        self._step = step
        self._payloads = 0

    def next(self, frame: Frame) -> None:
        refused = self._payloads % self._step == 0
        self._payloads += 1
        if refused:
            self.taken += frame.events
            self.count_drop("invalid", frame.events)
            self.refuse(WireError("refused by the test"))
        else:
            self.passed += frame.events
            self.emit(frame)


class _Spoiler(Stage):
    """Sends something that is no event instead of each payload."""

    __slots__ = ()
    word = "spoiler"
    emits = object

    def next(self, frame: Frame) -> None:
        self.passed += frame.events
        self.emit(object())


def _orders(*makes: _Make) -> Iterator[Operator]:
    for order in permutations(makes):
        yield compose(*(make() for make in order))


def what_was_not_delivered_was_told_before_the_end(candidate: Candidate) -> None:
    inputs = candidate.inputs(12)
    wanted = sum(count_events(item) for item in inputs)
    for trigger in _TRIGGERS:
        size = 4 if trigger == "size" else 1000
        for step in (1, 2):
            for operator in _orders(
                candidate.make,
                lambda size=size: batch(size, 5.0, max_batch_size=size),  # type: ignore[misc]
                lambda step=step: lift(_Refuser, step),  # type: ignore[misc]
            ):
                rig = Rig(operator)
                rig.push_all(inputs)
                if trigger == "timeout":
                    rig.wait()
                if trigger == "error":
                    rig.source.fail(StreamError("#"))
                else:
                    rig.source.complete()
                rig.wait()
                heard, ends = rig.sink.events, rig.sink.ends
                said = f"{heard} of {wanted} events, then {ends} ({trigger}, 1 in {step} refused)"
                assert len(ends) == 1, said
                assert ends[0] is not None or heard == wanted, f"nothing told: {said}"


def what_is_told_is_told_before_the_end(candidate: Candidate) -> None:
    if candidate.telling is None:
        return
    told: list[tuple[StreamError, int]] = []

    def tell(error: StreamError) -> None:
        told.append((error, len(rig.sink.ends)))

    rig = Rig(compose(batch(1000, 5.0), lift(_Spoiler), candidate.telling(tell)))
    rig.push_all([{"type": "RAW", "event": n} for n in range(3)])
    rig.source.complete()
    rig.wait()
    assert [ends for _, ends in told] == [0], f"told after how many ends: {told}"
    assert rig.sink.ends == [None], f"ended with {rig.sink.ends}"


def _same() -> Operator:
    return ops.map(lambda item: item)


class _Holder:
    """A reader that is stuck: it holds what it gets until it is let go."""

    def __init__(self) -> None:
        self._held: list[Permit] = []

    def keep(self, item: Any) -> None:
        permit = getattr(item, "permit", None)
        if permit in (None, NO_PERMIT):
            permit = permit_here()
        self._held.append(permit.hold())

    def let_go(self) -> bool:
        """Whether it held anything."""
        held, self._held = self._held, []
        for permit in held:
            permit.release()
        return bool(held)


def a_source_waits_for_a_reader_that_is_stuck(candidate: Candidate) -> None:
    inputs = candidate.inputs(_MANY)
    for operator in _orders(candidate.make, _same, lambda: flow_control(4)):
        pulled = 0

        def pull() -> Iterator[Any]:
            nonlocal pulled
            for item in inputs:
                pulled += 1
                yield item

        reader = _Holder()
        sink = RecordingSink(reader.keep)
        clock = MarbleScheduler()
        operator(from_iterable(pull)).subscribe(sink, scheduler=clock)
        clock.play(_A_WHILE)
        if not sink.ends:  # else it was refused, and told
            assert pulled < len(inputs), f"a stuck reader: all {pulled} were pulled"
        for turn in range(1, len(inputs) + 100):
            reader.let_go()
            clock.play(_A_WHILE + turn)
            if sink.ends:
                break
        wanted = sum(count_events(item) for item in inputs)
        said = f"{sink.events} of {wanted} events, then {sink.ends}"
        assert len(sink.ends) == 1, f"it never ended: {said}"
        assert sink.ends[0] is not None or sink.events == wanted, said


def _quiet_thread(target: Callable[..., object]) -> threading.Thread:
    """Return a thread that swallows errors, as a timer's does."""

    def run() -> None:
        with suppress(Exception):
            target()

    return threading.Thread(target=run, daemon=True)


def what_a_scheduler_hands_on_ends_however_slow_the_reader(
    candidate: Candidate,
) -> None:
    inputs = candidate.inputs(12)
    wanted = sum(count_events(item) for item in inputs)
    scheduler = NewThreadScheduler(_quiet_thread)
    for operator in _orders(
        candidate.make, _same, lambda: flow_control(1, buffer_size=1, timeout=0.002)
    ):
        reader, source = _Holder(), ProbeSource()
        sink = RecordingSink(reader.keep)
        chain = operator(source.pipe(ops.observe_on(scheduler)))
        chain.subscribe(sink)
        for item in inputs:
            source.push(item)
        source.complete()
        breathe = threading.Event()
        for _ in range(400):
            if sink.ends:
                break
            breathe.wait(0.005)
            reader.let_go()
        said = f"{sink.events} of {wanted} events, then {sink.ends}"
        assert len(sink.ends) == 1, f"it never ended: {said}"
        assert sink.ends[0] is not None or sink.events == wanted, said


class _Panic(BaseException):
    """As a Rust extension raises it: no Exception, and no request to stop."""


def a_source_that_breaks_off_has_ended(candidate: Candidate) -> None:
    inputs = candidate.inputs(12)
    wanted = sum(count_events(item) for item in inputs)

    def pull() -> Iterator[Any]:
        yield from inputs
        raise _Panic("index out of bounds")

    for operator in _orders(candidate.make, _same, lambda: batch(1000, 5.0)):
        sink = RecordingSink()
        clock = MarbleScheduler()
        operator(from_iterable(pull)).subscribe(sink, scheduler=clock)
        clock.play()
        said = f"{sink.events} of {wanted} events, then {sink.ends}"
        assert len(sink.ends) == 1, f"it never ended: {said}"
        assert isinstance(sink.ends[0], StreamError), said
        was_refused = not isinstance(sink.ends[0], BrokenOffError)
        assert was_refused or sink.events == wanted, said


#: Every rule for an operator in company.
COMPANY_RULES: Final[tuple[Rule, ...]] = (
    what_was_not_delivered_was_told_before_the_end,
    what_is_told_is_told_before_the_end,
    a_source_waits_for_a_reader_that_is_stuck,
    what_a_scheduler_hands_on_ends_however_slow_the_reader,
    a_source_that_breaks_off_has_ended,
)
