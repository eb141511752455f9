"""Events become the bytes AG-UI's own encoder writes, or are refused with a reason."""

import dataclasses
import enum
import json
import math
from collections import ChainMap, OrderedDict, deque, namedtuple
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType, NoneType
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from uuid import UUID

import ag_ui.core
import msgspec
import orjson
import pydantic
import pytest
from ag_ui.core import (
    AssistantMessage,
    BaseEvent,
    CustomEvent,
    EventType,
    MessagesSnapshotEvent,
    RawEvent,
    StateSnapshotEvent,
    TextMessageContentEvent,
    UserMessage,
)
from ag_ui.core.deprecated import BinaryInputContent
from ag_ui.encoder import EventEncoder
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, RootModel, TypeAdapter

from rx_agui.agui.catch_up import catch_up_lines
from rx_agui.agui.encoding import _SEAM_WRITTEN, decode, encode, encode_many
from rx_agui.agui.reducer import Reducer
from rx_agui.errors import ValidationError, WireError
from rx_agui.operators._conflate import conflate_lines

SAMPLES = Path(__file__).parent / "samples"
AnyEvent: TypeAdapter[BaseEvent] = TypeAdapter(ag_ui.core.Event)

Strategy = st.SearchStrategy[Any]


def official(event: BaseModel) -> bytes:
    """What AG-UI's own encoder writes, without the `data:` around it."""
    frame = EventEncoder().encode(event)  # type: ignore[arg-type]
    return frame.removeprefix("data: ").removesuffix("\n\n").encode()


# -- AG-UI's events, byte for byte ---------------------------------------------

every_line = pytest.mark.parametrize(
    "line",
    [
        pytest.param(line, id=f"{path.stem}:{number}")
        for path in sorted(SAMPLES.glob("*.jsonl"))
        for number, line in enumerate(path.read_bytes().split(b"\n"), 1)
        if line
    ],
)


def test_there_is_a_sample_of_each_type_of_event() -> None:
    lines = (SAMPLES / "events.jsonl").read_bytes().split(b"\n")[:-1]

    assert sorted(decode(line)["type"] for line in lines) == sorted(EventType)


@every_line
def test_a_sample_is_encoded_as_it_was_recorded(line: bytes) -> None:
    event = AnyEvent.validate_json(line)

    assert encode(event) == official(event) == line


@every_line
def test_a_sample_stays_what_it_is_as_a_mapping_and_as_bytes(line: bytes) -> None:
    assert encode(decode(line)) == encode(line) == line


JSON: Strategy = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
    ),
    max_leaves=5,
)
POINTERS = st.lists(st.sampled_from(["", "a", "0", "-", "~1", "é"]), max_size=3).map(
    lambda keys: "".join(f"/{key}" for key in keys)
)
SIMPLE: dict[Any, Strategy] = {
    Any: JSON,
    str: st.text(),
    int: st.integers(0, 2**53 - 1),
    bool: st.booleans(),
    NoneType: st.none(),
    EventType: st.sampled_from(EventType),
}


