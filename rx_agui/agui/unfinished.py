"""The events that close what a broken run leaves open, before the RUN_ERROR that ends it.

    RUN_STARTED  STEP_STARTED s  TEXT_MESSAGE_START m  TOOL_CALL_START c  TOOL_CALL_ARGS c
        └─────────────┴─────────────────┴────────────────────┴──────────────────┴── then
    TOOL_CALL_END c  TEXT_MESSAGE_END m  TOOL_CALL_RESULT c  STEP_FINISHED s  RUN_ERROR

A client keeps a message that was never closed as half a message: CopilotKit moves it to
the end of the thread at the next load, repeats the arguments of an open call, and runs a
frontend's tool of a run that failed. A call without a result makes the next run invalid,
since model providers refuse such a history: so it gets one, which says that there is none.

Only events that begin, end or answer something are parsed, and only at the end: a token
costs one search of its bytes.
"""

from __future__ import annotations

import re
from typing import Final

from rx_agui.agui.encoding import dumps, loads
from rx_agui.agui.events import EVENTS
from rx_agui.agui.message import Event

__all__ = ["NO_RESULT", "Unfinished"]

#: The content of the result of a call that has none.
NO_RESULT: Final = "The run ended before this tool call had a result."

_ANSWERED: Final = re.compile(rb'"toolCallId":\s*"([^"\\]*)"')

#: The type of the event that closes a construct.
_ENDS: Final = {
    kind.construct: name
    for name, kind in EVENTS.items()
    if kind.part == "end" and kind.construct not in ("run", "subagent")
}

#: Lines to note before they are reduced: few enough to hold, many enough to be rare.
_MOST: Final = 128

#: Constructs that are remembered as open, and bytes of an event that begins or ends one:
#: a run that leaves more open than that is broken anyhow, and would fill the memory.
_MOST_OPEN: Final = 1000
_LARGE: Final = 1024

_ASKED: Final = {
    "type",
    "subagentRunId",
    "toolCallName",
    *(kind.key for kind in EVENTS.values() if kind.key),
}

#: Construct, id, and the subagent of a step.
_Key = tuple[str, str, str | None]


class Unfinished:
    """What is open in a run, by the events it has sent.

    >>> unfinished = Unfinished()
    >>> unfinished.note(b'{"type":"TOOL_CALL_START","toolCallId":"c","toolCallName":"f"}')
    >>> unfinished.note(b'{"type":"TOOL_CALL_ARGS","toolCallId":"c","delta":"{"}')
    >>> for line in unfinished.closing():
    ...     print(line.decode())
    {"type":"TOOL_CALL_END","toolCallId":"c"}
    {"type":"TOOL_CALL_RESULT","toolCallId":"c","messageId":"c-failed","content":"The run ended before this tool call had a result.","role":"tool"}
    """

    __slots__ = ("_calls", "_noted", "_open")

    def __init__(self) -> None:
        self._noted: list[tuple[int, bytes]] = []
        #: The subagents of what is open, and of the calls that have no result.
        self._open: dict[_Key, str | None] = {}
        self._calls: dict[str, str | None] = {}

    def note(self, data: bytes, number: int = 0) -> None:
        """Take in a payload: events as lines of JSON, and the number of its last event."""
        if not _tells(data):
            return
        lines = [line for line in data.split(b"\n") if _tells(line)]
        self._noted += [(number, _brief(line)) for line in lines]
        if len(self._noted) > _MOST:
            self._reduce(number - 1 if number else None)

    def closing(self, up_to: int | None = None) -> list[bytes]:
        """Return the events, as JSON, that close what is open.

        Args:
            up_to: The number of the last event that was sent; those behind it were noted,
                but are in no stream. None: all were sent.
        """
        self._reduce(up_to)
        ends = [_end(key, agent) for key, agent in reversed(self._open.items())]
        inner = [end for end in ends if end["type"] != _ENDS["step"]]
        steps = [end for end in ends if end["type"] == _ENDS["step"]]
        results = [_no_result(id, agent) for id, agent in self._calls.items()]
        return [dumps(event) for event in (*inner, *results, *steps)]

    def _reduce(self, up_to: int | None) -> None:
        noted, self._noted = self._noted, []
        for number, line in noted:
            if up_to is None or number <= up_to:
                self._add(line)
            else:
                self._noted.append((number, line))

    def _add(self, line: bytes) -> None:
        try:
            event = loads(line)
            name = event["type"]
            kind = EVENTS[name]
            id: str = event[kind.key] if kind.key else ""
        except (KeyError, TypeError, ValueError):
            return  # a client refuses it, too
        if kind.construct == "run":
            if kind.part == "start":
                self._open.clear()
                self._calls.clear()
        elif kind.construct == "messages":
            for answered in event["toolCallIds"]:
                self._calls.pop(answered, None)
        elif kind.part == "result":
            self._calls.pop(id, None)
        elif kind.construct in _ENDS:
            agent = event.get("subagentRunId")
            key = kind.construct, id, agent if kind.construct == "step" else None
            if kind.part == "end":
                self._open.pop(key, None)
            elif kind.part == "start" and len(self._open) < _MOST_OPEN:
                self._open[key] = agent
            if "toolCallName" in event and len(self._calls) < _MOST_OPEN:
                self._calls[id] = agent


def _tells(data: bytes) -> bool:
    """Whether something may begin, end or be answered in it: a token is told by its bytes.

    The first chunk of a call has its name. Six searches take a quarter of one
    by a pattern.
    """
    return (
        b"_START" in data
        or b'_END"' in data
        or b'_FINISHED"' in data
        or b'_RESULT"' in data
        or b'"toolCallName"' in data
        or b'"MESSAGES_SNAPSHOT"' in data
    )


def _brief(line: bytes) -> bytes:
    """Shorten a large event to what is asked of it: of a snapshot, the answered calls."""
    if b'"MESSAGES_SNAPSHOT"' in line:
        ids = _ANSWERED.findall(line)[-_MOST_OPEN:]  # the newest come last
        answered = [id.decode("utf-8", "replace") for id in ids]
        return dumps({"type": "MESSAGES_SNAPSHOT", "toolCallIds": answered})
    if len(line) <= _LARGE:
        return line
    try:
        event = loads(line)
        line = dumps({field: event[field] for field in event if field in _ASKED})
    except (TypeError, ValueError):
        return b"null"
    return line if len(line) <= _LARGE else b"null"


def _end(key: _Key, agent: str | None) -> Event:
    construct, id, _ = key
    name = _ENDS[construct]
    end: Event = {"type": name}
    if EVENTS[name].key:
        end[EVENTS[name].key] = id
    return _of_agent(end, agent)


def _no_result(id: str, agent: str | None) -> Event:
    result: Event = {"type": "TOOL_CALL_RESULT", "toolCallId": id}
    result["messageId"] = f"{id}-failed"
    result.update(content=NO_RESULT, role="tool")
    return _of_agent(result, agent)


def _of_agent(event: Event, agent: str | None) -> Event:
    if agent is not None:
        event["subagentRunId"] = agent
    return event
