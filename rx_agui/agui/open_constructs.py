"""What is being assembled from chunks, one thing at a time for each who speaks.

    TEXT_MESSAGE_CHUNK m1 "Hel"     opens m1
    TEXT_MESSAGE_CHUNK "lo"         goes on with it, without a name
    STEP_STARTED                    ends it

A chunk may leave out what it continues, so a late reader needs more than the text: the
lane must be open, or the next chunk belongs to nothing. `@ag-ui/client`'s rules
(chunks/transform.ts): a lane for the agent and one for each subagent.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

__all__ = ["CHUNKS", "Lane", "OpenConstructs"]

Event = dict[str, Any]

#: Of each chunk: what it opens, by which id, and what else the opening may say.
CHUNKS: Final = {
    "TEXT_MESSAGE_CHUNK": ("TEXT_MESSAGE_START", "messageId", ("role", "name")),
    "TOOL_CALL_CHUNK": (
        "TOOL_CALL_START",
        "toolCallId",
        ("toolCallName", "parentMessageId"),
    ),
    "REASONING_MESSAGE_CHUNK": ("REASONING_MESSAGE_START", "messageId", ()),
}

#: What ends only the lane it belongs to.
_ENDS_ITS_OWN: Final = frozenset(
    [
        "TEXT_MESSAGE_START",
        "TEXT_MESSAGE_CONTENT",
        "TEXT_MESSAGE_END",
        "TOOL_CALL_START",
        "TOOL_CALL_ARGS",
        "TOOL_CALL_END",
        "TOOL_CALL_RESULT",
        "STATE_SNAPSHOT",
        "STATE_DELTA",
        "CUSTOM",
        "STEP_STARTED",
        "STEP_FINISHED",
        "REASONING_START",
        "REASONING_END",
        "REASONING_MESSAGE_START",
        "REASONING_MESSAGE_CONTENT",
        "REASONING_MESSAGE_END",
    ]
)
_ENDS_ALL: Final = frozenset(
    ["RUN_STARTED", "RUN_FINISHED", "RUN_ERROR", "MESSAGES_SNAPSHOT"]
)
_ENDS_A_SUBAGENT: Final = frozenset(["SUBAGENT_FINISHED", "SUBAGENT_ERROR"])


class Lane(NamedTuple):
    """What one speaker is in the middle of.

    Attributes:
        kind: The type of its chunks.
        id: Of the message or tool call.
        start: The event that the first chunk stands for.
    """

    kind: str
    id: str
    start: Event


class OpenConstructs(dict[str | None, Lane]):
    """The open ones, by `subagentRunId`; None is the agent itself."""

    def end(self, kind: str, event: Event) -> None:
        """Close what an event that is no chunk closes."""
        if kind in _ENDS_ALL:
            self.clear()
        elif kind in _ENDS_ITS_OWN:
            self.pop(event.get("subagentRunId"), None)
        elif kind in _ENDS_A_SUBAGENT and event.get("subagentRunId") is not None:
            self.pop(event["subagentRunId"], None)

    def take(self, kind: str, event: Event) -> tuple[Lane, bool]:
        """The lane a chunk belongs to, and whether the chunk opens it.

        Raises:
            ValueError: It continues nothing, or one of several.
        """
        opens, key, fields = CHUNKS[kind]
        id = event.get(key)
        owner = self._owner(kind, id, event.get("subagentRunId"))
        lane = self.get(owner)
        if lane is not None and lane.kind == kind and id in (None, lane.id):
            return lane, False
        if id is None:
            raise ValueError("the first chunk needs an id")
        start: Event = {"type": opens, key: id}
        start.update({name: event[name] for name in fields if name in event})
        if kind == "TEXT_MESSAGE_CHUNK":
            start.setdefault("role", "assistant")
        elif kind == "REASONING_MESSAGE_CHUNK":
            start["role"] = "reasoning"
        elif "toolCallName" not in start:
            raise ValueError("the first chunk of a tool call needs its name")
        for name in ("subagentRunId", "metadata"):
            if name in event:
                start[name] = event[name]
        lane = self[owner] = Lane(kind, id, start)
        return lane, True

    def _owner(self, kind: str, id: str | None, owner: str | None) -> str | None:
        if id is not None:
            for speaker, lane in self.items():
                if lane.kind == kind and lane.id == id:
                    return speaker
            return owner
        if owner is not None:
            return owner
        open_lanes = [speaker for speaker, lane in self.items() if lane.kind == kind]
        if None in open_lanes or not open_lanes:
            return None
        if len(open_lanes) > 1:
            raise ValueError("it may continue one of several")
        return open_lanes[0]
