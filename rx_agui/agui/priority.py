"""Which events a reader can do without, and which end the run if they are missing.

    must pass     RUN_*, STEP_*, SUBAGENT_*, *_START, *_END, TOOL_CALL_RESULT, CUSTOM,
                  MESSAGES_SNAPSHOT, REASONING_ENCRYPTED_VALUE, and what is not known
    may wait      deltas and chunks, STATE_* and ACTIVITY_*: whoever sends may send later
    may be shed   RAW, and the field rawEvent: no client builds anything of them

A stock client refuses the whole run when a START or an END is missing, and shows wrong
text without a word when a delta is. So only the last are ever dropped.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from rx_agui.frame import Frame

__all__ = ["must_pass", "without_raw"]

_MAY_WAIT: Final = frozenset(
    b"TEXT_MESSAGE_CONTENT TEXT_MESSAGE_CHUNK TOOL_CALL_ARGS TOOL_CALL_CHUNK "
    b"REASONING_MESSAGE_CONTENT REASONING_MESSAGE_CHUNK STATE_SNAPSHOT STATE_DELTA "
    b"ACTIVITY_SNAPSHOT ACTIVITY_DELTA RAW".split()
)

#: How an event begins that was made by any encoder of ours, or of AG-UI's.
_HEAD: Final = b'{"type":"'


def must_pass(prepared: Any) -> bool:
    """Whether an event on its way in must be let in whatever the pressure.

    >>> must_pass(b'{"type":"RUN_FINISHED","threadId":"t","runId":"r"}')
    True
    >>> must_pass(b'{"type":"TEXT_MESSAGE_CONTENT","messageId":"m","delta":"Hi"}')
    False
    """
    data = prepared.data if isinstance(prepared, Frame) else prepared
    return type_of(data) not in _MAY_WAIT


def without_raw(line: bytes) -> bytes | None:
    """The event without what may be shed; None if it may be shed itself.

    >>> without_raw(b'{"type":"RAW","event":{"huge":1}}')
    >>> without_raw(b'{"type":"CUSTOM","name":"a","value":1,"rawEvent":{"huge":1}}')
    b'{"type":"CUSTOM","name":"a","value":1}'
    """
    if b"RAW" not in line and b"rawEvent" not in line:
        return line
    if type_of(line) == b"RAW":
        return None
    event = orjson.loads(line)
    if "rawEvent" not in event:
        return line
    del event["rawEvent"]
    return orjson.dumps(event)


def type_of(line: bytes) -> bytes:
    """The type of an encoded event; empty if it has none, or is several."""
    if line.startswith(_HEAD):
        return line[len(_HEAD) : line.find(b'"', len(_HEAD))]
    try:
        kind = orjson.loads(line).get("type")
    except (ValueError, AttributeError):  # several lines, or compressed
        return b""
    return str(kind).encode()
