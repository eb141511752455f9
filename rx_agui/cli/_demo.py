"""rx-agui demo: serves a simulated agent, and says where to look."""

from __future__ import annotations

import logging
import socket
from argparse import Namespace
from typing import Any

from rx_agui.demo import Demo, how_to_look
from rx_agui.errors import ConfigError, MissingExtraError

__all__ = ["demo"]

#: Seconds that streams have to end when we are stopped. A reader that does not read
#: must not keep us.
_GRACE = 1


def demo(asked: Namespace) -> None:
    """Run the command, until SIGINT or SIGTERM."""
    app = Demo(rate=asked.rate, words=asked.words)
    server = _server(app)
    with _listen(asked.host, asked.port) as listening:
        logging.basicConfig(format="%(message)s", level=logging.INFO)
        print(f"{how_to_look(_url(listening))}\nCtrl-C stops it.", flush=True)
        server.run(sockets=[listening])


def _server(app: Demo) -> Any:
    try:
        import uvicorn
    except ImportError:
        raise MissingExtraError("rx-agui demo", "uvicorn", "serve") from None

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            app.stop()  # else it would wait until every run has ended by itself
            # All it could still say is, at length, that a reader is stuck.
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
            await super().shutdown(sockets)
            await app.stopped()  # runs that are kept in a log outlive their readers

    return Server(
        uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            log_level="warning",
            timeout_graceful_shutdown=_GRACE,
        )
    )


def _listen(host: str, port: int) -> socket.socket:
    """Return a bound socket, so that a client is not refused once the URL is printed."""
    if not 0 <= port < 65536:
        raise ConfigError("port", port, must="from 0 to 65535")
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address, family=family)
    except OSError as error:
        why = f"cannot listen on {host} port {port}: {error.strerror}"
        raise OSError(error.errno, why) from None


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
