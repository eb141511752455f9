"""How long to wait before asking again, and how often.

    lost ──wait──▶ asked, refused ──wait, longer──▶ asked, refused ──▶ ... ──▶ given up
          up to 0.5 s                up to 1 s                         10 times

Each wait is drawn from zero to its bound ("full jitter"), so that the readers of a
server that restarts do not all come back in the same moment. An event that was
handed on ends the count.
"""

from __future__ import annotations

import random as _random
from collections.abc import Callable
from dataclasses import dataclass

from rx_agui.backoff import Backoff
from rx_agui.errors import require_at_least, require_positive, require_whole

__all__ = ["Reconnect"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconnect:
    """When to ask again.

    >>> Reconnect(random=lambda: 1.0).delay(1), Reconnect(random=lambda: 1.0).delay(4)
    (0.5, 4.0)

    Args:
        attempts: How often in a row to ask again without getting a new event. With the
            defaults a server may be away for about a minute.
        base: Seconds the first wait may take. A server that sends `retry:` knows better,
            and is followed.
        longest: Seconds no wait exceeds, whatever the server says.
        random: Draws from 0 to 1. For tests.

    Raises:
        ConfigError: A setting makes no sense.
    """

    attempts: int = 10
    base: float = 0.5
    longest: float = 30.0
    random: Callable[[], float] = _random.random

    def __post_init__(self) -> None:
        require_at_least(1, attempts=self.attempts)
        require_whole(attempts=self.attempts)
        require_positive(base=self.base, longest=self.longest)

    def delay(
        self, attempt: int, *, retry_ms: int | None = None, at_least: float = 0.0
    ) -> float:
        """Seconds to wait before attempt 1, 2, 3...

        Args:
            retry_ms: The server's last `retry:`, in milliseconds: the base.
            at_least: What the server asked for by `Retry-After`, in seconds.
        """
        base = self.base if retry_ms is None else retry_ms / 1000
        rest = min(at_least, self.longest)
        if not base:  # `retry: 0`
            return rest
        backoff = Backoff(min(base, self.longest), most=self.longest, jitter=1.0)
        by_lot = backoff.delay(attempt, lambda: 1.0 - self.random())
        return min(rest + by_lot, self.longest)