def values_of(kind: Any) -> Strategy:
    """Values of a type that a field of AG-UI's may have."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return POINTERS if args[0] is str else values_of(args[0])
    if origin is Union:
        return st.one_of(*map(values_of, args))
    if origin is Literal:
        return st.sampled_from(args)
    if origin is list:
        return st.lists(values_of(args[0]), min_size=1, max_size=2)
    if origin is dict:
        return st.dictionaries(st.text(), values_of(args[1]), max_size=2)
    return SIMPLE[kind] if kind in SIMPLE else models_of(kind)


def models_of(model: type[BaseModel]) -> Strategy:
    """Instances of a model, with and without its optional fields, and with extras."""
    required: dict[str, Strategy] = {}
    optional: dict[str, Strategy] = {}
    for name, field in model.model_fields.items():
        fields = required if field.is_required() else optional
        fields[field.alias or name] = values_of(field.rebuild_annotation())
    extras = st.dictionaries(st.text().map("x-{}".format), JSON, max_size=1)
    return st.builds(
        lambda fields, extra: model.model_validate(fields | extra),
        st.fixed_dictionaries(required, optional=optional),
        extras,
    )


@pytest.mark.parametrize(
    "model",
    sorted(
        {
            value
            for value in vars(ag_ui.core).values()
            if isinstance(value, type) and issubclass(value, BaseModel)
        }
        - {
            BinaryInputContent
        },  # asks for one of three optional fields; no event has it
        key=str,
    ),
    ids=lambda model: model.__name__,
)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_a_model_is_encoded_as_ag_ui_does_it(
    model: type[BaseModel], data: st.DataObject
) -> None:
    event = data.draw(models_of(model))

    assert encode(event) == official(event)


# -- what orjson and pydantic do differently -----------------------------------


class Word(str):
    __slots__ = ()


class Colour(enum.Enum):
    RED = "red"
    SIZES = frozenset({1})


class Level(enum.IntEnum):
    HIGH = 3


Point = namedtuple("Point", ["x", "y"])


@dataclasses.dataclass
class Plain:
    user_name: str = "Ada"
    _secret: int = 7


@pydantic.dataclasses.dataclass
class Aliased:
    user_name: str = pydantic.Field(default="Ada", serialization_alias="userName")


class Foreign(BaseModel):
    """Someone else's model, which has nothing to do with AG-UI."""

    model_config = ConfigDict(
        alias_generator=pydantic.alias_generators.to_camel, populate_by_name=True
    )
    user_name: str = "Ada"
    left_out: int | None = None
    born: date = date(1815, 12, 10)


class Struct(msgspec.Struct, rename="camel"):
    user_name: str = "Ada"
    inner: Any = None


UNUSUAL = [
    *(math.nan, math.inf, -math.inf, -0.0, 1e16, 1e22, 5e-324, 1.5e300, 0.1),
    *(2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**40),
    *('\u2028\u2029\x7f\x00\x1f"\\/', "\U0001f469\u200d\U0001f467", "e\u0301"),
    *({1: 1}, {True: 1}, {None: 1}, {1.5: 1}, {"a": {2**70: 3}}, {UUID(int=1): 1}),
    *({(1, 2): 3}, {Word("x"): 1}, {Level.HIGH: 1}, {Colour.RED: 1}, {math.nan: 1}),
    *({1}, frozenset({2}), (1, (2,)), deque([1]), Point(1, 2), OrderedDict(a=1)),
    *(b"bytes", "é".encode(), bytearray(b"bytes")),
    *(Word("word"), Colour.RED, Colour.SIZES, Level.HIGH, EventType.RAW),
    *(datetime(2026, 1, 2, 3, 4, 5), datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)),
    datetime(1890, 1, 2, tzinfo=timezone(timedelta(minutes=53, seconds=28))),
    *(date(2026, 1, 2), time(3, 4), timedelta(days=1, seconds=-5)),
    *(UUID(int=5), Decimal("1.50"), Path("/a/b")),
    *(Plain(), [Plain()], Aliased(), Foreign(), {"a": [Foreign()]}),
    *(
        UserMessage(id="1", content="Hi"),
        [TextMessageContentEvent(message_id="1", delta="")],
    ),
    *(None, [None], {"a": None}, [], {}, ""),
]


every_unusual = pytest.mark.parametrize(
    "value", UNUSUAL, ids=lambda value: repr(value)[:40]
)


@every_unusual
def test_a_mapping_is_encoded_as_the_event_it_stands_for(value: Any) -> None:
    event = CustomEvent(name="n", value=value)

    assert encode({"type": "CUSTOM", "name": "n", "value": value}) == official(event)


@every_unusual
@pytest.mark.parametrize(
    "place",
    [
        lambda value: CustomEvent(name="n", value=value),
        lambda value: RawEvent(event=1, raw_event={"deep": [value]}),
        lambda value: StateSnapshotEvent(snapshot=value, metadata={"a": value}),
        lambda value: CustomEvent(name="n", value=1, **{"extra_field": value}),
        lambda value: MessagesSnapshotEvent(
            messages=[AssistantMessage(id="1", **{"extra": value})]
        ),
    ],
    ids=["value", "raw_event", "metadata", "extra", "nested"],
)
def test_an_unusual_value_is_encoded_as_ag_ui_does_it(
    place: Callable[[Any], BaseEvent], value: Any
) -> None:
    assert encode(place(value)) == official(place(value))


