"""HTTP out: one response for any ASGI application.

    SSEResponse ──▶ RequestRun                       a run that belongs to its request
                ──▶ Run ──▶ log ──▶ LogReader        a run with any number of readers
                                        │
                    Connection ◀────────┘            one body, looked after by a Watchdog

_middleware    AGUIMiddleware: the endpoints of any app, served by SSEResponse
_response      SSEResponse: which way a request goes
_settings      SSESettings: what an application's responses have in common
_request       what a request asks for
_identity      whose run a request is about
_stop          a run is ended from outside
_connection    one body: written, kept alive, ended
_watchdog      one timer for all connections
_sink          what telemetry learns of writes
_failure       what a reader is told of an error
_shutdown      a server that stops lets its streams end well
run/           the producers: a source, its window, its terminal event, its policy
reader/        the readers of a log: the loop, the answer, what many of them share
"""

from rx_agui.asgi._middleware import AGUIMiddleware
from rx_agui.asgi._response import SSEResponse
from rx_agui.asgi._settings import SSESettings
from rx_agui.asgi._shutdown import Shutdown
from rx_agui.asgi._stop import stop
from rx_agui.asgi.run._on_disconnect import CANCEL, CONTINUE, Grace, grace

__all__ = [
    "CANCEL",
    "CONTINUE",
    "AGUIMiddleware",
    "Grace",
    "SSEResponse",
    "SSESettings",
    "Shutdown",
    "grace",
    "stop",
]
