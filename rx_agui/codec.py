"""Events to bytes and back: one JSON object, on one line.

Every event is encoded once, where it enters, and what cannot be encoded is
refused there, before it has a number. Taken are

    AG-UI events         ag_ui.core, byte for byte what its EventEncoder writes
    mappings             as they are; nulls are yours
    dataclasses          by field name
    msgspec structs      by msgspec's own rules, where msgspec is installed
    pydantic models      by alias
    bytes                JSON that is encoded already; checked, and put on one line

orjson encodes a model's fields about five times as fast as `EventEncoder`. What
it cannot do (integers over 64 bit, sets, a model with a serializer of its own)
falls back to pydantic, so it costs speed and never a difference.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping
from typing import Any

import ag_ui.core
import orjson
from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, to_json

from rx_agui.errors import ValidationError, WireError

__all__ = ["decode", "encode"]

Fields = tuple[tuple[str, str, bool], ...]


def encode(event: Any) -> bytes:
    """The event as one JSON object on one line.

    >>> from ag_ui.core import TextMessageContentEvent
    >>> encode(TextMessageContentEvent(message_id="m1", delta="Hi"))
    b'{"type":"TEXT_MESSAGE_CONTENT","messageId":"m1","delta":"Hi"}'
    >>> encode({"type": "CUSTOM", "name": "tick", "value": None})
    b'{"type":"CUSTOM","name":"tick","value":null}'

    Raises:
        ValidationError: It is none of the above, or holds what JSON cannot.
    """
    if type(event) is dict:
        return _encode_mapping(event)
    fields = _FIELDS.get(type(event))
    if fields is not None:
        return _encode_model(event, fields)
    return _encode_other(event)


def decode(line: bytes) -> dict[str, Any]:
    """The event of one line, as a mapping: the inverse of `encode`.

    Raises:
        WireError: It is not one JSON object.
    """
    try:
        event = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise WireError(f"not JSON ({error}): {_start_of(line)}") from None
    if type(event) is not dict:
        raise WireError(f"not a JSON object: {_start_of(line)}")
    return event


def _encode_mapping(event: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(event, default=_nested)
    except TypeError:
        return _slowly(
            event, lambda: to_json(event, by_alias=True, inf_nan_mode="null")
        )


def _encode_model(event: BaseModel, fields: Fields) -> bytes:
    try:
        return orjson.dumps(_present(event, fields), default=_nested)
    except TypeError:
        return _slowly(event, lambda: event.model_dump_json(by_alias=True).encode())


def _encode_other(event: Any) -> bytes:
    match event:
        case BaseModel():
            if _is_plain(type(event)):
                fields = _FIELDS[type(event)] = _fields_of(type(event))
                return _encode_model(event, fields)
            return _slowly(event, lambda: event.model_dump_json(by_alias=True).encode())
        case bytes() | bytearray() | memoryview():
            return _on_one_line(bytes(event))
        case Mapping():
            return _encode_mapping(dict(event))
        case _ if dataclasses.is_dataclass(event) and not isinstance(event, type):
            return _encode_mapping(event)  # type: ignore[arg-type]  # orjson knows them
        case _ if _is_struct(event):
            import msgspec

            return _slowly(event, lambda: msgspec.json.encode(event))
    kinds = "an AG-UI event, a mapping, a dataclass, a msgspec Struct or JSON bytes"
    raise ValidationError(
        event, f"an event must be {kinds}, got {type(event).__name__}"
    )


def _slowly(event: Any, dump: Callable[[], bytes]) -> bytes:
    """What orjson could not do; or why it cannot be done at all."""
    try:
        return dump()
    except (PydanticSerializationError, TypeError, ValueError, RecursionError) as error:
        raise ValidationError(event, f"not JSON ({error})") from error


def _on_one_line(data: bytes) -> bytes:
    try:
        event = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise ValidationError(data, f"not JSON ({error})") from None
    if type(event) is not dict:
        raise ValidationError(data, "an event must be a JSON object")
    if b"\n" in data or b"\r" in data:  # between tokens; inside strings JSON bans them
        return orjson.dumps(event)
    return data.strip(b" \t")


#: How to encode each class of event without asking pydantic: attribute, name on the
#: wire, and whether it is left out when None.
_FIELDS: dict[type, Fields] = {}


def _is_plain(model: type[BaseModel]) -> bool:
    """Whether `model` is AG-UI's own, so that its fields are all there is to it."""
    return model.__module__.partition(".")[0] == "ag_ui"


def _fields_of(model: type[BaseModel]) -> Fields:
    return tuple(
        (name, field.serialization_alias or field.alias or name, _may_be_absent(field))
        for name, field in model.model_fields.items()
    )


def _may_be_absent(field: Any) -> bool:
    return not field.is_required() and field.default is None


def _present(model: BaseModel, fields: Fields) -> dict[str, Any]:
    values = model.__dict__
    present = {
        alias: values[name]
        for name, alias, may_be_absent in fields
        if not (may_be_absent and values[name] is None)
    }
    if model.__pydantic_extra__:
        present.update(model.__pydantic_extra__)
    return present


def _nested(value: Any) -> Any:
    """What orjson asks about when it meets something inside an event."""
    if isinstance(value, BaseModel):
        model = type(value)
        if not _is_plain(model):
            return value.model_dump(mode="json", by_alias=True)
        fields = _FIELDS.get(model)
        if fields is None:
            fields = _FIELDS[model] = _fields_of(model)
        return _present(value, fields)
    if isinstance(value, Mapping):
        return dict(value)
    if _is_struct(value):
        import msgspec

        return msgspec.to_builtins(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def _is_struct(value: Any) -> bool:
    msgspec = sys.modules.get("msgspec")  # who has made a Struct has imported it
    return msgspec is not None and isinstance(value, msgspec.Struct)


def _start_of(line: bytes, room: int = 80) -> str:
    text = line[:room].decode("utf-8", "replace")
    return repr(text) if len(line) <= room else f"{text!r}… ({len(line)} bytes)"


for _event in vars(ag_ui.core).values():
    if isinstance(_event, type) and issubclass(_event, ag_ui.core.BaseEvent):
        _FIELDS[_event] = _fields_of(_event)
