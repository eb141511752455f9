"""The response: settings, headers, and which way a request goes."""

from __future__ import annotations

import asyncio
import inspect
import logging
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Unpack

import orjson

from rx_agui.asgi._connection import GONE, Connection
from rx_agui.asgi._failure import Refused, failure_of
from rx_agui.asgi._identity import Claim, Identity, Owner
from rx_agui.asgi._request import PROTOBUF, Message, Receive, Request, Send
from rx_agui.asgi._settings import (
    Headers,
    SettingsKeywords,
    SSESettings,
    add_to,
    raw,
    require_log,
    settings_of,
)
from rx_agui.asgi._shutdown import Shutdown
from rx_agui.asgi._stop import stopped
from rx_agui.asgi.reader._fan_out import Subscriber
from rx_agui.asgi.reader._reader import LogReader, answered
from rx_agui.asgi.reader._resume import LIVE, requested_stream
from rx_agui.asgi.run._request_run import RequestRun
from rx_agui.asgi.run._source import is_source
from rx_agui.codecs.codec import StreamEncoder
from rx_agui.codecs.negotiation import encoder
from rx_agui.errors import ConfigError
from rx_agui.frame import IDENTITY
from rx_agui.replay import ReplayLog

if TYPE_CHECKING:
    from starlette.responses import Response as _Base
else:
    try:
        # FastAPI makes `{}` of whatever is no Response of Starlette's.
        from starlette.responses import Response as _Base
    except ImportError:
        _Base = object

__all__ = ["SSEResponse"]

_log = logging.getLogger("rx_agui")

#: Which answer a reader of a log gets; see _answer.py.
REPLAY = b"rx-agui-replay"