KEYS: Strategy = st.text() | st.integers() | st.floats() | st.booleans() | st.uuids()


@settings(deadline=None)
@given(
    st.recursive(
        st.integers()
        | st.floats()
        | st.text()
        | st.binary().map(lambda data: data.hex().encode())
        | st.datetimes(timezones=st.none() | st.just(UTC))
        | st.dates()
        | st.timedeltas()
        | st.decimals(allow_nan=False)
        | st.frozensets(st.integers()),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.tuples(inner)
            | st.dictionaries(KEYS, inner, max_size=3)
        ),
        max_leaves=5,
    )
)
def test_any_value_pydantic_can_encode_is_encoded_the_same(value: Any) -> None:
    event = CustomEvent(name="n", value=value)

    assert encode(event) == official(event)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_a_number_is_null_in_a_mapping_too(value: float) -> None:
    assert encode({"a": value}) == b'{"a":null}'
    assert encode({"a": value, "b": {1}}) == b'{"a":null,"b":[1]}'
    assert encode(Struct("", value)) == b'{"userName":"","inner":null}'
    assert encode(Struct("", CustomEvent(name="", value=value))) == (
        b'{"userName":"","inner":{"type":"CUSTOM","name":"","value":null}}'
    )


@given(st.floats())
def test_a_float_is_written_as_pydantic_writes_it(value: float) -> None:
    event = CustomEvent(name="n", value=value)

    assert encode(event) == official(event)


def test_null_is_left_out_of_a_field_and_kept_inside_a_value() -> None:
    event = CustomEvent(name="n", value={"a": None}, raw_event=None)

    assert encode(event) == b'{"type":"CUSTOM","name":"n","value":{"a":null}}'


def test_a_required_null_is_kept() -> None:
    event = CustomEvent(name="n", value=None)

    assert encode(event) == b'{"type":"CUSTOM","name":"n","value":null}'


def test_a_field_is_known_by_its_alias() -> None:
    event = TextMessageContentEvent(message_id="1", delta="x", subagent_run_id="s")

    assert b'"messageId":"1"' in encode(event)
    assert b'"subagentRunId":"s"' in encode(event)


@pytest.mark.parametrize(
    "fields",
    [
        {"rawEvent": 3, "raw_event": None},
        {"rawEvent": None, "raw_event": 3},
        {"rawEvent": 3, "raw_event": 4},
        {"x": None},
        {"Delta": None, "VALUE": 1},
    ],
)
def test_an_extra_that_is_also_a_fields_name_goes_where_ag_ui_puts_it(
    fields: dict[str, Any],
) -> None:
    event = CustomEvent.model_validate({"name": "n", "value": 1, **fields})

    assert encode(event) == official(event)


def test_an_event_that_was_constructed_without_its_fields_is_encoded_as_it_is() -> None:
    event = TextMessageContentEvent.model_construct(message_id="1")

    assert encode(event) == official(event)


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_only_a_field_whose_default_is_none_is_left_out() -> None:
    event = CustomEvent.model_construct(type=None, name="n", value=None)

    assert encode(event) == official(event) == b'{"type":null,"name":"n","value":null}'


# -- subclasses of AG-UI's models ----------------------------------------------


class WithField(CustomEvent):
    trace_id: str = "t"


class WithFieldSerializer(CustomEvent):
    @pydantic.field_serializer("value")
    def _shout(self, value: str) -> str:
        return value.upper()


class WithModelSerializer(CustomEvent):
    @pydantic.model_serializer(mode="plain")
    def _short(self) -> dict[str, Any]:
        return {"type": self.type, "n": self.name}


class WithComputedField(CustomEvent):
    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def shout(self) -> str:
        return "loud"


class WithConfig(CustomEvent):
    model_config = ConfigDict(ser_json_bytes="base64", ser_json_timedelta="float")


class WithExclude(CustomEvent):
    secret: str = pydantic.Field(default="s", exclude=True)


