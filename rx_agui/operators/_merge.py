"""Which events may become one, for a reader who must not be able to tell.

    deltas of one message, tool call or reasoning      their text, joined
    *_CHUNK that continue each other                   their text, joined
    patches of the state, or of one activity           their operations, in order
    a snapshot of the state, or of an activity         makes those before it obsolete
    anything else                                      stays what and where it is

"Tell" means: the messages and the state that the stock reducer ends with. The rules
are what `@ag-ui/client` does (apply/default.ts, chunks/transform.ts, verify.ts), and
tests/clients/test_conflated.py asks it.

* An event passes nothing but deltas of something else. What begins, ends or answers
  something, RAW, CUSTOM and whatever is unknown are walls: nothing is moved across.
* Chunks and activities are walls too, and merge with their neighbour only. A chunk may
  name no message and continue the one before it; an activity's first event gives it
  its place among the messages.
* An event with a number merges with the one before it or not at all: who has seen
  number 7 has seen 1 to 7, and nothing of 8.
* Patches merge if they succeed or fail together (_promise.py), or are known to succeed
  (_known.py).
* Only events of one `subagentRunId` merge, since it decides which chunks an event ends.
* `metadata` is merged as the reducer does it: key by key, the last writer wins. That of
  a state event belongs to the event, and goes where it goes. `timestamp`: the last.
* No event grows beyond a size that the reader takes at once.
* What is not JSON, has a field that is unknown, or null where there is none, is a wall.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Any, ClassVar, Final

import orjson

from rx_agui.operators._known import KnownState
from rx_agui.operators._promise import Patches, is_tested, promise_of

__all__ = ["MAX_EVENT_SIZE", "PATCHES", "RAW_EVENTS", "Group", "Merger"]

Event = dict[str, Any]

#: What becomes of `rawEvent` where events merge; which patches do.
RAW_EVENTS: Final = ("strip", "keep_last", "barrier")
PATCHES: Final = ("proven", "all")

#: What `split` would cut again.
MAX_EVENT_SIZE: Final = 1024 * 1024

#: orjson reads what is nested 1024 deep, and writes 254.
_DEEPEST: Final = 250

_TYPE: Final = b'{"type":"'


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

    def joins(self, event: Event, rules: Merger) -> bool:
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

    def absorb(self, event: Event, rules: Merger) -> None:
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


class _Text(Group):
    """Text of a message, of reasoning, or of a tool call's arguments."""

    __slots__ = ("_texts",)

    def __init__(self, line: bytes, event: Event, number: int) -> None:
        super().__init__(line, event, number)
        self._texts: list[str] | None = None
        self.around = len('{"type":"","delta":""}') + len(event["type"])

    def joins(self, event: Event, rules: Merger) -> bool:
        if not _are_of_one(self.event, event):
            return False
        self.absorb(event, rules)
        # Joined once, when it leaves: a thousand deltas cost as much as a thousand.
        if self._texts is None:
            self._texts = [self.event["delta"]]
        self._texts.append(event["delta"])
        return True

    def whole(self) -> Event:
        if self._texts is not None:
            self.event["delta"] = "".join(self._texts)
        return self.event


class _Message(_Text):
    __slots__ = ()
    must = ("messageId", "delta")
    is_wall = False

    def __init__(self, line: bytes, event: Event, number: int) -> None:
        super().__init__(line, event, number)
        # The reducer looks for text and for reasoning in the same list, by id alone.
        self.key = event["messageId"]
        self.around += len(',"messageId":""') + len(event["messageId"])


class _Arguments(_Text):
    __slots__ = ()
    must = ("toolCallId", "delta")
    is_wall = False

    def __init__(self, line: bytes, event: Event, number: int) -> None:
        super().__init__(line, event, number)
        self.key = "call", event["toolCallId"]
        self.around += len(',"toolCallId":""') + len(event["toolCallId"])


class _Chunk(_Text):
    """A delta that may leave out whose it is."""

    __slots__ = ()
    names: ClassVar[tuple[str, ...]] = ("messageId",)

    def joins(self, event: Event, rules: Merger) -> bool:
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


class _TextChunk(_Chunk):
    __slots__ = ()
    names = ("messageId", "role", "name")
    may = ("messageId", "role", "name", "delta")


