"""What is not AG-UI goes no further than this.

    in      abXc-|          X = {"type": "TEXT_MESSAGE_CONTENT", "messageId": null}
            validate(errors=errors)
    out     ab-c-|
    errors  --X--

A stock client ends the run at the first event it cannot make sense of, so one event
with `"name": null` costs the reader all that would have followed. Here it costs itself.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType
from typing import Any

from rx_agui.agui.encoding import encode
from rx_agui.engine import Errors, Stage, lift, operator
from rx_agui.errors import ValidationError
from rx_agui.frame import IDENTITY, Frame, StreamChunk
from rx_agui.types import Item, Operator

__all__ = ["validate"]


@operator
def validate(*, errors: Errors = None) -> Operator[Item, Frame]:
    """Let through what an AG-UI client accepts; refuse the rest with ValidationError.

    >>> from rx_agui import from_iterable, unbatch
    >>> events = [
    ...     {"type": "STEP_STARTED", "stepName": "think"},
    ...     {"type": "STEP_STARTED", "step_name": "think"},
    ...     {"type": "STEP_FINISHED", "stepName": "think", "timestamp": None},
    ... ]
    >>> _ = from_iterable(events).pipe(validate(errors=print), unbatch()).subscribe(print)
    {'type': 'STEP_STARTED', 'stepName': 'think'}
    stepName: Field required: {'type': 'STEP_STARTED', 'step_name': 'think'}
    timestamp: null, where a field without a value is left out: {'type': ...

    Stands first, before `sequence`, so that what is refused leaves no gap. Each event by
    itself: that a message was begun before it is written to is not looked at.

    Judged is what will be on the wire, by the models of ag_ui.core, and as strictly as
    the zod schemas of `@ag-ui/client`: no unknown type, names as they are on the wire,
    no value of another type, no null but where any JSON must be (a state, the value
    of a CUSTOM). Unknown fields pass: AG-UI allows them. An event object of ag_ui.core
    was checked when it was made and is not checked again, which `model_construct`
    and assignment may abuse.

    A mapping costs 2 µs more for a text delta, and no more for a snapshot, whose state is
    not looked into; a large event as bytes is decoded for that, 5 µs a kilobyte. Messages
    are looked into: 30. An event object costs a look at its class. Behind another operator every event is
    decoded again, and the stages are not fused, so put it first.

    Args:
        errors: Told of each event that is no AG-UI; the stream goes on without it.
            Without it such an event ends the stream, behind the others. A Gate raises at
            its sender, and tells no other.
    """
    return lift(_Validate, errors)


class _Validate(Stage):
    __slots__ = ()
    word = "validate"

    @property
    def is_transparent(self) -> bool:  # type: ignore[override]
        """Whether all that comes was judged where it was encoded, at the top."""
        return self.subscription.top is self

    def encode(self, event: Any) -> bytes:
        """Return the event's JSON, if it is AG-UI. On any thread."""
        line = encode(event)
        rules = _rules()
        if type(event) not in rules.MODELS:
            rules.judge(event, line)
        return line

    def frame_of(self, item: Any) -> Any:
        if not isinstance(item, Frame | StreamChunk):
            return Frame(self.encode(item))
        frame, errors = _sifted(super().frame_of(item))
        last = errors.pop() if frame is None else None
        for error in errors:
            self.subscription.execute(self.count_refused)
            self.refuse(error)
        if last is not None:
            raise last
        return frame

    def next(self, frame: Frame) -> None:
        if self.subscription.top is self:
            self.passed += frame.events
            self.emit(frame)
            return
        self.taken += frame.events
        rest, errors = _sifted(frame)
        for error in errors:
            self.count_drop("invalid", 1)
            self.refuse(error)
        if rest is not None:
            self.sent += rest.events
            self.emit(rest)


def _sifted(frame: Frame) -> tuple[Frame | None, list[ValidationError]]:
    """Return the valid part of a payload, and why the rest is not valid."""
    if frame.encoding != IDENTITY:
        return frame, []
    judge = _rules().judge
    errors = []
    kept = []
    for line, number in zip(frame.lines(), frame.line_numbers(), strict=True):
        try:
            judge(line, line)
        except ValidationError as error:
            errors.append(error)
        else:
            kept.append((line, number))
    if not errors:
        return frame, []
    if not kept:
        return None, errors
    rest = frame.copy(data=b"\n".join([line for line, _ in kept]))
    rest.events = len(kept)
    if frame.last:
        rest.numbers = tuple([number for _, number in kept])
        rest.last = kept[-1][1]
    return rest, errors


@cache
def _rules() -> ModuleType:
    """Return `rx_agui.agui.validation`, which imports the models of ag_ui.core (0.1 s)."""
    from rx_agui.agui import validation

    return validation
