"""HTTP out: one response for any ASGI application.

middleware   AGUIMiddleware: the endpoints of any app, served by SSEResponse
response     SSEResponse: what it takes, and which way a request goes
coding       Content-Encoding, negotiated and streamed
connection   one body: written, kept alive, given up
session      one reader: from the first byte to the last
alone        a run that belongs to its request
feed, late   whatever can be given as a source
producer     a run that is kept in a log, and belongs to nobody
pace         who holds such a run back
answer       which answer a reader of a log gets
kept         a reader of a log
broadcast    what many readers of one are sent, made once
lagging      fewer, larger events for a reader that lags
shutdown     a server that stops lets its streams end well
ending       every run gets its terminal event
"""

from rx_agui.asgi._middleware import AGUIMiddleware
from rx_agui.asgi._response import SSEResponse
from rx_agui.asgi._shutdown import Shutdown
from rx_agui.asgi.run._on_disconnect import CANCEL, CONTINUE, Grace, grace

__all__ = [
    "CANCEL",
    "CONTINUE",
    "AGUIMiddleware",
    "Grace",
    "SSEResponse",
    "Shutdown",
    "grace",
]
