"""What operators promise in company: in chains of three, in every order.

    candidate ── batch ── refuser      batch ── candidate ── refuser      ... six orders

A fault between two operators shows in no rule for one alone: what `batch` holds goes
down together with the end, and who refuses it then must still be heard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import permutations
from typing import Final

from reactivex import compose

from rx_agui.engine import Stage, Subscription, lift
from rx_agui.errors import StreamError, WireError
from rx_agui.frame import Frame
from rx_agui.operators import batch
from rx_agui.testing._rig import Candidate, Operator, Rig, Rule, count_events

__all__ = ["COMPANY_RULES"]

#: How the events that `batch` holds may leave: the end, an error, its timer, its size.
_TRIGGERS: Final = ("completed", "error", "timeout", "size")

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


#: Every rule for an operator in company.
COMPANY_RULES: Final[tuple[Rule, ...]] = (
    what_was_not_delivered_was_told_before_the_end,
    what_is_told_is_told_before_the_end,
)
