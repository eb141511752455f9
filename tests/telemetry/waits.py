"""Time that is told to pass, and conditions that are waited for: no test sleeps."""

from __future__ import annotations

import threading
from collections.abc import Callable

from rx_agui import Gate

__all__ = ["Clock", "until", "who_wait"]

#: Seconds after which what was waited for never comes to be.
SOON = 20.0


class Clock:
    """A time_ns that goes on only when told, for every module that reads it."""

    def __init__(self) -> None:
        self.now = 1_000_000_000_000

    def __call__(self) -> int:
        return self.now

    def pass_by(self, seconds: float) -> None:
        """So many seconds go by."""
        self.now += round(seconds * 1e9)


def until(condition: Callable[[], object]) -> None:
    """Wait until it holds."""
    tick, left = threading.Event(), SOON
    while not condition():
        assert left > 0, "it never came to be"
        tick.wait(0.001)
        left -= 0.001


def who_wait(gate: Gate) -> int:
    """How many senders wait for credit just now."""
    return 0 if gate.link is None else len(gate.link.credit._waiters)