class SSEResponse(_Base):
    """Streams AG-UI events to one HTTP request, as Server-Sent Events.

    An ASGI application: return it from an endpoint of FastAPI, Starlette or Litestar, or
    call it as `await response(scope, receive, send)`.

    >>> import asyncio, httpx
    >>> async def agent():
    ...     yield {"type": "RUN_STARTED", "threadId": "t", "runId": "r"}
    ...     yield {"type": "RUN_FINISHED", "threadId": "t", "runId": "r"}
    >>> async def get():
    ...     transport = httpx.ASGITransport(SSEResponse(agent))
    ...     async with httpx.AsyncClient(transport=transport) as client:
    ...         return await client.get("http://app/run")
    >>> answer = asyncio.run(get())
    >>> answer.headers["content-type"], answer.headers["content-encoding"]
    ('text/event-stream', 'gzip')
    >>> print(answer.text.partition("id:")[2].partition("id:")[0].strip())
    1
    data: {"type":"RUN_STARTED","threadId":"t","runId":"r"}

    A run always has an end that its reader sees. One that fails, or just stops, gets a
    RUN_ERROR; before its first event, a status of its own. Without a `log` a run belongs
    to its request, and cannot be resumed. With one it belongs to the log: a reader that was
    cut off sends the same request again with the last id it saw, and gets what follows,
    exactly once; who asks later is brought to the present, and goes on from there. What
    many readers of one run are sent is formatted and compressed once.

    Args:
        source: The events: an async iterable or an iterable, an Observable, an
            EventStream, or what makes one of them when it is called or awaited. Give a
            function with a `log`: it is called only if the log does not know the stream.
            Bare events are numbered and gathered here; what went through operators of
            yours is taken as it is.
        settings: What the application's responses have in common, made once. Without it
            the defaults, or the keywords below, which are checked once for each set.
        log: Where the run is kept, for those who come back.
        run: What was asked for: the request's RunAgentInput, as an object, a mapping or
            JSON. It names the run, so that the same request, sent again, joins it, and
            another one under the same runId (an answer to an interrupt) is a run of its
            own: behind the end of the first; 409 before.
        stream: The run's name in the log, instead of `run`: every request of the owner
            joins. The default is its runId, known with its first event; such a run is
            always new.
        namespace: Which part of the log; one cannot be read through another.
        owner: Whose run it is: a user's id, or a function of the ASGI scope that returns
            it; another owner is answered as if the run did not exist. "" for everybody's.
            None: runs go by the Authorization header, cursors by their epoch alone, and
            without either nothing can be joined or stopped. Give it.
        status_code, headers, background: As in Starlette.
        shutdown: The application's, for streams to end well when the server stops.
        **keywords: Any other setting of `SSESettings`, instead of `settings`.

    Answers, where it is not 200 and the events: 204 to who has all of a run that is over,
    410 to a cursor that the log does not know, 406 to a client that accepts no coding that is
    offered, or AG-UI's protobuf and no Server-Sent Events, 503 while the server shuts down, and 4xx or 5xx for an agent that fails at
    once (a `status_code` of the exception's own, or 500).

    Raises:
        ConfigError: A setting makes no sense.
        MissingExtraError: A coding was asked for by name and is not installed.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        source: Any,
        *,
        settings: SSESettings | None = None,
        log: ReplayLog | None = None,
        stream: str | None = None,
        run: Any = None,
        namespace: str = "",
        owner: Owner = None,
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        background: Any = None,
        shutdown: Shutdown | None = None,
        **keywords: Unpack[SettingsKeywords],
    ) -> None:
        if not is_source(source):
            must = "events: an (async) iterable, an Observable, or what makes one"
            raise ConfigError("source", source, must)
        if stream == "":
            raise ConfigError("stream", stream, must="a name, or None")
        require_log(log)
        if settings is None:
            settings = settings_of(keywords)
        elif keywords:
            must = "in settings=SSESettings(...), or without settings="
            raise ConfigError(", ".join(keywords), settings, must)
        self._source = source
        self._log = settings.log if log is None else log
        if stream is not None and self._log is None:
            text = (
                f"stream={stream!r} names a run in a log, and there is none: add "
                "log=MemoryLog(), made once for the application, or leave stream= out"
            )
            warnings.warn(text, stacklevel=2)
        self._identity = Identity(stream, run, namespace, owner)
        self._shutdown = settings.shutdown if shutdown is None else shutdown
        self._settings = settings
        # As Starlette's do, whether it is there or not.
        self.status_code = status_code
        self.background = background
        self.raw_headers: Headers = settings.head_for(headers)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request: an ASGI application."""
        if scope["type"] != "http":
            raise ConfigError("scope", scope["type"], must="http")
        request = Request(scope)
        try:
            await self._answer(request, scope, receive, send)
        except Refused as refused:
            await self._refuse(refused.error, scope, send)
        if self.background is not None:
            await self.background()

    async def _answer(
        self, request: Request, scope: Message, receive: Receive, send: Send
    ) -> None:
        settings = self._settings
        if request.wants_protobuf:
            why = f"text/event-stream is sent here, and not {PROTOBUF}"
            await self._detail(send, 406, why)
            self._unused()
            return
        accepted = request.header(b"accept-encoding")
        coding = settings.negotiate(accepted)
        if coding is None:
            have = ", ".join((*settings.offers, IDENTITY))
            why = f"none of {have} is acceptable to Accept-Encoding: {accepted}\n"
            await self._say(send, 406, why)
            return
        headers = list(self.raw_headers)
        if coding != IDENTITY:
            headers.append((b"content-encoding", coding.encode()))
        if request.method == "HEAD":
            await _send_whole(send, self.status_code, headers, b"")
            self._unused()
            return

        def make_encoder() -> StreamEncoder:
            return encoder(coding, settings.compression_level)

        if self._shutdown is not None and self._shutdown.draining:
            after = str(self._shutdown.retry_after)
            await self._say(
                send, 503, "the server shuts down\n", {"retry-after": after}
            )
        elif self._log is not None:
            claim = self._identity.claim(request, scope)
            if request.stops:
                stream = await requested_stream(request, claim, self._log)
                await self._stop(send, await stopped(self._log, stream))
                return
            await self._serve_kept(
                self._log, claim, request, headers, make_encoder, receive, send
            )
        elif request.stops:
            await self._stop(send, 404)
        elif request.cursor is not None or request.join:
            await self._say(
                send, 410, "this stream is not kept: there is no coming back\n"
            )
        else:
            connection = Connection(send, make_encoder, settings)
            with self._until_shutdown(connection, resumes=False):
                name = self._identity.name or ""
                run = RequestRun(self._source, name, connection, settings)
                await run.serve(receive, self.status_code, headers)

    async def _serve_kept(
        self,
        log: ReplayLog,
        claim: Claim,
        request: Request,
        headers: Headers,
        make_encoder: Callable[[], StreamEncoder],
        receive: Receive,
        send: Send,
    ) -> None:
        settings = self._settings
        try:
            answer, run = await answered(request, self._source, log, claim, settings)
        except BaseException:  # the log failed, or we are called off
            self._unused()
            raise
        if answer.replay != LIVE:
            self._unused()
        if answer.status == 204:
            await _send_whole(send, 204, [(b"cache-control", b"no-store")], b"")
            return
        if answer.status != 200:
            await self._say(send, answer.status, f"{answer.why}\n")
            return
        headers.append((REPLAY, answer.replay.encode()))
        add_to(headers, b"access-control-expose-headers", b"Rx-Agui-Replay")
        if run is not None and self._shutdown is not None:
            self._shutdown.enrol(run)
        subscriber = Subscriber(log)
        connection = Connection(
            send, lambda: subscriber.in_step(make_encoder()), settings
        )
        reader = LogReader(
            answer, run, log, connection, settings, subscriber, resumes=request.resumes
        )
        with self._until_shutdown(connection, resumes=request.resumes):
            await reader.serve(receive, self.status_code, headers)
        # The agent may use what belongs to the request that started it. But a body that
        # broke off ends with its connection, which the server closes when we return: a
        # reader that was too slow would wait for the rest, instead of coming back.
        is_over = connection.state == "done" or connection.outcome is GONE
        if answer.replay == LIVE and run is not None and is_over:
            await asyncio.shield(run.working)

    def _until_shutdown(
        self, connection: Connection, *, resumes: bool
    ) -> AbstractContextManager[None]:
        if self._shutdown is None:
            return nullcontext()
        return self._shutdown.enrolled(connection, resumes=resumes)

    async def _refuse(self, error: BaseException, scope: Message, send: Send) -> None:
        """Answer for a source that failed before its first event."""
        if "starlette.exception_handlers" in scope:
            raise error  # the application has its own way to answer this
        failure = failure_of(error, expose=self._settings.expose_errors)
        await self._detail(send, failure.status, failure.message, failure.headers)

    async def _detail(
        self,
        send: Send,
        status: int,
        detail: str,
        more: Mapping[str, str] | None = None,
    ) -> None:
        """Answer as FastAPI does for an HTTPException."""
        headers: Headers = [
            (b"content-type", b"application/json"),
            (b"cache-control", b"no-store"),
            *raw(more or {}),
        ]
        await _send_whole(send, status, headers, orjson.dumps({"detail": detail}))

    async def _stop(self, send: Send, status: int) -> None:
        """Answer a request that stops a run; the source is not asked for anything."""
        self._unused()
        headers = [(b"cache-control", b"no-store")]
        await _send_whole(send, status, headers, b"")

    async def _say(
        self, send: Send, status: int, why: str, more: Mapping[str, str] | None = None
    ) -> None:
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"cache-control", b"no-store"),
            *raw(more or {}),
        ]
        await _send_whole(send, status, headers, why.encode())
        self._unused()

    def _unused(self) -> None:
        """Dispose of a source that was never started."""
        if inspect.iscoroutine(self._source):
            self._source.close()  # else Python warns


async def _send_whole(send: Send, status: int, headers: Headers, body: bytes) -> None:
    if body:
        headers = [*headers, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
