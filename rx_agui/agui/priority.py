"""The events a reader can do without, and those whose loss would end the run.

    must pass     RUN_*, STEP_*, SUBAGENT_*, *_START, *_END, TOOL_CALL_RESULT, CUSTOM,
                  MESSAGES_SNAPSHOT, REASONING_ENCRYPTED_VALUE, and unknown types
    may wait      deltas and chunks, STATE_* and ACTIVITY_*: they may be sent later
    may be shed   RAW, and the field rawEvent: no client builds anything of them

A stock client refuses the whole run when a START or an END is missing, and shows wrong
text without a word when a delta is. So only the last are ever dropped.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from rx_agui.agui.events import EVENTS
from rx_agui.frame import Frame

__all__ = ["must_pass", "without_raw"]

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
    if b"RAW" not in line and b"rawEvent" not in line:
        return line
    if type_of(line) in _MAY_BE_SHED:
        return None
    event = orjson.loads(line)
    if "rawEvent" not in event:
        return line
    del event["rawEvent"]
    return orjson.dumps(event)


def type_of(line: bytes) -> bytes:
    """Return the type of an encoded event; empty if it has none, or is several."""
    if line.startswith(_HEAD):
        return line[len(_HEAD) : line.find(b'"', len(_HEAD))]
    try:
        kind = orjson.loads(line).get("type")
    except (ValueError, AttributeError):  # several lines, or compressed
        return b""
    return str(kind).encode()
