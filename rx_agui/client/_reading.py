"""One reader's way through a stream, over as many connections as it takes.

    ask ─▶ 200 ─▶ a b c ✂ ─▶ wait ─▶ ask again, behind c ─▶ 200 ─▶ d e RUN_FINISHED
        └▶ 204, 410, ...

Nothing is read before it is asked for: a reader that is slow lets the socket fill,
and so slows the agent.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rx_agui.client._reconnect import Reconnect
from rx_agui.client._request import (
    Request,
    TryAgain,
    ask,
    require_httpx,
    require_stream,
)
from rx_agui.client._response import (
    Cursor,
    PolicyCloseError,
    ReceivedEvent,
    ResponseReader,
)
from rx_agui.codecs.negotiation import decoder
from rx_agui.errors import (
    ConnectionLostError,
    DeadlineExceededError,
    GoneError,
    RefusedError,
    TransportError,
    TrimmedError,
)

if TYPE_CHECKING:
    import httpx

__all__ = ["Lost", "Opened", "Reading", "Settings"]

_log = logging.getLogger("rx_agui")

#: Seconds of silence after the end of a run that end its response too.
_SOON = 5.0

#: The header by which a server of ours says what it answers with.
_REPLAY = "rx-agui-replay"


@dataclass(frozen=True, slots=True)
class Opened:
    """A stream begins to come, or goes on.

    Attributes:
        url: Where from.
        attempt: 0 the first time, else which attempt in a row this was.
        after: The id it goes on behind; "" from the beginning.
        replay: What the server says it sends: live, tail, prelude or trimmed; "" if
            it is none of ours, or has no log.
        encoding: The `Content-Encoding`.
    """

    url: str
    attempt: int
    after: str
    replay: str
    encoding: str


@dataclass(frozen=True, slots=True)
class Lost:
    """A connection broke, or could not be made; it will be tried again.

    Attributes:
        why: What happened.
        after: The id of the last event that was handed on; "" before the first.
        attempt: Which attempt in a row comes next, from 1.
        retry_in: Seconds until then.
    """

    why: str
    after: str
    attempt: int
    retry_in: float


@dataclass(frozen=True, slots=True)
class Settings:
    """How to read. What each is for, `connect` says."""

    request: Request
    client: httpx.AsyncClient | None
    last_event_id: str
    reconnect: Reconnect | None
    repeatable: bool
    read_timeout: float | None
    deadline: float | None
    max_size: int
    on_trimmed: str
    watch: Callable[[Opened | Lost], object] | None


class Reading(AsyncIterator[dict[str, Any]]):
    """The events, one `async for` long. `aclose` ends it at once."""

    def __init__(self, settings: Settings) -> None:
        # Nothing in there knows us: who leaves the loop drops us, and so the connection.
        self._cursor = Cursor(settings.last_event_id)
        self._way = _Way(settings, self._cursor)
        self._events = self._way.read()
        self._turn = asyncio.Lock()

    @property
    def last_event_id(self) -> str:
        """The id of the last event that was handed on, to come back with; "" if none."""
        return self._cursor.id

    async def __anext__(self) -> dict[str, Any]:
        async with self._turn:
            try:
                return await anext(self._events)
            except _Stopped:
                raise StopAsyncIteration from None
            except StopAsyncIteration:
                if self._way.is_done:
                    raise
        # Cancelled, as by a timeout around one event, it has gone; and that is no end.
        after = self._cursor.id
        raise ConnectionLostError("broken off before the run had ended", after=after)

    async def __aenter__(self) -> Reading:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection. A waiting reader gets no more events."""
        self._way.stop()
        async with self._turn:
            await self._events.aclose()


class _Stopped(Exception):
    """The reading was closed while a reader waited for its next event."""


