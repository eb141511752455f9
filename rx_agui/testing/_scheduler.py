"""Virtual time that only moves when something is due."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from reactivex.scheduler import VirtualTimeScheduler
from reactivex.scheduler.scheduleditem import ScheduledItem

__all__ = ["MarbleScheduler"]

T = TypeVar("T")


class MarbleScheduler(VirtualTimeScheduler):
    """RxPY's virtual time, without its habit of moving the clock by itself.

    After 100 actions in one instant RxPY's `start` adds a second, so a test with more
    events than that lies; here a limit on actions ends a loop that feeds itself.

    Args:
        work: Seconds each job of a worker takes, in order; those without take none.
    """

    def __init__(self, work: list[float] | None = None) -> None:
        super().__init__()
        self._work = iter(work or [])

    def play(self, until: float = float("inf"), *, limit: int = 1_000_000) -> None:
        """Do what is due, in order of time and then of scheduling.

        Raises:
            RuntimeError: More than `limit` actions: something feeds itself.
        """
        done = 0
        while (item := self._next(until)) is not None:
            if item.is_cancelled():
                continue
            if done == limit:
                raise RuntimeError(
                    f"more than {limit} actions: something schedules itself for ever"
                )
            done += 1
            item.invoke()

    def _next(self, until: float) -> ScheduledItem | None:
        """Return the next due action, and move the clock to it."""
        with self._lock:
            if not self._queue or self.to_seconds(self._queue.peek().duetime) > until:
                return None
            item = self._queue.dequeue()
            self._clock = max(self._clock, self.to_seconds(item.duetime))
            return item

    def at(self, second: float, action: Callable[..., object], *args: Any) -> None:
        """Do `action(*args)` at this second."""

        def act(*_: Any) -> None:
            action(*args)

        self.schedule_absolute(second, act)

    def soon(self, action: Callable[[], object]) -> None:
        """Do `action` in this very second, behind what is due already."""
        self.at(self.seconds, action)

    def work(self, job: Callable[[], T], done: Callable[[T], object]) -> None:
        """Do a job that takes as long as the next number in `work` says."""
        self.at(self.seconds + next(self._work, 0.0), lambda: done(job()))

    @property
    def seconds(self) -> float:
        """Seconds since the beginning."""
        return round(self.to_seconds(self.now), 6)
