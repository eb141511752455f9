"""The order in which an AG-UI client takes events: its `verifyEvents`, as facts.

RUN_STARTED  ( START CONTENT* END | STEP_STARTED STEP_FINISHED | ... )*  RUN_FINISHED
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rx_agui.lint._rules import RULES

__all__ = ["Order"]

Event = dict[str, Any]
Wrong = tuple[str, str, tuple[str, ...]]

#: What brackets what: kind, the field that names it, and what is open meanwhile.
_OPENS = {
    "TEXT_MESSAGE_START": ("message", "messageId"),
    "TOOL_CALL_START": ("tool call", "toolCallId"),
    "REASONING_START": ("reasoning span", "messageId"),
    "REASONING_MESSAGE_START": ("reasoning message", "messageId"),
    "THINKING_START": ("thinking", ""),
    "THINKING_TEXT_MESSAGE_START": ("thinking message", ""),
}
_NEEDS = {
    "TEXT_MESSAGE_CONTENT": ("message", "messageId"),
    "TOOL_CALL_ARGS": ("tool call", "toolCallId"),
    "REASONING_MESSAGE_CONTENT": ("reasoning message", "messageId"),
    "THINKING_TEXT_MESSAGE_CONTENT": ("thinking message", ""),
}
_CLOSES = {
    "TEXT_MESSAGE_END": ("message", "messageId"),
    "TOOL_CALL_END": ("tool call", "toolCallId"),
    "REASONING_MESSAGE_END": ("reasoning message", "messageId"),
    "REASONING_END": ("reasoning span", "messageId"),
    "THINKING_TEXT_MESSAGE_END": ("thinking message", ""),
    "THINKING_END": ("thinking", ""),
}
_CHUNKS = {
    "TEXT_MESSAGE_CHUNK": ("message", "messageId"),
    "TOOL_CALL_CHUNK": ("tool call", "toolCallId"),
    "REASONING_MESSAGE_CHUNK": ("reasoning message", "messageId"),
}
#: What may come between two chunks of one message.
_PASSES = (
    "RAW",
    "ACTIVITY_SNAPSHOT",
    "ACTIVITY_DELTA",
    "REASONING_ENCRYPTED_VALUE",
    "SUBAGENT_STARTED",
)
#: Only the newer client looks at how reasoning is bracketed.
_ONLY_NEW = ("reasoning span", "reasoning message")

_ENDS = ("RUN_FINISHED", "RUN_ERROR")

Key = tuple[str, Any]


class Order:
    """What is open, and what may come next."""

    def __init__(self) -> None:
        self._begun = False  # anything
        self._ended = ""  # by what the last run ended
        self._reset()

    def _reset(self) -> None:
        self._open: dict[Key, None] = {}
        self._owner: dict[Key, Any] = {}
        self._chunk: Key | None = None
        self._subagents: set[str] = set()
        self._past_subagents: set[str] = set()
        self._ended = ""

    def take(self, event: Event) -> Iterator[Wrong]:
        """What is wrong with this event coming now."""
        kind = event["type"]
        yield from self._run(kind)
        if kind in _CHUNKS:
            yield from self._take_chunk(event, kind)
            return
        if not self._passes_chunk(event, kind):
            self._close_chunk()
        if kind in _OPENS:
            yield from self._begin(_key(event, _OPENS[kind]), event)
        elif kind in _NEEDS:
            yield from self._need(_key(event, _NEEDS[kind]), event)
        elif kind in _CLOSES:
            key = _key(event, _CLOSES[kind])
            yield from self._need(key, event)
            self._open.pop(key, None)
        elif kind.startswith("STEP_"):
            yield from self._step(event, kind)
        elif kind.startswith("SUBAGENT_"):
            yield from self._subagent(event, kind)
        elif kind == "ACTIVITY_SNAPSHOT":
            self._owner[_key(event, ("activity", "messageId"))] = _tag(event)
        elif kind == "ACTIVITY_DELTA":
            yield from self._owned(_key(event, ("activity", "messageId")), event)
        elif kind == "RUN_FINISHED":
            yield from self._finish()

    def at_end(self) -> Iterator[tuple[str, str]]:
        """What is wrong with nothing coming any more."""
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
        elif kind in _ENDS:
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

    def _take_chunk(self, event: Event, kind: str) -> Iterator[Wrong]:
        what, field = _CHUNKS[kind]
        name = None if event.get(field) is None else str(event[field])
        if self._chunk == (what, name):
            return
        if name is None and self._chunk is not None and self._chunk[0] == what:
            return
        if name is None:
            yield _wrong("first-chunk", f"{kind} without {field}")
            return
        if kind == "TOOL_CALL_CHUNK" and event.get("toolCallName") is None:
            yield _wrong("first-chunk", f"{kind} without toolCallName")
            return
        self._close_chunk()
        key = what, name
        yield from self._begin(key, event)
        self._chunk = key

    def _passes_chunk(self, event: Event, kind: str) -> bool:
        """Whether what is told in chunks goes on behind this event."""
        if self._chunk is not None and kind in ("SUBAGENT_FINISHED", "SUBAGENT_ERROR"):
            return bool(self._owner.get(_bucket(self._chunk)) != _tag(event))
        return kind in _PASSES

    def _close_chunk(self) -> None:
        if self._chunk is not None:
            self._open.pop(self._chunk, None)
            self._chunk = None

    def _finish(self) -> Iterator[Wrong]:
        for key in self._open:
            what = key[1][1] if key[0] == "step" else key[1]
            if not key[0].startswith("thinking"):
                yield _wrong("open-at-end", f"{key[0]} {what!r} is open", key)
        for name in sorted(self._subagents):
            yield _wrong("open-at-end", f"subagent {name!r} is open")


def _wrong(rule: str, seen: str, key: Key = ("", "")) -> Wrong:
    return rule, seen, ("1.0.0",) if key[0] in _ONLY_NEW else RULES[rule].fails


def _key(event: Event, named: tuple[str, str]) -> Key:
    kind, field = named
    return kind, str(event.get(field))


def _bucket(key: Key) -> Key:
    """Whose it is: a span of reasoning and the message in it have one owner."""
    return ("reasoning", key[1]) if key[0] in _ONLY_NEW else key


def _tag(event: Event) -> Any:
    tag = event.get("subagentRunId")
    return None if tag is None else str(tag)
