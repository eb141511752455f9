"""JSON Patch (RFC 6902) as the stock client applies it: whole, or not at all.

    state    {"n": 1}
    patch    [replace /n 2, remove /gone]      Fails, and the state is {"n": 1} still
    patch    [replace /n 2]                    {"n": 2}

It is fast-json-patch that the client trusts, with its validation on. Where that does
something of its own ("" and "01" as array indices, names that every JavaScript object
has) we do not guess but say `Unsure`, and the patch is kept as it is, for the client to
apply. `jsonpatch` from PyPI copies the whole document for every patch, and is not
exact in what fails; here a patch costs what it touches, and is undone if it fails.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

__all__ = ["Fails", "Unsure", "apply_patch"]

_INDEX = re.compile("0|[1-9][0-9]*", re.ASCII)
_DIGITS = re.compile("[0-9]*", re.ASCII)

#: Up to here JavaScript tells one whole number from the next.
_EXACT = 2**53

#: What `object[name]` finds in JavaScript though it was never put there.
_INHERITED = frozenset(
    [
        "__defineGetter__",
        "__defineSetter__",
        "__lookupGetter__",
        "__lookupSetter__",
        "__proto__",
        "constructor",
        "hasOwnProperty",
        "isPrototypeOf",
        "propertyIsEnumerable",
        "prototype",
        "toLocaleString",
        "toString",
        "valueOf",
    ]
)

_MISSING: Any = object()
Undo = Callable[[], object]


class Fails(Exception):
    """The client would refuse the patch, and leave the document as it was."""


class Unsure(Exception):
    """What the client would do is its own business."""


def apply_patch(document: Any, patch: Any) -> Any:
    """Return the document with all of `patch` applied, in place where that can be.

    Both are used up: values of the patch become part of the document.

    >>> apply_patch({"n": 1, "list": [1]}, [
    ...     {"op": "replace", "path": "/n", "value": 2},
    ...     {"op": "add", "path": "/list/-", "value": 3},
    ... ])
    {'n': 2, 'list': [1, 3]}

    Raises:
        Fails: An operation fails. The document is as it was.
        Unsure: The client may have a view of its own. The document is as it was.
    """
    if type(patch) is not list:
        raise Fails("not a list of operations")
    undo: list[Undo] = []
    try:
        for operation in patch:
            document = _apply(document, operation, undo)
    except (Fails, Unsure):
        for step in reversed(undo):
            step()
        raise
    return document


def _apply(document: Any, operation: Any, undo: list[Undo]) -> Any:
    if type(operation) is not dict:
        raise Fails("an operation is an object")
    word, path = operation.get("op"), operation.get("path")
    value = operation.get("value", _MISSING)
    if type(path) is not str or (path and path[0] != "/"):
        raise Fails("a path begins with /")
    match word:
        case "add" | "replace" | "test":
            if value is _MISSING:
                raise Fails("no value")
        case "move" | "copy":
            if type(operation.get("from")) is not str:
                raise Fails("from where?")
        case "remove":
            pass
        case _:
            # An own property of every object would pass for an operation.
            raise Unsure if word in _INHERITED else Fails(f"{word!r}?")
    if not path:
        return _apply_to_root(document, word, value)
    keys = _keys(path)
    parent = _parent(document, keys)
    match word:
        case "add":
            _add(parent, keys[-1], value, undo)
        case "replace":
            key = _existing(parent, keys[-1])
            undo.append(partial(parent.__setitem__, key, parent[key]))
            parent[key] = value
        case "remove":
            _remove(parent, keys[-1], undo)
        case "test":
            if not _same(parent[_existing(parent, keys[-1])], value):
                raise Fails("tested, and different")
        case _:
            _transfer(document, word == "move", operation["from"], keys, undo)
    return document


def _apply_to_root(document: Any, word: str, value: Any) -> Any:
    if word in ("add", "replace") and isinstance(value, dict | list):
        return value
    if word == "test":
        if _same(document, value):
            return document
        raise Fails("tested, and different")
    # A state of null is no news to the client, which shows the one before.
    raise Unsure("the document is no more, or moved into itself")


def _transfer(
    document: Any, moves: bool, source: str, target: list[str], undo: list[Undo]
) -> None:
    """Take from one place, or copy, and add in another, which may have moved then."""
    if not source.startswith("/"):
        raise Unsure("the whole document, or no pointer at all")
    keys = _keys(source)
    try:
        parent = _parent(document, keys)
        key = _existing(parent, keys[-1])
    except Fails:
        # Most fail; but a name in an array passes, and null is what is found there.
        raise Unsure("from nowhere") from None
    _parent(document, target)  # there must be one before, and one afterwards
    if target[: len(keys)] == keys:
        raise Unsure("into itself")
    value = parent[key] if moves else deepcopy(parent[key])
    if moves:
        _remove(parent, keys[-1], undo)
    there = _parent(document, target)
    if type(there) is list and _DIGITS.fullmatch(target[-1]):
        if _index(target[-1]) > len(there):
            raise Unsure("beyond the end, which is not looked at here")
    elif type(there) is list and target[-1] != "-":
        raise Unsure("a name in an array")
    _add(there, target[-1], value, undo)


def _keys(path: str) -> list[str]:
    keys = path.split("/")[1:]
    if "~" in path:
        keys = [key.replace("~1", "/").replace("~0", "~") for key in keys]
    if not _INHERITED.isdisjoint(keys):
        raise Unsure("a name every object has")
    return keys


def _parent(document: Any, keys: list[str]) -> Any:
    """Return the container of the last key."""
    here = document
    for key in keys[:-1]:
        if type(here) is dict and key in here:
            here = here[key]
        elif type(here) is list and _DIGITS.fullmatch(key):
            index = _index(key)
            if index >= len(here):
                raise Fails("no such element")
            here = here[index]
        else:
            raise Fails("no such place")
    if type(here) is not dict and type(here) is not list:
        if here is document:
            raise Unsure("the state is a mere value")
        raise Fails("nothing can be put there")
    return here


def _index(key: str) -> int:
    if not _INDEX.fullmatch(key):
        raise Unsure("an index that is written strangely")
    if len(key) > 9:
        raise Unsure("an index of more than 31 bits")
    return int(key)


def _existing(parent: Any, key: str) -> Any:
    """Return the key, as what it is, of something that is there."""
    if type(parent) is dict:
        if key in parent:
            return key
    elif _DIGITS.fullmatch(key):
        index = _index(key)
        if index < len(parent):
            return index
    raise Fails("nothing is there")


def _add(parent: Any, key: str, value: Any, undo: list[Undo]) -> None:
    if type(parent) is dict:
        old = parent.get(key, _MISSING)
        undo.append(
            partial(parent.pop, key)
            if old is _MISSING
            else partial(parent.__setitem__, key, old)
        )
        parent[key] = value
    elif key == "-":
        undo.append(parent.pop)
        parent.append(value)
    elif _DIGITS.fullmatch(key):
        index = _index(key)
        if index > len(parent):
            raise Fails("beyond the end")
        undo.append(partial(parent.pop, index))
        parent.insert(index, value)
    else:
        raise Fails("a name in an array")


def _remove(parent: Any, key: str, undo: list[Undo]) -> None:
    there = _existing(parent, key)
    old = parent.pop(there)
    if type(parent) is dict:
        undo.append(partial(parent.__setitem__, there, old))
    else:
        undo.append(partial(parent.insert, there, old))


def _same(a: Any, b: Any) -> bool:
    """Whether JavaScript would find two JSON values equal."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, int | float) and isinstance(b, int | float):
        if abs(a) > _EXACT or abs(b) > _EXACT:
            raise Unsure("numbers that JavaScript rounds")
        return a == b
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(a == b)
