"""What a broken run leaves open is closed before its RUN_ERROR, and nothing else is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rx_agui.agui.events import EVENTS, TERMINAL
from rx_agui.agui.unfinished import NO_RESULT, Unfinished
from rx_agui.lint import lint
from tests.support.legal_streams import Stream

SAMPLES = sorted((Path(__file__).parents[1] / "samples").glob("*_run.jsonl"))


def line(type: str, **fields: Any) -> bytes:
    return orjson.dumps({"type": type, **fields})


def closing(*lines: bytes, up_to: int | None = None) -> list[dict[str, Any]]:
    unfinished = Unfinished()
    for number, each in enumerate(lines, 1):
        unfinished.note(each, number)
    return [orjson.loads(each) for each in unfinished.closing(up_to)]


STEP = line("STEP_STARTED", stepName="s")
TEXT = line("TEXT_MESSAGE_START", messageId="m", role="assistant")
CALL = line("TOOL_CALL_START", toolCallId="c", toolCallName="f")
CALLED = line("TOOL_CALL_END", toolCallId="c")
RESULT = line("TOOL_CALL_RESULT", toolCallId="c", messageId="r", content="1")


def test_the_last_to_open_is_the_first_to_close() -> None:
    assert [event["type"] for event in closing(STEP, TEXT, CALL)] == [
        "TOOL_CALL_END",
        "TEXT_MESSAGE_END",
        "TOOL_CALL_RESULT",
        "STEP_FINISHED",
    ]


@pytest.mark.parametrize(
    "opened",
    [[CALL, CALLED], [line("TOOL_CALL_CHUNK", toolCallId="c", toolCallName="f")]],
    ids=["between START and END", "by chunks"],
)
def test_a_call_without_a_result_gets_one(opened: list[bytes]) -> None:
    (result,) = closing(*opened)
    assert result["type"] == "TOOL_CALL_RESULT"
    assert (result["toolCallId"], result["content"]) == ("c", NO_RESULT)


@pytest.mark.parametrize(
    "result",
    [
        RESULT,
        line(
            "MESSAGES_SNAPSHOT",
            messages=[{"id": "r", "role": "tool", "toolCallId": "c", "content": "1"}],
        ),
        line("TOOL_CALL_RESULT", toolCallId="c", messageId="r", content="1" * 5000),
    ],
    ids=["an event", "a snapshot", "a large one"],
)
def test_a_call_with_a_result_gets_no_other(result: bytes) -> None:
    assert closing(CALL, CALLED, result) == []


def test_a_text_that_speaks_of_a_call_begins_none() -> None:
    said = json.dumps({"type": "TOOL_CALL_START", "toolCallId": "c"})
    assert closing(line("TEXT_MESSAGE_CHUNK", messageId="m", delta=said)) == []


def test_what_was_not_sent_is_not_closed() -> None:
    assert closing(TEXT, CALL, CALLED, up_to=1) == [
        {"type": "TEXT_MESSAGE_END", "messageId": "m"}
    ]


def test_another_run_begins_with_nothing_open() -> None:
    assert closing(TEXT, CALL, line("RUN_STARTED", threadId="t", runId="r2")) == []


def test_the_end_belongs_to_the_agent_of_the_start() -> None:
    start = {"messageId": "m", "role": "assistant", "subagentRunId": "sub"}
    (end,) = closing(line("TEXT_MESSAGE_START", **start))
    assert end["subagentRunId"] == "sub"


def test_a_long_run_holds_no_more_than_what_is_open() -> None:
    unfinished = Unfinished()
    for number in range(10_000):
        id = str(number)
        unfinished.note(line("TEXT_MESSAGE_START", messageId=id, role="assistant"))
        unfinished.note(line("TEXT_MESSAGE_END", messageId=id))
    assert len(unfinished._noted) <= 128
    assert unfinished.closing() == []


def test_what_is_never_closed_does_not_fill_the_memory() -> None:
    unfinished = Unfinished()
    for number in range(3000):
        unfinished.note(line("STEP_STARTED", stepName=f"{number} " + "x" * 900))
        unfinished.note(line("STEP_STARTED", stepName=f"{number} " + "x" * 100_000))
    assert len(unfinished.closing()) == 1000


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_a_recorded_run_cut_anywhere_is_closed_as_the_protocol_wants(
    sample: Path,
) -> None:
    lines = [each for each in sample.read_bytes().split(b"\n") if each]
    for end in range(1, len(lines), max(1, len(lines) // 40)):
        assert_closed(lines[:end])


@settings(max_examples=100)
@given(st.integers(0, 1_000_000), st.floats(0, 1))
def test_any_legal_stream_cut_anywhere_is_closed(seed: int, part: float) -> None:
    events = Stream(seed).events
    sent = events[: 1 + int(part * (len(events) - 1))]
    if sent[-1]["type"] not in TERMINAL:
        assert_closed([orjson.dumps(event) for event in sent])


def assert_closed(lines: list[bytes]) -> None:
    unfinished = Unfinished()
    unfinished.note(b"\n".join(lines))
    closed = unfinished.closing()
    unfinished.note(b"\n".join(closed))
    assert unfinished.closing() == []

    end = line("RUN_ERROR", message="no")
    assert fatal([*lines, *closed, end]) == fatal([*lines, end])


def fatal(lines: list[bytes]) -> list[str]:
    body = b"".join(b"data: %b\n\n" % each for each in lines)
    return [str(found) for found in lint(body) if found.severity == "fatal"]


def test_every_construct_that_begins_can_end() -> None:
    begins = {k.construct for k in EVENTS.values() if k.part == "start"}
    ends = {k.construct for k in EVENTS.values() if k.part == "end"}
    assert begins == ends
