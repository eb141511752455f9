"""The table of AG-UI event kinds: everything the package knows about them by name.

    TEXT_MESSAGE_START     opens a message        ends the chunks of its own agent
    TEXT_MESSAGE_CONTENT   adds to it: a delta    merges, may wait
    TEXT_MESSAGE_END       closes it              must not be lost

The reducer, catch-up, merging, shedding, splitting and lint read this table, so that a
new kind of event is one line here. The rules are those of `@ag-ui/client` (verify/verify.ts
for brackets, chunks/transform.ts for what ends chunks) and of ag_ui.core for the fields.
"""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple

__all__ = ["EVENTS", "TERMINAL", "WIRE_NAMES", "EventKind", "Part"]

Part = Literal[
    "start", "content", "end", "error", "chunk", "snapshot", "patch", "result", "other"
]


class EventKind(NamedTuple):
    """One kind of event.

    Attributes:
        construct: What it is about. Events of one construct with the same `key` belong
            together.
        part: What it does to the construct.
        key: The field that identifies the construct; empty if there is one at a time.
        required: Other fields that must hold a string.
        optional: Further fields, apart from those that every event may have.
        ends_chunks: Which open `*_CHUNK` sequences it ends: those of its own agent, all,
            those of the subagent that it ends, or none.
        is_retired: Whether it left the protocol in 1.0.
    """

    construct: str
    part: Part
    key: str = ""
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    ends_chunks: Literal["own", "all", "subagent", ""] = "own"
    is_retired: bool = False

    @property
    def is_bracketed(self) -> bool:
        """Whether a client accepts it only between, or as, a START and an END."""
        return (
            self.part in ("start", "content", "end")
            and self.construct not in _LIFECYCLES
        )

    @property
    def is_delta(self) -> bool:
        """Whether it appends text."""
        return self.part in ("content", "chunk")

    @property
    def may_wait(self) -> bool:
        """Whether a reader under pressure may get it later, or merged with others."""
        return (
            self.is_delta or self.construct in ("state", "activity") or self.may_be_shed
        )

    @property
    def may_be_shed(self) -> bool:
        """Whether no client builds anything of it."""
        return self.construct == "raw"


#: Constructs with rules of their own instead of START, CONTENT and END.
_LIFECYCLES: Final = ("run", "step", "subagent")

_MESSAGE: Final = "messageId"
_CALL: Final = "toolCallId"

#: Every kind of AG-UI 1.0, and the five that 0.1 had besides.
EVENTS: Final[dict[str, EventKind]] = {
    "RUN_STARTED": EventKind("run", "start", "runId", ends_chunks="all"),
    "RUN_FINISHED": EventKind("run", "end", "runId", ends_chunks="all"),
    "RUN_ERROR": EventKind("run", "error", ends_chunks="all"),
    "STEP_STARTED": EventKind("step", "start", "stepName"),
    "STEP_FINISHED": EventKind("step", "end", "stepName"),
    "SUBAGENT_STARTED": EventKind("subagent", "start", "subagentRunId", ends_chunks=""),
    "SUBAGENT_FINISHED": EventKind(
        "subagent", "end", "subagentRunId", ends_chunks="subagent"
    ),
    "SUBAGENT_ERROR": EventKind(
        "subagent", "error", "subagentRunId", ends_chunks="subagent"
    ),
    "TEXT_MESSAGE_START": EventKind("message", "start", _MESSAGE),
    "TEXT_MESSAGE_CONTENT": EventKind("message", "content", _MESSAGE, ("delta",)),
    "TEXT_MESSAGE_END": EventKind("message", "end", _MESSAGE),
    "TEXT_MESSAGE_CHUNK": EventKind(
        "message", "chunk", _MESSAGE, (), ("role", "name", "delta")
    ),
    "TOOL_CALL_START": EventKind("tool call", "start", _CALL),
    "TOOL_CALL_ARGS": EventKind("tool call", "content", _CALL, ("delta",)),
    "TOOL_CALL_END": EventKind("tool call", "end", _CALL),
    "TOOL_CALL_CHUNK": EventKind(
        "tool call", "chunk", _CALL, (), ("toolCallName", "parentMessageId", "delta")
    ),
    "TOOL_CALL_RESULT": EventKind("tool call", "result", _CALL),
    "REASONING_START": EventKind("reasoning span", "start", _MESSAGE),
    "REASONING_END": EventKind("reasoning span", "end", _MESSAGE),
    "REASONING_MESSAGE_START": EventKind("reasoning message", "start", _MESSAGE),
    "REASONING_MESSAGE_CONTENT": EventKind(
        "reasoning message", "content", _MESSAGE, ("delta",)
    ),
    "REASONING_MESSAGE_END": EventKind("reasoning message", "end", _MESSAGE),
    "REASONING_MESSAGE_CHUNK": EventKind(
        "reasoning message", "chunk", _MESSAGE, (), ("delta",)
    ),
    "REASONING_ENCRYPTED_VALUE": EventKind(
        "encrypted value", "other", "entityId", ends_chunks=""
    ),
    "STATE_SNAPSHOT": EventKind("state", "snapshot", optional=("snapshot",)),
    "STATE_DELTA": EventKind("state", "patch", optional=("delta",)),
    "MESSAGES_SNAPSHOT": EventKind("messages", "snapshot", ends_chunks="all"),
    "ACTIVITY_SNAPSHOT": EventKind(
        "activity",
        "snapshot",
        _MESSAGE,
        ("activityType",),
        ("content", "replace"),
        ends_chunks="",
    ),
    "ACTIVITY_DELTA": EventKind(
        "activity", "patch", _MESSAGE, ("activityType",), ("patch",), ends_chunks=""
    ),
    "RAW": EventKind("raw", "other", ends_chunks=""),
    "CUSTOM": EventKind("custom", "other", "name"),
    # A client takes these for REASONING_* with an id that it makes up.
    "THINKING_START": EventKind("thinking", "start", is_retired=True),
    "THINKING_END": EventKind("thinking", "end", is_retired=True),
    "THINKING_TEXT_MESSAGE_START": EventKind(
        "thinking message", "start", is_retired=True
    ),
    "THINKING_TEXT_MESSAGE_CONTENT": EventKind(
        "thinking message", "content", "", ("delta",), is_retired=True
    ),
    "THINKING_TEXT_MESSAGE_END": EventKind("thinking message", "end", is_retired=True),
}

#: The wire's name of each field that identifies a construct or is required, by its name
#: in Python.
WIRE_NAMES: Final[dict[str, str]] = {
    re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", name): name
    for kind in EVENTS.values()
    for name in (kind.key, *kind.required, *kind.optional, "threadId", "subagentRunId")
    if not name.islower() and name
}

#: What a run ends by.
TERMINAL: Final = tuple(
    name
    for name, kind in EVENTS.items()
    if kind.construct == "run" and kind.part != "start"
)