@pytest.mark.parametrize(
    "event",
    [
        WithField(name="n", value="v"),
        WithFieldSerializer(name="n", value="v"),
        WithModelSerializer(name="n", value="v"),
        WithComputedField(name="n", value="v"),
        WithConfig(name="n", value=[b"\xff", timedelta(seconds=1)]),
        WithExclude(name="n", value="v"),
    ],
    ids=lambda event: type(event).__name__,
)
def test_a_subclass_is_encoded_by_its_own_rules(event: CustomEvent) -> None:
    assert encode(event) == official(event)


class NamedUser(UserMessage):
    nickname: str = "ada"


def test_a_subclass_inside_an_event_shows_no_more_than_ag_ui_shows() -> None:
    event = MessagesSnapshotEvent(messages=[NamedUser(id="1", content="Hi")])

    assert encode(event) == official(event)
    assert b"nickname" not in encode(event)


@pytest.mark.parametrize(
    "model", [WithFieldSerializer, WithModelSerializer, WithComputedField]
)
def test_a_future_model_of_ag_ui_keeps_its_serializer(model: type[CustomEvent]) -> None:
    future = type("Future", (model,), {"__module__": "ag_ui.future"})
    event = future(name="n", value="v")

    assert encode(event) == official(event)


# -- events that are not AG-UI's classes ---------------------------------------


@pytest.mark.parametrize(
    "event",
    [
        {"type": "CUSTOM", "value": None},
        MappingProxyType({"type": "CUSTOM", "value": None}),
        OrderedDict(type="CUSTOM", value=None),
        ChainMap[str, Any]({"value": None}, {"type": "CUSTOM"}),
        b'{"type":"CUSTOM","value":null}',
        bytearray(b' {"type":"CUSTOM","value":null}\n'),
        memoryview(b'{"type":"CUSTOM",\r\n  "value":null}'),
    ],
    ids=lambda event: type(event).__name__,
)
def test_an_event_may_be_a_mapping_or_json(event: Any) -> None:
    assert encode(event) == b'{"type":"CUSTOM","value":null}'


@given(st.dictionaries(st.text(), JSON))
def test_decode_is_the_inverse_of_encode(event: dict[str, Any]) -> None:
    assert decode(encode(event)) == event


@given(st.dictionaries(st.text(), JSON))
def test_encode_is_the_inverse_of_decode(event: dict[str, Any]) -> None:
    line = encode(event)

    assert encode(decode(line)) == line


def test_an_integer_over_64_bit_comes_back_as_a_float_as_in_a_browser() -> None:
    line = encode({"type": "CUSTOM", "value": 2**70})

    assert line == b'{"type":"CUSTOM","value":1180591620717411303424}'
    assert decode(line)["value"] == float(2**70)


@given(st.dictionaries(st.text(), JSON), st.sampled_from([1, 4, "\t"]), st.booleans())
def test_pretty_printed_json_is_put_on_one_line(
    event: dict[str, Any], indent: int | str, crlf: bool
) -> None:
    text = json.dumps(event, indent=indent, ensure_ascii=False)
    if crlf:
        text = text.replace("\n", "\r\n")

    line = encode(text.encode())

    assert b"\n" not in line
    assert b"\r" not in line
    assert decode(line) == event


def test_pretty_printed_json_keeps_what_orjson_would_round() -> None:
    assert (
        encode(b'{"a":\n  1180591620717411303424}') == b'{"a":1180591620717411303424}'
    )
    assert encode(b'{\n"a": 1.10,\n"a": "x  y"\n}') == b'{"a": 1.10,"a": "x  y"}'


@pytest.mark.parametrize("line_end", [b"\n", b"\r", b"\r\n", b"\n\n  "])
def test_json_is_put_on_one_line_wherever_it_comes_in(line_end: bytes) -> None:
    pretty = b'{%b"a": [1,%b2]}' % (line_end, line_end)
    fragment = orjson.Fragment(pretty)

    assert encode(pretty) == b'{"a": [1,2]}'
    assert encode({"event": fragment}) == b'{"event":{"a": [1,2]}}'
    assert encode(RawEvent(event=fragment)) == b'{"type":"RAW","event":{"a": [1,2]}}'


@given(st.lists(st.dictionaries(st.text(max_size=3), JSON, max_size=3), max_size=80))
def test_many_at_once_are_encoded_as_each_by_itself(events: list[Any]) -> None:
    lines, size = encode_many(events)

    assert lines == [encode(event) for event in events]
    assert size == sum(map(len, lines))


