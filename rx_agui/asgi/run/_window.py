"""Who holds a run back: its fastest reader, and without one its policy.

in the log    1 2 3 4 5 6 7 8 9
readers             A     B           the credit of 1 to 6 has come home: B has it
no reader     1 2 3 4 5 6 7 8 9 ...   ten windows more than any reader has had
"""

from __future__ import annotations

from collections import deque
from math import inf

from rx_agui.asgi.run._on_disconnect import Grace
from rx_agui.flow import Permit

__all__ = ["Reader", "RunWindow"]

#: Windows that a run may be ahead of its last reader while it waits for one: more than
#: any model says in a minute, and what a log keeps, so that the reader gets all of it.
_WINDOWS = 10

#: Seconds between two marks of when events came, and how many are kept: four minutes.
_BETWEEN_MARKS, _MARKS = 0.25, 1000


class Reader:
    """One reader of a run, in this process.

    Attributes:
        written: The last number that it has been sent.
    """

    __slots__ = ("_pace", "_since", "written")

    def __init__(self, pace: RunWindow, since: float, written: int) -> None:
        self._pace = pace
        self._since = since
        self.written = written

    def wrote(self, number: int) -> None:
        """Everything up to this number has been sent to it."""
        if number > self.written:
            self.written = number
        if number > self._pace.furthest:
            self._pace.has_gone_out(number)

    def lag(self, now: float) -> float:
        """Seconds since it could have been sent what comes next for it."""
        came = self._pace.came(self.written + 1)
        return 0.0 if came is None else now - max(came, self._since)


class RunWindow:
    """How far a run may go.

    Attributes:
        last: The last number in the log.
        furthest: The last number that any reader has been sent.
    """

    def __init__(self, window: int, policy: Grace) -> None:
        self.last = 0
        # A run that goes on to its end without readers is never held back by their absence.
        self._allowance: float = window * _WINDOWS if policy.seconds < inf else inf
        self.furthest = 0
        self._readers: set[Reader] = set()
        self._stored: deque[tuple[int, Permit]] = deque()
        self._marks: deque[tuple[int, float]] = deque(maxlen=_MARKS)

    def attach(self, now: float, written: int) -> Reader:
        """Attach a reader that has everything up to this number."""
        reader = Reader(self, now, written)
        self._readers.add(reader)
        self.has_gone_out(written)  # by another process, if not by us
        return reader

    def detach(self, reader: Reader) -> bool:
        """Detach a reader; return True if none is left."""
        self._readers.discard(reader)
        self._give_back()
        return not self._readers

    def stores(self, first: int, last: int, permit: Permit, now: float) -> None:
        """Register a logged payload; its permit is held until a reader has it."""
        self.last = last
        if not self._marks or now - self._marks[-1][1] >= _BETWEEN_MARKS:
            self._marks.append((first, now))
        self._stored.append((last, permit))
        self._give_back()

    def has_gone_out(self, number: int) -> None:
        """One reader has been sent everything up to this number.

        The others are not asked: among a thousand that were a million steps a payload.
        """
        if number > self.furthest:
            self.furthest = number
            self._give_back()

    def _give_back(self) -> None:
        """Give back the credit of what the fastest reader has been sent."""
        limit = self.furthest if self._readers else self.furthest + self._allowance
        while self._stored and self._stored[0][0] <= limit:
            self._stored.popleft()[1].release()

    def came(self, number: int) -> float | None:
        """When this number came, about; None if it has not."""
        if number > self.last:
            return None
        came = None
        for first, when in self._marks:
            if came is not None and first > number:
                break
            came = when
        return came

    def ends(self) -> None:
        """Release all permits: nothing is held back any more."""
        for _, permit in self._stored:
            permit.release()
        self._stored.clear()
