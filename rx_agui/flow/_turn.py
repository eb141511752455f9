"""One at a time, in order, and nobody waits.

    thread 1   ──a────────────▶ a, then b, go down on thread 1
    thread 2   ────b──┐
                      └ left in the inbox; thread 2 goes its way

Rx asks that signals go down one at a time. A lock held while calling down would
do, and would couple whoever calls to whoever is slow (RxPY's timed operators do
that). So a turn is a token: who has it, hands on what others leave in the inbox.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

__all__ = ["Turn"]


class Turn:
    """Does what it is given, one at a time, on the thread that has the token."""

    __slots__ = ("_inbox", "_token", "owner")

    def __init__(self) -> None:
        self._token = threading.Lock()
        self._inbox: deque[tuple[Callable[[Any], object], Any]] = deque()
        #: The thread that has the token; 0: nobody.
        self.owner = 0

    def do(self, action: Callable[[Any], object], value: Any = None) -> None:
        """Do `action(value)` now if nobody has the token, else leave it to who has."""
        self._inbox.append((action, value))
        self.go_on()

    def go_on(self) -> None:
        """Do what is in the inbox, unless somebody is at it already."""
        # Look again after giving the token back: something may have come meanwhile.
        while self._inbox and self._token.acquire(blocking=False):
            try:
                self.owner = threading.get_ident()
                while self._inbox:
                    action, value = self._inbox.popleft()
                    action(value)
            finally:
                self.owner = 0
                self._token.release()

    def is_owned_by(self, thread: int) -> bool:
        """Whether `thread` is doing one of our actions just now."""
        return self.owner == thread
