"""The events that merge, each kind by its own rule; the rules are told in merge.py."""

from __future__ import annotations

from typing import Any, ClassVar, Final

import orjson

from rx_agui.agui.encoding import dumps
from rx_agui.agui.events import EVENTS
from rx_agui.agui.message import Event
from rx_agui.agui.patch_merge import Patches, is_tested, preconditions_of

__all__ = [
    "FIELDS",
    "KINDS",
    "REQUIRED",
    "ActivitySnapshot",
    "Arguments",
    "Event",
    "Group",
    "Message",
    "Patch",
    "Raw",
    "Rules",
    "Snapshot",
    "Text",
]


class Rules:
    """The settings of a merge.

    Attributes:
        keeps_raw: Whether a merged event keeps the last `rawEvent`.
        trusts_patches: Whether patches are taken to succeed always.
        succeeds: Whether the event at hand is a patch that is known to succeed.
    """

    __slots__ = ("keeps_raw", "succeeds", "trusts_patches")

    def __init__(self, keeps_raw: bool, trusts_patches: bool) -> None:
        self.keeps_raw = keeps_raw
        self.trusts_patches = trusts_patches
        self.succeeds = False


class Group:
    """An outgoing event, and the events merged into it. This base class merges with none.

    Attributes:
        number: The last number it covers, or 0.
        size: Bytes it has, or a few more.
        around: Bytes that an event loses when it is merged: its type, its id.
        extra: For the caller.
    """

    __slots__ = ("around", "event", "extra", "key", "line", "number", "size")

    #: Whether no event may be moved across; whether it is about the state.
    is_wall: ClassVar[bool] = True
    is_state: ClassVar[bool] = False

    def __init__(self, line: bytes, event: Event, number: int) -> None:
        #: As it came; None from a merge until it is written anew.
        self.line: bytes | None = line
        self.event = event
        self.number = number
        self.size = len(line)
        self.around = 0
        self.extra: Any = None
        self.key: object = None

    def joins(self, event: Event, rules: Rules) -> bool:
        """Merge the following event into this one, if a reader cannot tell; return whether."""
        return False

    def data(self) -> bytes:
        """Return the event as it goes on; unmerged, it is as it came."""
        if self.line is None:
            self.line = dumps(self.whole())
        return self.line

    def whole(self) -> Event:
        """Return the event with all that was merged into it."""
        return self.event

    def absorb(self, event: Event, rules: Rules) -> None:
        """Merge the fields that all kinds have in common."""
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


class Raw(Group):
    """A RAW event, which merges with none and hinders none."""

    __slots__ = ()
    is_wall = False


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
        """Append the delta of an event that has no other content."""
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
        """Return the line of a plain delta of the same construct, up to the delta."""
        name = EVENTS[self.event["type"]].key
        said = {"type": self.event["type"], name: self.event[name], "delta": ""}
        return orjson.dumps(said)[:-2]

    def whole(self) -> Event:
        if self._texts is not None:
            self.event["delta"] = "".join(self._texts)
        return self.event


class Message(Text):
    """A delta of a message or of reasoning."""

    __slots__ = ()
    is_wall = False

    def __init__(self, line: bytes, event: Event, number: int) -> None:
        super().__init__(line, event, number)
        name = EVENTS[event["type"]].key
        # The reducer finds text and reasoning in one list, by id alone.
        self.key = event[name]
        self.around += len(f',"{name}":""') + len(event[name])


class Arguments(Message):
    """A delta of a tool call's arguments."""

    __slots__ = ()

    def __init__(self, line: bytes, event: Event, number: int) -> None:
        super().__init__(line, event, number)
        self.key = "call", self.key


