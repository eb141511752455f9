"""What was sent, kept for readers who were cut off or came late."""

from rx_agui.replay._log import Position, ReplayLog

__all__ = ["Position", "ReplayLog"]