class _Way:
    """What a reading goes through."""

    def __init__(self, settings: Settings, cursor: Cursor) -> None:
        self._settings = settings
        self._request = settings.request
        self._cursor = cursor
        self._attempt = 0
        self._is_ours = False
        self._ends_at: float | None = None
        self._is_stopped = False
        self._limit: asyncio.Timeout | None = None  # of the wait we are in

    @property
    def is_done(self) -> bool:
        """Whether nothing more is to come, or wanted."""
        return self._cursor.over or self._cursor.finished or self._is_stopped

    def stop(self) -> None:
        """End the waits in this block when the reading is closed."""
        self._is_stopped = True
        if self._limit is not None:
            with suppress(RuntimeError):  # it has just expired by itself
                self._limit.reschedule(asyncio.get_running_loop().time())

    async def read(self) -> Any:
        """Yield the events, to the end of the run."""
        settings = self._settings
        if settings.deadline is not None:
            self._ends_at = asyncio.get_running_loop().time() + settings.deadline
        httpx = require_httpx()
        async with AsyncExitStack() as stack:
            client = settings.client or httpx.AsyncClient()
            if client is not settings.client:
                await stack.enter_async_context(client)
            while True:
                at_least = 0.0
                try:
                    async with aclosing(self._one_answer(client)) as events:
                        async for event in events:
                            yield event
                    why: Exception = ConnectionResetError("the body ended too soon")
                except DeadlineExceededError:
                    raise
                except TryAgain as error:
                    why, at_least = error, error.at_least
                except (PolicyCloseError, TimeoutError, ssl.SSLError) as error:
                    why = error  # what TLS finds in the middle of a body, httpx passes
                except httpx.TransportError as error:
                    if _is_for_good(error):
                        raise TransportError(
                            f"{settings.request.url}: {error}"
                        ) from error
                    why = error
                if self.is_done:
                    return
                await self._pause(why, at_least)

    async def _one_answer(self, client: httpx.AsyncClient) -> Any:
        """Yield the events of one connection, until its body ends."""
        settings = self._settings
        response = await self._in_time(self._asked(client))
        try:
            if response.status_code == 204:
                self._nothing_more(response)
                return
            await self._in_time(require_stream(response), limit=None)
            replay = response.headers.get(_REPLAY, "")
            self._opened(response, replay)
            # One that was made in memory, as in tests, is there and unpacked already.
            is_here = response.is_stream_consumed
            encoding = "" if is_here else response.headers.get("content-encoding", "")
            reader = ResponseReader(
                self._cursor,
                decoder(encoding),
                settings.max_size,
                holds_back=replay in ("prelude", "trimmed"),
                comes_back=settings.reconnect is not None,
            )
            try:
                async with aclosing(_pieces(response)) as pieces:
                    while (piece := await self._next(pieces)) is not None:
                        for received in reader.read(piece):
                            self._hand_on(received)
                            yield received.event
            finally:
                reader.close()
        finally:
            await response.aclose()

    async def _asked(self, client: httpx.AsyncClient) -> httpx.Response:
        response, self._request = await ask(client, self._request, self._cursor.id)
        return response

    async def _next(self, pieces: AsyncGenerator[bytes, None]) -> Any:
        """Return the next piece of a body; None at its end, or soon after the run's."""
        silence = self._settings.read_timeout
        if self._cursor.over:  # another run may follow in the same response, at once
            silence = min(silence or _SOON, _SOON)
        return await self._in_time(anext(pieces, None), silence)

    def _hand_on(self, received: ReceivedEvent) -> None:
        self._cursor.move_to(received)
        self._attempt = 0

    def _nothing_more(self, response: httpx.Response) -> None:
        """204: the cursor is at the end of a run that is over."""
        if self._cursor.begun or not self._cursor.id:
            # We have seen no end. To believe it would be to take a part for the whole.
            raise RefusedError(str(response.url), 204, "it says the run is over")
        self._cursor.finished = True

    def _opened(self, response: httpx.Response, replay: str) -> None:
        cursor = self._cursor
        self._is_ours = self._is_ours or bool(replay)
        opened = Opened(
            str(response.url),
            self._attempt,
            cursor.id,
            replay,
            response.headers.get("content-encoding", ""),
        )
        _log.debug("%s", opened)
        self._tell(opened)
        if cursor.stream and replay == "live":
            # Its numbers would pass for those of the run that we have a part of.
            raise GoneError(
                opened.url, response.status_code, "it has begun the run anew"
            )
        starts_anew = cursor.id and replay in ("prelude", "trimmed")
        if starts_anew and self._settings.on_trimmed == "error":
            raise TrimmedError(cursor.stream, cursor.number)

    async def _pause(self, why: Exception, at_least: float) -> None:
        """Wait until it is time to ask again.

        Raises:
            ConnectionLostError: There is nothing to ask for, or it was asked too often.
        """
        reconnect = self._settings.reconnect
        after = self._cursor.id
        said = str(why) or type(why).__name__
        if reconnect is None or (reason := self._why_not_again(why)):
            reason = "reconnect is off" if reconnect is None else reason
            behind = f" behind {after}" if after else ""
            raise ConnectionLostError(
                f"lost{behind} ({said}): {reason}", after=after
            ) from why
        if self._attempt >= reconnect.attempts:
            behind = f" behind {after}" if after else ""
            what = f"lost{behind} ({said}) after {self._attempt} attempts to come back"
            raise ConnectionLostError(
                what, after=after, attempts=self._attempt
            ) from why
        self._attempt += 1
        delay = reconnect.delay(
            self._attempt, retry_ms=self._cursor.retry_ms, at_least=at_least
        )
        _log.info("lost behind %s: %s; again in %.1f s", after or "0", said, delay)
        self._tell(Lost(said, after, self._attempt, delay))
        await self._in_time(asyncio.sleep(delay), limit=None)

    def _why_not_again(self, why: Exception) -> str:
        """Why the same request would do harm; "" if it would not."""
        if self._cursor.stream:
            return ""
        if self._cursor.begun:
            return "its events have no ids of the form <stream>/<number>"
        if self._is_ours or self._request.method in ("GET", "HEAD"):
            return ""
        if self._settings.repeatable or _was_never_sent(why):
            return ""
        return "the request is not repeatable, and may have been heard"

    def _tell(self, what: Opened | Lost) -> None:
        if self._settings.watch is not None:
            self._settings.watch(what)

    async def _in_time(self, awaitable: Any, limit: float | None = -1.0) -> Any:
        """Await, but not longer than a silence may last, nor past the deadline.

        Raises:
            TimeoutError: It took too long.
            DeadlineExceededError: The whole did.
            _Stopped: The reading was closed.
        """
        silence = self._settings.read_timeout if limit == -1.0 else limit
        now = asyncio.get_running_loop().time()
        left = None if self._ends_at is None else self._ends_at - now
        waits = [seconds for seconds in (silence, left) if seconds is not None]
        within = 0.0 if self._is_stopped else max(0.0, min(waits)) if waits else None
        try:
            async with asyncio.timeout(within) as self._limit:
                return await awaitable
        except TimeoutError:
            if self._limit is None or not self._limit.expired():
                raise
            if self._is_stopped:
                raise _Stopped from None
            deadline = self._settings.deadline
            if deadline is not None and left is not None and min(waits) == left:
                raise DeadlineExceededError(deadline, self._cursor.id) from None
            raise TimeoutError(f"nothing came for {silence:g} s") from None
        finally:
            self._limit = None


async def _pieces(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """Yield the body as it comes."""
    if response.is_stream_consumed:
        yield response.content
        return
    async with aclosing(response.aiter_raw()) as pieces:  # type: ignore[type-var]
        async for piece in pieces:
            yield piece


def _is_for_good(error: Exception) -> bool:
    """Whether the next attempt would fail in the same way."""
    httpx = require_httpx()
    if isinstance(error, httpx.LocalProtocolError | httpx.UnsupportedProtocol):
        return True
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLCertVerificationError):
        cause = cause.__cause__ or cause.__context__
    return cause is not None


def _was_never_sent(why: Exception) -> bool:
    httpx = require_httpx()
    return isinstance(
        why, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout
    )