def test_many_models_at_once_are_encoded_as_each_by_itself() -> None:
    events = [RawEvent(event={"n": n, "none": None}) for n in range(40)]
    for event in events:
        encode(event)  # its class is known from then on

    assert encode_many(events)[0] == [encode(event) for event in events]


DELTA: dict[str, Any] = {"message_id": "m-1", "delta": "Hi"}


@pytest.mark.parametrize(
    "event",
    [
        TextMessageContentEvent(
            message_id="m", delta="".join(map(chr, [*range(0x20), 34, 92, 127]))
        ),
        TextMessageContentEvent(
            message_id="é", delta="\u2028\u2029\x85\ufffd\U0001f600"
        ),
        TextMessageContentEvent(message_id="m" * 500, delta="é" * 500),
        TextMessageContentEvent(**DELTA, timestamp=7, raw_event={"a": [None]}),
        TextMessageContentEvent.model_validate(
            {**DELTA, "more": 1, "less": {"x": None}}
        ),
        TextMessageContentEvent(message_id=Word("m"), delta=Word("Hi")),
        TextMessageContentEvent.model_construct(message_id="m", delta=["not", "text"]),
        TextMessageContentEvent.model_construct(message_id="m", delta=["x"] * 500),
        TextMessageContentEvent.model_construct(message_id=5, delta=None),
        TextMessageContentEvent.model_construct(**DELTA, type="SOMETHING_ELSE"),
        TextMessageContentEvent.model_construct(**DELTA, timestamp=2**70),
    ],
    ids=range(11),
)
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_a_delta_is_encoded_as_ag_ui_does_it_whatever_is_in_it(event: Any) -> None:
    assert encode(event) == official(event)
    assert encode_many([event, event])[0] == [official(event)] * 2


def test_half_a_character_in_a_delta_is_escaped_alone_and_among_many() -> None:
    event = TextMessageContentEvent(message_id="m", delta="\ud800")
    line = b'{"type":"TEXT_MESSAGE_CONTENT","messageId":"m","delta":"\\ud800"}'

    assert encode(event) == line
    assert encode_many([event, event]) in (([line, line], 2 * len(line)), ([], 0))


@given(st.lists(st.dictionaries(st.text(max_size=3), JSON, max_size=3), max_size=80))
def test_many_json_bytes_at_once_are_what_they_were(events: list[Any]) -> None:
    given_bytes = [encode(event) for event in events]

    lines, size = encode_many(given_bytes)

    assert lines == given_bytes
    assert size == sum(map(len, given_bytes))


@pytest.mark.parametrize(
    "wrong",
    [
        [b"{}", b"{}}"],
        [b'{"a":1', b'"b":2}'],
        [b'{"a":"', b'"}'],
        [b'{"a":[', b"]}"],
        [b'{"a":1},{"b":2}', b"{}"],
        [b'{},"x",{}', b"{}"],
        [b"[]", b"{}"],
        [b"{}", b"7"],
        [b"{}", b""],
        [b" {}", b"{}"],
        [b"{}", b"{}\n"],
        [b"{}", b'{"a":\n1}'],
        [b'{"a":nan}', b"{}"],
        [b'{"a":"\xff"}', b"{}"],
    ],
)
def test_of_many_json_bytes_none_is_taken_unless_each_is_an_object_on_a_line(
    wrong: list[bytes],
) -> None:
    assert encode_many([b"{}", *wrong, b"{}"]) == ([], 0)
    assert encode_many(wrong) == ([], 0)


def test_many_of_several_kinds_are_not_encoded_at_once() -> None:
    assert encode_many([{}, b"{}"]) == ([], 0)
    assert encode_many(["text"]) == ([], 0)


@pytest.mark.parametrize(
    ("size", "at_once"), [(100, 128), (1_000, 65), (3_000, 32), (70_000, 32)]
)
def test_of_many_large_ones_some_64_kb_are_encoded_at_once(
    size: int, at_once: int
) -> None:
    events = [{"text": "x" * size} for _ in range(128)]

    lines, whole = encode_many(events)

    assert lines == [encode(event) for event in events[:at_once]]
    assert whole == at_once * (size + len('{"text":""}'))


