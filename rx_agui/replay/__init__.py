"""What was sent, kept for readers who were cut off or came late."""

from rx_agui.replay._join import join
from rx_agui.replay._log import Position, ReplayLog
from rx_agui.replay._memory import LogStats, MemoryLog

__all__ = ["LogStats", "MemoryLog", "Position", "ReplayLog", "join"]
