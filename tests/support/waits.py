"""Time that is told to pass, and who waits in it."""

from __future__ import annotations

from rx_agui import Gate

__all__ = ["Clock", "who_wait"]


class Clock:
    """A time_ns that goes on only when told, for every module that reads it."""

    def __init__(self) -> None:
        self.now = 1_000_000_000_000

    def __call__(self) -> int:
        return self.now

    def pass_by(self, seconds: float) -> None:
        """So many seconds go by."""
        self.now += round(seconds * 1e9)


def who_wait(gate: Gate) -> int:
    """How many senders wait for credit just now."""
    return 0 if gate.link is None else len(gate.link.credit._waiters)
