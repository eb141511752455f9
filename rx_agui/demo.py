"""A simulated agent over HTTP, to see a stream without having an agent.

    /                      what to type
    /run                   a run in profile agui, for every AG-UI client
    /run?profile=chunk     a run in profile chunk, for clients of rx_agui

A pure ASGI app, and the shortest way from an async generator to a browser that
this library has: read `_stream` to see all there is to it.

A reader who leaves cancels the agent. One who reads slowly slows it down.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from http import HTTPStatus
from itertools import count
from typing import Any, Final
from urllib.parse import parse_qs

from rx_agui.errors import require_positive
from rx_agui.flow import from_async_iterable
from rx_agui.operators import batch, chunk, compress, flow_control, sequence
from rx_agui.operators._stage import Operator
from rx_agui.sse import comment
from rx_agui.testing import simulated_run
from rx_agui.writer import SSEWriter

__all__ = ["PROFILES", "Demo", "how_to_look"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

logger = logging.getLogger("rx_agui.demo")

#: What a run goes through. Someone who watches chunks wants to see some: so they are
#: gathered for half a second, which gives each something to compress.
PROFILES: Final = {
    "agui": [flow_control(), sequence(), batch()],
    "chunk": [
        flow_control(),
        sequence(),
        batch(batch_timeout=0.5),
        compress(min_size=256),
        chunk(),
    ],
}

_STREAM: Headers = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),  # who compresses may hold it back
    (b"x-accel-buffering", b"no"),  # or else nginx may
]
_TEXT: Headers = [(b"content-type", b"text/plain; charset=utf-8")]


def how_to_look(url: str) -> str:
    """What to type to see the streams of a demo at `url`."""
    return f"""\
A simulated agent runs at {url}

What every AG-UI client reads:

    curl -N {url}/run

The same compressed, for clients of rx_agui, and what they make of it:

    curl -N '{url}/run?profile=chunk'
    curl -sN '{url}/run?profile=chunk' | rx-agui decode
"""


class Demo:
    """The app. Every request is a run of its own.

    Args:
        rate: Events a second, as long as the reader keeps up.
        words: How much the agent has to say.

    Raises:
        ConfigError: A setting makes no sense.
    """

    def __init__(self, *, rate: float = 30.0, words: int = 200) -> None:
        require_positive(rate=rate, words=words)
        self._pause = 1 / rate
        self._words = words
        self._runs = count(1)
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """End every run, by a RUN_ERROR that says why."""
        self._stopping.set()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(f"the demo speaks http, not {scope['type']}")
        status, headers, text = _answer(scope)
        await send(
            {"type": "http.response.start", "status": status, "headers": headers}
        )
        if headers is _STREAM and scope["method"] != "HEAD":
            await self._stream(PROFILES[_profile(scope)], receive, send)
        else:
            body = b"" if scope["method"] == "HEAD" else text.encode()
            await send({"type": "http.response.body", "body": body})

    async def _stream(
        self, operators: list[Operator], receive: Receive, send: Send
    ) -> None:
        async def write(data: bytes) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": True})

        run = next(self._runs)
        await write(comment(f"run-{run}, simulated"))  # the first byte goes at once
        writer = SSEWriter(write)
        agent = from_async_iterable(lambda: self._agent(run))
        subscription = agent.pipe(*operators).subscribe(writer)
        written = asyncio.wrap_future(writer.done)
        left = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait((written, left), return_when=asyncio.FIRST_COMPLETED)
            if written.done():
                await written
                await send({"type": "http.response.body", "body": b""})
        finally:
            subscription.dispose()
            written.cancel()
            left.cancel()

    async def _agent(self, run: int) -> AsyncIterator[dict[str, Any]]:
        """One event after the other, as a model types."""
        events, how = 0, "lost its reader"
        try:
            for event in simulated_run(self._words, seed=run, run_id=f"run-{run}"):
                if await self._stops_within(self._pause):
                    yield {"type": "RUN_ERROR", "message": "the demo was stopped"}
                    how = "was stopped"
                    return
                yield event
                events += 1
            how = "finished"
        finally:
            logger.info("run-%d %s after %d events", run, how, events)

    async def _stops_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                return await self._stopping.wait()
        except TimeoutError:
            return False


def _answer(scope: Message) -> tuple[HTTPStatus, Headers, str]:
    """What a request gets; of a stream, what comes before it."""
    match scope["path"], scope["method"]:
        case "/", "GET" | "HEAD":
            return HTTPStatus.OK, _TEXT, how_to_look(_url(scope))
        case "/run", "GET" | "HEAD" | "POST":  # HttpAgent of @ag-ui/client POSTs
            profile = _profile(scope)
            if profile in PROFILES:
                return HTTPStatus.OK, _STREAM, ""
            why = f"profile must be one of {', '.join(PROFILES)}, got {profile!r}\n"
            return HTTPStatus.BAD_REQUEST, _TEXT, why
        case "/" | "/run", _:
            return HTTPStatus.METHOD_NOT_ALLOWED, [*_TEXT, (b"allow", b"GET")], ""
    return HTTPStatus.NOT_FOUND, _TEXT, "here are / and /run\n"


def _profile(scope: Message) -> str:
    query_string: bytes = scope["query_string"]
    query = parse_qs(query_string.decode("latin-1"))
    return query.get("profile", ["agui"])[-1]


def _url(scope: Message) -> str:
    """As the one who asks would type it."""
    headers: dict[bytes, bytes] = dict(scope["headers"])
    host = headers.get(b"host", b"127.0.0.1:8000").decode("latin-1")
    return f"{scope['scheme']}://{host}"


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
