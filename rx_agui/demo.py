"""A simulated agent over HTTP, to see a stream without having an agent.

    /                      a page, for browsers; what to type, for others
    /rx-agui.mjs           the client that the page is made with
    /run                   a run in profile agui, for every AG-UI client
    /run?profile=chunk     a run in profile chunk, for clients of rx_agui

Every GET is a run of its own. A POST with a RunAgentInput, as clients of AG-UI send it,
is the run that its runId names: sent twice, it joins. Who is cut off comes back with the
last id it has taken.

A pure ASGI app. What it takes to stream a run is one SSEResponse: see `_run`. Who reads
slowly slows the agent down; without a reader for some seconds, it is cancelled.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from hashlib import sha256
from http import HTTPStatus
from itertools import count
from typing import Any, Final
from urllib.parse import parse_qs

import orjson

from rx_agui import browser
from rx_agui.asgi import Shutdown, SSEResponse, grace
from rx_agui.errors import require_positive
from rx_agui.replay import MemoryLog
from rx_agui.testing import simulated_run

__all__ = ["PROFILES", "Demo", "how_to_look"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

logger = logging.getLogger("rx_agui.demo")

#: What is set for each. Someone who watches chunks wants to see some: so events are
#: gathered for half a second, which gives each something to compress.
PROFILES: Final[dict[str, dict[str, Any]]] = {
    "agui": {"profile": "agui"},
    "chunk": {"profile": "chunk", "batch_timeout": 0.5},
}

#: Seconds a run waits for a reader to come back. Enough to cut the line by hand.
_PATIENCE = 3.0

#: Seconds runs have to end when the demo is stopped.
_DEADLINE = 0.5

_TEXT: Headers = [(b"content-type", b"text/plain; charset=utf-8")]

_VARY = (b"vary", b"Accept")

#: How a browser asks for a page. curl asks for anything.
_WANTS_HTML = re.compile(rb"\btext/html\b")


def how_to_look(url: str) -> str:
    """Return what to type to see the streams of a demo at `url`."""
    return f"""\
A simulated agent runs at {url}

Open that in a browser to watch it, and to cut the line while it is under way.

What every AG-UI client reads:

    curl -N {url}/run

The same compressed, for clients of rx_agui, and what they make of it:

    curl -N '{url}/run?profile=chunk'
    curl -sN '{url}/run?profile=chunk' | rx-agui decode
"""


class Demo:
    """The app.

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
        self._log = MemoryLog()
        self._shutdown = Shutdown(_DEADLINE)

    def stop(self) -> None:
        """End every run, by a RUN_ERROR that says why."""
        self._shutdown.begin()

    async def stopped(self) -> None:
        """Stop, and wait until every run has ended, also those whose readers left."""
        await self._shutdown.drain()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(f"the demo speaks http, not {scope['type']}")
        file = _file(scope)
        if file is not None:
            await file(scope, receive, send)
            return
        answer = _answer(scope)
        if answer is None:
            await self._run(scope, receive, send)
            return
        status, headers, text = answer
        await send(
            {"type": "http.response.start", "status": status, "headers": headers}
        )
        body = b"" if scope["method"] == "HEAD" else text.encode()
        await send({"type": "http.response.body", "body": body})

    async def _run(self, scope: Message, receive: Receive, send: Send) -> None:
        """Stream a run: all it takes."""
        asked = await _asked(scope, receive)
        response = SSEResponse(
            lambda: self._agent(next(self._runs), asked),
            log=self._log,
            stream=asked.get("runId"),
            owner="",
            on_disconnect=grace(_PATIENCE),
            shutdown=self._shutdown,
            name="demo",
            **PROFILES[_profile(scope)],
        )
        await response(scope, receive, send)

    async def _agent(self, run: int, asked: dict[str, str]) -> AsyncIterator[Any]:
        """One event after the other, as a model types."""
        events, how = 0, "lost its reader"
        run_id = asked.get("runId", f"run-{run}")
        thread_id = asked.get("threadId", "thread-1")
        said = ""
        try:
            for event in simulated_run(
                self._words, seed=run, run_id=run_id, thread_id=thread_id
            ):
                await asyncio.sleep(self._pause)
                if event["type"] == "TEXT_MESSAGE_CONTENT":
                    said += event["delta"]
                if event["type"] == "RUN_FINISHED":
                    event["result"] = _proof(said)
                yield event
                events += 1
            how = "finished"
        finally:
            if how != "finished" and self._shutdown.draining:
                how = "was stopped"
            logger.info("%s %s after %d events", run_id, how, events)


def _proof(said: str) -> dict[str, Any]:
    """Return the numbers by which a reader checks that nothing is missing or doubled."""
    return {"characters": len(said), "sha256": sha256(said.encode()).hexdigest()}


def _file(scope: Message) -> browser.BrowserFile | None:
    """Return the file that a request asks for; None if it asks for none."""
    if scope["path"] == "/rx-agui.mjs":
        return browser.module
    if scope["path"] == "/" and scope["method"] in ("GET", "HEAD"):
        accepted = dict(scope["headers"]).get(b"accept", b"")
        if _WANTS_HTML.search(accepted):
            return browser.page
    return None


def _answer(scope: Message) -> tuple[HTTPStatus, Headers, str] | None:
    """Return the answer to a request; None: a run."""
    match scope["path"], scope["method"]:
        case "/", "GET" | "HEAD":
            return HTTPStatus.OK, [*_TEXT, _VARY], how_to_look(_url(scope))
        case "/run", "GET" | "HEAD" | "POST":  # HttpAgent of @ag-ui/client POSTs
            profile = _profile(scope)
            if profile in PROFILES:
                return None
            why = f"profile must be one of {', '.join(PROFILES)}, got {profile!r}\n"
            return HTTPStatus.BAD_REQUEST, _TEXT, why
        case "/" | "/run", _:
            return HTTPStatus.METHOD_NOT_ALLOWED, [*_TEXT, (b"allow", b"GET")], ""
    return HTTPStatus.NOT_FOUND, _TEXT, "here are /, /rx-agui.mjs and /run\n"


async def _asked(scope: Message, receive: Receive) -> dict[str, str]:
    """Return the runId and threadId of a RunAgentInput, if there is one."""
    if scope["method"] != "POST":
        return {}
    body, more = b"", True
    while more and len(body) < 1024 * 1024:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    if type(asked) is not dict:
        return {}
    ids = ("runId", "threadId")
    return {id: str(asked[id]) for id in ids if asked.get(id)}


def _profile(scope: Message) -> str:
    query_string: bytes = scope["query_string"]
    query = parse_qs(query_string.decode("latin-1"))
    return query.get("profile", ["agui"])[-1]


def _url(scope: Message) -> str:
    """As the one who asks would type it."""
    headers: dict[bytes, bytes] = dict(scope["headers"])
    host = headers.get(b"host", b"127.0.0.1:8000").decode("latin-1")
    return f"{scope['scheme']}://{host}"
