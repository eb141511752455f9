"""The events a reader can do without, and those whose loss would end the run.

    must pass     RUN_*, STEP_*, SUBAGENT_*, *_START, *_END, TOOL_CALL_RESULT, CUSTOM,
                  MESSAGES_SNAPSHOT, REASONING_ENCRYPTED_VALUE, and unknown types
    may wait      deltas and chunks, STATE_* and ACTIVITY_*: they may be sent later
    may be shed   RAW, and the field rawEvent: no client builds anything of them

A stock client refuses the whole run when a START or an END is missing, and shows wrong
text without a word when a delta is. So only the last are ever dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from rx_agui.agui.events import EVENTS
from rx_agui.frame import IDENTITY, Frame

__all__ = [
    "as_it_is",
    "is_left_out",
    "lighten",
    "must_pass",
    "type_of",
    "without_raw",
    "without_raw_event",
]

_MAY_WAIT: Final = frozenset(
    name.encode() for name, kind in EVENTS.items() if kind.may_wait
)
_MAY_BE_SHED: Final = frozenset(
    name.encode() for name, kind in EVENTS.items() if kind.may_be_shed
)

#: The beginning of every event that our encoder or AG-UI's wrote.
_HEAD: Final = b'{"type":"'


def must_pass(prepared: Any) -> bool:
    """Whether an event must be admitted whatever the pressure.

    >>> must_pass(b'{"type":"RUN_FINISHED","threadId":"t","runId":"r"}')
    True
    >>> must_pass(b'{"type":"TEXT_MESSAGE_CONTENT","messageId":"m","delta":"Hi"}')
    False
    """
    data = prepared.data if isinstance(prepared, Frame) else prepared
    return type_of(data) not in _MAY_WAIT


def without_raw(line: bytes) -> bytes | None:
    """Return the event without what may be shed; None if it may be shed itself.

    >>> without_raw(b'{"type":"RAW","event":{"huge":1}}')
    >>> without_raw(b'{"type":"CUSTOM","name":"a","value":1,"rawEvent":{"huge":1}}')
    b'{"type":"CUSTOM","name":"a","value":1}'
    """
    if b"RAW" in line and type_of(line) in _MAY_BE_SHED:
        return None
    return without_raw_event(line)


def without_raw_event(line: bytes) -> bytes:
    """Return the event without the field `rawEvent`.

    >>> without_raw_event(b'{"type":"CUSTOM","name":"a","value":1,"rawEvent":2}')
    b'{"type":"CUSTOM","name":"a","value":1}'
    """
    if b"rawEvent" not in line:
        return line
    event = orjson.loads(line)
    if "rawEvent" not in event:
        return line
    del event["rawEvent"]
    return orjson.dumps(event)


def is_left_out(event: Any) -> bool:
    """Whether a stream can go on without an event that is not JSON.

    RAW and CUSTOM carry values of a framework or an application; no client builds
    messages or state of them.

    >>> is_left_out({"type": "CUSTOM", "name": "n", "value": object()})
    True
    >>> is_left_out({"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": object()})
    False
    """
    if isinstance(event, Mapping):
        name = event.get("type")
    else:
        name = getattr(event, "type", None)
    kind = EVENTS.get(str(getattr(name, "value", name)))
    return kind is not None and kind.construct in ("raw", "custom")


def as_it_is(line: bytes) -> bytes:
    """Return the event as it is."""
    return line


def lighten(
    frame: Frame, lighter: Callable[[bytes], bytes | None] = without_raw
) -> tuple[int, int]:
    """Take what may be shed out of a frame; return how many events and bytes that was."""
    lines = frame.lines() if frame.encoding == IDENTITY else []
    lighter_lines = [lighter(line) for line in lines]
    if lighter_lines == lines:
        return 0, 0
    events, size = frame.events, len(frame.data)
    numbers = frame.line_numbers()
    kept = [(line, n) for line, n in zip(lighter_lines, numbers, strict=True) if line]
    frame.data = b"\n".join([line for line, _ in kept])
    frame.events = len(kept)
    frame.crc32 = None
    if frame.last and kept:
        frame.numbers = tuple([number for _, number in kept])
        frame.last = kept[-1][1]
    return events - frame.events, size - len(frame.data)


def type_of(line: bytes) -> bytes:
    """Return the type of an encoded event; empty if it has none, or is several."""
    if line.startswith(_HEAD):
        return line[len(_HEAD) : line.find(b'"', len(_HEAD))]
    try:
        kind = orjson.loads(line).get("type")
    except (ValueError, AttributeError):  # several lines, or compressed
        return b""
    return str(kind).encode()
