"""Whether one event is AG-UI, by the models of ag_ui.core and as strict as its clients.

Importing this module imports ag_ui.core (0.1 s of processor time): import it where the
first event is validated.
"""

from __future__ import annotations

import re
from typing import Any, Final

from ag_ui import core
from pydantic import BaseModel, TypeAdapter
from pydantic import ValidationError as PydanticError

from rx_agui.agui.encoding import encode, loads
from rx_agui.errors import ValidationError

__all__ = ["MODELS", "judge"]

_EVENT: Final = TypeAdapter[core.BaseEvent](core.Event)

#: The models of events; an instance of one was checked when it was made.
MODELS: Final = frozenset(
    model
    for model in vars(core).values()
    if isinstance(model, type) and issubclass(model, core.BaseEvent)
) - {core.BaseEvent}


def judge(event: Any, line: bytes) -> None:
    """Check the JSON that goes on the wire for an event.

    Raises:
        ValidationError: A stock client would not take it.
    """
    if len(line) > _SMALL:
        line = _without_bulk(event, line)
    if b"\\u" in line:
        line = _HALF.sub(rb"\\ufffd", line)  # which pydantic does not read
    try:
        made = _EVENT.validate_json(line, strict=True, by_alias=True, by_name=False)
    except PydanticError as error:
        raise ValidationError(event, _reason(error)) from None
    if b"null" in line or type(made) in _LENIENT:
        wrong = _wrong_in(made)
        if wrong:
            raise ValidationError(event, wrong)


def _without_bulk(event: Any, line: bytes) -> bytes:
    """Return the event's JSON with `true` for each large value that may be any JSON."""
    fields = event if type(event) is dict else loads(line)
    return encode(
        {
            name: True if name in _ANYTHING and value is not None else value
            for name, value in fields.items()
        }
    )


def _reason(error: PydanticError) -> str:
    """Return the first error that pydantic found, with its path."""
    first = error.errors(include_url=False, include_context=False)[0]
    if first["type"] == "union_tag_invalid":
        return "unknown type"
    # The first of the path is the type of the event, which is shown anyway.
    where = ".".join([str(step) for step in first["loc"][1:]])
    return f"{where}: {first['msg']}" if where else first["msg"]


def _wrong_in(model: BaseModel, path: str = "") -> str:
    """Return what pydantic accepts and a client refuses, with its path; "" if nothing.

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
    """Return True if an event model has defaults, or holds models that may have some."""
    return any(
        "ag_ui" in str(field.annotation) or field.default is not None
        for name, field in model.model_fields.items()
        if name != "type" and not field.is_required()
    ) or model in (core.MessagesSnapshotEvent, core.RunStartedEvent)


#: Fields that may be any JSON, in whichever event they are.
_ANYTHING: Final = frozenset(
    field.alias or name
    for model in MODELS
    for name, field in model.model_fields.items()
    if field.annotation in (Any, Any | None)
)
#: Half a surrogate pair, which is JSON.
_HALF: Final = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
#: Bytes from which it is cheaper not to show them.
_SMALL: Final = 1024
#: Of a run's input: what the agent has to remember may be nothing, and be said so.
_MAY_BE_NULL: Final = "state"
_LENIENT: Final = frozenset(model for model in MODELS if _is_lenient(model))