class Chunk(Text):
    """A delta that may leave out the id it belongs to."""

    __slots__ = ()

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
        into, kind = self.event, EVENTS[event["type"]]
        if kind.key in into and kind.key not in event and "subagentRunId" not in into:
            # The id may be open for a subagent that the chunk does not name, and then
            # the next one, without an id, is the main agent's.
            return False
        return not any(
            type(event[name]) is not str or event[name] != into.get(name)
            for name in (kind.key, *kind.optional)
            if name in event and name != "delta"
        )


class Patch(Group):
    """A patch of the state."""

    __slots__ = ("_patches", "succeeds")
    is_wall = False
    is_state = True
    field: ClassVar[str] = "delta"

    def __init__(self, line: bytes, event: Event, number: int) -> None:
        super().__init__(line, event, number)
        self._patches: Patches | None = None
        #: Whether it is known to succeed.
        self.succeeds = False

    def joins(self, event: Event, rules: Rules) -> bool:
        if not _are_of_one(self.event, event):
            return False
        ops, before = event.get(self.field), self.event.get(self.field)
        preconditions = preconditions_of(ops)
        patches = self._patches
        needs = preconditions_of(before) if patches is None else patches.preconditions
        is_known = self.succeeds and rules.succeeds
        if not is_known and (preconditions is None or preconditions != needs):
            if not rules.trusts_patches or is_tested(ops):
                return False
            if patches is None and is_tested(before):
                return False
        if patches is None:
            self._patches = patches = Patches(before, needs)  # type: ignore[arg-type]
        patches.add(ops, preconditions)  # type: ignore[arg-type]
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
    is_wall = False
    is_state = True


class ActivityPatch(Patch):
    """A patch of one activity."""

    __slots__ = ()
    is_wall = True
    is_state = False
    field = "patch"

    def joins(self, event: Event, rules: Rules) -> bool:
        if event["type"] != "ACTIVITY_DELTA":
            return False
        same = all(
            self.event[name] == event[name] for name in ("messageId", "activityType")
        )
        return same and super().joins(event, rules)


class ActivitySnapshot(Group):
    """One activity as a whole."""

    __slots__ = ()

    def makes_obsolete(self, group: Group) -> bool:
        """Whether a reader cannot tell that `group`, which precedes it, is gone."""
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
        """Take over the metadata of the activity from a group that is gone."""
        metadata = group.event.get("metadata")
        if metadata is not None:
            self.event["metadata"] = {**metadata, **self.event.get("metadata", {})}
            self.line = None


_BY_PART: Final[dict[tuple[str, str], type[Group]]] = {
    ("message", "content"): Message,
    ("reasoning message", "content"): Message,
    ("tool call", "content"): Arguments,
    ("message", "chunk"): Chunk,
    ("reasoning message", "chunk"): Chunk,
    ("tool call", "chunk"): Chunk,
    ("state", "patch"): Patch,
    ("state", "snapshot"): Snapshot,
    ("activity", "patch"): ActivityPatch,
    ("activity", "snapshot"): ActivitySnapshot,
}
#: The types that merge, and by what rule.
KINDS: Final[dict[str, type[Group]]] = {
    name: _BY_PART[kind.construct, kind.part]
    for name, kind in EVENTS.items()
    if (kind.construct, kind.part) in _BY_PART
}
#: Fields of each that must be strings. A chunk may leave out its id.
REQUIRED: Final = {
    name: kind.required
    if kind.part == "chunk" or not kind.key
    else (kind.key, *kind.required)
    for name, kind in EVENTS.items()
    if name in KINDS
}
_COMMON: Final = ("type", "timestamp", "rawEvent", "metadata", "subagentRunId")
#: Fields of each that are understood; any other makes the event a wall.
FIELDS: Final = {
    name: frozenset((*_COMMON, kind.key, *kind.required, *kind.optional)) - {""}
    for name, kind in EVENTS.items()
    if name in KINDS
}


def _are_of_one(one: Event, other: Event) -> bool:
    """Whether both events are of one type and of one agent."""
    return one["type"] == other["type"] and one.get("subagentRunId") == other.get(
        "subagentRunId"
    )