class _ReasoningChunk(_Chunk):
    __slots__ = ()
    may = ("messageId", "delta")


class _ToolChunk(_Chunk):
    __slots__ = ()
    names = ("toolCallId", "toolCallName", "parentMessageId")
    may = ("toolCallId", "toolCallName", "parentMessageId", "delta")


class _Patch(Group):
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

    def joins(self, event: Event, rules: Merger) -> bool:
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


class _Snapshot(Group):
    """The state as a whole."""

    __slots__ = ()
    may = ("snapshot",)
    is_wall = False
    is_state = True


class _ActivityPatch(_Patch):
    __slots__ = ()
    must = ("messageId", "activityType")
    may = ("patch",)
    is_wall = True
    is_state = False
    field = "patch"

    def joins(self, event: Event, rules: Merger) -> bool:
        if event["type"] != "ACTIVITY_DELTA":
            return False
        same = all(self.event[name] == event[name] for name in self.must)
        return same and super().joins(event, rules)


class _ActivitySnapshot(Group):
    __slots__ = ()
    must = ("messageId", "activityType")
    may = ("content", "replace")

    def makes_obsolete(self, group: Group) -> bool:
        """Whether a reader cannot tell that the one before it is gone."""
        event, before = self.event, group.event
        if event.get("replace", True) is not True:
            return False
        if not isinstance(group, _ActivitySnapshot | _ActivityPatch):
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


_KINDS: Final[dict[str, type[Group]]] = {
    "TEXT_MESSAGE_CONTENT": _Message,
    "REASONING_MESSAGE_CONTENT": _Message,
    "TOOL_CALL_ARGS": _Arguments,
    "TEXT_MESSAGE_CHUNK": _TextChunk,
    "REASONING_MESSAGE_CHUNK": _ReasoningChunk,
    "TOOL_CALL_CHUNK": _ToolChunk,
    "STATE_DELTA": _Patch,
    "STATE_SNAPSHOT": _Snapshot,
    "ACTIVITY_DELTA": _ActivityPatch,
    "ACTIVITY_SNAPSHOT": _ActivitySnapshot,
}
_COMMON: Final = ("type", "timestamp", "rawEvent", "metadata", "subagentRunId")
#: What else there is in an event makes it a wall.
_FIELDS: Final = {
    name: frozenset((*_COMMON, *kind.must, *kind.may)) for name, kind in _KINDS.items()
}
#: As bytes: most of what cannot merge, such as large snapshots of messages, is known
#: by how it begins and need not be parsed.
_MERGEABLE: Final = frozenset(name.encode() for name in _KINDS)


