"""Cutting of one event into several with the same effect.

    text                  "a long delta"   ▶  "a lo"  "ng d"  "elta"
    a state               {a, b, c: [d, e, f]}
                          ▶  {a, b, c: [d]}    add /c/- e    add /c/- f
    a patch of one value  the same, below the place that it sets

Text is cut between characters. A state is cut in the order in which it is written: a
reader has at any time the beginning of it, and its keys keep their order.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import orjson

from rx_agui.agui.events import EVENTS
from rx_agui.agui.message import Event

__all__ = ["Uncuttable", "pieces_of"]

#: Fields that only one of the pieces carries.
_SAID_ONCE: Final = ("metadata", "rawEvent")

#: The longest a character is in JSON: \\u0000.
_LONGEST_CHARACTER: Final = 6

_OPENABLE: Final = (dict, list)

#: The nesting beyond which a value is not opened.
_DEEPEST: Final = 100


class Uncuttable(Exception):
    """The event cannot be split into events that a client can merge."""


def pieces_of(event: Event, limit: int) -> list[bytes]:
    """Cut an event into several, each of at most `limit` bytes where possible.

    Raises:
        Uncuttable: It is of a kind that has no pieces, or its value has none.
    """
    type_ = event.get("type")
    if type(type_) is not str:
        raise Uncuttable
    kind = EVENTS.get(type_)
    try:
        if kind is not None and kind.is_delta and type(event.get("delta")) is str:
            return _cut_text(event, event["delta"], limit)
        if type_ == "STATE_SNAPSHOT" and type(event.get("snapshot")) in _OPENABLE:
            return _Cutter(event, "snapshot", limit).pieces("", event["snapshot"])
        if type_ == "STATE_DELTA" and _sets_one_place(event.get("delta")):
            op = event["delta"][0]
            return _Cutter(event, "delta", limit).pieces(op["path"], op["value"])
    except TypeError:  # nested deeper than orjson writes, or half a surrogate pair
        raise Uncuttable from None
    raise Uncuttable


def _sets_one_place(ops: Any) -> bool:
    """Whether a patch may become several.

    A client applies all of a patch or nothing. If it sets one place and fails, then
    there is no such place, and what would be added below it fails as well. Nothing like
    that can be said of several operations, or of an element without a number.
    """
    if type(ops) is not list or len(ops) != 1 or type(ops[0]) is not dict:
        return False
    op, path = ops[0], ops[0].get("path")
    return (
        op.keys() == {"op", "path", "value"}
        and op["op"] in ("add", "replace")
        and type(path) is str
        and not path.endswith("/-")
        and type(op["value"]) in _OPENABLE
    )


# -- text -------------------------------------------------------------------------------


def _cut_text(event: Event, text: str, limit: int) -> list[bytes]:
    each = {name: event[name] for name in event if name not in _SAID_ONCE}
    room = limit - len(orjson.dumps({**each, "delta": ""}))
    if room < _LONGEST_CHARACTER:
        raise Uncuttable
    cuts = [*_cut_string(orjson.dumps(text)[1:-1], room)]
    # What is said once is said when the whole is there.
    spare = limit - len(orjson.dumps({**event, "delta": ""}))
    if len(event) > len(each) and len(cuts[-1]) > spare:
        cuts.append(b"")
    said = [each] * (len(cuts) - 1) + [event]
    return [
        orjson.dumps({**piece, "delta": orjson.Fragment(b'"%b"' % cut)})
        for piece, cut in zip(said, cuts, strict=True)
    ]


def _cut_string(escaped: bytes, size: int) -> Iterator[bytes]:
    """Cut the inside of a JSON string into insides of JSON strings."""
    start, end = 0, len(escaped)
    while end - start > size:
        at = _before_character(escaped, start, start + size)
        yield escaped[start:at]
        start = at
    yield escaped[start:]


def _before_character(escaped: bytes, start: int, at: int) -> int:
    """Return the last place to cut at, not behind `at`."""
    while escaped[at] & 0xC0 == 0x80:  # inside a character of UTF-8
        at -= 1
    slash = escaped.rfind(b"\\", max(start, at - _LONGEST_CHARACTER + 1), at)
    if slash < 0:
        return at
    first = slash
    while first > start and escaped[first - 1] == 0x5C:
        first -= 1
    if (slash - first) % 2:
        return at  # it is itself escaped, by the one before it
    length = _LONGEST_CHARACTER if escaped[slash + 1] == 0x75 else 2  # \u0000, or \n
    return slash if slash + length > at else at


# -- a state ------------------------------------------------------------------------------


class _Open:
    """A list or a mapping that is being written, and the piece in which it began."""

    __slots__ = ("around", "children", "local", "path", "piece")

    def __init__(self, path: str, like: dict[str, Any] | list[Any], piece: int) -> None:
        self.path = path
        self.local: Any = type(like)()
        self.piece = piece
        self.children = 0
        #: Bytes of an operation here and of a comma, besides the key and the value.
        self.around = len(orjson.dumps({"op": "add", "path": f"{path}/", "value": 0}))


class _Cutter:
    """Write a value in its order, in as many pieces as it takes."""

    def __init__(self, event: Event, field: str, limit: int) -> None:
        self._event = event
        self._field = field
        self._limit = limit
        again = ("timestamp", "subagentRunId")
        self._more = {"type": "STATE_DELTA"}
        self._more.update((name, event[name]) for name in again if name in event)
        self._fresh = limit - len(orjson.dumps({**self._more, "delta": []}))
        self._room = 0
        #: The operations of every piece but the first.
        self._patches: list[list[Event]] = []

    def pieces(self, path: str, value: dict[str, Any] | list[Any]) -> list[bytes]:
        """Return the event with as much as fits, and patches that add the rest of it."""
        root = _Open(path, value, 0)
        said: Any = root.local
        if self._field == "delta":
            said = [{**self._event["delta"][0], "value": root.local}]
        first = {**self._event, self._field: said}
        self._room = self._limit - len(orjson.dumps(first))
        self._fill(root, value, 0)
        if not self._patches:
            raise Uncuttable
        rest = [{**self._more, "delta": ops} for ops in self._patches]
        return [orjson.dumps(piece) for piece in (first, *rest)]

    def _fill(self, into: _Open, value: dict[str, Any] | list[Any], depth: int) -> None:
        if depth > _DEEPEST:
            raise Uncuttable
        if isinstance(value, dict):
            for key, child in value.items():
                self._place(into, key, child, depth)
        else:
            for child in value:
                self._place(into, None, child, depth)

    def _place(self, into: _Open, key: str | None, value: Any, depth: int) -> None:
        data = orjson.dumps(value)
        index = into.children
        into.children = index + 1
        if key is None:
            token, inside = "-", 1
        else:
            token = key.replace("~", "~0").replace("/", "~1")
            inside = len(orjson.dumps(token)) + 2  # as long as the key, or longer
        around = into.around + inside
        fits = around + len(data) <= self._fresh
        if fits or not value or type(value) not in _OPENABLE:
            self._put(
                into, key, token, inside, around, orjson.Fragment(data), len(data)
            )
            return
        path = f"{into.path}/{index if key is None else token}"
        child = _Open(path, value, 0)
        self._put(into, key, token, inside, around, child.local, 2)
        child.piece = len(self._patches)
        self._fill(child, value, depth + 1)

    def _put(
        self,
        into: _Open,
        key: str | None,
        token: str,
        inside: int,
        around: int,
        value: Any,
        size: int,
    ) -> None:
        """Write a value where it belongs if that can still be, or else as an operation."""
        if into.piece == len(self._patches) and inside + size <= self._room:
            self._room -= inside + size
            if key is None:
                into.local.append(value)
            else:
                into.local[key] = value
            return
        path = f"{into.path}/{token}"
        if "/__proto__" in path or "/constructor/prototype" in path:
            raise Uncuttable  # fast-json-patch, of the stock client, adds nothing there
        if not self._patches or around + size > self._room:
            self._patches.append([])
            self._room = self._fresh
        self._room -= around + size
        self._patches[-1].append({"op": "add", "path": path, "value": value})