@pytest.mark.parametrize(
    "inside",
    [b"[1,\n2]", b"[1,\r2]", b"1" + _SEAM_WRITTEN + b"2", b'"%b"' % _SEAM_WRITTEN],
)
@pytest.mark.parametrize("n", [1, 2, 50])
def test_of_many_none_is_encoded_at_once_where_one_has_a_line_end(
    inside: bytes, n: int
) -> None:
    events = [{"n": at} for at in range(n - 1)] + [{"raw": orjson.Fragment(inside)}]

    assert encode_many(events) == ([], 0)


def test_a_fragment_cannot_smuggle_in_an_event() -> None:
    with pytest.raises(ValidationError, match="not JSON"):
        encode({"type": "RAW", "event": orjson.Fragment(b'1}\n\ndata: {"x":1}')})


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (Plain(), b'{"user_name":"Ada","_secret":7}'),
        (Aliased(), b'{"userName":"Ada"}'),
        (Struct(), b'{"userName":"Ada","inner":null}'),
        (Foreign(), b'{"userName":"Ada","leftOut":null,"born":"1815-12-10"}'),
    ],
    ids=lambda event: type(event).__name__,
)
def test_an_event_may_be_an_object_with_fields(event: Any, line: bytes) -> None:
    assert encode(event) == line


KINDS: dict[str, Callable[[Any], Any]] = {
    "mapping": lambda inner: MappingProxyType({"inner": inner}),
    "dataclass": lambda inner: dataclasses.make_dataclass("D", ["inner"])(inner),
    "struct": lambda inner: Struct("", inner),
    "model": lambda inner: CustomEvent(name="", value=inner),
    "foreign": lambda inner: pydantic.create_model("M", inner=(Any, ...))(inner=inner),
}


@pytest.mark.parametrize("outer", KINDS)
@pytest.mark.parametrize("inner", KINDS)
@pytest.mark.parametrize("value", [1, 2**70, {2}], ids=["fast", "big", "set"])
def test_any_kind_of_event_may_be_inside_any_other(
    outer: str, inner: str, value: Any
) -> None:
    field = {"struct": "inner", "model": "value"}
    event = decode(encode(KINDS[outer](KINDS[inner](value))))

    inside = event[field.get(outer, "inner")][field.get(inner, "inner")]
    assert inside == ([2] if value == {2} else value)


# -- what is refused -----------------------------------------------------------


def deep(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"a": value}
    return value


CIRCLE: dict[str, Any] = {}
CIRCLE["itself"] = CIRCLE


class Raises(CustomEvent):
    @pydantic.model_serializer(mode="plain")
    def _raise(self) -> dict[str, Any]:
        raise KeyError("of the user's")


class Scalar(CustomEvent):
    @pydantic.model_serializer(mode="plain")
    def _scalar(self) -> str:
        return "not an object"


class WritesNaN(CustomEvent):
    model_config = ConfigDict(ser_json_inf_nan="constants")


class AsArray(msgspec.Struct, array_like=True):
    type: str = "CUSTOM"


class Numbers(RootModel[list[int]]):
    pass


