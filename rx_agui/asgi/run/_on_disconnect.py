"""What becomes of a run without readers.

reader   ───────x                    x: its connection is gone
CANCEL   ───────|                    the agent stops at once
grace(3) ──────────|                 it goes on for three seconds, if no reader comes
CONTINUE ──────────────────|         it goes on to its end
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Final

from rx_agui.errors import ConfigError, require_at_least

__all__ = ["CANCEL", "CONTINUE", "Grace", "grace"]


@dataclass(frozen=True, slots=True)
class Grace:
    """How many seconds a run goes on without any reader; see `grace`."""

    seconds: float


def grace(seconds: float) -> Grace:
    """Let a run go on without a reader for so many seconds, then cancel it.

    >>> grace(60)
    Grace(seconds=60)

    Meanwhile what it says goes to the log, up to ten windows more than its last reader
    has had: a reader that comes back gets all of it. Beyond that the agent has to wait, which
    `CONTINUE` spares it. Readers are those of this process: where several processes
    share a log, one who came back to another is not seen here; take `CONTINUE` there.

    Raises:
        ConfigError: The seconds are negative.
    """
    require_at_least(0.0, seconds=seconds)
    return Grace(seconds)


def require_grace(**settings: object) -> None:
    """Raise ConfigError for the first setting that is no such policy."""
    for name, value in settings.items():
        if not isinstance(value, Grace):
            raise ConfigError(name, value, must="CANCEL, CONTINUE or grace(seconds)")


#: A run ends with its last reader. No tokens are paid for that are not read.
CANCEL: Final = Grace(0.0)

#: A run goes on to its end: it has effects that matter, reader or not.
CONTINUE: Final = Grace(inf)
