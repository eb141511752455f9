"""Threads that come when there is work and go when there is none.

Two kinds of work need a thread of their own: a timer that is due where there is
no event loop, since what it sets off may block, and compression, which takes
long. Neither deserves a thread per stream. So a process has one group for each;
its threads are daemons, are shared by all streams, and end when idle.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from rx_agui.deprecation import aliases

__all__ = ["CALLBACK_POOL", "COMPUTE", "Workers"]


class Workers:
    """A group of threads, each of which ends after `idle` seconds without work.

    >>> done = threading.Event()
    >>> Workers("example", limit=1).submit(done.set)
    >>> done.wait(5)
    True

    Args:
        limit: Threads that there are at most, while work gets done.
        patience: Seconds without any progress after which `relieve` adds a thread
            beyond the limit. None: never; jobs are known to end.
        idle: Seconds a thread waits for work before it ends.
    """

    def __init__(
        self,
        name: str,
        limit: int,
        *,
        patience: float | None = None,
        idle: float = 1.0,
    ) -> None:
        self.name = name
        self.limit = limit
        self.patience = patience
        self.idle = idle
        self._jobs: deque[Callable[[], object]] = deque()
        self._changed = threading.Condition()
        self._threads = 0
        self._waiting = 0
        self._progress = time.monotonic()

    def forget(self) -> None:
        """Begin anew in a forked child, which has none of the parent's threads.

        Jobs that wait belong to the parent, which does them.
        """
        self._jobs = deque()
        self._changed = threading.Condition()
        self._threads = self._waiting = 0
        self._progress = time.monotonic()

    @property
    def backlog(self) -> int:
        """Return how many jobs have not begun."""
        return len(self._jobs)

    @property
    def threads(self) -> int:
        """How many threads there are now."""
        return self._threads

    def submit(self, job: Callable[[], object]) -> None:
        """Do `job` soon, on some thread. What it raises goes to threading.excepthook."""
        with self._changed:
            self._jobs.append(job)
            if len(self._jobs) <= self._waiting:
                self._changed.notify()
                return
            if self._threads >= self.limit:
                return
            self._threads += 1
        self._start()

    def relieve(self) -> None:
        """Add a thread if jobs wait and every thread there is seems to be stuck."""
        with self._changed:
            stuck = self.patience is not None and (
                time.monotonic() - self._progress > self.patience
            )
            if not (stuck and self._jobs):
                return
            self._progress = time.monotonic()
            self._threads += 1
        self._start()

    def _start(self) -> None:
        try:
            threading.Thread(
                target=self._work, name=f"rx_agui-{self.name}", daemon=True
            ).start()
        except BaseException:
            with self._changed:
                self._threads -= 1
            raise

    def _work(self) -> None:
        while job := self._next():
            try:
                job()
            except BaseException as error:  # sys.exit() too: we are shared
                args = (type(error), error, error.__traceback__, None)
                threading.excepthook(threading.ExceptHookArgs(args))
            del job  # else what it holds lives until the next one comes

    def _next(self) -> Callable[[], object] | None:
        with self._changed:
            if not self._jobs and self._waiting < self.limit:
                # More than that came as relief, and go. Those who wait are woken in
                # turn, so with steady work no thread would ever be idle for long.
                self._waiting += 1
                self._changed.wait_for(lambda: self._jobs, timeout=self.idle)
                self._waiting -= 1
            if self._jobs:
                self._progress = time.monotonic()
                return self._jobs.popleft()
            self._threads -= 1
            return None


#: Runs what a timer sets off. A sink may block there for ever, and must not delay
#: another stream; but a thousand timers due at once are no reason for a thousand
#: threads. So few, and more only when those make no progress.
CALLBACK_POOL: Final = Workers("hand", limit=4, patience=0.01)

#: Compresses. More threads than processors would only wait for each other.
COMPUTE: Final = Workers("compute", limit=os.cpu_count() or 1)


__getattr__ = aliases(__name__, {"HANDS": f"{__name__}:CALLBACK_POOL"})

if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=CALLBACK_POOL.forget)
    os.register_at_fork(after_in_child=COMPUTE.forget)
