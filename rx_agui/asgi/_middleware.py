"""Middleware that makes any AG-UI endpoint of an ASGI app exact, resumable and small.

    request ──▶ app, in a task of its own ──▶ head: text/event-stream?
                     ▲                          │ no: passed on, byte for byte
                     │ credit: 50 sends ahead   │ yes: held until the log has decided
                     └──────────────────────────┤
                                    new run ────┼──▶ let go: frames ▶ events ▶ SSEResponse
                                  known run ────┴──▶ app called off: the reader joins

The head is held because an app that iterates its body only behind it has by then run its
authentication and its validation, and not its agent. So each request that joins a run, or
comes back to one, passes the app's own authentication, and the agent runs once.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import (
    Awaitable,
    Callable,
    Collection,
)
from functools import partial
from typing import Any, Final

import orjson

from rx_agui.asgi._identity import Identity, Owner
from rx_agui.asgi._inner_app import App, InnerApp, Listening, NoHeadError
from rx_agui.asgi._request import Message, Receive, Request, Send
from rx_agui.asgi._response import SSEResponse
from rx_agui.asgi.reader._resume import requested_stream
from rx_agui.errors import ConfigError, require_positive, require_whole
from rx_agui.flow._async_iterable import FromAsyncLists
from rx_agui.replay import ReplayLog

__all__ = ["AGUIMiddleware"]

_log = logging.getLogger("rx_agui")

Headers = list[tuple[bytes, bytes]]
Authorize = Callable[[Message], Awaitable[Any]]

#: Bytes of a request body that may be a RunAgentInput. Larger ones pass unread.
_MAX_BODY: Final = 16 * 1024 * 1024

#: What SSEResponse says itself, or what is no longer true of its body.
_OURS: Final = frozenset(
    (
        b"content-type",
        b"content-length",
        b"content-encoding",
        b"transfer-encoding",
        b"cache-control",
        b"x-accel-buffering",
        b"connection",
        b"etag",
    )
)

#: What every RunAgentInput has.
_INPUT: Final = frozenset(("threadId", "runId", "messages", "tools"))


class AGUIMiddleware:
    r"""Serves the AG-UI endpoints of an ASGI app by SSEResponse, unmodified.

    `app.add_middleware(AGUIMiddleware, log=MemoryLog())` on FastAPI, Starlette or
    Litestar; `AGUIMiddleware(app, log=MemoryLog())` around any other ASGI app. Each POST
    that carries a RunAgentInput and is answered with `text/event-stream` is sent as
    SSEResponse would: compressed, batched, kept alive, always with an end, and, with a
    log, resumable. Everything else passes as it is.

    >>> import asyncio, httpx, orjson
    >>> async def endpoint(scope, receive, send):
    ...     await receive()
    ...     head = [(b"content-type", b"text/event-stream")]
    ...     await send({"type": "http.response.start", "status": 200, "headers": head})
    ...     for event in ("RUN_STARTED", "RUN_FINISHED"):
    ...         line = orjson.dumps({"type": event, "threadId": "t", "runId": "r"})
    ...         body = b"data: " + line + b"\n\n"
    ...         await send({"type": "http.response.body", "body": body, "more_body": True})
    ...     await send({"type": "http.response.body", "body": b""})
    >>> async def post():
    ...     transport = httpx.ASGITransport(AGUIMiddleware(endpoint))
    ...     asked = {"threadId": "t", "runId": "r", "messages": [], "tools": []}
    ...     async with httpx.AsyncClient(transport=transport) as client:
    ...         return await client.post("http://app/agent", json=asked)
    >>> answer = asyncio.run(post())
    >>> answer.headers["content-encoding"], answer.text.count("data:")
    ('gzip', 2)

    Args:
        app: The ASGI app inside.
        log: Where runs are kept, for readers that come back. None: no resume.
        paths: The paths whose POSTs are AG-UI's; None: all POSTs with a RunAgentInput.
        owner: Whose run it is, as in SSEResponse: a function of the scope, called behind
            the app's own authentication, so that `scope["user"]` is set; or a string.
        namespace: Which part of the log.
        authorize: Called with the scope of a request for a run that the log knows,
            instead of the app: return None to allow it, or an ASGI app that refuses it.
            Needed only where the agent has begun when the head comes: behind
            `BaseHTTPMiddleware` (`@app.middleware("http")`), and for an endpoint that
            works before it answers. Without it such an app runs its agent again, and a
            request to stop a run is answered with 404. `owner` then gets a scope that
            the app has not seen.
        head_timeout: Seconds the app may take to answer; then 504. None: for ever.
        window: Sends that the app may be ahead of the log or the reader.
        max_body: Bytes of a request body that is looked into; a larger one passes.
        settings: Keywords of SSEResponse, for every run.

    Raises:
        ConfigError: A setting makes no sense.
    """

    def __init__(
        self,
        app: App,
        *,
        log: ReplayLog | None = None,
        paths: Collection[str] | None = None,
        owner: Owner = None,
        namespace: str = "",
        authorize: Authorize | None = None,
        head_timeout: float | None = 60.0,
        window: int = 50,
        max_body: int = _MAX_BODY,
        **settings: Any,
    ) -> None:
        require_positive(window=window, max_body=max_body)
        require_whole(window=window, max_body=max_body)
        if head_timeout is not None:
            require_positive(head_timeout=head_timeout)
        if isinstance(paths, str):
            raise ConfigError(
                "paths", paths, 'a collection of paths, such as ["/agent"]'
            )
        # Refuses a wrong setting here, and not in a request.
        settings = {"agent_errors": "hide", **settings}
        SSEResponse((), log=log, owner=owner, namespace=namespace, **settings)
        self.app = app
        self._log = log
        self._paths = None if paths is None else frozenset(paths)
        self._authorize = authorize
        self._head_timeout = head_timeout
        self._window = window
        self._max_body = max_body
        self._owner = owner
        self._namespace = namespace
        self._settings = settings
        self._begins_early = _begins_early(app)
        self._has_warned = False

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request: an ASGI application."""
        if scope["type"] != "http" or not self._may_be_ours(scope):
            await self.app(scope, receive, send)
            return
        body, whole = await _read_body(receive, self._max_body)
        asked = (
            _run_agent_input(b"".join(m.get("body", b"") for m in body))
            if whole
            else None
        )
        if asked is None:
            await self.app(scope, _replayed(body, receive), send)
            return
        await self._serve(asked, scope, body, receive, send)

    def _may_be_ours(self, scope: Message) -> bool:
        if scope["method"] != "POST":
            return False
        return self._paths is None or scope["path"] in self._paths

    async def _serve(
        self,
        asked: dict[str, Any],
        scope: Message,
        body: list[Message],
        receive: Receive,
        send: Send,
    ) -> None:
        request = Request(scope)
        if self._authorize is not None and await self._knows(asked, request, scope):
            refusal = await self._authorize(scope)
            if refusal is None:
                late = partial(self._called_late, scope, body, receive)
                await self._respond(late, asked, [], scope, receive, send)
            else:
                await refusal(scope, receive, send)
            return
        if request.stops and self._begins_early:
            await _say(send, 404, b"stopping a run needs authorize= here\n")
            return
        listening = Listening(receive)
        inward = _inward(scope)
        inner = InnerApp(self.app, inward, body, listening, self._window)
        try:
            head = await inner.head(self._head_timeout)
            if head is None:  # it ended, or the client went, before there was a head
                return
            if not _is_event_stream(head):
                await inner.pass_on(send)
                return
            self._warn_of_early_start()
            headers = [h for h in head["headers"] if h[0].lower() not in _OURS]
            seen = {**inward, "headers": scope["headers"]}  # with what the app has set
            await self._respond(inner.events, asked, headers, seen, listening, send)
            if inner.is_let_go:  # else the reader joined a known run, or was refused
                await inner.ended()
        except NoHeadError:
            await _say(send, 504, b"the app did not answer in time\n")
        finally:
            listening.leave()
            if not inner.is_let_go:
                await inner.stop()

    async def _respond(
        self,
        events: Callable[[], Any],
        asked: dict[str, Any],
        headers: Headers,
        scope: Message,
        receive: Receive,
        send: Send,
    ) -> None:
        response = SSEResponse(
            events,
            log=self._log,
            run=asked,
            owner=self._owner,
            namespace=self._namespace,
            **self._settings,
        )
        response.raw_headers.extend(headers)
        # An error before the first event is answered here: the app's handlers are inside.
        own = {k: v for k, v in scope.items() if k != "starlette.exception_handlers"}
        await response(own, receive, send)

    async def _called_late(
        self, scope: Message, body: list[Message], receive: Receive
    ) -> FromAsyncLists:
        """Return the events of the app, called only now that the log has no such run."""
        inner = InnerApp(
            self.app, _inward(scope), body, Listening(receive), self._window
        )
        try:
            head = await inner.head(self._head_timeout)
            if head is None or not _is_event_stream(head):
                raise NoHeadError("the app did not answer with an event stream")
        except BaseException:
            await inner.stop()
            raise
        return inner.events()

    async def _knows(
        self, asked: dict[str, Any], request: Request, scope: Message
    ) -> bool:
        if self._log is None:
            return False
        identity = Identity(run=asked, namespace=self._namespace, owner=self._owner)
        claim = identity.claim(request, scope)
        if claim.owner is None:  # as a POST of that name would open it
            claim = claim._replace(owner="")
        return await requested_stream(request, claim, self._log) is not None

    def _warn_of_early_start(self) -> None:
        """Say once that joining runs the agent again, where it does."""
        silent = self._log is None or self._authorize is not None
        if self._has_warned or silent or not self._begins_early:
            return
        self._has_warned = True
        _log.warning(
            "AGUIMiddleware is outside of a BaseHTTPMiddleware, which starts the endpoint "
            "before its head: a repeated POST starts the agent again before it is called "
            "off; give authorize=, or put AGUIMiddleware inside"
        )


