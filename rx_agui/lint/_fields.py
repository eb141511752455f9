"""The check that an event has the fields that a client requires, and null nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from rx_agui.agui.events import EVENTS
from rx_agui.lint._rules import CLIENTS, Finding, found

__all__ = ["check_fields"]

_NEW = ("1.0.0",)
_OLD = ("0.0.59",)


@cache
def _kinds() -> dict[str, type[BaseModel]]:
    """Return the models of AG-UI 1.0 by type, imported on first use."""
    from ag_ui.core import Event

    models = get_args(get_args(Event)[0])
    return {
        str(get_args(m.model_fields["type"].annotation)[0].value): m for m in models
    }


#: Fields for which both clients take null as absent.
_MAY_BE_NULL = {
    ("TOOL_CALL_START", "parentMessageId"),
    ("TOOL_CALL_CHUNK", "parentMessageId"),
    ("RUN_FINISHED", "outcome"),
}

#: Fields, and the depth in them, that the older client does not check.
_UNSEEN_OF_OLD = {
    ("RUN_STARTED", "protocolVersion"): 1,
    ("STATE_DELTA", "delta"): 2,
    ("ACTIVITY_DELTA", "patch"): 2,
}

#: Integers that JavaScript has exactly.
_SAFE = 2**53 - 1


def check_fields(event: dict[str, Any], *, offset: int, line: int) -> Iterator[Finding]:
    """Yield what is wrong with the fields of one event."""
    where: dict[str, Any] = {"offset": offset, "line": line}
    kind = event["type"]
    model = _kinds().get(kind)
    if model is None:
        retired = kind in EVENTS and EVENTS[kind].is_retired
        yield found("retired-type" if retired else "unknown-type", kind, **where)
        return
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    for name in event.keys() - fields.keys():
        yield found("unknown-field", f"{kind}.{name}", **where)
    given = {name: value for name, value in event.items() if name in fields}
    del given["type"]  # it is no enum in JSON, and is right already
    when = given.pop("timestamp", 0)
    if (fails := _fails_of_time(when)) is not None:
        rule = "null" if when is None else "bad-field"
        yield found(rule, f"{kind}.timestamp is {when!r}", fails=fails, **where)
    try:
        whole = model.model_validate(given, strict=True)
    except ValidationError as error:
        yield from _wrong(kind, fields, error, where)
    else:
        for path in _nulls(whole):
            if (kind, path) in _MAY_BE_NULL:
                continue
            fails = _NEW if _is_unseen_of_old(kind, path.split(".")) else CLIENTS
            yield found("null", f"{kind}.{path} is null", fails=fails, **where)
        content = event.get("content")
        if kind == "TOOL_CALL_RESULT" and isinstance(content, list):
            seen = "TOOL_CALL_RESULT.content has parts"
            yield found("bad-field", seen, fails=_OLD, **where)


def _wrong(
    kind: str,
    fields: dict[str, FieldInfo],
    error: ValidationError,
    where: dict[str, Any],
) -> Iterator[Finding]:
    told: set[str] = set()
    for each in error.errors(include_url=False, include_input=True):
        if each["type"] == "string_unicode":  # half a surrogate pair; JavaScript has it
            continue
        name = str(each["loc"][0])
        path = ".".join(str(part) for part in each["loc"])
        fails = _fails(kind, path.split("."), str(each["type"]), fields.get(name))
        if each["type"] == "missing":
            yield found("missing-field", f"{kind} without {path}", fails=fails, **where)
        elif each["input"] is None and not fields[name].is_required():
            yield found("null", f"{kind}.{name} is null", fails=fails, **where)
        elif name not in told:  # a union says it once for each of its members
            told.add(name)
            seen = f"{kind}.{path} is {each['input']!r}: {each['msg']}"
            yield found("bad-field", seen, fails=fails, **where)


def _fails(
    kind: str, path: list[str], error: str, field: FieldInfo | None
) -> tuple[str, ...]:
    """Return the clients that refuse it."""
    is_unseen = _is_unseen_of_old(kind, path)
    if error.startswith("union_tag"):
        return () if is_unseen else _OLD  # the newer drops what it does not know
    if error == "missing" and field is not None and field.annotation is Any:
        return _NEW
    return _NEW if is_unseen else CLIENTS


def _is_unseen_of_old(kind: str, path: list[str]) -> bool:
    return len(path) >= _UNSEEN_OF_OLD.get((kind, path[0]), 99)


def _fails_of_time(when: Any) -> tuple[str, ...] | None:
    if isinstance(when, bool) or not isinstance(when, int | float):
        return CLIENTS
    return None if when == int(when) and abs(when) <= _SAFE else _NEW


def _nulls(model: BaseModel) -> Iterator[str]:
    """Yield the paths of fields that are null instead of absent."""
    for name in model.model_fields_set:
        field = type(model).model_fields.get(name)
        if field is None:
            continue
        value = getattr(model, name)
        shown = field.alias or name
        if value is None:
            if field.annotation is not Any and Any not in get_args(field.annotation):
                yield shown
        elif isinstance(value, BaseModel):
            yield from (f"{shown}.{path}" for path in _nulls(value))
        elif isinstance(value, list):
            for index, each in enumerate(value):
                if isinstance(each, BaseModel):
                    yield from (f"{shown}.{index}.{path}" for path in _nulls(each))