@pytest.mark.parametrize(
    ("event", "why"),
    [
        (CIRCLE, "Circular reference"),
        (CustomEvent(name="n", value=CIRCLE), "Circular reference"),
        (deep(300), "depth"),
        ({"a": object()}, "object is not JSON"),
        ({"a": [range(3)]}, "range is not JSON"),
        (CustomEvent(name="n", value=print), "builtin_function_or_method is not JSON"),
        ({"a": b"\xff"}, "utf-8"),
        (Struct("", object()), "object is not JSON"),
        (dataclasses.make_dataclass("D", ["a"])(object()), "object is not JSON"),
        (Raises(name="n", value=1), "of the user's"),
        (Scalar(name="n", value=1), "must be a JSON object"),
        (WritesNaN(name="n", value=math.nan), "not JSON"),
        (AsArray(), "must be a JSON object"),
        (Numbers([1]), "must be a JSON object"),
        (b"", "not JSON .*empty"),
        (b" \n", "not JSON"),
        (b"{'a': 1}", "not JSON"),
        (b'{"a": NaN}', "not JSON"),
        (b'{"a": "\\ud800", "b": NaN}', "not JSON .*surrogate"),
        (b'{"a": "\xff"}', "not JSON .*UTF-8"),
        (b'{"a": "line\nend"}', "not JSON .*control character"),
        (b'\xef\xbb\xbf{"a": 1}', "not JSON"),
        (b'{"a": 1}{"b": 2}', "not JSON .*after document"),
        (b'{"a": 1}\n{"b": 2}', "not JSON .*after document"),
        (b'[{"a": 1}]', "must be a JSON object"),
        (b"7", "must be a JSON object"),
        (b"null", "must be a JSON object"),
        ('{"a": 1}', "must be an AG-UI event, .* got str"),
        ([{"a": 1}], "got list"),
        (7, "got int"),
        (None, "got NoneType"),
        (CustomEvent, "got ModelMetaclass"),
        (Plain, "got type"),
        (Struct, "got StructMeta"),
    ],
    ids=lambda value: repr(value)[:40].partition(" at 0x")[0],
)
def test_what_is_not_one_json_object_is_refused(event: Any, why: str) -> None:
    with pytest.raises(ValidationError, match=why) as refused:
        encode(event)

    assert refused.value.event is event


def test_a_refusal_names_the_event() -> None:
    with pytest.raises(ValidationError) as refused:
        encode({"type": "CUSTOM", "name": "who", "value": [int]})

    assert str(refused.value) == (
        "not JSON (TypeError: type is not JSON): "
        "{'type': 'CUSTOM', 'name': 'who', 'value': [<class 'int'>]}"
    )


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"", "not JSON .*: ''"),
        (b"{", "not JSON"),
        (b"[1]", r"not a JSON object: '\[1\]'"),
        (b"1", "not a JSON object: '1'"),
        (b'{"a":1}{"b":2}', "not JSON"),
        (b'{"a":"\xff"}', 'not JSON .*: \'{"a":"\ufffd"}\''),
        (b"x" * 100, r"not JSON .*x{80}'… \(100 bytes\)"),
    ],
)
def test_a_line_that_is_not_one_json_object_cannot_be_decoded(
    line: bytes, why: str
) -> None:
    with pytest.raises(WireError, match=why):
        decode(line)


# -- halves of surrogate pairs, which are JSON and no Unicode ----------------------------


@pytest.mark.parametrize(
    ("event", "line"),
    [
        ({"a": "\ud800"}, b'{"a":"\\ud800"}'),
        ({"\ud800": "ö"}, '{"\\ud800":"ö"}'.encode()),
        ({"a": "\ud83d" + "\ude00"}, '{"a":"😀"}'.encode()),
        (b'{"a": "\\ud800"}', b'{"a": "\\ud800"}'),
        (
            CustomEvent(name="n", value=["\ude00", Plain()]),
            b'{"type":"CUSTOM","name":"n","value":["\\ude00",{"user_name":"Ada","_secret":7}]}',
        ),
    ],
    ids=ascii,
)
def test_half_a_surrogate_pair_is_escaped_as_json_allows(
    event: Any, line: bytes
) -> None:
    assert encode(event) == line
    assert json.loads(line) == decode(line)


def test_halves_that_meet_when_deltas_are_merged_become_the_character() -> None:
    deltas = ["a\ud83d", "\ude00b", "c\ud83d"]
    lines = [
        encode({"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": delta})
        for delta in deltas
    ]

    merged, _ = conflate_lines(lines)
    reducer = Reducer()
    reducer.add(encode({"type": "TEXT_MESSAGE_START", "messageId": "m"}))
    for line in lines:
        reducer.add(line)

    assert [decode(line)["delta"] for line in merged] == ["a😀bc\ud83d"]
    assert decode(catch_up_lines(reducer)[1])["delta"] == "a😀bc\ud83d"


def test_numbers_of_numpy_are_numbers() -> None:
    numpy = pytest.importorskip("numpy")
    value = {"one": numpy.float32(1.5), "many": numpy.arange(3), "yes": numpy.bool_(1)}

    line = encode({"type": "CUSTOM", "name": "n", "value": value})

    assert decode(line)["value"] == {"one": 1.5, "many": [0, 1, 2], "yes": True}
