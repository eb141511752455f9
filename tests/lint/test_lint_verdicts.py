"""The linter's verdicts are those of the stock client, run as it is."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable
from random import Random
from typing import Any

from rx_agui.lint import lint
from tests.support.streams import FIELDS, STREAMS, event, sse

Node = Callable[..., str]

STARTED = event("RUN_STARTED", threadId="t", runId="r")
FINISHED = event("RUN_FINISHED", threadId="t", runId="r")

#: What runs are made of; few ids, so that they meet.
ALPHABET = [
    event("CUSTOM", name="n", value=1),
    event("RAW", event=1),
    event("RUN_ERROR", message="no"),
    STARTED,
    FINISHED,
    *(
        event(kind, messageId=id, **fields)
        for id in ("a", "b")
        for kind, fields in (
            ("TEXT_MESSAGE_START", {"role": "assistant"}),
            ("TEXT_MESSAGE_CONTENT", {"delta": "x"}),
            ("TEXT_MESSAGE_END", {}),
            ("TEXT_MESSAGE_CHUNK", {"delta": "x"}),
        )
    ),
    event("TEXT_MESSAGE_CHUNK", delta="x"),
    event("TOOL_CALL_START", toolCallId="a", toolCallName="n"),
    event("TOOL_CALL_ARGS", toolCallId="a", delta="x"),
    event("TOOL_CALL_END", toolCallId="a"),
    event("TOOL_CALL_CHUNK", toolCallId="a", toolCallName="n", delta="x"),
    event("REASONING_START", messageId="a"),
    event("REASONING_END", messageId="a"),
    event("REASONING_MESSAGE_START", messageId="a", role="reasoning"),
    event("REASONING_MESSAGE_CONTENT", messageId="a", delta="x"),
    event("REASONING_MESSAGE_END", messageId="a"),
    event("STEP_STARTED", stepName="a"),
    event("STEP_FINISHED", stepName="a"),
    event("SUBAGENT_STARTED", subagentRunId="a", name="n"),
    event("SUBAGENT_FINISHED", subagentRunId="a"),
    event("ACTIVITY_SNAPSHOT", messageId="a", activityType="t", content={}),
    event("STATE_SNAPSHOT", snapshot={}),
]

WHOLE = [
    ALPHABET[5:8],
    ALPHABET[5:7] + ALPHABET[6:8],
    ALPHABET[9:12],
    [ALPHABET[8]],
    [ALPHABET[8], ALPHABET[13]],
    ALPHABET[14:17],
    [ALPHABET[17]],
    ALPHABET[18:20],
    ALPHABET[20:23],
    ALPHABET[23:25],
    ALPHABET[25:27],
    *([each] for each in ALPHABET[:2] + ALPHABET[27:]),
]

VERSIONS = {"@ag-ui/client": "1.0.0", "ag-ui-client-0.0.59": "0.0.59"}


def disagreements(
    cases: Iterable[tuple[str, bytes]], node: Node, client: str
) -> list[str]:
    """Where the linter says fatal and the client takes it, or the other way round."""
    cases = list(cases)
    bodies = "\n".join(
        json.dumps({"body": base64.b64encode(body).decode()}) for _, body in cases
    )
    answers = [
        json.loads(a) for a in node("read.mjs", client, read=bodies).splitlines()
    ]
    version = VERSIONS[client]
    wrong = []
    for (name, body), answer in zip(cases, answers, strict=True):
        fatal = [str(f) for f in lint(body) if version in f.fails]
        if bool(fatal) != bool(answer["error"]):
            said = " ".join(str(answer["error"]).split())[:100]
            wrong.append(f"{name or 'fine'}: {body[:150]!r}: {fatal} | {said}")
    return wrong


def test_what_the_linter_calls_fatal_is_what_the_stock_client_fails_at(
    node: Node, ag_ui_client: str
) -> None:
    assert disagreements(STREAMS, node, ag_ui_client) == []


def test_a_field_that_is_spoilt_is_fatal_where_the_stock_client_refuses_it(
    node: Node, ag_ui_client: str
) -> None:
    assert len(FIELDS) > 1000
    assert disagreements(FIELDS, node, ag_ui_client) == []


def any_run(chance: Random) -> list[dict[str, Any]]:
    """Whole constructs, one behind or inside the other; and then something is wrong."""
    events: list[dict[str, Any]] = [STARTED, FINISHED]
    for _ in range(chance.randint(1, 4)):
        at = chance.randint(1, len(events) - 1)
        events[at:at] = chance.choice(WHOLE)
    for _ in range(chance.choice([0, 0, 1, 1, 2])):
        at = chance.randrange(len(events))
        match chance.choice(["drop", "again", "swap", "other"]):
            case "drop":
                del events[at]
            case "again":
                events.insert(at, chance.choice(events))
            case "swap":
                events[at], events[-1 - at] = events[-1 - at], events[at]
            case "other":
                events.insert(at, chance.choice(ALPHABET))
    return events


def test_events_in_any_order_are_judged_as_the_stock_client_judges_them(
    node: Node, ag_ui_client: str
) -> None:
    runs = []
    for seed in range(1500):
        events = any_run(Random(seed))
        kinds = " ".join(str(each["type"]) for each in events)
        runs.append((kinds, sse(*events)))

    assert disagreements(runs, node, ag_ui_client) == []
    assert 300 < sum(not any(f.fails for f in lint(body)) for _, body in runs) < 1200
