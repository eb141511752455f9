"""One action at a time, in order, and no caller waits.

    thread 1   ──a────────────▶ a, then b, run on thread 1
    thread 2   ────b──┐
                      └ left in the inbox; thread 2 returns at once

Rx asks that signals go down one at a time. A lock held while calling down would do,
and would couple each caller to the slowest one (RxPY's timed operators do that). So
the right to run is a token: the thread that has it also runs what others leave in the
inbox.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Lock, get_ident
from typing import Any, Final

__all__ = ["SerialExecutor"]

#: An action, and its argument.
Job = tuple[Callable[[Any], object], Any]

#: The inbox of every executor until the first job is left in it: few ever need one.
_NOTHING: Final[deque[Job]] = deque(maxlen=0)
_making: Final = Lock()


class SerialExecutor:
    """Runs actions one at a time, on the thread that has the token.

    >>> executor, said = SerialExecutor(), []
    >>> def outer(_):
    ...     executor.run(said.append, "inner")  # the token is taken: it goes behind us
    ...     said.append("outer")
    >>> executor.run(outer)
    >>> said
    ['outer', 'inner']

    Attributes:
        token: The thread that pops it may run actions, and appends it again. A list does
            that in one step, in half the time of a lock.
        inbox: Jobs left for the thread that has the token.
        owner: The ident of that thread; 0 if the token is free.
    """

    __slots__ = ("inbox", "owner", "token")

    def __init__(self) -> None:
        self.token: list[None] = [None]
        self.inbox = _NOTHING
        self.owner = 0

    def run(self, action: Callable[[Any], object], value: Any = None) -> None:
        """Run `action(value)` now if the token is free, else leave it in the inbox.

        What an action raises is raised here, at the thread that ran it.
        """
        if not self.try_run(action, value):
            self.enqueue(action, value)

    def try_run(self, action: Callable[[Any], object], value: Any) -> bool:
        """Run `action(value)` if it can run now, and what came meanwhile; else False."""
        if self.inbox:
            return False
        try:
            self.token.pop()
        except IndexError:
            return False
        try:
            self.owner = get_ident()
            action(value)
        finally:
            self.owner = 0
            self.token.append(None)
        if self.inbox:
            self.drain()
        return True

    def enqueue(self, action: Callable[[Any], object], value: Any = None) -> None:
        """Put a job behind those in the inbox, and run them unless they are being run."""
        if self.inbox is _NOTHING:
            with _making:
                if self.inbox is _NOTHING:
                    self.inbox = deque()
        self.inbox.append((action, value))
        self.drain()

    def drain(self) -> None:
        """Run the jobs in the inbox, unless another thread is at it."""
        # Look again after giving the token back: a job may have come meanwhile.
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
        """Whether `thread` is running one of the actions now."""
        return self.owner == thread
