"""What is sent: the shapes that agents' streams have."""

from __future__ import annotations

from itertools import islice
from random import Random
from typing import Any

import orjson
from ag_ui.core import TextMessageContentEvent

from rx_agui.testing import simulated_deltas, simulated_run

__all__ = ["arguments", "deltas", "encoded", "objects", "run", "snapshots"]

Event = dict[str, Any]

_WORDS = [
    "stream",
    "reader",
    "credit",
    "batch",
    "number",
    "gap",
    "event",
    "delta",
    "snapshot",
    "agent",
    "tool",
    "answer",
    "order",
    "wait",
    "push",
    "pull",
    "write",
    "close",
    "open",
    "early",
    "late",
    "small",
    "large",
    "first",
    "last",
]


def deltas(n: int) -> list[Event]:
    """`n` deltas of text, about 100 bytes each."""
    return list(simulated_deltas(n))


def arguments(n: int) -> list[Event]:
    """`n` deltas of a tool's arguments, which are code: 3 to 12 characters each."""
    chance = Random(1)
    words = " ".join(chance.choices(_WORDS, k=2000))
    code = orjson.dumps({"query": words, "limit": 10, "ranges": list(range(500))})
    text = (code * (n * 12 // len(code) + 1)).decode()
    at, events = 0, []
    for _ in range(n):
        size = chance.randint(3, 12)
        delta = text[at : at + size]
        at += size
        events.append(
            {"type": "TOOL_CALL_ARGS", "toolCallId": "call-1", "delta": delta}
        )
    return events


def snapshots(n: int, size: int) -> list[Event]:
    """`n` snapshots of a state of about `size` bytes: rows of words and numbers."""
    chance = Random(2)
    rows = [
        {
            "id": row,
            "title": " ".join(chance.choices(_WORDS, k=5)),
            "score": round(chance.random(), 6),
            "done": row % 3 == 0,
        }
        for row in range(size // 85)
    ]
    return [{"type": "STATE_SNAPSHOT", "snapshot": {"rows": rows}}] * n


def run(n: int) -> list[Event]:
    """`n` events of a run with everything in it."""
    return list(islice(simulated_run(max(n, 60)), n))


def objects(n: int) -> list[TextMessageContentEvent]:
    """The same as `deltas`, as objects of ag_ui.core."""
    return [
        TextMessageContentEvent(message_id=event["messageId"], delta=event["delta"])
        for event in simulated_deltas(n)
    ]


def encoded(events: list[Event]) -> int:
    """Bytes of the events' JSON, a line each."""
    return sum(len(orjson.dumps(event)) + 1 for event in events)
