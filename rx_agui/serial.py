"""One at a time, in order, and nobody waits.

    thread 1   ──a────────────▶ a, then b, go down on thread 1
    thread 2   ────b──┐
                      └ left in the inbox; thread 2 goes its way

Rx asks that signals go down one at a time. A lock held while calling down would
do, and would couple whoever calls to whoever is slow (RxPY's timed operators do
that). So a turn is a token: who has it, hands on what others leave in the inbox.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Lock, get_ident
from typing import Any, Final

__all__ = ["SerialExecutor"]

#: What to do, and with what.
Job = tuple[Callable[[Any], object], Any]

#: What every turn has until somebody has to leave something there: few ever do.
_NOTHING: Final[deque[Job]] = deque(maxlen=0)
_making: Final = Lock()


class SerialExecutor:
    """Does what it is given, one at a time, on the thread that has the token.

    Attributes:
        token: Whoever pops it has the turn, and appends it again. A list does that in
            one step, in half the time of a lock.
        inbox: What others left for who has the turn.
        owner: The thread that has the token; 0: nobody.
    """

    __slots__ = ("inbox", "owner", "token")

    def __init__(self) -> None:
        self.token: list[None] = [None]
        self.inbox = _NOTHING
        self.owner = 0

    def do(self, action: Callable[[Any], object], value: Any = None) -> None:
        """Do `action(value)` now if nobody has the token, else leave it to who has."""
        if not self.inbox:
            try:
                self.token.pop()
            except IndexError:
                pass
            else:
                try:
                    self.owner = get_ident()
                    action(value)
                finally:
                    self.owner = 0
                    self.token.append(None)
                if self.inbox:
                    self.go_on()
                return
        self.leave(action, value)

    def leave(self, action: Callable[[Any], object], value: Any) -> None:
        """Do it behind what is in the inbox; or whoever has the token will."""
        if self.inbox is _NOTHING:
            with _making:
                if self.inbox is _NOTHING:
                    self.inbox = deque()
        self.inbox.append((action, value))
        self.go_on()

    def go_on(self) -> None:
        """Do what is in the inbox, unless somebody is at it already."""
        # Look again after giving the token back: something may have come meanwhile.
        while self.inbox:
            try:
                self.token.pop()
            except IndexError:
                return
            try:
                self.owner = get_ident()
                while self.inbox:
                    action, value = self.inbox.popleft()
                    action(value)
            finally:
                self.owner = 0
                self.token.append(None)

    def is_owned_by(self, thread: int) -> bool:
        """Whether `thread` is doing one of our actions just now."""
        return self.owner == thread
