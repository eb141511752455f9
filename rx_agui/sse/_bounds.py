"""How much memory JSON takes once it is parsed, told before it is parsed.

[[],[],[], ...       3 bytes on the wire, some 80 in Python
"""

from __future__ import annotations

import re
from typing import Final

from rx_agui.errors import PayloadTooLargeError

__all__ = ["require_bearable"]

#: Bytes below which no JSON takes more than a client may spare.
_SMALL: Final = 1024 * 1024

#: Bytes that a client may spare beyond three times its `max_size`.
_SPARE: Final = 16 * 1024 * 1024

#: Bytes of Python's objects and orjson's own, at most, for each of these. An element has
#: a comma; it is dearest where it is a short string.
_WEIGHTS: Final = {b",": 96, b"[": 32, b"{": 152, b":": 8}

_STRING: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)

#: Bytes of a string from which it is worth looking at what is inside.
_LONG: Final = 64


def require_bearable(data: bytes, max_size: int) -> None:
    """Check that parsed JSON fits beside `data` in four times `max_size` and 32 MiB.

    Raises:
        PayloadTooLargeError: It may take more.
    """
    if len(data) <= _SMALL:
        return
    # A string has 1, 2 or 4 bytes for each of its characters, by the largest of them.
    width = (
        1 if data.isascii() else 4 if any(c in data for c in range(0xF0, 0xF5)) else 2
    )
    left = 3 * max_size + _SPARE - (1 + width) * len(data)  # orjson works on a copy
    weight = _weight(data)
    if weight <= left:
        return
    # Much of it may stand in strings, such as JSON in a tool's result.
    for number, found in enumerate(_STRING.finditer(data)):
        if found.end() - found.start() > _LONG:
            weight -= _weight(data, found.start(), found.end())
            if weight <= left:
                return
        if number * _WEIGHTS[b","] > left:
            break
    raise PayloadTooLargeError("an event, as objects in memory,", 4 * max_size)


def _weight(data: bytes, start: int = 0, end: int | None = None) -> int:
    return sum(n * data.count(token, start, end) for token, n in _WEIGHTS.items())
