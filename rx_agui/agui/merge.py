"""Merging of events, so that a reader ends with the same messages and state.

    deltas of one message, tool call or reasoning      their text, joined
    *_CHUNK that continue each other                   their text, joined
    patches of the state, or of one activity           their operations, in order
    a snapshot of the state, or of an activity         makes those before it obsolete
    anything else                                      stays as and where it is

The rules are those of `@ag-ui/client` (apply/default.ts, chunks/transform.ts, verify.ts), and
tests/clients/test_conflated.py asks it.

* An event passes nothing but deltas of other constructs, and RAW as long as it has no
  number: frameworks send one behind every token, and no client builds anything of it.
  A START, an END, a result, CUSTOM and unknown types are walls: nothing is moved across.
* Chunks and activities are walls too, and merge with their neighbour only. A chunk may
  name no message and continue the one before it; an activity's first event gives it
  its place among the messages.
* An event with a number merges with the one before it or not at all: a reader that has
  number 7 has 1 to 7, and nothing of 8.
* Patches merge if they succeed or fail together (patch_merge.py), or are known to succeed
  (known_state.py).
* Only events of one `subagentRunId` merge, since it decides which chunks an event ends.
* `metadata` is merged as the reducer does it: key by key, the last writer wins. That of
  a state event belongs to the event, and goes where it goes. `timestamp`: the last.
* No event grows beyond a size that the reader takes at once.
* A line that is not JSON, or has an unknown field, or null for an absent one, is a wall.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Final, get_args

import orjson

from rx_agui.agui.encoding import loads
from rx_agui.agui.groups import (
    FIELDS,
    KINDS,
    REQUIRED,
    ActivitySnapshot,
    Arguments,
    Group,
    Message,
    Patch,
    Raw,
    Rules,
    Snapshot,
    Text,
)
from rx_agui.agui.known_state import KnownState
from rx_agui.agui.message import Event
from rx_agui.types import Patches, RawEvent

__all__ = ["MAX_EVENT_SIZE", "PATCHES", "RAW_EVENTS", "Group", "Merger"]

#: The choices for `raw_event` and for `patches`.
RAW_EVENTS: Final = get_args(RawEvent)
PATCHES: Final = get_args(Patches)

#: The limit of `split`, so that what it cut stays cut.
MAX_EVENT_SIZE: Final = 1024 * 1024

#: No line begins like this.
_NEVER: Final = b"\n"

#: orjson reads what is nested 1024 deep, and writes 254.
_DEEPEST: Final = 250

_TYPE: Final = b'{"type":"'
_RAW: Final = b'{"type":"RAW"'

#: As bytes: most of what cannot merge, such as large snapshots of messages, is known
#: by how it begins and need not be parsed.
_MERGEABLE: Final = frozenset(name.encode() for name in KINDS)


class Merger:
    """Merge events as they are added, in order.

    It is fed one line at a time and can be emptied from the front at any time, which
    is what a queue needs. A payload is a queue that is filled and emptied at once.

    Attributes:
        replaced: The groups that the line added last made obsolete.
    """

    def __init__(
        self,
        raw_event: RawEvent = "strip",
        patches: Patches = "proven",
        max_event_size: int = MAX_EVENT_SIZE,
        known: KnownState | None = None,
    ) -> None:
        self._rules = Rules(raw_event == "keep_last", patches == "all")
        self._raw_is_wall = raw_event == "barrier"
        self._limit = max_event_size
        self._groups: OrderedDict[Group, None] = OrderedDict()
        #: The group that a delta may join, by its construct; and the events of the state,
        #: for later ones. Neither goes back beyond the last wall.
        self._open: dict[object, Group] = {}
        self._states: deque[Group] = deque()
        self.replaced: list[Group] = []
        self._known = known
        #: The group that the last delta joined, and the beginning of a line that is
        #: another plain delta of the same.
        self._same: Text | None = None
        self._prefix = _NEVER

    def __len__(self) -> int:
        return len(self._groups)

    def __iter__(self) -> Iterator[Group]:
        return iter(self._groups)

    def add(self, line: bytes, number: int = 0, *, room: bool = True) -> Group | None:
        """Add a line; return the group that it is now, or was merged into.

        Args:
            number: The last number it covers, or 0.
            room: Whether there may be one group more. If not, and it merges with
                none, nothing is added and None is returned.
        """
        if self.replaced:
            self.replaced = []
        if line.startswith(self._prefix) and self._add_quickly(line, number):
            return self._same
        if self._known is not None:
            self._rules.succeeds = self._known.tell(line)
        event = self._read(line)
        if event is None:
            if not room:
                return None
            is_raw = not number and not self._raw_is_wall and line.startswith(_RAW)
            return self._stand(Raw(line, {}, 0) if is_raw else Group(line, {}, number))
        kind = KINDS[event["type"]]
        near = self._near(kind, event)
        if near is not None and _both(near.number, number):
            size = near.size + max(len(line) - near.around, 0)
            if size <= self._limit and near.joins(event, self._rules):
                near.number = number
                near.size = size
                if isinstance(near, Text) and near is not self._same:
                    self._expect_more(near)
                return near
        group = kind(line, event, number)
        if isinstance(group, Patch):
            group.succeeds = self._rules.succeeds and group.is_state
        elif isinstance(group, Snapshot):
            self._replace_states(group)
        elif isinstance(group, ActivitySnapshot):
            self._replace_activity(group)
        if not room and not self.replaced:
            return None
        return self._stand(group)

    def _expect_more(self, group: Text) -> None:
        is_plain = not group.is_wall and "subagentRunId" not in group.event
        self._same, self._prefix = group, group.prefix() if is_plain else _NEVER

    def _add_quickly(self, line: bytes, number: int) -> bool:
        """Add one more delta of the same construct, most events by far, without a parser."""
        group = self._same
        if group is None or self._open.get(group.key) is not group:
            return False
        text = line[len(self._prefix) : -2]
        if line[-2:] != b'"}' or b'"' in text or b"\\" in text:
            return False
        size = group.size + len(text)
        if size > self._limit or not _both(group.number, number):
            return False
        try:
            delta = text.decode()
        except UnicodeDecodeError:
            return False
        group.add_text(delta, self._rules)
        group.number = number
        group.size = size
        return True

    def pop(self) -> Group:
        """Remove and return the first group, so that no event joins it any more."""
        group, _ = self._groups.popitem(last=False)
        if self._open.get(group.key) is group:
            del self._open[group.key]
        if self._states and self._states[0] is group:
            self._states.popleft()
        return group

    def clear(self) -> None:
        """Drop all groups."""
        self._groups.clear()
        self._open.clear()
        self._states.clear()

    # -- reading ------------------------------------------------------------------------

    def _read(self, line: bytes) -> Event | None:
        """Return the event if it is of a kind that merges, and as the protocol says."""
        if line.startswith(_TYPE) and line[9 : line.find(b'"', 9)] not in _MERGEABLE:
            return None
        try:
            event = loads(line)
        except orjson.JSONDecodeError:
            return None
        if type(event) is not dict:
            return None
        name = event.get("type")
        if type(name) is not str or name not in FIELDS:
            return None
        must = REQUIRED[name]
        if not event.keys() <= FIELDS[name]:
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
        """Return the group that the event might be merged into."""
        if kind is Message:
            return self._open.get(event["messageId"])
        if kind is Arguments:
            return self._open.get(("call", event["toolCallId"]))
        if kind is Patch:
            return self._states[-1] if self._states else None
        return self._last()

    def _last(self) -> Group | None:
        """Return the last group that is not RAW."""
        for group in reversed(self._groups):
            if not isinstance(group, Raw):
                return group
        return None

    def _replace_states(self, snapshot: Snapshot) -> None:
        tag = snapshot.event.get("subagentRunId")
        while self._states:
            before = self._states[-1]
            same = before.event.get("subagentRunId") == tag
            if not same or not _both(before.number, snapshot.number):
                break
            self._remove(self._states.pop())

    def _replace_activity(self, snapshot: ActivitySnapshot) -> None:
        while (before := self._last()) is not None:
            obsolete = snapshot.makes_obsolete(before)
            if not obsolete or not _both(before.number, snapshot.number):
                break
            snapshot.inherit(before)
            self._remove(before)

    def _remove(self, group: Group) -> None:
        del self._groups[group]
        self.replaced.append(group)

    def _stand(self, group: Group) -> Group:
        """Append the group as one of its own."""
        self._groups[group] = None
        if group.number or group.is_wall:
            self._open.clear()
            if not group.is_state:
                self._states.clear()
        if group.is_state:
            self._states.append(group)
        elif group.key is not None:
            self._open[group.key] = group
        return group


def _both(number: int, other: int) -> bool:
    """Whether both events have numbers, or neither."""
    return (number == 0) == (other == 0)


def _is_plain(event: Event) -> bool:
    """Whether the fields that every event may have are as the protocol says."""
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
