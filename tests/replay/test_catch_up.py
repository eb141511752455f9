"""Prelude and tail together are the whole stream, as the stock client sees it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest

from rx_agui.agui.catch_up import catch_up_lines
from rx_agui.agui.reducer import Reducer
from rx_agui.testing import random_stream, simulated_run
from tests.support.legal_streams import Stream

Event = dict[str, Any]
Reduce = Callable[[list[Event]], list[Event]]

#: How many random streams of each kind; 2,000 take ten minutes.
STREAMS = int(os.environ.get("RX_AGUI_STREAMS", "50"))

#: Seeds that once told of a fault: of calls whose message a snapshot deleted, of results
#: that stood among others, of a state that became null.
FAULTS = [121, 151, 155, 243, 266, 317, 2185, 3831]

SAMPLES = sorted((Path(__file__).parents[1] / "samples").glob("*_run.jsonl"))


@pytest.fixture
def reduce(node: Callable[..., str], ag_ui_client: str) -> Reduce:
    """What a client makes of streams: messages, state, and why it refused one."""

    def reduced(streams: list[Event]) -> list[Event]:
        read = "\n".join(json.dumps(stream) for stream in streams)
        made = (
            node("reduce.mjs", ag_ui_client, read=read).removesuffix("\n").split("\n")
        )
        results = [json.loads(line) for line in made]
        for result in results:
            # The run's own error is told; and that of an earlier run is its business.
            if (result["error"] or "").startswith("RUN_ERROR"):
                result["error"] = None
        return results

    return reduced


def _lines(text: str) -> list[str]:
    return text.removesuffix("\n").split("\n")  # U+2028 ends no line of JSON


def with_client(seed: int) -> Event:
    """A stream, and a client that has messages and a state already."""
    stream = Stream(seed)
    return {**stream.client, "events": stream.events}


def without_client(seed: int) -> Event:
    return {"events": random_stream(seed)}


def prelude(events: list[Event]) -> list[Event]:
    reducer = Reducer()
    for event in events:
        reducer.add(orjson.dumps(event))
    return [orjson.loads(line) for line in catch_up_lines(reducer)] if events else []


def recorded(sample: Path) -> list[Event]:
    return [json.loads(line) for line in sample.read_bytes().split(b"\n") if line]


def told_alike(
    streams: list[Event], node: Callable[..., str], reduce: Reduce
) -> list[bool]:
    """Whether both clients make the same of a stream as it is.

    They differ where a snapshot tells a message of reasoning under another role. What
    is reduced is then what the newer one makes of it.
    """
    read = "\n".join(json.dumps(stream) for stream in streams)
    newer = node("reduce.mjs", "@ag-ui/client", read=read)
    return [
        (a["messages"], a["state"]) == (b["messages"], b["state"])
        for a, b in zip(map(json.loads, _lines(newer)), reduce(streams), strict=True)
    ]


@pytest.mark.parametrize("made", [with_client, without_client])
def test_a_random_stream_cut_anywhere_comes_to_the_same(
    made: Callable[[int], Event], node: Callable[..., str], reduce: Reduce
) -> None:
    streams = [made(seed) for seed in (*range(STREAMS), *FAULTS)]
    alike = told_alike(streams, node, reduce)
    whole = reduce(streams)
    cases: list[tuple[int, int, Event]] = []
    for seed, stream in enumerate(streams):
        events = stream["events"]
        chance = Random(seed)
        most = len(events) - 1 if seed >= STREAMS else min(6, len(events) - 1)
        cuts = chance.sample(range(1, len(events)), most)
        for cut in [*cuts, len(events)]:
            joined = [*prelude(events[:cut]), *events[cut:]]
            cases.append((seed, cut, {**stream, "events": joined}))

    results = reduce([case for _, _, case in cases])

    for (seed, cut, case), result in zip(cases, results, strict=True):
        if alike[seed] and whole[seed]["error"] is None:
            where = f"stream {seed}, cut at {cut} of {len(streams[seed]['events'])}"
            assert result == whole[seed], f"{where}: {json.dumps(case['events'])}"
    refused = sum([one["error"] is not None for one in whole])
    assert refused < STREAMS / 20
    assert alike.count(False) < STREAMS / 10


RUNS = [pytest.param(recorded(sample), id=sample.stem) for sample in SAMPLES]
RUNS += [pytest.param(list(simulated_run(30, messages=3)), id="simulated")]


@pytest.mark.parametrize("events", RUNS)
def test_a_recorded_run_cut_anywhere_comes_to_the_same(
    events: list[Event], reduce: Reduce
) -> None:
    cuts = range(len(events) + 1)
    cases = [{"events": [*prelude(events[:cut]), *events[cut:]]} for cut in cuts]

    whole, *results = reduce(cases)

    assert whole["error"] is None
    assert whole["messages"]
    for cut, result in enumerate(results, start=1):
        assert result == whole, f"cut at {cut}: {json.dumps(cases[cut]['events'])}"


RUN = {"threadId": "thread-1", "runId": "r"}
USER = {"id": "u", "role": "user", "content": "hi"}


def input_of(messages: list[Event]) -> Event:
    told = {**RUN, "state": {}, "tools": [], "context": [], "forwardedProps": {}}
    return {"type": "RUN_STARTED", **RUN, "input": {**told, "messages": messages}}


def talk(start: Event) -> list[Event]:
    """A run that writes, thinks and calls, all of it unfinished in the middle."""
    text, thought, call = {"messageId": "m"}, {"messageId": "g"}, {"toolCallId": "c"}
    return [
        start,
        {"type": "REASONING_MESSAGE_START", **thought, "role": "reasoning"},
        {"type": "REASONING_MESSAGE_CONTENT", **thought, "delta": "so "},
        {"type": "TEXT_MESSAGE_START", **text, "role": "assistant"},
        {"type": "TEXT_MESSAGE_CONTENT", **text, "delta": "Hello "},
        {
            "type": "TOOL_CALL_START",
            **call,
            "toolCallName": "look",
            "parentMessageId": "m",
        },
        {"type": "TOOL_CALL_ARGS", **call, "delta": '{"q":'},
        {"type": "REASONING_MESSAGE_CONTENT", **thought, "delta": "and so"},
        {"type": "TEXT_MESSAGE_CONTENT", **text, "delta": "wörld"},
        {"type": "TOOL_CALL_ARGS", **call, "delta": "1}"},
        {"type": "TOOL_CALL_END", **call},
        {"type": "TOOL_CALL_RESULT", **call, "messageId": "t", "content": "42"},
        {"type": "REASONING_MESSAGE_END", **thought},
        {"type": "TEXT_MESSAGE_END", **text},
        {"type": "RUN_FINISHED", **RUN},
    ]


def test_who_holds_half_a_message_and_asks_again_is_set_right(reduce: Reduce) -> None:
    """A stock client that was cut off repeats its request; the run told its input."""
    events = talk(input_of([USER]))
    cuts = range(1, len(events))
    whole, *halves = reduce(
        [{"messages": [USER], "events": events[:cut]} for cut in (None, *cuts)]
    )
    again = [
        (
            cut,
            {
                "messages": half["messages"],
                "events": [*prelude(events[:now]), *events[now:]],
            },
        )
        for cut, half in zip(cuts, halves, strict=True)
        for now in range(cut, len(events))
    ]

    for (cut, case), result in zip(
        again, reduce([case for _, case in again]), strict=True
    ):
        assert result == whole, f"had {cut}: {json.dumps(case['events'])}"


def test_messages_of_earlier_runs_outlive_a_prelude_that_knows_nothing_of_them(
    reduce: Reduce,
) -> None:
    events = talk({"type": "RUN_STARTED", **RUN})

    (result,) = reduce(
        [{"messages": [USER], "events": [*prelude(events[:9]), *events[9:]]}]
    )

    assert [message["id"] for message in result["messages"]] == ["u", "g", "m", "t"]


def test_calls_that_nobody_has_answered_are_told_by_their_start() -> None:
    call = {"toolCallId": "c"}
    events = [
        input_of([USER]),
        {"type": "TOOL_CALL_START", **call, "toolCallName": "look"},
        {"type": "TOOL_CALL_END", **call},
        {"type": "RUN_FINISHED", **RUN},
    ]

    assert [event["type"] for event in prelude(events)] == [
        "RUN_STARTED",
        "MESSAGES_SNAPSHOT",
        "TOOL_CALL_START",
        "TOOL_CALL_END",
        "RUN_FINISHED",
    ]


def test_of_application_events_the_last_hundred_are_told_again_and_raw_ones_are_not() -> (
    None
):
    events: list[Event] = [
        {"type": "RUN_STARTED", **RUN},
        *({"type": "CUSTOM", "name": "n", "value": n} for n in range(250)),
        {"type": "RAW", "event": {}},
    ]

    _, *told = prelude(events)

    assert [event["value"] for event in told] == [*range(150, 250)]


def test_patches_of_a_state_nobody_told_are_left_to_the_client_up_to_a_bound() -> None:
    def patches(n: int) -> list[Event]:
        op = {"op": "add", "path": "/n", "value": n}
        return [
            {"type": "STATE_DELTA", "delta": [{**op, "value": i}]} for i in range(n)
        ]

    assert prelude(patches(3)) == patches(3)
    assert prelude(patches(1001)) == [
        {"type": "STATE_SNAPSHOT", "snapshot": {"n": 1000}}
    ]


@pytest.mark.parametrize(
    "line",
    [b"", b"[]", b"nonsense", b"{}", b'{"type":7}', b'{"type":"TEXT_MESSAGE_START"}',
     b'{"type":"MESSAGES_SNAPSHOT","messages":3}', b'{"type":"TOOL_CALL_CHUNK"}',
     b'{"type":"STATE_DELTA"}', b'{"type":"A","x":' + b"[" * 2000 + b"]" * 2000 + b"}"],
)  # fmt: skip
def test_what_no_client_would_take_does_no_harm(line: bytes) -> None:
    reducer = Reducer()
    reducer.add(b'{"type":"RUN_STARTED","threadId":"thread-1","runId":"r"}')

    reducer.add(line)

    assert catch_up_lines(reducer)[0].startswith(b'{"type":"RUN_STARTED"')


def test_a_state_nested_deeper_than_orjson_writes_is_told() -> None:
    deep = b"[" * 500 + b"]" * 500
    reducer = Reducer()
    reducer.add(b'{"type":"STATE_SNAPSHOT","snapshot":%b}' % deep)

    assert catch_up_lines(reducer) == [
        b'{"type":"STATE_SNAPSHOT","snapshot":%b}' % deep
    ]


THINKING = [
    {"type": "RUN_STARTED", **RUN},
    {"type": "THINKING_START"},
    {"type": "THINKING_TEXT_MESSAGE_START"},
    {"type": "THINKING_TEXT_MESSAGE_CONTENT", "delta": "so "},
    {"type": "THINKING_TEXT_MESSAGE_CONTENT", "delta": "it is"},
    {"type": "THINKING_TEXT_MESSAGE_END"},
    {"type": "THINKING_END"},
    {"type": "TEXT_MESSAGE_START", "messageId": "m", "role": "assistant"},
    {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": "42"},
    {"type": "TEXT_MESSAGE_END", "messageId": "m"},
    {"type": "RUN_FINISHED", **RUN},
]


@pytest.mark.parametrize("start", [THINKING[0], input_of([USER])])
def test_thinking_of_the_old_protocol_keeps_its_place_before_the_answer(
    start: Event, reduce: Reduce, ag_ui_client: str
) -> None:
    """Its messages have no id of their own: a client makes one up.

    The older client leaves them out, unless they are told as what they are now.
    """
    events = [start, *THINKING[1:]]
    cases = [
        {"events": [*prelude(events[:cut]), *events[cut:]]}
        for cut in range(len(events) + 1)
    ]

    for cut, result in enumerate(reduce(cases)):
        assert result["error"] is None, f"cut at {cut}"
        said = [(message["role"], message["content"]) for message in result["messages"]]
        told = [one for one in said if one[0] != "user"]
        if "0.0.59" in ag_ui_client and len(told) == 1:
            told = [("reasoning", "so it is"), *told]
        assert told == [("reasoning", "so it is"), ("assistant", "42")], cut
