"""A function of your own in the middle of a chain: redact, drop and add events.

    python examples/own_operator.py

`each(fn)` calls fn with every event, in front of flow_control or behind batch, and keeps
the numbers by which a reader resumes.
"""

from collections.abc import Iterator
from typing import Any

from rx_agui import SSEWriter, batch, each, flow_control, from_iterable, sequence
from rx_agui.testing import simulated_run

SECRET = "the"


def redact(event: dict[str, Any]) -> dict[str, Any]:
    """Change an event: it is yours."""
    if event["type"] == "TEXT_MESSAGE_CONTENT":
        event["delta"] = event["delta"].replace(SECRET, "█" * len(SECRET))
    return event


def without_raw(event: dict[str, Any]) -> dict[str, Any] | None:
    """Drop an event: return None."""
    return None if event["type"] == "RAW" else event


def announced(event: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Make several of one."""
    if event["type"] == "TOOL_CALL_START":
        yield {"type": "CUSTOM", "name": "tool", "value": event["toolCallName"]}
    yield event


written: list[bytes] = []
chain = (
    each(without_raw),
    flow_control(),
    each(announced),  # before `sequence`: each event it makes has a number of its own
    sequence(),
    batch(),
    each(redact),
)
writer = SSEWriter(written.append)
from_iterable(simulated_run()).pipe(*chain).subscribe(writer)
writer.done.result(10)

events = b"".join(written).decode().split("\n\n")
print(f"{len(events) - 1} events; those that changed, or are new:")
print(*[event for event in events if "█" in event or "CUSTOM" in event], sep="\n")
