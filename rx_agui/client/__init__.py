"""The other end of the line: events from a URL, each exactly once.

_connect      connect, and what it gives
_reading      one reader's way, over as many connections as it takes
_reconnect    when to ask again
_request      one question, and which answers are streams
_answer       the bytes of one answer to events; what was handed on is not again
_body         what HTTP compressed
"""

from rx_agui.client._connect import Connection, connect
from rx_agui.client._reading import Lost, Opened, Reading
from rx_agui.client._reconnect import Reconnect

__all__ = ["Connection", "Lost", "Opened", "Reading", "Reconnect", "connect"]
