"""HTTP out: one response for any ASGI application.

response     SSEResponse: what it takes, and which way a request goes
coding       Content-Encoding, negotiated and streamed
connection   one body: written, kept alive, given up
session      one reader: from the first byte to the last
alone        a run that belongs to its request
ending       every run gets its terminal event
"""

from rx_agui.asgi._policy import CANCEL, CONTINUE, Grace, grace
from rx_agui.asgi._response import SSEResponse

__all__ = ["CANCEL", "CONTINUE", "Grace", "SSEResponse", "grace"]
