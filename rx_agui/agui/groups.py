"""The events that merge, each kind by its own rule. What the rules are is in _merge.py."""

from __future__ import annotations

from typing import Any, ClassVar, Final

import orjson

from rx_agui.agui.patch_merge import Patches, is_tested, promise_of

__all__ = [
    "FIELDS",
    "KINDS",
    "ActivitySnapshot",
    "Arguments",
    "Event",
    "Group",
    "Message",
    "Patch",
    "Rules",
    "Snapshot",
    "Text",
]

Event = dict[str, Any]


class Rules:
    """What was asked for.

    Attributes:
        keeps_raw: Of the raw events that meet, the last is kept.
        trusts_patches: Patches never fail.
        succeeds: Whether the event at hand is a patch that is known to succeed.
    """

    __slots__ = ("keeps_raw", "succeeds", "trusts_patches")

    def __init__(self, keeps_raw: bool, trusts_patches: bool) -> None:
        self.keeps_raw = keeps_raw
        self.trusts_patches = trusts_patches
        self.succeeds = False


class Group:
    """One event that goes on, and what has become part of it. By itself: a wall.

    Attributes:
        number: The last number it covers, or 0.
        size: Bytes it has, or a few more.
        around: Bytes of which an event that is merged brings none: its type, its id.
        extra: The caller's own.
    """

    __slots__ = ("around", "event", "extra", "key", "line", "number", "size")

    #: Strings that each event of the kind has, and what else it may have.
    must: ClassVar[tuple[str, ...]] = ()
    may: ClassVar[tuple[str, ...]] = ()
    #: Whether nothing may be moved across; whether it is about the state.
    is_wall: ClassVar[bool] = True
    is_state: ClassVar[bool] = False

    def __init__(self, line: bytes, event: Event, number: int) -> None:
        #: As it came; None once something was added, until it is written anew.
        self.line: bytes | None = line
        self.event = event
        self.number = number
        self.size = len(line)
        self.around = 0
        self.extra: Any = None
        self.key: object = None

    def joins(self, event: Event, rules: Rules) -> bool:
        """Take in the event behind it, if a reader cannot tell."""
        return False

    def data(self) -> bytes:
        """The event as it goes on. One that nothing was added to is as it came."""
        if self.line is None:
            self.line = orjson.dumps(self.whole())
        return self.line

    def whole(self) -> Event:
        """The event with all that has become part of it."""
        return self.event

    def absorb(self, event: Event, rules: Rules) -> None:
        """What all kinds have in common becomes part of this."""
        into = self.event
        if "timestamp" in event:
            into["timestamp"] = event["timestamp"]
        if "metadata" in event:
            into["metadata"] = {**into.get("metadata", {}), **event["metadata"]}
        if not rules.keeps_raw:
            into.pop("rawEvent", None)
        elif "rawEvent" in event:
            into["rawEvent"] = event["rawEvent"]
        self.line = None


class Text(Group):
    """Text of a message, of reasoning, or of a tool call's arguments."""

    __slots__ = ("_texts",)

    def __init__(self, line: bytes, event: Event, number: int) -> None:
        super().__init__(line, event, number)
        self._texts: list[str] | None = None
        self.around = len('{"type":"","delta":""}') + len(event["type"])

    def joins(self, event: Event, rules: Rules) -> bool:
        if not _are_of_one(self.event, event):
            return False
        self.absorb(event, rules)
        self._add(event["delta"])
        return True

    def add_text(self, delta: str, rules: Rules) -> None:
        """Take in an event that says nothing else."""
        self.line = None
        if not rules.keeps_raw:
            self.event.pop("rawEvent", None)
        self._add(delta)

    def _add(self, delta: str) -> None:
        # Joined once, when it leaves: a thousand deltas cost as much as a thousand.
        if self._texts is None:
            self._texts = [self.event["delta"]]
        self._texts.append(delta)

    def prefix(self) -> bytes:
        """How a line begins, up to its delta, that says no more than the delta."""
        name = self.must[0]
        said = {"type": self.event["type"], name: self.event[name], "delta": ""}
        return orjson.dumps(said)[:-2]

    def whole(self) -> Event:
        if self._texts is not None:
            self.event["delta"] = "".join(self._texts)
        return self.event


class Message(Text):
    __slots__ = ()
    must = ("messageId", "delta")
    is_wall = False

    def __init__(self, line: bytes, event: Event, number: int) -> None:
        super().__init__(line, event, number)
        # The reducer looks for text and for reasoning in the same list, by id alone.
        self.key = event["messageId"]
        self.around += len(',"messageId":""') + len(event["messageId"])


class Arguments(Text):
    __slots__ = ()
    must = ("toolCallId", "delta")
    is_wall = False

    def __init__(self, line: bytes, event: Event, number: int) -> None:
        super().__init__(line, event, number)
        self.key = "call", event["toolCallId"]
        self.around += len(',"toolCallId":""') + len(event["toolCallId"])


