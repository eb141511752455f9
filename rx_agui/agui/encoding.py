r"""Events to bytes and back: one JSON object, on one line.

Every event is encoded once, where it enters, and what cannot be encoded is
refused there, before it has a number. Taken are

    AG-UI events         ag_ui.core, byte for byte what its EventEncoder writes
    mappings             as they are; nulls are yours
    pydantic models      by alias
    dataclasses          by field name, or pydantic's by alias
    msgspec structs      by msgspec's own rules, where msgspec is installed
    bytes                JSON that is encoded already; checked, and put on one line

and the same inside each other. orjson encodes a model's fields about five times as
fast as `EventEncoder`. What it cannot do as pydantic does (integers over 64 bit,
sets, dates, a model with a serializer of its own) falls back to pydantic, so it
costs speed and never a difference. Scalars and arrays of NumPy are numbers and lists.

Half a surrogate pair, as of an emoji that a tokenizer has cut in two, is no Unicode and
is still JSON: it goes as the escape \ud83d, which JSON.parse reads, so that a browser
that appends the next delta has the emoji. Halves that meet, in one text or when deltas
are merged or summed up for a late reader, become the character.
"""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from base64 import b32encode
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from json.encoder import encode_basestring
from secrets import token_bytes
from typing import TYPE_CHECKING, Any, TypeGuard

import orjson

from rx_agui.agui.events import WIRE_NAMES
from rx_agui.errors import ValidationError, WireError, safe_repr, stops_process

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["decode", "dumps", "encode", "encode_many", "is_model", "loads"]

#: Of each field its attribute, its name on the wire, and whether it is left out when
#: None; and all the names a field goes by.
Plan = tuple[tuple[tuple[str, str, bool], ...], frozenset[str]]

#: What orjson writes differently from pydantic, it shall ask about. What it returns keeps
#: the buffer it was written in, 1 KB or 4, however short it is: a copy costs 20 ns, and a
#: hundred thousand deltas that are kept are 15 MB and not 400.
OPTIONS = (
    orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
    | orjson.OPT_SERIALIZE_NUMPY
)

#: Halves of surrogate pairs in a text; and any escape of one in JSON.
_HALF = re.compile("[\ud800-\udfff]")
_HALF_ESCAPED = re.compile(rb"\\u[dD][89a-fA-F]")

#: Characters below which `json` quotes a text faster than orjson.
_SHORT = 256

#: A line end and the indentation behind it. In JSON it stands between tokens: inside
#: a string it would be escaped.
_LINE_END = re.compile(rb"[\r\n]\s*")

#: What pydantic wraps around the reason, once for every model on the way.
_WRAPPING = re.compile(
    "Error serializing to JSON: |PydanticSerializationError: "
    "|Error calling function `_omit_fields_without_value`: "
)

#: orjson writes none, but an `orjson.Fragment` may have them. As numbers they
#: are found ten times as fast as byte strings.
LF, CR = b"\n\r"

#: Many events are encoded as one array, in a third of the time of as many calls; this
#: between them shows where each ends. The longer it is, the faster it is found.
_SEAM: Any = orjson.Fragment(b"\n" * 8)
_SEAM_WRITTEN = b",\n\n\n\n\n\n\n\n,"

#: How an array of objects begins and ends, without space around the first and last.
_ENDS = b"[{", b"}]"


def encode(event: Any) -> bytes:
    """Return the event as one JSON object on one line.

    >>> from ag_ui.core import TextMessageContentEvent
    >>> encode(TextMessageContentEvent(message_id="m1", delta="Hi"))
    b'{"type":"TEXT_MESSAGE_CONTENT","messageId":"m1","delta":"Hi"}'
    >>> encode({"type": "CUSTOM", "name": "tick", "value": None})
    b'{"type":"CUSTOM","name":"tick","value":null}'

    Raises:
        ValidationError: It is none of the above, or holds what JSON cannot.
    """
    kind = type(event)
    if kind is dict:
        try:
            line = orjson.dumps(event, nested, OPTIONS)
        except TypeError:
            return _slowly(event, _to_json)
        if LF in line or CR in line:
            return _on_one_line(event, line)
        return b"%b" % line  # see OPTIONS
    try:
        encode_model = _ENCODERS[kind]
    except KeyError:
        return _encode_other(event)
    return encode_model(event)


