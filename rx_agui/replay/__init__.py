"""Logs: what was sent, for readers that were cut off or come late."""

from rx_agui.agui.catch_up import catch_up_lines
from rx_agui.agui.reducer import Reducer
from rx_agui.replay._identity import Asked, Conflict, Joined, Opened, StreamKey
from rx_agui.replay._join import join
from rx_agui.replay._log import Position, ReplayLog
from rx_agui.replay._memory import LogStats, MemoryLog
from rx_agui.replay._payload import slice_after, to_stored

__all__ = [
    "Asked",
    "Conflict",
    "Joined",
    "LogStats",
    "MemoryLog",
    "Opened",
    "Position",
    "Reducer",
    "ReplayLog",
    "StreamKey",
    "catch_up_lines",
    "join",
    "slice_after",
    "to_stored",
]
