"""An application for real servers to serve, in a process of their own.

/flood      an agent that never ends and never waits; ?log=NAME keeps its last events
/quiet      an agent that says one thing, and then nothing
/typing     one event every 20 ms; ?log=NAME
/state      what became of the agents so far, and how large the process is
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import orjson

from rx_agui.asgi import CANCEL, Shutdown, SSEResponse
from rx_agui.replay import MemoryLog

shutdown = Shutdown(deadline=1.0)
log = MemoryLog(max_events=2000)
given: dict[str, int] = {}
how: dict[str, str] = {}
left: list[str] = []
closed: list[str] = []  # names whose body is over

WINDOW = 100
PADDING = "x" * 500


async def agent(name: str, path: str) -> AsyncIterator[dict[str, Any]]:
    given[name] = 0
    try:
        yield {"type": "RUN_STARTED", "threadId": "t", "runId": name}
        while True:
            given[name] += 1
            yield {"type": "CUSTOM", "name": "n", "value": f"{given[name]} {PADDING}"}
            if path == "/quiet":
                await asyncio.Event().wait()
            elif path == "/typing":
                await asyncio.sleep(0.02)
    except asyncio.CancelledError:
        how[name] = "cancelled"
        raise
    finally:
        how.setdefault(name, "closed")


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    if scope["path"] == "/state":
        await state(send)
        return
    query = {k: v[-1] for k, v in parse_qs(scope["query_string"].decode()).items()}
    name = query.get("log") or query["name"]
    more: dict[str, Any] = {"log": log, "stream": name} if "log" in query else {}
    response = SSEResponse(
        lambda: agent(name, scope["path"]),
        window=WINDOW,
        keep_alive=0.5,
        max_staleness=float(query.get("staleness", 60)),
        send_timeout=float(query.get("stuck", 60)),
        shutdown=shutdown,
        on_disconnect=None if more else CANCEL,
        **more,
    )

    async def noted(message: Any) -> None:
        """Send, and note when the body is over, in whatever way."""
        try:
            await send(message)
        except BaseException:
            closed.append(name)
            raise
        if not message.get("more_body", True):
            closed.append(name)

    await response(scope, receive, noted)
    left.append(name)


async def lifespan(receive: Any, send: Any) -> None:
    await receive()
    async with shutdown.lifespan():
        await send({"type": "lifespan.startup.complete"})
        await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def state(send: Any) -> None:
    told = {
        "given": given,
        "how": how,
        "left": left,
        "closed": closed,
        "resident": resident(),
    }
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": orjson.dumps(told)})


def resident() -> int:
    """Bytes of this process in memory; 0 where the system does not say."""
    status = Path("/proc/self/statm")
    if not status.exists():
        return 0
    return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
