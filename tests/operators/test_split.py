"""Laws of `split`, and what a marble cannot show: settings, limits, what is told.

What it can show is in marbles/split.marble. That a stock client ends with the same,
tests/clients/test_pieces.py asks the client itself.
"""

from __future__ import annotations

import json
import logging
from typing import Any

import orjson
import pytest
import reactivex as rx
from hypothesis import given, settings
from hypothesis import strategies as st
from reactivex.disposable import SerialDisposable
from reactivex.subject import Subject

from rx_agui import (
    ConfigError,
    Credit,
    Frame,
    Permit,
    batch,
    compress,
    conflate,
    flow_control,
    from_iterable,
    sequence,
    split,
    unbatch,
)
from rx_agui.agui.encoding import decode, encode
from rx_agui.agui.pieces import pieces_of
from rx_agui.probe import OperatorCounters, Probe, watching

Event = dict[str, Any]

laws = settings(deadline=None, max_examples=150)

#: What is longer in JSON than it looks, and what must not be cut in two.
TEXT = st.lists(
    st.sampled_from(
        ["a", "漢", "👩‍🚀", '"', "\\", "\n", "\0", "\x1f", "\\\\u0041", "\u2028"]
    )
    | st.text(max_size=3),
    max_size=60,
).map("".join)
KEY = st.sampled_from(["a", "b", "0", "", "a/b", "~", "~1", "漢", '"']) | st.text(
    max_size=3
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(KEY, inner, max_size=6),
    max_leaves=30,
)
CONTAINER = st.lists(JSON, max_size=8) | st.dictionaries(KEY, JSON, max_size=8)


def cut(event: Event, size: int) -> list[Event]:
    frames: list[Frame] = []
    rx.of(event).pipe(split(size)).subscribe(frames.append)
    return [decode(frame.data) for frame in frames]


