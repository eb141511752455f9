"""Who serves it: an agent's async generator, as the body of an HTTP response.

    agent ──▶ application ──▶ uvicorn ──▶ socket ──▶ a reader who only counts

Over real HTTP, since what a response costs most is what the server does for each body
it is sent; all in this process, so its processor time is all there is.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from ag_ui.core import TextMessageContentEvent
from ag_ui.encoder import EventEncoder

from rx_agui.errors import MissingExtraError
from rx_agui.flow import from_async_iterable
from rx_agui.operators import batch, flow_control, sequence
from rx_agui.writer import SSEWriter

__all__ = ["PEERS", "Server", "application"]

App = Callable[[Any, Any, Any], Awaitable[None]]
Events = Sequence[TextMessageContentEvent]


class Server:
    """uvicorn on a free port of this machine, in a thread of its own."""

    def __init__(self, app: App) -> None:
        try:
            import uvicorn
        except ImportError:
            raise MissingExtraError("this row", "uvicorn", "serve") from None
        self._socket = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_level="warning", lifespan="off")
        self._server = uvicorn.Server(config)
        run = partial(self._server.run, sockets=[self._socket])
        self._thread = threading.Thread(target=run, daemon=True)

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()

    def read(self) -> int:
        """One request, to the end of its response: bytes on the wire."""
        return len(self.response())

    def response(self) -> bytes:
        """One request, to the end of its response, headers and all."""
        with socket.create_connection(self._socket.getsockname()) as reader:
            reader.sendall(b"GET /run HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            pieces = []
            while piece := reader.recv(1 << 16):
                pieces.append(piece)
            return b"".join(pieces)


def application(events: Events, size: int = 50) -> App:
    """Ours: flow control, numbers and batches in profile agui."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})

        async def write(data: bytes) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": True})

        writer = SSEWriter(write)
        from_async_iterable(lambda: _agent(events)).pipe(
            flow_control(), sequence(), batch(size)
        ).subscribe(writer)
        await writer.done
        await send({"type": "http.response.body", "body": b""})

    return app


async def _agent(events: Events) -> AsyncIterator[TextMessageContentEvent]:
    for event in events:
        yield event


def _starlette(events: Events) -> App:
    try:
        from starlette.responses import StreamingResponse
    except ImportError:
        raise MissingExtraError("this row", "starlette", "serve") from None
    encoder = EventEncoder()

    async def body() -> AsyncIterator[str]:
        async for event in _agent(events):
            yield encoder.encode(event)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        response = StreamingResponse(body(), media_type=encoder.get_content_type())
        await response(scope, receive, send)

    return app


def _sse_starlette(events: Events) -> App:
    try:
        from sse_starlette import EventSourceResponse
    except ImportError:
        raise MissingExtraError("this row", "sse-starlette", "bench") from None

    async def body() -> AsyncIterator[dict[str, str]]:
        number = 0
        async for event in _agent(events):
            number += 1
            data = event.model_dump_json(by_alias=True, exclude_none=True)
            yield {"id": str(number), "data": data}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await EventSourceResponse(body(), sep="\n")(scope, receive, send)

    return app


def _fastapi(events: Events) -> App:
    try:
        from fastapi import FastAPI
        from fastapi.sse import EventSourceResponse
    except ImportError:
        raise MissingExtraError("this row", "fastapi>=0.135", "bench") from None
    app = FastAPI()

    @app.get("/run", response_class=EventSourceResponse)
    async def run() -> AsyncIterator[TextMessageContentEvent]:
        async for event in _agent(events):
            yield event

    return app


#: What one would take instead, by name.
PEERS: dict[str, Callable[[Events], App]] = {
    "EventEncoder and StreamingResponse": _starlette,
    "sse-starlette": _sse_starlette,
    "FastAPI's SSE": _fastapi,
}