class Merger:
    """Events in, fewer events out, in order.

    It is fed one line at a time and can be emptied from the front at any time, which
    is what a queue needs. A payload is a queue that is filled and emptied at once.

    Attributes:
        replaced: The groups that the line added last made obsolete.
        succeeds: Whether that line is a patch that is known to succeed.
    """

    def __init__(
        self,
        raw_event: str = "strip",
        patches: str = "proven",
        max_event_size: int = MAX_EVENT_SIZE,
        known: KnownState | None = None,
    ) -> None:
        self.keeps_raw = raw_event == "keep_last"
        self.trusts_patches = patches == "all"
        self._raw_is_wall = raw_event == "barrier"
        self._limit = max_event_size
        self._groups: OrderedDict[Group, None] = OrderedDict()
        #: Whom a delta may join, by whose it is; and the events of the state, for those
        #: that come behind. Both go no further back than the last wall.
        self._open: dict[object, Group] = {}
        self._states: deque[Group] = deque()
        self.replaced: list[Group] = []
        self.succeeds = False
        self._known = known

    def __len__(self) -> int:
        return len(self._groups)

    def __iter__(self) -> Iterator[Group]:
        return iter(self._groups)

    def add(self, line: bytes, number: int = 0, *, room: bool = True) -> Group | None:
        """Take a line in. The group that it is now, or that it has become part of.

        Args:
            number: The last number it covers, or 0.
            room: Whether there may be one group more. If not, and it merges with
                nothing, then nothing happens, and it is None.
        """
        if self.replaced:
            self.replaced = []
        if self._known is not None:
            self.succeeds = self._known.tell(line)
        event = self._read(line)
        if event is None:
            return self._stand(Group(line, {}, number)) if room else None
        kind = _KINDS[event["type"]]
        near = self._near(kind, event)
        if near is not None and _both(near.number, number):
            size = near.size + max(len(line) - near.around, 0)
            if size <= self._limit and near.joins(event, self):
                near.number = number
                near.size = size
                return near
        group = kind(line, event, number)
        if isinstance(group, _Patch):
            group.succeeds = self.succeeds and group.is_state
        elif isinstance(group, _Snapshot):
            self._replace_states(group)
        elif isinstance(group, _ActivitySnapshot):
            self._replace_activity(group)
        if not room and not self.replaced:
            return None
        return self._stand(group)

    def pop(self) -> Group:
        """The first group leaves: nothing joins it any more."""
        group, _ = self._groups.popitem(last=False)
        if self._open.get(group.key) is group:
            del self._open[group.key]
        if self._states and self._states[0] is group:
            self._states.popleft()
        return group

    def clear(self) -> None:
        """Forget everything."""
        self._groups.clear()
        self._open.clear()
        self._states.clear()

    # -- reading ------------------------------------------------------------------------

    def _read(self, line: bytes) -> Event | None:
        """The event, if it is of a kind that merges, and as the protocol says."""
        if line.startswith(_TYPE) and line[9 : line.find(b'"', 9)] not in _MERGEABLE:
            return None
        try:
            event = orjson.loads(line)
        except orjson.JSONDecodeError:
            return None
        if type(event) is not dict:
            return None
        name = event.get("type")
        if type(name) is not str or name not in _FIELDS:
            return None
        must = _KINDS[name].must
        if not event.keys() <= _FIELDS[name]:
            return None
        for field in must:
            if type(event.get(field)) is not str:
                return None
        if len(event) > len(must) + 1 and not _is_plain(event):
            return None
        if self._raw_is_wall and "rawEvent" in event:
            return None
        if line.count(b"{") + line.count(b"[") > _DEEPEST and not _is_writable(event):
            return None
        return event

    # -- merging --------------------------------------------------------------------------

    def _near(self, kind: type[Group], event: Event) -> Group | None:
        """The group that the event may become part of."""
        if kind is _Message:
            return self._open.get(event["messageId"])
        if kind is _Arguments:
            return self._open.get(("call", event["toolCallId"]))
        if kind is _Patch:
            return self._states[-1] if self._states else None
        return next(reversed(self._groups), None)

    def _replace_states(self, snapshot: _Snapshot) -> None:
        tag = snapshot.event.get("subagentRunId")
        while self._states:
            before = self._states[-1]
            same = before.event.get("subagentRunId") == tag
            if not same or not _both(before.number, snapshot.number):
                break
            self._remove(self._states.pop())

    def _replace_activity(self, snapshot: _ActivitySnapshot) -> None:
        while self._groups:
            before = next(reversed(self._groups))
            obsolete = snapshot.makes_obsolete(before)
            if not obsolete or not _both(before.number, snapshot.number):
                break
            snapshot.inherit(before)
            self._remove(before)

    def _remove(self, group: Group) -> None:
        del self._groups[group]
        self.replaced.append(group)

    def _stand(self, group: Group) -> Group:
        """The group is one of its own, behind all others."""
        self._groups[group] = None
        if group.number or group.is_wall:
            self._open.clear()
            if not group.is_state:
                self._states.clear()
        if group.is_state:
            self._states.append(group)
        elif not group.is_wall:
            self._open[group.key] = group
        return group


def _both(number: int, other: int) -> bool:
    """Whether both events have numbers, or neither."""
    return (number == 0) == (other == 0)


def _are_of_one(one: Event, other: Event) -> bool:
    """Whether both are the same kind of event, and of the same agent."""
    return one["type"] == other["type"] and one.get("subagentRunId") == other.get(
        "subagentRunId"
    )


def _is_plain(event: Event) -> bool:
    """Whether what any event may have is as the protocol says."""
    return (
        type(event.get("metadata", event)) is dict
        and type(event.get("subagentRunId", "")) is str
        and event.get("timestamp", 0) is not None
    )


def _is_writable(event: Event) -> bool:
    try:
        orjson.dumps(event)
    except TypeError:
        return False
    return True
