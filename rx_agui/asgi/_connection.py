"""One response on its way to one reader, and how it ends.

    payloads ──▶ write ──▶ coding ──▶ send         one at a time
    idle for 15 s ──▶ a comment ──▶ send           under the same time-out
    outcome    completed, client_disconnect, server_shutdown, timeout, error

A body is a table of states and events, as in h11: see `NEXT`. Why the connection ends is
kept beside it, as `outcome`: the first reason wins, and the body may still be ended well.

The reader's loop runs in the request's own task. While it waits for something to write,
`close` interrupts it; while it writes, the write is let finish, or is cancelled if the
reader is gone or stuck. The first byte goes with the head, since Firefox shows nothing of
a response that has none.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from rx_agui.asgi._failure import ReaderGone, Refused, run_error
from rx_agui.asgi._request import Message, Receive, Send
from rx_agui.asgi._settings import SSESettings
from rx_agui.asgi._watchdog import Registration, Watchdog
from rx_agui.codecs.codec import StreamEncoder
from rx_agui.errors import TrimmedError
from rx_agui.frame import Frame
from rx_agui.sse import comment, format_frame

__all__ = ["NEXT", "Connection", "Outcome", "come_back", "trailer"]

_log = logging.getLogger("rx_agui")

#: Seconds the end of a body may take: a reader that does not take it by then has other
#: troubles.
_CLOSING_TIME: Final = 2.0

#: What a body does in which state, and its next state. Anything else is a bug (KeyError).
NEXT: Final = {
    ("new", "head"): "opening",
    ("opening", "sent"): "idle",
    ("idle", "data"): "sending",
    ("sending", "sent"): "idle",
    ("sending", "failed"): "idle",  # `send` refused the message; nothing of it is out
    ("idle", "last"): "ending",
    ("ending", "sent"): "done",
    ("opening", "failed"): "broken",
    ("ending", "failed"): "broken",
    ("opening", "lost"): "broken",  # OSError, or the send was cancelled: how much is
    ("sending", "lost"): "broken",  # out is unknown, so nothing may follow
    ("ending", "lost"): "broken",
}

_BUSY: Final = frozenset(("opening", "sending", "ending"))
_OVER: Final = frozenset(("done", "broken"))


class Outcome(NamedTuple):
    """Why a connection ended.

    Attributes:
        reason: As telemetry has it.
        why: As a log line has it.
        code, told: Of the RUN_ERROR for a client that cannot resume.
    """

    reason: str
    why: str
    code: str = "CONNECTION_CLOSED"
    told: str = "The stream was broken off."


COMPLETED = Outcome("completed", "everything was sent")
GONE = Outcome("client_disconnect", "its reader is gone")
SHUTDOWN = Outcome(
    "server_shutdown",
    "the server shuts down",
    "SERVER_SHUTDOWN",
    "The server shuts down.",
)
_SLOW: Final = "The connection was closed: it was read too slowly."
_SLOW_CODES: Final = ("READER_STUCK", "READER_TOO_SLOW")


class Connection:
    """The body of one response, and the clock that looks after it.

    Attributes:
        state: Of the body; see `NEXT`.
        outcome: Why the connection ends; None while it is open.
        waiting_since: Since when data waits to be written, in the loop's time.
        lag: Given the time, the seconds the reader is behind what is not here yet.
    """

    def __init__(
        self,
        send: Send,
        make_encoder: Callable[[], StreamEncoder],
        settings: SSESettings,
    ) -> None:
        self.state = "new"
        self.outcome: Outcome | None = None
        self.waiting_since: float | None = None
        self.lag: Callable[[float], float] | None = None
        self._send = send
        self._make_encoder = make_encoder
        self._encoder: StreamEncoder | None = None
        self._settings = settings
        self._loop = loop = asyncio.get_running_loop()
        self._clock = loop.time
        self._began = self._last_write = self._clock()
        self._send_began = 0.0
        self._writing_since: float | None = None
        self._freed: asyncio.Future[None] | None = None
        self._task: asyncio.Task[object] | None = None  # that reads, in `serve`
        self._is_reading = False  # so that `close` may interrupt it
        self._is_interrupted = False
        self._sender: asyncio.Task[object] | None = None
        self._helper: asyncio.Task[None] | None = None  # a late head, a keep-alive
        self._registration: Registration | None = None
        self._closing: asyncio.TimerHandle | None = None
        self._head: Message = {}
        self._refusal: Callable[[], BaseException | None] = _no_refusal
        spread = random.uniform(0.8, 1.0)  # readers that came together leave one by one
        self._lasts = None if (d := settings.max_duration) is None else d * spread

    # -- its life ----------------------------------------------------------------------

    async def serve(
        self,
        receive: Receive,
        status: int,
        headers: list[tuple[bytes, bytes]],
        read: Callable[[], Awaitable[None]],
        refusal: Callable[[], BaseException | None],
    ) -> Outcome:
        """Run `read`, which writes, until it or the connection ends.

        The head goes with the first write, or when `status_grace` is over.

        Args:
            refusal: What the source raised before its first event, if it did.

        Raises:
            Refused: The source failed, and there is still time for a status.
        """
        self._task = task = asyncio.current_task()
        assert task is not None
        cancelling = task.cancelling()
        self._refusal = refusal
        self._head = {
            "type": "http.response.start",
            "status": status,
            "headers": headers,
        }
        first_look = self._began + self._settings.status_grace
        self._registration = Watchdog.here().join(self, first_look)
        listening = self._loop.create_task(self._listen(receive))
        try:
            self._is_reading = True
            try:
                await read()
            except Refused:
                raise
            except asyncio.CancelledError:
                if not self._is_interrupted or task.uncancel() > cancelling:
                    raise  # by the server, and not by `close`
                self._is_interrupted = False
            except ReaderGone:
                pass  # the outcome is set
            except Exception as error:
                self.close(_outcome_of(error))
            finally:
                self._is_reading = False
                if self._is_interrupted:  # its end came as it was interrupted
                    self._is_interrupted = False
                    task.uncancel()
            if self.outcome is None:
                self.close(COMPLETED)
                assert self.outcome is not None
            return self.outcome
        finally:
            listening.cancel()

    async def _listen(self, receive: Receive) -> None:
        """Wait until the reader leaves; a request body is discarded."""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.close(GONE)
                return

    def close(self, outcome: Outcome) -> None:
        """Set the outcome; the first call wins. Interrupts what waits."""
        if self.outcome is not None:
            return
        self.outcome = outcome
        if self.state in _BUSY:
            if outcome is GONE or outcome.code in _SLOW_CODES:
                self._cancel_send()
            else:
                self._closing = self._loop.call_later(_CLOSING_TIME, self._cancel_send)
            if self._sender is self._task:
                return  # it finds the outcome behind the write
        self._interrupt()

    def _interrupt(self) -> None:
        task = self._task
        if task is None or self._is_interrupted or not self._is_reading:
            return
        if task is not asyncio.current_task():  # else it finds the outcome by itself
            self._is_interrupted = True
            task.cancel()

    def _cancel_send(self) -> None:
        """Break the body off: the message being sent is cancelled."""
        sender = self._sender
        if self.state not in _BUSY or sender is None:
            return
        if sender is not self._task:
            self.state = NEXT[self.state, "lost"]
            sender.cancel()
        elif self._is_reading:  # else it ends the body, in a time of its own
            self.state = NEXT[self.state, "lost"]
            self._interrupt()

    # -- writing -----------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether the head has been sent, or is being sent."""
        return self.state != "new"

    async def write(self, data: bytes, *, last: bool = False) -> None:
        """Write data that decodes at once, as one message.

        Raises:
            ReaderGone: The connection has ended.
        """
        since, self.waiting_since = self.waiting_since, None
        self._writing_since = self._clock() if since is None else since
        try:
            if self.state != "idle":
                await self._until_idle()
            if self.outcome is not None:
                raise ReaderGone(self.outcome.why)
            encoder = self._encoder
            if encoder is None or last:
                await self._put(data, last=last)
            else:  # by far the most, so with a step less
                await self._rest(encoder.encode(data))
        finally:
            self._writing_since = None
        if last:
            self.close(COMPLETED)

    async def _put(self, data: bytes, *, last: bool) -> None:
        encoder = self._encoder
        if encoder is None:
            first = await self._send_head()
            assert self._encoder is not None
            encoder = self._encoder
            body = first + encoder.encode(data)
        else:
            body = encoder.encode(data)
        if last:
            body += encoder.finish()
        await self._transmit(
            "last" if last else "data",
            {"type": "http.response.body", "body": body, "more_body": not last},
        )

    async def _until_idle(self) -> None:
        """Wait for a late head or a keep-alive that is being sent."""
        while self.state in _BUSY:
            freed = self._freed = self._loop.create_future()
            await freed
        if self.state in _OVER:
            raise ReaderGone("the body has ended")

    async def _send_head(self) -> bytes:
        """Send the head; return the first bytes of the body, which go with what follows."""
        encoder = self._encoder = self._make_encoder()
        await self._transmit("head", self._head)
        retry_ms = self._settings.retry * random.uniform(1.0, 1.5) * 1000
        return encoder.rest(b":\nretry: %d\n" % retry_ms)

    async def _open(self) -> None:
        """Send the head before there is a payload, and the first bytes at once."""
        await self._rest(await self._send_head())

    async def _keep_alive(self) -> None:
        assert self._encoder is not None
        await self._rest(self._encoder.rest(comment()))

    def _rest(self, body: bytes) -> Awaitable[None]:
        message = {"type": "http.response.body", "body": body, "more_body": True}
        return self._transmit("data", message)

    async def _transmit(self, event: str, message: Message) -> None:
        """Send one ASGI message, under the watchdog."""
        self.state = NEXT[self.state, event]
        self._sender = asyncio.current_task()
        self._send_began = self._clock()
        result = "sent"
        try:
            await self._send(message)
        except OSError as error:  # how servers of ASGI 2.4 say that the reader left
            result = "lost"
            self.state = NEXT[self.state, result]
            self.close(GONE)
            raise ReaderGone("the reader is gone") from error
        except asyncio.CancelledError:
            result = "lost"
            raise
        except BaseException:
            result = "failed"
            raise
        finally:
            self._sender = None
            self._last_write = self._clock()
            if self.state in _BUSY:
                self.state = NEXT[self.state, result]
            if self._freed is not None:
                freed, self._freed = self._freed, None
                if not freed.done():
                    freed.set_result(None)

    # -- being looked after --------------------------------------------------------------

    def look(self, now: float) -> float | None:
        """Do what is due, and return when to look again; see Watchdog."""
        settings = self._settings
        if self.outcome is not None:
            return None
        if self.state in _BUSY and _is_over(
            now - self._send_began, settings.send_timeout
        ):
            why = f"one send took longer than send_timeout={settings.send_timeout:g} s"
            self.close(Outcome("timeout", why, "READER_STUCK", _SLOW))
        elif _is_over(self.age(now), settings.max_staleness):
            why = (
                f"it is further behind than max_staleness={settings.max_staleness:g} s"
            )
            self.close(Outcome("timeout", why, "READER_TOO_SLOW", _SLOW))
        elif _is_over(now - self._began, self._lasts):
            why = f"it has lasted max_duration={settings.max_duration:g} s, or nearly"
            told = "The connection was closed: its maximum duration is reached."
            self.close(Outcome("timeout", why, "MAX_DURATION", told))
        else:
            if self.state == "new":
                if _is_over(now - self._began, settings.status_grace):
                    self._last_write = now
                    self._helper = self._loop.create_task(self._help(self._open))
            elif self.state == "idle" and _is_over(
                now - self._last_write, settings.keep_alive
            ):
                self._last_write = now  # it is about to be
                self._helper = self._loop.create_task(self._help(self._keep_alive))
            return self._next_look(now)
        return None

    def age(self, now: float) -> float:
        """Seconds the oldest event that could be sent has waited."""
        since = self._writing_since
        if since is None:
            since = self.waiting_since
        age = 0.0 if since is None else now - since
        return age if self.lag is None else max(age, self.lag(now))

    def _next_look(self, now: float) -> float:
        """When something may be due."""
        settings = self._settings
        due = [now + settings.shortest_wait]
        if self.state == "new" and self._last_write == self._began:
            due.append(self._began + settings.status_grace)
        if settings.keep_alive is not None and self.state == "idle":
            due.append(self._last_write + settings.keep_alive)
        if settings.send_timeout is not None and self.state in _BUSY:
            due.append(self._send_began + settings.send_timeout)
        if settings.max_staleness is not None and (age := self.age(now)):
            due.append(now - age + settings.max_staleness)
        if self._lasts is not None:
            due.append(self._began + self._lasts)
        return min(due)

    async def _help(self, send: Callable[[], Awaitable[None]]) -> None:
        """Send what is due while the reader's loop waits for something to write."""
        due = "new" if send == self._open else "idle"
        if self.state != due or self.outcome is not None or self._refusal() is not None:
            return  # the loop was faster
        try:
            await send()
        except ReaderGone:
            pass  # the outcome is set
        except Exception as error:
            self.close(_outcome_of(error))

    # -- its end -------------------------------------------------------------------------

    async def finish(self, trailer: bytes = b"") -> None:
        """End the body behind `trailer`: cleanly, if the reader still reads."""
        if self.state in _OVER or self.outcome is GONE:
            return
        try:
            async with asyncio.timeout(_CLOSING_TIME):
                await self._until_idle()
                await self._put(trailer, last=True)
        except (ReaderGone, TimeoutError):
            pass  # the body is broken, which a reader sees

    def leave(self) -> None:
        """Leave the watchdog. A late head or keep-alive under way is cancelled."""
        if self.outcome is None:
            self.close(GONE)
        if self._registration is not None:
            self._registration.leave()
        if self._closing is not None:
            self._closing.cancel()
        if self._helper is not None and not self._helper.done():
            self._helper.cancel()


def trailer(outcome: Outcome, closing: list[bytes] | None) -> bytes:
    """Return the last bytes of a body whose client cannot resume: it is told of the break.

    Args:
        closing: The events that close what it was sent and is open; None if the end of
            the run has been written.
    """
    if outcome is COMPLETED or closing is None:
        return b""
    lines = [*closing, run_error(outcome.told, outcome.code)]
    return format_frame(Frame(b"\n".join(lines), events=len(lines)))


def come_back(retry: float) -> bytes:
    """Return the last bytes of a body whose client resumes, in so many seconds or more.

    All readers come back at once otherwise, to a server that has just begun.
    """
    return b"retry: %d\n" % (random.uniform(1.0, 3.0) * retry * 1000)


def _outcome_of(error: Exception) -> Outcome:
    if isinstance(error, TrimmedError):
        return Outcome("timeout", str(error), "READER_TOO_SLOW", _SLOW)
    return Outcome("error", f"it could not be written: {error!r}")


def _is_over(seconds: float, limit: float | None) -> bool:
    return limit is not None and seconds >= limit - 1e-6  # what clocks lose in rounding


def _no_refusal() -> None:
    return None
