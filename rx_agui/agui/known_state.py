"""The state as the reader has it, which decides what a patch will do.

    STATE_SNAPSHOT {"done": 0, "rows": []}      known from here on
    STATE_DELTA    replace /done 1              succeeds: /done is there
    STATE_DELTA    add /rows/- {...}            succeeds
    STATE_DELTA    test /done 7, remove /rows   fails; the state is what it was

Two patches that are known to succeed may become one, whatever they contain. The state is
unknown before the first snapshot, if it is larger than it is worth to keep, and after a
patch whose outcome depends on the client (see rx_agui.agui.json_patch), up to the next
snapshot.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from rx_agui.agui.json_patch import Fails, Unsure, apply_patch

__all__ = ["KnownState"]


_SNAPSHOT: Final = b'{"type":"STATE_SNAPSHOT"'


class KnownState:
    """Track the state by its events, in order.

    A snapshot is not read before a patch asks what it says.

    Args:
        max_size: Bytes of JSON up to which a state is kept. As objects they are
            several times as large.
    """

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._snapshot: bytes | None = None
        self._state: Any = None
        self._is_known = False
        self._room = 0

    def tell(self, line: bytes) -> bool:
        """Take note of a line; return whether it is a patch that surely succeeds."""
        if b'"STATE_' not in line:
            return False
        if line.startswith(_SNAPSHOT):
            self._know(line)
            return False
        try:
            event = orjson.loads(line)
        except orjson.JSONDecodeError:
            self.forget()  # a browser may read it
            return False
        kind = event.get("type") if type(event) is dict else None
        if kind == "STATE_SNAPSHOT":
            self._know(line)
        elif kind == "STATE_DELTA" and self._is_known:
            return self._patch(event.get("delta"), len(line))
        return False

    def _know(self, line: bytes) -> None:
        self.forget()
        if len(line) <= self._max_size:
            self._snapshot = line
            self._is_known = True
            self._room = self._max_size

    def forget(self) -> None:
        """Drop the state; it is unknown up to the next snapshot."""
        self._snapshot = self._state = None
        self._is_known = False

    def _patch(self, ops: Any, size: int) -> bool:
        try:
            if self._snapshot is not None:
                snapshot, self._snapshot = self._snapshot, None
                self._state = orjson.loads(snapshot)["snapshot"]
            self._state = apply_patch(self._state, ops)
        except Fails:
            return False
        except (Unsure, KeyError, orjson.JSONDecodeError):
            self.forget()
            return False
        self._room -= size
        if self._room < 0:
            self._weigh()
        return True

    def _weigh(self) -> None:
        """Measure the state, and drop it if it has outgrown the limit."""
        self._room = self._max_size
        try:
            size = len(orjson.dumps(self._state))
        except TypeError:  # nested deeper than orjson writes
            size = self._max_size + 1
        if size > self._max_size:
            self.forget()
