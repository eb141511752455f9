"""The other end of the line: events from a URL, each exactly once.

_connect      connect, and what it gives
_reading      one reader's way, over as many connections as it takes
_reconnect    when to ask again
_request      one question, and which answers are streams
_response     the bytes of one response to events, each exactly once
"""

from rx_agui.client._connect import Connection, connect
from rx_agui.client._reading import Lost, Opened, Reading
from rx_agui.client._reconnect import Reconnect

__all__ = ["Connection", "Lost", "Opened", "Reading", "Reconnect", "connect"]
