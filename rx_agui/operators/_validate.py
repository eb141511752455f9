"""What is not AG-UI goes no further than this.

    in      abXc-|          X = {"type": "TEXT_MESSAGE_CONTENT", "messageId": null}
            validate(errors=errors)
    out     ab-c-|
    errors  --X--

A stock client ends the run at the first event it cannot make sense of, so one event
with `"name": null` costs the reader all that would have followed. Here it costs itself.
"""

from __future__ import annotations

from typing import Any, Final

import orjson
from ag_ui import core
from pydantic import BaseModel, TypeAdapter
from pydantic import ValidationError as PydanticError

from rx_agui.agui.encoding import encode
from rx_agui.engine import Errors, Stage, lift
from rx_agui.errors import ValidationError
from rx_agui.frame import IDENTITY, Frame, StreamChunk
from rx_agui.types import Item, Operator

__all__ = ["validate"]

_EVENT: Final = TypeAdapter[core.BaseEvent](core.Event)

#: The models of events; an instance of one was checked when it was made.
_MODELS: Final = frozenset(
    model
    for model in vars(core).values()
    if isinstance(model, type) and issubclass(model, core.BaseEvent)
) - {core.BaseEvent}


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
            whoever sends, and tells nobody else.
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
        """The event's JSON, if it is AG-UI. On any thread."""
        line = encode(event)
        if type(event) not in _MODELS:
            judge(event, line)
        return line

    def frame_of(self, item: Any) -> Any:
        if not isinstance(item, Frame | StreamChunk):
            return Frame(self.encode(item))
        frame, errors = _sifted(super().frame_of(item))
        last = errors.pop() if frame is None else None
        for error in errors:
            self.subscription.post(self._count_refused)
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
    """What is AG-UI of a payload, and why the rest is not. Compressed, it passes."""
    if frame.encoding != IDENTITY:
        return frame, []
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


def judge(event: Any, line: bytes) -> None:
    """Look at what goes on the wire for an event.

    Raises:
        ValidationError: A stock client would not take it.
    """
    if len(line) > _SMALL:
        line = _without_bulk(event, line)
    try:
        made = _EVENT.validate_json(line, strict=True, by_alias=True, by_name=False)
    except PydanticError as error:
        raise ValidationError(event, _reason(error)) from None
    if b"null" in line or type(made) in _LENIENT:
        wrong = _wrong_in(made)
        if wrong:
            raise ValidationError(event, wrong)


def _without_bulk(event: Any, line: bytes) -> bytes:
    """The same event for a judge, who need not see what may be any JSON."""
    fields = event if type(event) is dict else orjson.loads(line)
    return encode(
        {
            name: True if name in _ANYTHING and value is not None else value
            for name, value in fields.items()
        }
    )


def _reason(error: PydanticError) -> str:
    """The first thing pydantic found, and where."""
    first = error.errors(include_url=False, include_context=False)[0]
    if first["type"] == "union_tag_invalid":
        return "unknown type"
    # The first of the path is the type of the event, which is shown anyway.
    where = ".".join([str(step) for step in first["loc"][1:]])
    return f"{where}: {first['msg']}" if where else first["msg"]


def _wrong_in(model: BaseModel, path: str = "") -> str:
    """What pydantic lets through and a client does not, and where.

    The models have a default where the wire must have a value, and None for what the
    wire must leave out.
    """
    fields = type(model).model_fields
    for name, field in fields.items():
        where = f"{path}{field.alias or name}"
        if name not in model.model_fields_set:
            if field.default is not None:
                return f"{where}: Field required"
            continue
        value = getattr(model, name)
        if value is None and not field.is_required() and name != _MAY_BE_NULL:
            return f"{where}: null, where a field without a value is left out"
        for i, part in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(part, BaseModel):
                inside = f"{where}.{i}." if isinstance(value, list) else f"{where}."
                if wrong := _wrong_in(part, inside):
                    return wrong
    return ""


def _is_lenient(model: type[BaseModel]) -> bool:
    """Whether a model of an event has defaults, or models inside that may have some."""
    return any(
        "ag_ui" in str(field.annotation) or field.default is not None
        for name, field in model.model_fields.items()
        if name != "type" and not field.is_required()
    ) or model in (core.MessagesSnapshotEvent, core.RunStartedEvent)


#: Fields that may be any JSON, in whichever event they are.
_ANYTHING: Final = frozenset(
    field.alias or name
    for model in _MODELS
    for name, field in model.model_fields.items()
    if field.annotation in (Any, Any | None)
)
#: Bytes from which it is cheaper not to show them.
_SMALL: Final = 1024
#: Of a run's input: what the agent has to remember may be nothing, and be said so.
_MAY_BE_NULL: Final = "state"
_LENIENT: Final = frozenset(model for model in _MODELS if _is_lenient(model))
