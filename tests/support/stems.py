"""The ids of a log's streams, as tests write them."""

from __future__ import annotations

from typing import Any

from rx_agui.replay import StreamKey

__all__ = ["UNKNOWN", "stem"]

#: An epoch that no stream has.
UNKNOWN = "0" * 32


def stem(log: Any, name: str | StreamKey = "run/7") -> str:
    """What stands before the slash of the ids of the newest stream of this name."""
    known = log._find(name)
    if known is None:
        known = StreamKey(str(name), UNKNOWN)
        return known.stem
    return str(known.key.stem)
