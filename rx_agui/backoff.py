"""How long to wait before the next try: longer each time, and never in step.

    try   ×   ×     ×         ×                 ×
          └─┘ └───┘ └───────┘ └───────────────┘     doubled, up to `most`
           └┘  └─┘    └────┘      └─────────┘       less a share by chance

What fails for all at the same moment would be tried again by all at the same moment;
chance spreads them. The rule is AWS's: Brooker, "Exponential Backoff And Jitter".

Only the waiting is here, without a clock and without a loop around a call. Chosen over
RxPY's `retry`, which subscribes anew and so would send everything again, and over
stamina and tenacity, which sleep or await where a stream must not: in its turn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import random

from rx_agui.errors import ConfigError, require_at_least, require_positive

__all__ = ["Backoff", "as_backoff"]


@dataclass(frozen=True)
class Backoff:
    """Seconds to wait after the first failure, the second, and so on.

    >>> calm = Backoff(0.1, most=1.0, jitter=0)
    >>> [calm.delay(failures) for failures in (1, 2, 3, 4, 5, 99)]
    [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    >>> 0.05 <= Backoff(0.1).delay(1) <= 0.1
    True

    Args:
        first: Seconds after the first failure.
        factor: How many times longer each wait is than the one before.
        most: Seconds no wait exceeds. With 30 a reader who comes back within the
            minute is not left alone for the next.
        jitter: The share of a wait that is left to chance: 0 waits exactly, 1 waits
            anything down to nothing.

    Raises:
        ConfigError: A setting makes no sense.
    """

    first: float = 0.1
    factor: float = 2.0
    most: float = 30.0
    jitter: float = 0.5

    def __post_init__(self) -> None:
        require_positive(first=self.first)
        require_at_least(1, factor=self.factor)
        require_at_least(self.first, most=self.most)
        require_at_least(0, jitter=self.jitter)
        if self.jitter > 1:
            raise ConfigError("jitter", self.jitter, must="from 0 to 1")

    def delay(self, failures: int, chance: Callable[[], float] = random) -> float:
        """Seconds to wait after so many failures in a row.

        Args:
            chance: A number from 0 to 1, anew with each call.
        """
        try:
            longest = min(self.first * self.factor ** (failures - 1), self.most)
        except OverflowError:  # a factor to the power of some thousands
            longest = self.most
        return longest * (1 - self.jitter * chance())


def as_backoff(setting: str, value: float | Backoff) -> Backoff:
    """Return a setting as a Backoff; a number waits the same seconds each time."""
    if isinstance(value, Backoff):
        return value
    require_positive(**{setting: value})
    return Backoff(value, factor=1, most=value, jitter=0)
