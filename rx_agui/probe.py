"""What operators tell about themselves, and to whom they tell it.

An operator keeps plain integers (a Tally) and a probe reads them when it likes.
Nothing is called per event, so a stream that nobody watches pays for the
integers alone. Telemetry and StreamMetrics are probes; operators know neither.

    with watching(probe):                 # or listeners.append(probe), for good
        events.pipe(flow_control(), batch()).subscribe(...)
        # probe.joined(tally) has been called twice, once per operator
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

__all__ = ["Probe", "Tally", "listeners", "watching"]


class Tally:
    """What one operator did for one subscriber, in events.

    Whenever the stream is quiet, and after it has ended,

        received + created = emitted + dropped + merged + held

    Each integer has one writer, whose turn it is, so none needs a lock.
    """

    __slots__ = ("_dropped", "created", "merged", "name", "passed", "sent", "taken")

    def __init__(self, name: str) -> None:
        self.name = name
        #: Came and went in one step. Else: came in, `taken`; went out, `sent`.
        self.passed = 0
        self.taken = 0
        self.sent = 0
        self.created = 0
        self.merged = 0
        self._dropped: dict[str, int] | None = None  # most streams drop nothing

    @property
    def received(self) -> int:
        """Events that came in."""
        return self.passed + self.taken

    @property
    def emitted(self) -> int:
        """Events that went out."""
        return self.passed + self.sent

    @property
    def dropped(self) -> dict[str, int]:
        """Events dropped, by reason."""
        return dict(self._dropped or {})

    @property
    def held(self) -> int:
        """Events the operator keeps for now: a batch that fills, a late number."""
        lost = sum((self._dropped or {}).values())
        return self.received + self.created - self.emitted - lost - self.merged

    def count_drop(self, reason: str, events: int) -> None:
        """`events` more that nobody will see, because of `reason`."""
        if events:
            self._dropped = self._dropped or {}
            self._dropped[reason] = self._dropped.get(reason, 0) + events


class Probe(Protocol):
    """Is shown each operator's tally once, when somebody subscribes."""

    def joined(self, tally: Tally) -> None:
        """An operator begins to work for a subscriber."""

    def left(self, tally: Tally) -> None:
        """It has ended; its integers will not change any more."""


#: Every probe that watches, asked at subscribe. Empty: nobody is told anything.
listeners: list[Probe] = []


@contextmanager
def watching(probe: Probe) -> Iterator[None]:
    """Let `probe` see every stream that is subscribed within the block."""
    listeners.append(probe)
    try:
        yield
    finally:
        listeners.remove(probe)
