"""The order in which an AG-UI client accepts events: its `verifyEvents`.

RUN_STARTED  ( START CONTENT* END | STEP_STARTED STEP_FINISHED | ... )*  RUN_FINISHED
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rx_agui.agui.events import EVENTS, TERMINAL, EventKind
from rx_agui.agui.open_constructs import OpenConstructs
from rx_agui.lint._rules import RULES

__all__ = ["Order"]

Event = dict[str, Any]
Wrong = tuple[str, str, tuple[str, ...]]

#: Constructs whose brackets only the newer client checks.
_ONLY_NEW = ("reasoning span", "reasoning message")

Key = tuple[str, Any]


class Order:
    """Track the open constructs, and so which events may come next."""

    def __init__(self) -> None:
        self._begun = False  # anything
        self._ended = ""  # the terminal event of the last run
        self._reset()

    def _reset(self) -> None:
        self._open: dict[Key, None] = {}
        self._owner: dict[Key, Any] = {}
        self._chunks = OpenConstructs()
        self._chunked: set[Key] = set()  # the same, as they are in `_open`
        self._subagents: set[str] = set()
        self._past_subagents: set[str] = set()
        self._ended = ""

    def take(self, event: Event) -> Iterator[Wrong]:
        """Yield what is wrong with this event coming now."""
        name = event["type"]
        yield from self._run(name)
        kind = EVENTS.get(name)
        if kind is None:
            self._chunks.clear()
            self._close_chunked()
            return
        key = _key(event, kind)
        if kind.part == "chunk":
            yield from self._take_chunk(event, kind)
            return
        if self._chunks:
            self._chunks.end(kind, _tagged(event))
            self._close_chunked()
        if kind.is_bracketed:
            yield from self._bracket(key, event, kind)
        elif kind.construct == "step":
            yield from self._step(event, name)
        elif kind.construct == "subagent":
            yield from self._subagent(event, name)
        elif name == "ACTIVITY_SNAPSHOT":
            self._owner[key] = _tag(event)
        elif name == "ACTIVITY_DELTA":
            yield from self._owned(key, event)
        elif name == "RUN_FINISHED":
            yield from self._finish()

    def _bracket(self, key: Key, event: Event, kind: EventKind) -> Iterator[Wrong]:
        if kind.part == "start":
            yield from self._begin(key, event)
            return
        yield from self._need(key, event)
        if kind.part == "end":
            self._open.pop(key, None)

    def at_end(self) -> Iterator[tuple[str, str]]:
        """Yield what is wrong with the stream ending now."""
        if not self._begun:
            yield "no-end", "no events at all"
        elif not self._ended:
            yield "no-end", "the stream ends inside a run"

    def _run(self, kind: str) -> Iterator[Wrong]:
        is_first, self._begun = not self._begun, True
        may_follow = {"RUN_STARTED"}
        if self._ended == "RUN_FINISHED":
            may_follow.add("RUN_ERROR")
        if self._ended and kind not in may_follow:
            yield _wrong("after-end", f"{kind} behind {self._ended}")
        elif is_first and kind not in ("RUN_STARTED", "RUN_ERROR"):
            yield _wrong("no-start", f"{kind} comes first")
        elif kind == "RUN_STARTED" and not is_first and not self._ended:
            yield _wrong("start-again", "RUN_STARTED inside a run")
        if kind == "RUN_STARTED":
            self._reset()
        elif kind in TERMINAL:
            self._ended = kind

    def _begin(self, key: Key, event: Event) -> Iterator[Wrong]:
        if key in self._open:
            yield _wrong("open-twice", f"{event['type']} of {key[0]} {key[1]!r}", key)
            return
        yield from self._owned(key, event)
        self._open[key] = None
        self._owner.setdefault(_bucket(key), _tag(event))

    def _need(self, key: Key, event: Event) -> Iterator[Wrong]:
        if key not in self._open:
            yield _wrong("not-open", f"{event['type']} of {key[0]} {key[1]!r}", key)
        yield from self._owned(key, event)

    def _owned(self, key: Key, event: Event) -> Iterator[Wrong]:
        tag, bucket = _tag(event), _bucket(key)
        if tag is not None and bucket in self._owner and self._owner[bucket] != tag:
            seen = f"{event['type']} of {key[0]} {key[1]!r} by subagent {tag!r}"
            yield _wrong("other-subagent", seen)

    def _step(self, event: Event, kind: str) -> Iterator[Wrong]:
        key = "step", (_tag(event), str(event.get("stepName")))
        seen = f"{kind} of {event.get('stepName')!r}"
        if kind == "STEP_STARTED":
            if key in self._open:
                yield _wrong("open-twice", seen)
            self._open[key] = None
        elif key in self._open:
            del self._open[key]
        else:
            yield _wrong("not-open", seen)

    def _subagent(self, event: Event, kind: str) -> Iterator[Wrong]:
        name = str(_tag(event))
        seen = f"{kind} of {name!r}"
        if kind != "SUBAGENT_STARTED":
            if name not in self._subagents:
                yield _wrong("not-open", seen)
            self._subagents.discard(name)
            self._past_subagents.add(name)
            return
        if name in self._subagents or name in self._past_subagents:
            yield _wrong("open-twice", seen)
        parent = event.get("parentSubagentRunId")
        if (
            parent is not None
            and str(parent) not in self._subagents | self._past_subagents
        ):
            yield _wrong("not-open", f"{seen} under {parent!r}")
        self._subagents.add(name)

    def _take_chunk(self, event: Event, kind: EventKind) -> Iterator[Wrong]:
        try:
            chunked, opens = self._chunks.take(event["type"], _tagged(event))
        except ValueError:
            lacks = kind.key if event.get(kind.key) is None else "toolCallName"
            yield _wrong("first-chunk", f"{event['type']} without {lacks}")
            return
        if opens:
            key = kind.construct, str(chunked.id)
            self._close_chunked()
            yield from self._begin(key, event)
            self._chunked.add(key)

    def _close_chunked(self) -> None:
        """Close what is not being assembled from chunks any more."""
        now = {
            (EVENTS[each.kind].construct, str(each.id))
            for each in self._chunks.values()
        }
        for key in self._chunked - now:
            self._open.pop(key, None)
        self._chunked &= now

    def _finish(self) -> Iterator[Wrong]:
        for key in self._open:
            what = key[1][1] if key[0] == "step" else key[1]
            if not key[0].startswith("thinking"):
                yield _wrong("open-at-end", f"{key[0]} {what!r} is open", key)
        for name in sorted(self._subagents):
            yield _wrong("open-at-end", f"subagent {name!r} is open")


def _wrong(rule: str, seen: str, key: Key = ("", "")) -> Wrong:
    return rule, seen, ("1.0.0",) if key[0] in _ONLY_NEW else RULES[rule].fails


def _key(event: Event, kind: EventKind) -> Key:
    return kind.construct, str(event.get(kind.key))


def _bucket(key: Key) -> Key:
    """Return the key of the owner, which a span of reasoning shares with its message."""
    return ("reasoning", key[1]) if key[0] in _ONLY_NEW else key


def _tagged(event: Event) -> Event:
    """Return the event with a subagent's name that may be a key, whatever it was."""
    return {**event, "subagentRunId": _tag(event)}


def _tag(event: Event) -> Any:
    tag = event.get("subagentRunId")
    return None if tag is None else str(tag)
