"""Serve runs as rx_agui did at 71184ab: a program of its own.

    python serve.py    {"runs": {"run-1": [EVENT, ...]}, "settings": {"profile": "chunk"}}

reads that line, prints its port, and ends with its standard input. `GET /begun` tells
for which runs an agent began.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvicorn


def app(runs: dict[str, list[Any]], settings: dict[str, Any]) -> Any:
    """Return the application: POST with a runId begins or joins a run."""
    from rx_agui.asgi import CONTINUE, SSEResponse
    from rx_agui.replay import MemoryLog

    log = MemoryLog()
    begun: list[str] = []

    async def agent(name: str) -> AsyncIterator[Any]:
        begun.append(name)
        for event in runs[name]:
            await asyncio.sleep(0.0005)
            yield event

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/begun":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            body = json.dumps(begun).encode()
            await send({"type": "http.response.body", "body": body})
            return
        name = json.loads((await receive())["body"])["runId"]
        await SSEResponse(
            lambda: agent(name),
            log=log,
            stream=name,
            on_disconnect=CONTINUE,
            batch_timeout=0.005,
            retry=0.001,
            **settings,
        )(scope, receive, send)

    return serve


def main() -> None:
    """Serve until the standard input ends."""
    sys.path.insert(0, str(Path(__file__).parent / "rx_agui-71184ab.zip"))
    asked = json.loads(sys.stdin.readline())
    listening = socket.create_server(("127.0.0.1", 0))
    made = app(asked["runs"], asked["settings"])
    config = uvicorn.Config(
        made, lifespan="off", log_level="critical", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)

    def ends() -> None:
        sys.stdin.read()
        server.should_exit = True

    threading.Thread(target=ends, daemon=True).start()
    print(listening.getsockname()[1], flush=True)
    server.run(sockets=[listening])


if __name__ == "__main__":
    main()
