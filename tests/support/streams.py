"""Streams that something is wrong with, by the rule that they break.

Each is what a server might send; the linter must name the rule, and the stock client,
run as it is, must fail where the linter says so and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import orjson
from ag_ui.core import Event as AnyEvent
from pydantic import BaseModel

__all__ = ["FIELDS", "HEADERS", "STREAMS", "event", "sse"]

Event = dict[str, Any]

STARTED = {"type": "RUN_STARTED", "threadId": "t", "runId": "r"}
FINISHED = {"type": "RUN_FINISHED", "threadId": "t", "runId": "r"}
ERROR = {"type": "RUN_ERROR", "message": "no"}


def sse(*events: Event | bytes) -> bytes:
    """Plain frames; bytes stand as they are."""
    return b"".join(
        e if isinstance(e, bytes) else b"data: " + orjson.dumps(e) + b"\n\n"
        for e in events
    )


def event(kind: str, **fields: Any) -> Event:
    """One event of a type."""
    return {"type": kind, **fields}


def inside(*events: Event | bytes) -> bytes:
    """In the middle of a run."""
    return sse(STARTED, *events, FINISHED)


def text(*deltas: str, id: str = "m", **fields: Any) -> list[Event]:
    return [
        event("TEXT_MESSAGE_START", messageId=id, role="assistant", **fields),
        *(event("TEXT_MESSAGE_CONTENT", messageId=id, delta=d) for d in deltas),
        event("TEXT_MESSAGE_END", messageId=id),
    ]


CUSTOM = event("CUSTOM", name="n", value="é水👩")
LF = inside(CUSTOM, *text("a", "b"))
BOM = b"\xef\xbb\xbf"
START, CONTENT, END = text("a")
CALL = event("TOOL_CALL_START", toolCallId="c", toolCallName="n")
CHUNK = event("TEXT_MESSAGE_CHUNK", messageId="m", delta="a")
REASONING = [
    event("REASONING_START", messageId="r"),
    event("REASONING_MESSAGE_START", messageId="r", role="reasoning"),
    event("REASONING_MESSAGE_CONTENT", messageId="r", delta="a"),
    event("REASONING_MESSAGE_END", messageId="r"),
    event("REASONING_END", messageId="r"),
]
SUBAGENT = event("SUBAGENT_STARTED", subagentRunId="s", name="n")
SUBAGENT_END = event("SUBAGENT_FINISHED", subagentRunId="s")
STEP = event("STEP_STARTED", stepName="a")
STEP_END = event("STEP_FINISHED", stepName="a")
BIG = event("CUSTOM", name="n", value="x" * (11 * 1024 * 1024))
SNAPSHOT = event("MESSAGES_SNAPSHOT", messages=[])

#: The rule, or "" where nothing is fatal and the only question is whether that is true.
STREAMS: list[tuple[str, bytes]] = [
    ("", LF),
    ("", LF + LF),
    ("", sse(ERROR)),
    ("", sse(STARTED, ERROR)),
    ("", sse(STARTED, FINISHED, ERROR)),
    ("", sse(STARTED, ERROR) + LF),
    ("", LF.replace(b"data: ", b"data:")),
    ("", LF.replace(b"\n\n", b"\n\n\n\n: hi\n\n")),
    ("", b":\n\nretry: 10\n\n" + LF),
    ("", LF.replace(b"data: ", b"id: r/1\ndata: ", 1)),
    ("", inside(*REASONING)),
    ("", inside(*REASONING, *REASONING)),
    ("", inside(SUBAGENT, STEP, STEP_END, SUBAGENT_END)),
    ("", inside(STEP, {**STEP, "subagentRunId": "s"}, {**STEP_END, "subagentRunId": "s"},
                STEP_END)),
    ("", inside(*text("a", id="m"), *text("b", id="m"))),
    ("", inside(CHUNK, CHUNK, event("TEXT_MESSAGE_CHUNK", delta="b"))),
    ("", inside(CHUNK, event("RAW", event=1), event("TEXT_MESSAGE_CHUNK", delta="b"))),
    ("", inside(CHUNK, {**CHUNK, "messageId": "n"}, CHUNK)),
    ("", inside(CHUNK, event("TOOL_CALL_CHUNK", toolCallId="c", toolCallName="n"), CHUNK)),
    ("", inside(event("REASONING_MESSAGE_CHUNK", messageId="m", delta="a"))),
    ("", inside(b'data: {"type":"CUSTOM",\ndata: "name":"n",\ndata: "value":1}\n\n')),
    ("", inside(b'data: {"type":"CUSTOM","name":"n","value":"\\ud800"}\n\n')),
    ("", inside(b'data: {"type":"CUSTOM","name":"n","value":%d}\n\n' % 10**30)),
    # -- lines
    ("crlf", LF.replace(b"\n", b"\r\n")),
    ("crlf", inside(CUSTOM).replace(b"\n\n", b"\r\n\r\n")),
    ("crlf", LF.replace(b"}\n\n", b"}\r\n\n")),
    ("crlf", LF.replace(b"\n\n", b"\n\n: ping\r\n\r\n\n")),
    ("cr", LF.replace(b"\n", b"\r")),
    ("cr", LF.replace(b"}\n\n", b"}\r\n\n", 0).replace(b"}\n\n", b"}\r\r\n\n", 1)),
    ("bom", BOM + LF),
    ("bom-inside", inside(BOM + sse(CUSTOM))),
    ("bom-inside", BOM + sse(STARTED) + BOM + sse(*text("a")) + sse(FINISHED)),
    ("invalid-utf8", inside(b'data: {"type":"CUSTOM","name":"n","value":"\xe9"}\n\n')),
    ("nul", inside(b'data: {"type":"CUSTOM","name":"n","value":"\0"}\n\n')),
    ("nul", inside(b": \0\n\n")),
    ("line-separator", inside(sse(event("CUSTOM", name="n", value="\u2028")))),
    ("line-separator", inside(sse(event("CUSTOM", name="n", value="a\x85")))),
    ("unknown-line", inside(b"dta: 1\n\n")),
    ("unknown-line", inside(b"{}\n\n")),
    ("event-name", LF.replace(b"data: ", b"event: message\ndata: ")),
    ("bad-retry", inside(b"retry: 10s\n\n")),
    ("bad-retry", inside(b"retry: -5\n\n")),
    # -- ids
    ("id-nul", inside(b"id: a\0b\n" + sse(CUSTOM))),
    ("id-not-ascii", inside("id: läuft/1\n".encode() + sse(CUSTOM))),
    ("id-empty", inside(b"id:\n" + sse(CUSTOM))),
    ("id-only", inside(b"id: 7\n\n")),
    ("id-twice", inside(b"id: r/7\n" + sse(CUSTOM) + b"id: r/7\n" + sse(CUSTOM))),
    ("id-backwards", inside(b"id: r/7\n" + sse(CUSTOM) + b"id: r/6\n" + sse(CUSTOM))),
    # -- what an event is made of
    ("empty-data", inside(b"data:\n\n")),
    ("empty-data", inside(b"data: \n\n")),
    ("named-ping", inside(b"event: ping\ndata: {}\n\n")),
    ("done", LF + b"data: [DONE]\n\n"),
    ("array", inside(b"data: " + orjson.dumps([CUSTOM, CUSTOM]) + b"\n\n")),
    ("array", inside(b"event: batch\ndata: []\n\n")),
    ("several-objects", inside(sse(CUSTOM, CUSTOM).replace(b"\n\n", b"\n") + b"\n")),
    ("cut-in-string", inside(b'data: {"type":"CUSTOM","name":"n\ndata: m","value":1}\n\n')),
    ("double-prefix", inside(b"data: data: {}\ndata: \n\n")),
    ("cut-off", LF[:-20]),
    ("cut-off", sse(STARTED) + b'data: {"type":"CUSTOM","name":"\xc3'),
    ("not-json", inside(b"data: hello\n\n")),
    ("not-json", inside(b"data: {'type': 'CUSTOM'}\n\n")),
    ("not-json", inside(b'data: {"type":"CUSTOM","name":"n","value":NaN}\n\n')),
    ("not-an-object", inside(b'data: "hello"\n\n')),
    ("not-an-object", inside(b"data: null\n\n")),
    ("not-an-object", inside(b"data: 7\n\n")),
    ("no-type", inside(b"data: {}\n\n")),
    ("no-type", inside(b'data: {"type":""}\n\n')),
    ("no-type", inside(b'data: {"compressed":true,"data":"eJw="}\n\n')),
    ("chunk-profile", inside(
        b'event: chunk\nid: 2\ndata: {"sequenceNum":1,"events":2,"chunkIndex":0,'
        b'"totalChunks":1,"encoding":"gzip","data":""}\n\n')),
    ("too-large", inside(BIG)),
    ("no-blank-line", LF[:-1]),
    ("no-blank-line", LF[:-2]),
    # -- fields
    ("unknown-type", inside(event("NEW"))),
    ("retired-type", inside(event("THINKING_START"), event("THINKING_END"))),
    ("unknown-field", inside({**CUSTOM, "seq": 1})),
    ("unknown-field", inside({**CUSTOM, "raw_event": 1})),
    ("null", inside({**CUSTOM, "timestamp": None})),
    ("null", inside({**START, "name": None}, END)),
    ("null", inside({**SNAPSHOT, "messages": [
        {"id": "m", "role": "user", "content": "a", "name": None}]})),
    ("missing-field", inside(event("CUSTOM", value=1))),
    ("missing-field", inside(event("CUSTOM", name="n"))),
    ("missing-field", inside({**START, "message_id": "m"} | {}, END).replace(
        b'"messageId":"m","role"', b'"role"')),
    ("missing-field", inside({**SNAPSHOT, "messages": [{"role": "user", "content": "a"}]})),
    ("bad-field", inside({**CUSTOM, "name": 7})),
    ("bad-field", inside({**CUSTOM, "timestamp": "now"})),
    ("bad-field", inside({**CUSTOM, "timestamp": 1.5})),
    ("bad-field", inside({**CUSTOM, "metadata": []})),
    ("bad-field", inside({**SNAPSHOT, "messages": [{"id": "m", "role": "robot"}]})),
    ("bad-field", inside(event("STATE_DELTA", delta=[{"op": "zap", "path": "/a"}]))),
    ("missing-field", inside(event("STATE_DELTA", delta=[{"op": "add", "path": "/a"}]))),
    ("bad-field", inside(event("TOOL_CALL_RESULT", messageId="m", toolCallId="c",
                               content=[{"type": "text", "text": "a"}]))),
    # -- order
    ("no-start", sse(*text("a"), FINISHED)),
    ("no-start", sse(CUSTOM)),
    ("start-again", inside(STARTED)),
    ("after-end", LF + sse(CUSTOM)),
    ("after-end", sse(STARTED, ERROR, CUSTOM)),
    ("after-end", sse(STARTED, ERROR, ERROR)),
    ("after-end", sse(STARTED, FINISHED, FINISHED)),
    ("not-a-stream", orjson.dumps([STARTED, FINISHED])),
    ("not-a-stream", orjson.dumps(STARTED) + b"\n" + orjson.dumps(FINISHED) + b"\n"),
    ("not-a-stream", b' {"detail":"Not Found"}'),
    ("no-end", b""),
    ("no-end", b": nothing\n\n"),
    ("no-end", sse(STARTED, CUSTOM)),
    ("no-end", LF + sse(STARTED)),
    ("not-open", inside(CONTENT)),
    ("not-open", inside(END)),
    ("not-open", inside(START, END, CONTENT)),
    ("not-open", inside(event("TOOL_CALL_ARGS", toolCallId="c", delta="a"))),
    ("not-open", inside(STEP_END)),
    ("not-open", inside(STEP, {**STEP_END, "subagentRunId": "s"})),
    ("not-open", inside(*REASONING[2:4])),
    ("not-open", inside(REASONING[4])),
    ("not-open", inside(SUBAGENT_END)),
    ("not-open", inside({**SUBAGENT, "parentSubagentRunId": "p"}, SUBAGENT_END)),
    ("not-open", inside(CHUNK, CONTENT)),
    ("not-open", inside(event("THINKING_TEXT_MESSAGE_CONTENT", delta="a"))),
    ("open-twice", inside(START, START, END)),
    ("open-twice", inside(START, CHUNK, END)),
    ("open-twice", inside(CALL, CALL, event("TOOL_CALL_END", toolCallId="c"))),
    ("open-twice", inside(STEP, STEP, STEP_END)),
    ("open-twice", inside(REASONING[0], *REASONING)),
    ("open-twice", inside(SUBAGENT, SUBAGENT_END, SUBAGENT, SUBAGENT_END)),
    ("open-at-end", inside(START)),
    ("open-at-end", inside(CALL)),
    ("open-at-end", inside(STEP)),
    ("open-at-end", inside(*REASONING[:2])),
    ("open-at-end", inside(SUBAGENT)),
    ("first-chunk", inside(event("TEXT_MESSAGE_CHUNK", delta="a"))),
    ("first-chunk", inside(event("TOOL_CALL_CHUNK", toolCallId="c"))),
    ("first-chunk", inside(CHUNK, CUSTOM, event("TEXT_MESSAGE_CHUNK", delta="b"))),
    ("other-subagent", inside(START, {**CONTENT, "subagentRunId": "s"}, END)),
    ("other-subagent", inside({**START, "subagentRunId": "a"},
                              {**END, "subagentRunId": "b"})),
]  # fmt: skip

#: By the rule, headers that differ from what is right; None takes one away.
HEADERS: list[tuple[str, dict[str, str | None]]] = [
    ("", {}),
    ("", {"content-type": "Text/Event-Stream; charset=utf-8"}),
    ("", {"content-encoding": "gzip", "vary": "Accept-Encoding"}),
    ("content-type", {"content-type": "application/json"}),
    ("content-type", {"content-type": None}),
    ("protobuf-type", {"content-type": "application/vnd.ag-ui.event+proto"}),
    ("cacheable", {"cache-control": "no-transform"}),
    ("cacheable", {"cache-control": None}),
    ("transformable", {"cache-control": "no-cache"}),
    ("buffered", {"x-accel-buffering": None}),
    ("buffered", {"x-accel-buffering": "yes"}),
    ("vary", {"content-encoding": "gzip"}),
    ("vary", {"content-encoding": "gzip", "vary": "Origin"}),
    ("content-length", {"content-length": "100"}),
    ("connection-close", {"connection": "close"}),
    ("unreadable-encoding", {"content-encoding": "lz4", "vary": "*"}),
    ("unreadable-encoding", {"content-encoding": "zstd", "vary": "*"}),
]


# -- every field of every event, spoilt -------------------------------------------------

_VALUES: dict[str, Any] = {
    "delta": "a",
    "snapshot": {},
    "messages": [],
    "content": "a",
    "event": {},
    "value": 1,
    "patch": [],
    "subtype": "message",
}
_MORE: dict[str, Event] = {
    "STATE_DELTA": {"delta": []},
    "ACTIVITY_SNAPSHOT": {"content": {}},
    "TEXT_MESSAGE_CHUNK": {"messageId": "x"},
    "TOOL_CALL_CHUNK": {"toolCallId": "x", "toolCallName": "x"},
    "REASONING_MESSAGE_CHUNK": {"messageId": "x"},
    "REASONING_MESSAGE_START": {"role": "reasoning"},
}
_SPOILT: list[Any] = [None, 7, "y", [], {}, True, 1.5]


def _models() -> dict[str, type[BaseModel]]:
    models = get_args(get_args(AnyEvent)[0])
    return {
        str(get_args(m.model_fields["type"].annotation)[0].value): m for m in models
    }


def _around(kind: str) -> tuple[list[str], list[str]]:
    """What must come before an event of this type, and what after."""
    before, after = [], []
    name, _, role = kind.rpartition("_")
    if role in ("CONTENT", "ARGS", "END"):
        before = [f"{name}_START"]
    elif name in ("STEP", "SUBAGENT") and role != "STARTED":
        before = [f"{name}_STARTED"]
    elif kind == "ACTIVITY_DELTA":
        before = ["ACTIVITY_SNAPSHOT"]
    if role in ("START", "CONTENT", "ARGS"):
        after = [f"{name}_END"]
    elif kind in ("STEP_STARTED", "SUBAGENT_STARTED"):
        after = [f"{name}_FINISHED"]
    return before, after


def _fields() -> Iterator[tuple[str, bytes]]:
    models = _models()

    def least(kind: str) -> Event:
        fields = models[kind].model_fields.items()
        needed = [f.alias or name for name, f in fields if f.is_required()]
        known = {name: _VALUES.get(name, "x") for name in needed}
        return {"type": kind, **known, **_MORE.get(kind, {})}

    def run(kind: str, spoilt: Event) -> bytes:
        before, after = _around(kind)
        events = [*map(least, before), spoilt, *map(least, after)]
        if kind != "RUN_STARTED":
            events.insert(0, least("RUN_STARTED"))
        if kind not in ("RUN_FINISHED", "RUN_ERROR"):
            events.append(least("RUN_FINISHED"))
        return sse(*events)

    for kind, model in models.items():
        yield kind, run(kind, least(kind))
        for name, field in model.model_fields.items():
            alias = field.alias or name
            if alias == "type":
                continue
            if field.is_required():
                without = {n: v for n, v in least(kind).items() if n != alias}
                yield f"{kind} without {alias}", run(kind, without)
            for value in _SPOILT:
                shown = f"{kind} {alias}={value!r}"
                yield shown, run(kind, least(kind) | {alias: value})


#: What was spoilt, and the run it was spoilt in.
FIELDS: list[tuple[str, bytes]] = list(_fields())
