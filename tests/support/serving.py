"""An ASGI application behind a real uvicorn, in a thread of its own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

__all__ = ["served"]


@contextmanager
def served(app: Any, **settings: Any) -> Iterator[str]:
    """The URL, without a slash at the end, where `app` is served until the block ends.

    Args:
        app: An ASGI application.
        settings: Of `uvicorn.Config`.
    """
    listening = socket.create_server(("127.0.0.1", 0))
    started = threading.Event()

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            started.set()

    quiet: dict[str, Any] = {
        "lifespan": "off",
        "log_config": None,
        "log_level": "critical",
        "timeout_graceful_shutdown": 1,
    }
    server = Server(uvicorn.Config(app, **quiet | settings))
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    try:
        assert started.wait(20), "uvicorn did not start"
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()
