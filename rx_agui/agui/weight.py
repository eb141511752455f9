"""The memory that a reducer holds, measured by walking through it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from rx_agui.agui.message import Call, Message
    from rx_agui.agui.reducer import Reducer

__all__ = ["OBJECTS", "weight_of"]

#: Bytes of the Python objects around one message, tool call or frame.
OBJECTS: Final = 1024

#: A state as Python objects is several times as large as its JSON.
_PARSED: Final = 4


def weight_of(reducer: Reducer) -> int:
    """Return about how many bytes of memory a reducer holds.

    >>> from rx_agui.agui.reducer import Reducer
    >>> weight_of(Reducer())
    0
    """
    state = reducer.state
    total = _json(state.value) * _PARSED if state.is_known else 0
    total += sum(map(_of_message, reducer.messages))
    total += _of_lines(state.late) + _of_lines(reducer.kept) + _of_lines(reducer.early)
    total += _of_lines(reducer.subagents) + _of_lines(reducer.steps.values())
    total += sum([_json(event) + OBJECTS for event in reducer.thoughts.values()])
    total += _of_lines(reducer.ends)
    return total + (0 if reducer.run is None else _json(reducer.run) + OBJECTS)


def _of_message(message: Message) -> int:
    text = 0 if message.text is None else len(message.text)
    calls = sum(map(_of_call, message.calls or ()))
    # The strings of a message are those of its event, the same objects.
    start = 0 if message.start is None else _json(message.start)
    return (
        OBJECTS
        + max(start, _json(message.body))
        + text
        + calls
        + _of_lines(message.late)
    )


def _of_call(call: Call) -> int:
    start = 0 if call.start is None else _json(call.start)
    return OBJECTS + start + _json(call.body) + len(call.arguments)


def _of_lines(lines: Iterable[bytes]) -> int:
    return sum([len(line) + 64 for line in lines])


def _json(value: Any) -> int:
    try:
        return len(orjson.dumps(value))
    except TypeError:  # nested deeper than orjson writes
        return len(repr(value))
