"""The constructs that are being assembled from chunks, one at a time for each agent.

    TEXT_MESSAGE_CHUNK m1 "Hel"     opens m1
    TEXT_MESSAGE_CHUNK "lo"         continues it, without a name
    STEP_STARTED                    ends it

A chunk may leave out the id that it continues, so a late reader needs more than the text:
the construct must be open, or the next chunk belongs to nothing. These are the rules of
`@ag-ui/client` (chunks/transform.ts): one construct for the agent and one for each
subagent.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from rx_agui.agui.events import EVENTS, EventKind
from rx_agui.agui.message import Event

__all__ = ["Chunked", "OpenConstructs"]

#: The START that the first chunk of a construct stands for.
_STARTS: Final = {
    kind.construct: name
    for name, kind in EVENTS.items()
    if kind.part == "start" and kind.is_bracketed
}


class Chunked(NamedTuple):
    """A construct that is being assembled.

    Attributes:
        kind: The type of its chunks.
        id: Of the message or tool call.
        start: The START event that the first chunk stands for.
    """

    kind: str
    id: str
    start: Event


class OpenConstructs(dict[str | None, Chunked]):
    """The open constructs by `subagentRunId`; that of the agent itself is under None."""

    def end(self, kind: EventKind, event: Event) -> None:
        """Close what an event that is no chunk closes."""
        match kind.ends_chunks:
            case "all":
                self.clear()
            case "own":
                self.pop(event.get("subagentRunId"), None)
            case "subagent" if event.get("subagentRunId") is not None:
                self.pop(event["subagentRunId"], None)

    def take(self, name: str, event: Event) -> tuple[Chunked, bool]:
        """Return the construct a chunk belongs to, and whether the chunk opens it.

        Raises:
            ValueError: It continues nothing, or one of several.
        """
        kind = EVENTS[name]
        id = event.get(kind.key)
        owner = self._owner(name, id, event.get("subagentRunId"))
        chunked = self.get(owner)
        if chunked is not None and chunked.kind == name and id in (None, chunked.id):
            return chunked, False
        if id is None:
            raise ValueError("the first chunk needs an id")
        start: Event = {"type": _STARTS[kind.construct], kind.key: id}
        said = [field for field in kind.optional if field != "delta"]
        start.update({field: event[field] for field in said if field in event})
        if kind.construct == "message":
            start.setdefault("role", "assistant")
        elif kind.construct == "reasoning message":
            start["role"] = "reasoning"
        elif "toolCallName" not in start:
            raise ValueError("the first chunk of a tool call needs its name")
        for field in ("subagentRunId", "metadata"):
            if field in event:
                start[field] = event[field]
        chunked = self[owner] = Chunked(name, id, start)
        return chunked, True

    def _owner(self, name: str, id: str | None, owner: str | None) -> str | None:
        if id is not None:
            for agent, chunked in self.items():
                if chunked.kind == name and chunked.id == id:
                    return agent
            return owner
        if owner is not None:
            return owner
        found = [agent for agent, chunked in self.items() if chunked.kind == name]
        if None in found or not found:
            return None
        if len(found) > 1:
            raise ValueError("it may continue one of several")
        return found[0]
