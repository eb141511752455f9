"""What a log in memory remembers of finished runs whose events it has dropped."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Collection
from typing import Final, NamedTuple

from rx_agui.replay._identity import Asked, StreamKey
from rx_agui.replay._log import Position

__all__ = [
    "Tombstone",
    "Tombstones",
    "size_of_asked",
    "size_of_ids",
    "size_of_key",
]

#: Characters of a name and its owner beyond which a stream leaves no tombstone.
_LONGEST: Final = 1024

#: The share of all tombstones that one owner may have.
_SHARE: Final = 10


def size_of_key(key: StreamKey) -> int:
    """Return the bytes of memory that a stream's names take, at 4 a character."""
    return 4 * (len(key.name) + len(key.namespace) + len(key.owner or ""))


def size_of_asked(asked: Asked | None) -> int:
    """Return the bytes of memory that the digest of a request takes, about."""
    if asked is None:
        return 0
    return 200 + sum([4 * len(id) + 350 for id, _ in asked.messages])


def size_of_ids(ids: Collection[str]) -> int:
    """Return the bytes of memory that the ids of messages take, about."""
    return sum([4 * len(id) + 100 for id in ids])


class Tombstone(NamedTuple):
    """A finished run without its events.

    Attributes:
        key: Its identity.
        asked, emitted: By what a repeated request is known.
        last: Its last number.
        end: The type of its terminal event; empty if it had none.
        since: When its events were dropped.
    """

    key: StreamKey
    asked: Asked | None
    emitted: frozenset[str]
    last: int
    end: str
    since: float

    @property
    def size(self) -> int:
        """Bytes of memory it takes, about."""
        of_run = size_of_asked(self.asked) + size_of_ids(self.emitted)
        return 700 + size_of_key(self.key) + of_run

    def position(self) -> Position:
        """Return how far it came."""
        return Position(self.last + 1, self.last, True, self.end, False)


class Tombstones(OrderedDict[str, Tombstone]):
    """Tombstones by epoch, the oldest first.

    Args:
        most: How many are kept. One owner has a tenth of them at most, so that no user
            can make the log forget the runs of another; the streams of everybody (an
            empty owner) share them without that limit.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most
        self._of_owner: Counter[str] = Counter()
        self.size = 0

    def add(self, tombstone: Tombstone) -> list[Tombstone]:
        """Set up a tombstone; return those that had to go, which may be itself."""
        key = tombstone.key
        owner = key.owner or ""
        if len(key.name) + len(owner) + len(key.namespace) > _LONGEST:
            return [tombstone]
        self[key.epoch] = tombstone
        self.size += tombstone.size
        self._of_owner[owner] += 1
        gone = []
        if owner and self._of_owner[owner] > max(1, self._most // _SHARE):
            first = next(one for one in self.values() if one.key.owner == owner)
            gone.append(self.remove(first))
        if len(self) > self._most:
            gone.append(self.remove_first())
        return gone

    def remove(self, tombstone: Tombstone) -> Tombstone:
        """Take one down."""
        del self[tombstone.key.epoch]
        owner = tombstone.key.owner or ""
        self.size -= tombstone.size
        self._of_owner[owner] -= 1
        if not self._of_owner[owner]:
            del self._of_owner[owner]
        return tombstone

    def remove_first(self) -> Tombstone:
        """Take the oldest down."""
        return self.remove(next(iter(self.values())))
