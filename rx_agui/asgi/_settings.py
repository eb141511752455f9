"""What SSEResponse was told, checked once, for all the rooms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rx_agui.asgi.run._on_disconnect import CANCEL, Grace, grace, require_grace
from rx_agui.errors import (
    ConfigError,
    require_at_least,
    require_one_of,
    require_positive,
    require_whole,
    warn_if_milliseconds,
)

__all__ = ["CONFLATES", "PROFILES", "Settings"]

PROFILES: Final = ("agui", "chunk")
CONFLATES: Final = ("never", "lagging", "always")

#: Seconds a logged run waits for a reader that was cut off: a tunnel, a lid that closed.
_TUNNEL: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """See SSEResponse, which has them as keywords."""

    window: int
    batch_size: int
    batch_timeout: float
    profile: str
    conflate: str
    codings: tuple[str, ...]
    compression_level: int
    status_grace: float
    keep_alive: float | None
    retry: float
    send_timeout: float | None
    max_staleness: float | None
    max_duration: float | None
    on_disconnect: Grace | None
    expose_errors: bool
    name: str

    def __post_init__(self) -> None:
        counts = {"window": self.window, "batch_size": self.batch_size}
        require_positive(**counts, batch_timeout=self.batch_timeout, retry=self.retry)
        warn_if_milliseconds(batch_timeout=self.batch_timeout)
        require_whole(**counts, compression_level=self.compression_level)
        require_one_of(PROFILES, profile=self.profile)
        require_one_of(CONFLATES, conflate=self.conflate)
        require_at_least(0.0, status_grace=self.status_grace)
        if not 1 <= self.compression_level <= 9:
            level = self.compression_level
            raise ConfigError("compression_level", level, must="from 1 to 9")
        for name in ("keep_alive", "send_timeout", "max_staleness", "max_duration"):
            value = getattr(self, name)
            if value is not None:
                require_positive(**{name: value})
        if self.on_disconnect is not None:
            require_grace(on_disconnect=self.on_disconnect)
        if not self.name:
            raise ConfigError("name", self.name, must="not empty")

    def without_readers(self, *, logged: bool) -> Grace:
        """What a run does without readers. A log makes it worth to wait for one."""
        if self.on_disconnect is not None:
            return self.on_disconnect
        return grace(_TUNNEL) if logged else CANCEL

    @property
    def shortest_wait(self) -> float:
        """Seconds between two looks at a connection, at most."""
        waits = (self.keep_alive, self.send_timeout, self.max_staleness)
        return min([wait for wait in waits if wait is not None], default=60.0)
