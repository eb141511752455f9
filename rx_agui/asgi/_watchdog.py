"""Who looks after connections: one round, one timer, however many there are.

    connections   A (look at 3)   B (look at 9)   C (look at 15)
    timer         ────3──▶ A: idle, so a comment goes; look again at 18

A connection is looked at when something may be due: a keep-alive, a send that takes too
long. Nothing is done per write: who looks reads when the last one was.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
from typing import ClassVar, Protocol
from weakref import WeakKeyDictionary

__all__ = ["Registration", "Watchdog"]

_log = logging.getLogger("rx_agui")

#: Seconds between two looks at least, whatever a setting of milliseconds asks for.
_PAUSE = 0.001


class Watched(Protocol):
    """What can be looked after."""

    def look(self, now: float) -> float | None:
        """Do what is due. When to look again, in the loop's time; None: never."""


class Registration:
    """A watchdog registration. After `leave` it holds no reference."""

    __slots__ = ("_patrol", "watched")

    def __init__(self, patrol: Watchdog, watched: Watched) -> None:
        self._patrol = patrol
        self.watched: Watched | None = watched

    def leave(self) -> None:
        """Be looked after no more."""
        if self.watched is not None:
            self.watched = None
            self._patrol._left()


class Watchdog:
    """The round of one event loop."""

    _rounds: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, Watchdog]] = (
        WeakKeyDictionary()
    )

    @classmethod
    def here(cls) -> Watchdog:
        """Return the round of the loop that runs here."""
        loop = asyncio.get_running_loop()
        if loop not in cls._rounds:
            cls._rounds[loop] = cls()
        return cls._rounds[loop]

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Registration]] = []
        self._order = itertools.count()
        self._posts = 0
        self._timer: asyncio.TimerHandle | None = None

    def join(self, watched: Watched, first_look: float) -> Registration:
        """Look after it from now on."""
        post = Registration(self, watched)
        self._posts += 1
        heapq.heappush(self._due, (first_look, next(self._order), post))
        self._arm()
        return post

    def _left(self) -> None:
        self._posts -= 1
        if self._posts == 0:  # a timer would keep the loop in memory, and us with it
            self._due.clear()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def _arm(self) -> None:
        while self._due and self._due[0][2].watched is None:
            heapq.heappop(self._due)
        if not self._due:
            return
        first = self._due[0][0]
        if self._timer is not None:
            if self._timer.when() <= first:
                return  # it rings early, and looks
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(first, self._ring)

    def _ring(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        while self._due and self._due[0][0] <= now + _PAUSE:
            _, order, post = heapq.heappop(self._due)
            if post.watched is None:
                continue
            try:
                again = post.watched.look(now)
            except Exception:  # one connection's trouble is not the others'
                _log.exception("%r could not be looked after", post.watched)
                continue
            if again is not None and post.watched is not None:
                heapq.heappush(self._due, (max(again, now + 2 * _PAUSE), order, post))
        self._arm()