def encode_many(events: Sequence[Any]) -> tuple[list[bytes], int]:
    """Encode the first of several events, for two thirds of the cost or less.

    Returns:
        The lines, as many as make 64 KB, so that other work on the loop or thread waits
        0.1 ms at most; and their size in bytes. No line if one of them must be encoded by
        itself: `encode` then raises, or finds out how.
    """
    kinds = set(map(type, events))
    if kinds == {dict}:
        encode_group = _encode_dicts
    elif kinds == {bytes}:
        encode_group = _check_bytes
    elif _ENCODERS.keys() >= kinds:
        encode_group = _encode_models
    else:
        return [], 0
    lines: list[bytes] = []
    room, step = 65536, 32  # at first, as their sizes are not known
    try:
        while (at := len(lines)) < len(events):
            group, size = encode_group(events[at : at + step])
            if not group:
                return [], 0
            lines += group
            room -= size
            if room < 0:
                break
            step = max(1, room * len(group) // (size or 1))
    except (TypeError, ValidationError):
        return [], 0
    text = b"".join(lines)
    return ([], 0) if LF in text or CR in text else (lines, len(text))


#: Lines of some events, and how large they are about; no line as for `encode_many`.
_Group = tuple[Sequence[bytes], int]


def _encode_dicts(events: Sequence[Any]) -> _Group:
    apart = [_SEAM] * (2 * len(events) - 1)
    apart[::2] = events
    array = orjson.dumps(apart, nested, OPTIONS)
    lines = array[1:-1].split(_SEAM_WRITTEN)
    return lines if len(lines) == len(events) else [], len(array)


def _encode_models(events: Sequence[Any]) -> _Group:
    lines = [_ENCODERS[type(event)](event) for event in events]
    return lines, sum(map(len, lines))


def _check_bytes(events: Sequence[bytes]) -> _Group:
    """Parse JSON objects as one array, with a random seam between them.

    A seam cannot be guessed, so those at every other place of the array are ours, and what
    stands between two is one value: an object, as it begins with a brace. An event that
    is two, or half of one, puts another value in a seam's place.
    """
    seam = b32encode(token_bytes(10))  # capitals, which are found fastest
    between = b',"%b",' % seam
    text = b"[%b]" % between.join(events)
    seams = len(events) - 1
    if text.count(b"}%b{" % between) != seams or (text[:2], text[-2:]) != _ENDS:
        return [], 0
    try:
        values = orjson.loads(text)
    except orjson.JSONDecodeError:
        return [], 0
    are_apart = len(values) == 2 * seams + 1
    is_seamed = are_apart and values[1::2].count(seam.decode()) == seams
    return events if is_seamed else [], len(text)


def loads(data: bytes) -> Any:
    """Parse JSON as JSON.parse does: halves of surrogate pairs are allowed.

    Raises:
        orjson.JSONDecodeError: It is not JSON.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        if not _HALF_ESCAPED.search(data):
            raise
        try:
            return json.loads(data, parse_constant=_refuse)
        except (ValueError, RecursionError):
            raise error from None


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def dumps(value: Any) -> bytes:
    r"""Write JSON, with halves of surrogate pairs joined where they meet, else escaped.

    >>> dumps(["\ud83d" + "\ude00", "\ud83d"]).decode()
    '["😀","\\ud83d"]'

    Raises:
        TypeError: It is not JSON.
    """
    try:
        return orjson.dumps(value)
    except TypeError:  # or nested deeper than orjson writes
        text = json.dumps(
            value, ensure_ascii=False, separators=(",", ":"), default=_plain
        )
        utf16 = text.encode("utf-16-le", "surrogatepass")
        joined = utf16.decode("utf-16-le", "surrogatepass")
        return _HALF.sub(lambda half: f"\\u{ord(half[0]):04x}", joined).encode()


def _plain(value: Any) -> Any:
    """Return as a dict or a list what `json` cannot write."""
    if is_model(value):
        plan = _plan_of(type(value))
        if plan is None:
            return value.model_dump(by_alias=True)
        return _present(value, plan)
    if isinstance(value, Mapping):
        return dict(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return nested(value)


def decode(line: bytes) -> dict[str, Any]:
    """Return the event of one line, as a mapping: the inverse of `encode`.

    An integer over 64 bit comes back as a float, as it does in a browser.

    >>> decode(b'{"type":"CUSTOM","name":"tick","value":null}')
    {'type': 'CUSTOM', 'name': 'tick', 'value': None}

    Raises:
        WireError: It is not one JSON object.
    """
    try:
        event = loads(line)
    except orjson.JSONDecodeError as error:
        raise WireError(f"not JSON ({error}): {_start_of(line)}") from None
    if type(event) is not dict:
        raise WireError(f"not a JSON object: {_start_of(line)}")
    return event


def _encode_other(event: Any) -> bytes:
    match event:
        case _ if is_model(event):
            if _plan_of(type(event)) is None:
                return _with_wire_names(event, _slowly(event, _model_to_json))
            return _ENCODERS[type(event)](event)
        case bytes() | bytearray() | memoryview():
            return _on_one_line(event, bytes(event))
        case Mapping():
            return encode(dict(event))
        case _ if dataclasses.is_dataclass(event) and not isinstance(event, type):
            return _slowly(event, _to_json)
        case _ if _is_struct(event):
            return _slowly(event, _struct_to_json)
    kinds = "an AG-UI event, a mapping, a dataclass, a msgspec Struct or JSON bytes"
    raise ValidationError(
        event, f"an event must be {kinds}, got {type(event).__name__}"
    )


def _with_wire_names(event: Any, line: bytes) -> bytes:
    """Return the line of a model of one's own, if its names are those on the wire.

    It costs 1 µs, and the alternative is an error far away, in the client.

    Raises:
        ValidationError: A field has its Python name.
    """
    fields = loads(line)
    for name in fields.keys() & WIRE_NAMES.keys():
        wire = WIRE_NAMES[name]
        if wire not in fields:
            why = f'the field {name} is {wire} on the wire: give it alias="{wire}"'
            raise ValidationError(event, why)
    return line


def _slowly(event: Any, dump: Callable[[Any], bytes]) -> bytes:
    """Encode what orjson cannot, or raise the reason why it cannot be encoded."""
    try:
        data = dump(event)
    except BaseException as error:  # whatever a serializer of the user's may raise
        if stops_process(error):
            raise
        if "surrogate" in safe_repr(error, str) and dump is not _struct_to_json:
            return _slowly(event, _with_halves)
        why = _WRAPPING.sub("", safe_repr(error, str))
        raise ValidationError(event, f"not JSON ({why})") from error
    return _on_one_line(event, data)


def _with_halves(event: Any) -> bytes:
    try:
        return dumps(_plain(event))
    except UnicodeError as error:  # of a serializer of the user's
        raise TypeError("it is no text") from error


def _to_json(event: Any) -> bytes:
    from pydantic_core import to_json

    return to_json(event, by_alias=True, inf_nan_mode="null", fallback=nested)


def _model_to_json(event: BaseModel) -> bytes:
    return event.model_dump_json(by_alias=True, fallback=nested).encode()


def _struct_to_json(event: Any) -> bytes:
    import msgspec

    return msgspec.json.encode(event, enc_hook=_in_struct)


def _on_one_line(event: Any, data: bytes) -> bytes:
    try:
        is_object = type(loads(data)) is dict
    except orjson.JSONDecodeError as error:
        raise ValidationError(event, f"not JSON ({error})") from None
    if not is_object:
        raise ValidationError(event, "an event must be a JSON object")
    if LF in data or CR in data:
        data = _LINE_END.sub(b"", data)
    return data.strip()


#: How to encode a model of AG-UI without pydantic: its fields, and a function.
_PLANS: dict[type, Plan] = {}
_ENCODERS: dict[type, Callable[[Any], bytes]] = {}


def _plan_of(model: type[BaseModel]) -> Plan | None:
    """How to encode `model`; None if only pydantic knows."""
    plan = _PLANS.get(model)
    if plan is None and _is_plain(model):
        fields = tuple(
            (
                name,
                field.serialization_alias or field.alias or name,
                field.default is None,
            )
            for name, field in model.model_fields.items()
        )
        names = frozenset(name for field in fields for name in field[:2])
        plan = _PLANS[model] = fields, names
        _ENCODERS[model] = _encoder_of(model, plan)
    return plan


def _encoder_of(model: type[BaseModel], plan: Plan) -> Callable[[Any], bytes]:
    """Return the function that encodes one model: generated where all it needs is text.

    So are the events of which there are many, deltas. Names on the wire, braces and the
    event's type are constants, as dataclasses write an `__init__`; a text is quoted by
    `json`, which takes a third of the instructions of a call of orjson if it is short:

        values = event.__dict__
        try:
            if values["type"] is not its_type or event.__pydantic_extra__: ...
            return (
                f'{{"type":"TEXT_MESSAGE_CONTENT"'
                f',"messageId":{quote(x) if len(x := values["message_id"]) < 256 else ...}'
                f',"delta":{...}}}'
            ).encode()
    """
    checks, parts = ["event.__pydantic_extra__"], ["{{"]
    scope: dict[str, Any] = {"quote": encode_basestring, "long": _quote_long}
    for at, (name, alias, may_miss) in enumerate(plan[0]):
        key = f"{',' if at else ''}{orjson.dumps(alias).decode()}:"
        field = model.model_fields[name]
        value = f"values[{name!r}]"
        if name == "type" and isinstance(field.default, Enum):
            scope["its_type"] = field.default
            checks.append(f"{value} is not its_type")
            parts.append(key + orjson.dumps(field.default).decode())
        elif may_miss and at:
            checks.append(f"{value} is not None")
        elif field.annotation is str:
            text = f"quote(x) if len(x := {value}) < {_SHORT} else long(x)"
            parts.append(
                f"{key}{{{f'quote({value})' if name.endswith('_id') else text}}}"
            )
        else:
            return lambda event: _encode_fields(event, plan)
    scope |= {"fields": _encode_fields, "plan": plan}
    code = f"""\
def encode_{model.__name__}(event):
    values = event.__dict__
    try:
        if {" or ".join(checks)}:
            return fields(event, plan)
        return f'''{"".join(parts)}}}}}'''.encode()
    except (KeyError, TypeError, UnicodeEncodeError):
        return fields(event, plan)
"""
    exec(code, scope)  # of names in ag_ui.core's own classes
    made: Callable[[Any], bytes] = scope[f"encode_{model.__name__}"]
    return made


def _quote_long(text: object) -> str:
    """Quote a long text, where orjson is the faster."""
    if not isinstance(text, str):
        raise TypeError
    return orjson.dumps(text).decode()


def _encode_fields(event: BaseModel, plan: Plan) -> bytes:
    """Encode a model that has extra fields, or needs pydantic for one."""
    try:
        line = orjson.dumps(_present(event, plan), nested, OPTIONS)
    except (KeyError, TypeError):
        return _slowly(event, _model_to_json)
    if LF in line or CR in line:
        return _on_one_line(event, line)
    return b"%b" % line  # see OPTIONS


def _is_plain(model: type[BaseModel]) -> bool:
    """Whether `model` is AG-UI's own, and its fields are all there is to it."""
    own = model.__pydantic_decorators__
    return model.__module__.partition(".")[0] == "ag_ui" and not (
        own.field_serializers
        or own.computed_fields
        or own.model_serializers.keys() - {"_omit_fields_without_value"}
    )


def _present(model: BaseModel, plan: Plan) -> dict[str, Any]:
    """Return the fields of a model that go on the wire, by their names there.

    Raises:
        KeyError: Only pydantic can tell: one is missing, or is there twice.
    """
    values = model.__dict__
    fields, names = plan
    present = {
        alias: values[name]
        for name, alias, may_miss in fields
        if not (may_miss and values[name] is None)
    }
    if extra := model.__pydantic_extra__:
        if not names.isdisjoint(extra):
            raise KeyError(names.intersection(extra))
        present.update(extra)
    return present


def nested(value: Any) -> Any:
    """Convert a nested value for an encoder that does not know it."""
    if is_model(value):
        plan = _plan_of(type(value))
        if plan is not None:
            return _present(value, plan)
    elif isinstance(value, Mapping):
        return dict(value)
    elif _is_struct(value):
        import msgspec

        return msgspec.to_builtins(value, enc_hook=_in_struct)
    raise TypeError(f"{type(value).__name__} is not JSON")


def _in_struct(value: Any) -> Any:
    """Convert a nested value for msgspec, which has no second encoder."""
    from pydantic_core import to_jsonable_python

    return to_jsonable_python(
        value, by_alias=True, inf_nan_mode="null", fallback=nested
    )


def is_model(value: object) -> TypeGuard[BaseModel]:
    """Return True for a pydantic model. Pydantic is not imported for that (0.1 s)."""
    main = sys.modules.get("pydantic.main")  # imported by the first model's class
    return main is not None and isinstance(value, main.BaseModel)


def _is_struct(value: Any) -> bool:
    msgspec = sys.modules.get("msgspec")  # who has made a Struct has imported it
    return msgspec is not None and isinstance(value, msgspec.Struct)


def _start_of(line: bytes, room: int = 80) -> str:
    text = line[:room].decode("utf-8", "replace")
    return repr(text) if len(line) <= room else f"{text!r}… ({len(line)} bytes)"
