"""The condition under which two JSON Patches may become one, unnoticed.

    A  [replace /done 3]      both need /done, and leave it there: one patch
    B  [replace /done 4]                                              [replace /done 4]

    A  [replace /done 3]      if there is a /done and no /name, A applies and B does
    B  [replace /name "x"]    not: as one patch both would be lost. They stay two.

A client applies a patch whole or, if any operation fails, not at all (RFC 6902 §5;
`@ag-ui/client` catches the failure and goes on). So two patches may become one if,
whatever the state is, both succeed or both fail. What must hold for a patch is told
by its operations and paths alone, where they do not get in each other's way.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

__all__ = ["Patches", "Preconditions", "is_tested", "preconditions_of"]

Op = dict[str, Any]

#: The (operation, path) pairs that must be possible in a state for a patch to succeed,
#: and are possible afterwards as well. None: the patch alone does not tell.
Preconditions = frozenset[tuple[str, str]] | None

#: Others destroy what they need, or need what is elsewhere.
_REPEATABLE = frozenset(["add", "replace"])
_FIELDS = frozenset(["op", "path", "value"])


def preconditions_of(ops: Any) -> Preconditions:
    """Return what a patch needs of the state; None if the patch does not tell.

    >>> sorted(preconditions_of([{"op": "replace", "path": "/done", "value": 3}]))
    [('replace', '/done')]
    >>> preconditions_of([{"op": "remove", "path": "/done"}]) is None
    True
    """
    if type(ops) is not list:
        return None
    needs = set()
    for op in ops:
        if type(op) is not dict or op.keys() != _FIELDS:
            return None
        word, path = op["op"], op["path"]
        if type(path) is not str or path[:1] != "/" or word not in _REPEATABLE:
            return None
        needs.add((word, path))
    if len(needs) > 1 and not _are_apart(needs):
        return None
    return frozenset(needs) or None


def is_tested(ops: Any) -> bool:
    """Whether a patch is meant to fail at times, or is none at all."""
    return type(ops) is not list or any(
        type(op) is not dict or op.get("op", "test") == "test" for op in ops
    )


class Patches:
    """Merged patches: the last value of each place, and all that was appended."""

    __slots__ = ("_piled", "_set", "preconditions")

    def __init__(self, ops: list[Op], preconditions: Preconditions) -> None:
        self.preconditions = preconditions
        self._set: dict[tuple[str, str], Op] = {}
        self._piled: list[Op] = []
        self.add(ops, preconditions)

    def add(self, ops: list[Op], preconditions: Preconditions) -> None:
        """Add a patch. With other preconditions it is taken to succeed."""
        if preconditions is None or preconditions != self.preconditions:
            if self._set:
                self._piled, self._set = self.ops(), {}
            self._piled += ops
            self.preconditions = None
            return
        for op in ops:
            word, path = op["op"], op["path"]
            if word == "add" and _piles_up(path):
                self._piled.append(op)
            else:
                self._set[word, path] = op

    def ops(self) -> list[Op]:
        """Return all of them as one patch."""
        return [*self._set.values(), *self._piled]


def _piles_up(path: str) -> bool:
    """Whether another `add` at the path may insert into an array instead of setting."""
    key = path[path.rfind("/") + 1 :]
    return key == "-" or _is_index(key)


def _is_index(key: str) -> bool:
    # "" is one too: to fast-json-patch, which the stock client uses.
    return not key.strip("0123456789")


def _are_apart(needs: set[tuple[str, str]]) -> bool:
    """Whether no operation touches what another needs."""
    touched = []
    for word, path in needs:
        if word == "add" and _piles_up(path):
            path = path[: path.rfind("/")]  # an array shifts or grows, as a whole
        keys = path.replace("~1", "\0").replace("~0", "~").split("/")
        touched.append([key.replace("\0", "/") for key in keys])
    touched.sort()  # so that a path stands right before what is below it
    return not any(below[: len(path)] == path for path, below in pairwise(touched))