class Chunk(Text):
    """A delta that may leave out whose it is."""

    __slots__ = ()
    names: ClassVar[tuple[str, ...]] = ("messageId",)

    def joins(self, event: Event, rules: Rules) -> bool:
        into = self.event
        if not _are_of_one(into, event) or not self._is_continued_by(event):
            return False
        if not all(type(one.get("delta", "")) is str for one in (into, event)):
            return False
        if "delta" not in into and "delta" not in event:
            self.absorb(event, rules)
            return True
        into.setdefault("delta", "")
        return super().joins({"delta": "", **event}, rules)

    def _is_continued_by(self, event: Event) -> bool:
        into = self.event
        id = self.names[0]
        if id in into and id not in event and "subagentRunId" not in into:
            # The id may be open for a subagent, whom the chunk does not name, and then
            # the next one, without an id, is the main agent's.
            return False
        return not any(
            name in event
            and (type(event[name]) is not str or event[name] != into.get(name))
            for name in self.names
        )


class TextChunk(Chunk):
    __slots__ = ()
    names = ("messageId", "role", "name")
    may = ("messageId", "role", "name", "delta")


class ReasoningChunk(Chunk):
    __slots__ = ()
    may = ("messageId", "delta")


class ToolChunk(Chunk):
    __slots__ = ()
    names = ("toolCallId", "toolCallName", "parentMessageId")
    may = ("toolCallId", "toolCallName", "parentMessageId", "delta")


class Patch(Group):
    """A patch of the state."""

    __slots__ = ("_patches", "succeeds")
    may = ("delta",)
    is_wall = False
    is_state = True
    field: ClassVar[str] = "delta"

    def __init__(self, line: bytes, event: Event, number: int) -> None:
        super().__init__(line, event, number)
        self._patches: Patches | None = None
        #: Whether it is known to.
        self.succeeds = False

    def joins(self, event: Event, rules: Rules) -> bool:
        if not _are_of_one(self.event, event):
            return False
        ops, before = event.get(self.field), self.event.get(self.field)
        promise = promise_of(ops)
        patches = self._patches
        needs = promise_of(before) if patches is None else patches.promise
        is_known = self.succeeds and rules.succeeds
        if not is_known and (promise is None or promise != needs):
            if not rules.trusts_patches or is_tested(ops):
                return False
            if patches is None and is_tested(before):
                return False
        if patches is None:
            self._patches = patches = Patches(before, needs)  # type: ignore[arg-type]
        patches.add(ops, promise)  # type: ignore[arg-type]
        self.succeeds = is_known
        self.absorb(event, rules)
        return True

    def whole(self) -> Event:
        if self._patches is not None:
            self.event[self.field] = self._patches.ops()
        return self.event


class Snapshot(Group):
    """The state as a whole."""

    __slots__ = ()
    may = ("snapshot",)
    is_wall = False
    is_state = True


class ActivityPatch(Patch):
    __slots__ = ()
    must = ("messageId", "activityType")
    may = ("patch",)
    is_wall = True
    is_state = False
    field = "patch"

    def joins(self, event: Event, rules: Rules) -> bool:
        if event["type"] != "ACTIVITY_DELTA":
            return False
        same = all(self.event[name] == event[name] for name in self.must)
        return same and super().joins(event, rules)


class ActivitySnapshot(Group):
    __slots__ = ()
    must = ("messageId", "activityType")
    may = ("content", "replace")

    def makes_obsolete(self, group: Group) -> bool:
        """Whether a reader cannot tell that the one before it is gone."""
        event, before = self.event, group.event
        if event.get("replace", True) is not True:
            return False
        if not isinstance(group, ActivitySnapshot | ActivityPatch):
            return False
        if before["messageId"] != event["messageId"]:
            return False
        if before.get("subagentRunId") != event.get("subagentRunId"):
            return False
        # A patch, and what does not replace, leave no metadata where there is no such
        # activity: the reducer has nowhere to put it.
        replaces = (
            before["type"] == event["type"] and before.get("replace", True) is True
        )
        return replaces or "metadata" not in before

    def inherit(self, group: Group) -> None:
        """Take over what was said of the activity by the one that is gone."""
        metadata = group.event.get("metadata")
        if metadata is not None:
            self.event["metadata"] = {**metadata, **self.event.get("metadata", {})}
            self.line = None


KINDS: Final[dict[str, type[Group]]] = {
    "TEXT_MESSAGE_CONTENT": Message,
    "REASONING_MESSAGE_CONTENT": Message,
    "TOOL_CALL_ARGS": Arguments,
    "TEXT_MESSAGE_CHUNK": TextChunk,
    "REASONING_MESSAGE_CHUNK": ReasoningChunk,
    "TOOL_CALL_CHUNK": ToolChunk,
    "STATE_DELTA": Patch,
    "STATE_SNAPSHOT": Snapshot,
    "ACTIVITY_DELTA": ActivityPatch,
    "ACTIVITY_SNAPSHOT": ActivitySnapshot,
}
_COMMON: Final = ("type", "timestamp", "rawEvent", "metadata", "subagentRunId")
#: What else there is in an event makes it a wall.
FIELDS: Final = {
    name: frozenset((*_COMMON, *kind.must, *kind.may)) for name, kind in KINDS.items()
}


def _are_of_one(one: Event, other: Event) -> bool:
    """Whether both are the same kind of event, and of the same agent."""
    return one["type"] == other["type"] and one.get("subagentRunId") == other.get(
        "subagentRunId"
    )