def text(delta: str, **more: Any) -> Event:
    return {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": delta, **more}


def snapshot(state: Any, **more: Any) -> Event:
    return {"type": "STATE_SNAPSHOT", "snapshot": state, **more}


def applied(document: Any, ops: list[Event]) -> Any:
    """A patch of what `split` makes, applied."""
    for op in ops:
        keys = [k.replace("~1", "/").replace("~0", "~") for k in op["path"].split("/")]
        if len(keys) == 1:
            document = op["value"]
            continue
        place = document
        for key in keys[1:-1]:
            place = place[int(key) if isinstance(place, list) else key]
        if isinstance(place, list):
            assert keys[-1] == "-"
            place.append(op["value"])
        else:
            assert op["op"] != "add" or keys[-1] not in place or len(ops) == 1
            place[keys[-1]] = op["value"]
    return document


# -- settings ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "must"), [(0, "positive"), (-1, "positive"), (1.5, "a whole number")]
)
def test_a_setting_that_makes_no_sense_is_refused_where_it_is_written(
    value: Any, must: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        split(value)

    assert str(refused.value) == f"max_event_size must be {must}, got {value!r}"


# -- text ----------------------------------------------------------------------------


@laws
@given(TEXT, st.integers(64, 120), st.booleans())
def test_text_is_whole_again_and_no_piece_too_large(
    delta: str, size: int, said: bool
) -> None:
    more = {"metadata": {"k": 1}, "timestamp": 7} if said else {}

    pieces = cut(text(delta, **more), size)

    assert "".join(piece["delta"] for piece in pieces) == delta
    if not said:
        assert max(len(encode(piece)) for piece in pieces) <= size
    assert [p.get("metadata") for p in pieces[:-1]] == [None] * (len(pieces) - 1)
    assert pieces[-1].get("metadata") == more.get("metadata")
    assert {piece.get("timestamp") for piece in pieces} == {more.get("timestamp")}


@pytest.mark.parametrize(
    "whose",
    [
        {"type": "TOOL_CALL_ARGS", "toolCallId": "t"},
        {"type": "REASONING_MESSAGE_CONTENT", "messageId": "r"},
        {"type": "TEXT_MESSAGE_CHUNK", "messageId": "m", "role": "user"},
        {"type": "TOOL_CALL_CHUNK", "toolCallId": "t", "toolCallName": "look"},
        {"type": "REASONING_MESSAGE_CHUNK"},
    ],
    ids=lambda whose: str(whose["type"]),
)
def test_every_kind_of_text_is_cut_and_each_piece_says_whose_it_is(
    whose: Event,
) -> None:
    pieces = cut({**whose, "subagentRunId": "s", "delta": "a" * 500}, 200)

    assert len(pieces) > 2
    assert all(piece.items() >= whose.items() for piece in pieces)
    assert all(piece["subagentRunId"] == "s" for piece in pieces)


def test_runs_of_backslashes_are_cut_between_them() -> None:
    for shift in range(4):
        delta = "a" * shift + "\\" * 400
        pieces = cut(text(delta), 100)
        assert "".join(piece["delta"] for piece in pieces) == delta


# -- state ---------------------------------------------------------------------------


@laws
@given(CONTAINER, st.integers(90, 300))
def test_a_state_is_whole_again_and_its_keys_have_their_order(
    state: Any, size: int
) -> None:
    first, *rest = cut(snapshot(state, timestamp=7, metadata={"k": 1}), size)

    rebuilt = first["snapshot"]
    for piece in rest:
        assert piece.keys() == {"type", "timestamp", "delta"}
        rebuilt = applied(rebuilt, piece["delta"])
    assert json.dumps(rebuilt) == json.dumps(state)
    assert first["metadata"] == {"k": 1}


@laws
@given(CONTAINER, st.integers(90, 300), st.sampled_from(["", "/a", "/l/0"]))
def test_a_patch_that_sets_one_place_does_the_same(
    value: Any, size: int, path: str
) -> None:
    op = {"op": "replace", "path": path, "value": value}

    pieces = cut({"type": "STATE_DELTA", "delta": [op]}, size)

    (begun, *_) = pieces[0]["delta"]
    assert (begun["op"], begun["path"]) == ("replace", path)
    rebuilt: Any = (
        {"a": begun["value"], "l": [begun["value"]]} if path else begun["value"]
    )
    for piece in pieces[1:]:
        rebuilt = applied(rebuilt, piece["delta"])
    found = rebuilt if not path else rebuilt["a"] if path == "/a" else rebuilt["l"][0]
    assert json.dumps(found) == json.dumps(value)


@laws
@given(
    st.lists(st.dictionaries(KEY, st.integers(0, 99), max_size=3), max_size=60),
    st.integers(200, 400),
)
def test_no_piece_of_a_state_is_too_large_if_its_strings_are_not(
    rows: list[Any], size: int
) -> None:
    pieces = cut(snapshot({"rows": rows}), size)

    assert max(len(encode(piece)) for piece in pieces) <= size


def test_a_string_too_large_for_a_piece_has_one_of_its_own(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pieces = cut(snapshot({"a": 1, "text": "x" * 500, "b": 2}), 100)

    assert [len(encode(piece)) > 100 for piece in pieces] == [False, True, False]
    assert "a string in it is too large" in caplog.text


# -- what has no pieces -----------------------------------------------------------------


@pytest.mark.parametrize(
    "event",
    [
        {"type": "CUSTOM", "name": "n", "value": "x" * 200},
        {"type": "RAW", "event": {"x": "x" * 200}},
        {"type": "MESSAGES_SNAPSHOT", "messages": [{"content": "x" * 200}]},
        {"type": "TOOL_CALL_RESULT", "content": "x" * 200},
        {"type": "ACTIVITY_SNAPSHOT", "content": {"x": "x" * 200}},
        {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m" * 200, "delta": "x" * 200},
        {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": ["x"] * 200},
        snapshot("x" * 200),
        snapshot({"__proto__": {"a": "x" * 99, "b": "x" * 99}}),
        {
            "type": "STATE_DELTA",
            "delta": [{"op": "add", "path": "/l/-", "value": ["x"] * 99}],
        },
        {"type": "STATE_DELTA", "delta": [{"op": "remove", "path": "/a" * 99}]},
        {"no": "type", "value": "x" * 200},
    ],
    ids=lambda event: str(event.get("type")),
)
def test_what_has_no_pieces_passes_whole_and_is_counted_and_told(
    event: Event, caplog: pytest.LogCaptureFixture
) -> None:
    with Listening() as listening, caplog.at_level(logging.WARNING, "rx_agui"):
        frames: list[Frame] = []
        rx.of(event, event).pipe(split(150)).subscribe(frames.append)

    assert [decode(frame.data) for frame in frames] == [event, event]
    (tally,) = listening.operators
    assert tally.more == {("split.whole", event.get("type", "")): 2}
    assert (tally.received, tally.emitted, tally.created) == (2, 2, 0)
    assert len(caplog.records) == 1


def test_what_is_nested_too_deep_passes_whole() -> None:
    deep: Any = ["x" * 50]
    for _ in range(200):
        deep = ["x" * 50, deep]
    event = snapshot(deep)

    assert cut(event, 120) == [event]


def test_what_is_compressed_passes() -> None:
    heard: list[Frame] = []
    rx.of(text("a" * 5000)).pipe(compress(min_size=1), split(20)).subscribe(
        heard.append
    )

    assert [(frame.encoding, frame.events) for frame in heard] == [("gzip", 1)]


def test_json_that_only_a_browser_reads_passes_whole() -> None:
    line = b'{"type":"TEXT_MESSAGE_CONTENT","messageId":"m","delta":"%b\\ud800"}'
    frame = Frame(line % (b"a" * 200))
    heard: list[Frame] = []

    rx.of(frame).pipe(split(100)).subscribe(heard.append)

    assert [one.data for one in heard] == [frame.data]


# -- in company -------------------------------------------------------------------------


class Listening(Probe):
    """Who works in the streams that are subscribed meanwhile."""

    def __init__(self) -> None:
        self.operators: list[OperatorCounters] = []
        self._watching = watching(self)

    def joined(self, _: Any, tally: OperatorCounters) -> None:
        self.operators.append(tally)

    def __enter__(self) -> Listening:
        self._watching.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._watching.__exit__(None, None, None)


@pytest.mark.usefixtures("either_way")
def test_what_it_creates_is_counted_and_numbered() -> None:
    events = [text("a"), text("b" * 300), text("c")]
    frames: list[Frame] = []
    with Listening() as listening:
        from_iterable(events).pipe(
            flow_control(2), split(100), sequence(), batch(4)
        ).subscribe(frames.append)

    heard: list[Event] = []
    rx.of(*frames).pipe(unbatch()).subscribe(heard.append)
    assert "".join(event["delta"] for event in heard) == "a" + "b" * 300 + "c"
    assert frames[-1].last == len(heard) > 6
    (tally,) = [tally for tally in listening.operators if tally.name == "split"]
    assert (tally.received, tally.created, tally.emitted, tally.held) == (
        3,
        len(heard) - 3,
        len(heard),
        0,
    )


def test_what_was_cut_stays_cut_behind_conflate() -> None:
    frames: list[Frame] = []
    state = snapshot({"rows": [{"id": n} for n in range(500)]})

    rx.of(text("x" * 5000), state).pipe(
        split(1000), batch(500), conflate(max_event_size=1000)
    ).subscribe(frames.append)

    assert max(len(line) for frame in frames for line in frame.lines()) <= 1000


def test_the_credit_of_an_event_comes_home_with_its_last_piece() -> None:
    credit = Credit(1)
    assert credit.acquire()
    permit = Permit(credit)
    held: list[Permit] = []

    rx.of(Frame(encode(text("x" * 300)), permit)).pipe(split(100)).subscribe(
        lambda piece: held.append(piece.permit.hold())
    )
    permit.release()

    assert len(held) > 3
    for one in held:
        assert credit.in_flight == 1
        one.release()
    assert credit.in_flight == 0


def test_disposal_from_inside_on_next_drops_the_other_pieces() -> None:
    heard: list[Frame] = []
    source: Subject[Event] = Subject()
    subscription = SerialDisposable()

    def hear(frame: Frame) -> None:
        heard.append(frame)
        subscription.dispose()

    with Listening() as listening:
        subscription.disposable = source.pipe(split(100)).subscribe(hear)
    source.on_next(text("x" * 300))

    (tally,) = listening.operators
    assert len(heard) == 1
    assert (tally.received, tally.created) == (1, 1)
    assert tally.dropped == {"cancelled": 1}
    assert tally.held == 0


def test_pieces_are_made_in_time_in_proportion_to_the_state() -> None:
    pieces = pieces_of(snapshot([[n] * 3 for n in range(50_000)]), 100_000)

    assert len(pieces) < 40
    assert sum(map(len, pieces)) < 60 * 50_000
    assert orjson.loads(pieces[-1])["delta"][-1]["value"] == [49_999] * 3
