"""A message as a client builds it from a run's events: what grows, and what is fixed."""

from __future__ import annotations

from typing import Any

__all__ = ["Call", "Event", "Message", "Text", "merge_metadata", "tagged"]

Event = dict[str, Any]

#: Deltas of a text that are joined into one.
_JOINED = 1000


class Text:
    """A string that grows at its end, joined now and then."""

    __slots__ = ("_parts",)

    def __init__(self, text: str = "") -> None:
        self._parts = [text]

    def add(self, delta: str) -> None:
        """Append a delta."""
        self._parts.append(delta)
        if len(self._parts) > _JOINED:
            self.join()

    def join(self) -> None:
        """Release the memory of the single deltas."""
        self._parts = ["".join(self._parts)]

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __str__(self) -> str:
        return "".join(self._parts)


class Call:
    """A tool call: its arguments, and the rest of what the client has of it.

    Attributes:
        body: The call as the client has it, without the arguments.
        arguments: Their text so far.
        start: The event that began it, if the run did.
    """

    __slots__ = ("arguments", "body", "start")

    def __init__(self, body: Event, arguments: str, start: Event | None) -> None:
        self.body = body
        self.arguments = Text(arguments)
        self.start = start


class Message:
    """A message as the client has it.

    Attributes:
        body: The fields that do not grow.
        text: The content, if the run appends to it.
        calls: The tool calls, if the message has such a list.
        origin: The kind of event that made it: input, snapshot, text, call, result,
            reasoning, activity.
        start: The event that made it, or began a text in it.
        late: Patches of an activity that only the client can apply, as they came.
    """

    __slots__ = ("body", "calls", "late", "origin", "start", "text")

    def __init__(self, body: Event, origin: str, start: Event | None = None) -> None:
        self.body = body
        self.origin = origin
        self.start = start
        self.text: Text | None = None
        self.calls: list[Call] | None = None
        self.late: list[bytes] = []

    @classmethod
    def known(cls, body: Event, origin: str) -> Message:
        """Make a message that came as a whole."""
        message = cls(body, origin)
        calls = body.get("toolCalls")
        if isinstance(calls, list):
            message.calls = []
            for call in calls:
                function = call["function"]
                arguments = function.pop("arguments")
                message.calls.append(Call(call, arguments, None))
            del body["toolCalls"]
        return message

    def merge(self, event: Event) -> None:
        """Add an event's metadata."""
        merge_metadata(self.body, event)

    def add_text(self, delta: str) -> None:
        """Append to the content."""
        if self.text is None:
            content = self.body.pop("content", "")
            self.text = Text(content if isinstance(content, str) else "")
        self.text.add(delta)


def merge_metadata(body: Event, event: Event) -> None:
    """Add an event's metadata to what it builds: key by key, the last writer wins."""
    if "metadata" in event:
        body["metadata"] = {**body.get("metadata", {}), **event["metadata"]}


def tagged(body: Event, event: Event) -> Event:
    """Give a message to the subagent whose event made it."""
    if event.get("subagentRunId") is not None:
        body["subagentRunId"] = event["subagentRunId"]
    return body