def _begins_early(app: object) -> bool:
    """Whether a middleware inside starts the endpoint before its head is sent."""
    for _ in range(32):
        if any(kind.__name__ == "BaseHTTPMiddleware" for kind in type(app).__mro__):
            return True
        app = getattr(app, "app", None)
    return False


async def _read_body(receive: Receive, limit: int) -> tuple[list[Message], bool]:
    """Read a request body; also whether it is whole and within the limit."""
    messages, size = [], 0
    while True:
        message = await receive()
        messages.append(message)
        size += len(message.get("body", b""))
        if message["type"] != "http.request" or size > limit:
            return messages, False
        if not message.get("more_body", False):
            return messages, True


def _replayed(messages: list[Message], receive: Receive) -> Receive:
    """Return a `receive` that gives these messages again, and then what follows them."""
    ahead = deque(messages)

    async def replaying() -> Message:
        return ahead.popleft() if ahead else await receive()

    return replaying


def _run_agent_input(body: bytes) -> dict[str, Any] | None:
    """Return the RunAgentInput of a body; None if it is something else."""
    if b'"runId"' not in body:
        return None
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(asked, dict) or not asked.keys() >= _INPUT:
        return None
    return asked if isinstance(asked["runId"], str) and asked["runId"] else None


def _inward(scope: Message) -> Message:
    """Return the scope without Accept-Encoding: the app inside need not compress."""
    headers = [h for h in scope["headers"] if h[0] != b"accept-encoding"]
    return {**scope, "headers": headers}


def _is_event_stream(head: Message) -> bool:
    if head["status"] != 200:
        return False
    for name, value in head.get("headers", ()):
        if name.lower() == b"content-type":
            kind: bytes = value
            return kind.partition(b";")[0].strip().lower() == b"text/event-stream"
    return False


async def _say(send: Send, status: int, why: bytes) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": why})
