"""One response on its way to one reader, and how it ends.

    batches ──▶ write ──▶ coding ──▶ send          one at a time
    idle for 15 s ──▶ a comment ──▶ send           under the same time-out
    outcome    completed, client_disconnect, server_shutdown, timeout, error

Who writes waits for the reader; nothing queues here. The first byte goes with the head,
since Firefox shows nothing of a response that has none.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import NamedTuple

from rx_agui.asgi._failure import ReaderGone
from rx_agui.asgi._request import Message, Receive, Send
from rx_agui.asgi._settings import Settings
from rx_agui.asgi._watchdog import Registration, Watchdog
from rx_agui.codecs.codec import StreamEncoder
from rx_agui.sse import comment

__all__ = ["Connection", "Outcome"]

_log = logging.getLogger("rx_agui")

#: Seconds a last word may take: who does not read it in that time has other troubles.
_LAST_WORD = 2.0


class Outcome(NamedTuple):
    """Why a connection ended.

    Attributes:
        reason: As telemetry has it.
        why: As a log line has it.
        code, told: Of the RUN_ERROR for a client that cannot resume.
        stuck: A send was under way, and will not come back.
    """

    reason: str
    why: str
    code: str = "CONNECTION_CLOSED"
    told: str = "The stream was broken off."
    stuck: bool = False


COMPLETED = Outcome("completed", "everything was sent")
GONE = Outcome("client_disconnect", "its reader is gone")
SHUTDOWN = Outcome(
    "server_shutdown",
    "the server shuts down",
    "SERVER_SHUTDOWN",
    "The server shuts down.",
)
_SLOW = "The connection was closed: it was read too slowly."


class Connection:
    """Writes a body.

    Attributes:
        wanted: When somebody first wants to write.
        outcome: Why it is over. Whoever sets it first is right.
        is_last: Asked as a write begins: whether nothing will come behind it.
        lag: Given the time, how many seconds the reader is behind what is not here yet.
    """

    def __init__(
        self, send: Send, encoder: Callable[[], StreamEncoder], settings: Settings
    ) -> None:
        loop = asyncio.get_running_loop()
        self.wanted: asyncio.Future[None] = loop.create_future()
        self.outcome: asyncio.Future[Outcome] = loop.create_future()
        self.is_last: Callable[[], bool] = lambda: False
        self.lag: Callable[[float], float] = lambda now: 0.0
        self._send = send
        self._make_encoder = encoder
        self._encoder: StreamEncoder | None = None
        self._settings = settings
        self._loop = loop
        self._opened = asyncio.Event()
        self._opening: asyncio.Timeout | None = None
        self._lock = asyncio.Lock()
        self._post: Registration | None = None
        self._began = loop.time()
        self._last_write = self._began
        self._sending: tuple[float, asyncio.Task[object] | None] | None = None
        self._waiting_since: float | None = None
        self._writing_since: float | None = None
        self._finished = False
        self._called_off: asyncio.Task[object] | None = None
        self._beating: asyncio.Task[None] | None = None
        spread = random.uniform(0.8, 1.0)  # who came together need not leave together
        self._lasts = None if (d := settings.max_duration) is None else d * spread

    # -- its beginning ---------------------------------------------------------------

    async def open(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Send the head, and the first bytes at once.

        Raises:
            ReaderGone: They could not be; or not soon, and the connection has ended.
        """
        self._post = Watchdog.here().join(self, self._next_look(self._began))
        start: Message = {
            "type": "http.response.start",
            "status": status,
            "headers": headers,
        }
        retry_ms = self._settings.retry * random.uniform(1.0, 1.5) * 1000
        soon = _LAST_WORD if self.outcome.done() else None
        try:
            async with asyncio.timeout(soon) as self._opening:
                await self._guarded(start)
                self._encoder = self._make_encoder()
                await self._put(b":\nretry: %d\n\n" % retry_ms, rests=True)
        except TimeoutError as error:
            self._finished = True  # what was encoded and not sent is missing
            raise ReaderGone("the head could not be sent in time") from error
        finally:
            self._opening = None
        self._opened.set()

    async def listen(self, receive: Receive) -> None:
        """Hear the reader leave."""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.close(GONE)
                return
            # What is left of a request body: nobody else will read it.

    # -- writing -------------------------------------------------------------------------

    def waits(self) -> None:
        """Something waits to be written, from now on at the latest."""
        if self._waiting_since is None:
            self._waiting_since = self._loop.time()

    async def write(self, data: bytes) -> None:
        """Write what every event up to now is in.

        Raises:
            ReaderGone: It could not be, and never will.
        """
        if not self.wanted.done():
            self.wanted.set_result(None)
        self._writing_since, self._waiting_since = self._waiting_since, None
        is_last = self.is_last()
        try:
            if not self._opened.is_set():
                await self._opened.wait()
            if self.outcome.done():
                raise ReaderGone(self.outcome.result().why)
            await self._put(data, last=is_last)
        finally:
            self._writing_since = None

    async def _put(
        self, data: bytes, *, last: bool = False, rests: bool = False
    ) -> None:
        async with self._lock:
            if self._finished:
                raise ReaderGone("the body has ended")
            assert self._encoder is not None
            encode = self._encoder.rest if rests else self._encoder.encode
            body = encode(data)
            if last:
                body += self._encoder.finish()
                self._finished = True
            await self._guarded(
                {"type": "http.response.body", "body": body, "more_body": not last}
            )
        if last:
            self.close(COMPLETED)  # who hears of a disconnect now hears nothing new

    async def _guarded(self, message: Message) -> None:
        """Send, as one who is watched."""
        self._sending = self._loop.time(), asyncio.current_task()
        try:
            await self._send(message)
        except OSError as error:  # as ASGI 2.4 has servers say that the reader left
            self.close(GONE)
            raise ReaderGone("the reader is gone") from error
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if self._called_off is task and task is not None and task.uncancel() == 0:
                raise ReaderGone("the send was called off") from error
            raise
        finally:
            self._sending = None
            self._last_write = self._loop.time()

    # -- being looked after -----------------------------------------------------------------

    def look(self, now: float) -> float | None:
        """Do what is due; see Patrol."""
        settings = self._settings
        if self.outcome.done():  # what ends the body has been sent only then
            return None
        if self._sending is not None and _is_over(
            now - self._sending[0], settings.send_timeout
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
            told = "The connection was closed: it has lasted long enough."
            self.close(Outcome("timeout", why, "MAX_DURATION", told))
        else:
            if self._is_idle(now):
                self._last_write = now  # it is about to be
                self._beating = self._loop.create_task(self._beat())
            return self._next_look(now)
        return None

    def age(self, now: float) -> float:
        """Seconds the oldest event that could be sent has waited."""
        since = self._writing_since or self._waiting_since
        return max(0.0 if since is None else now - since, self.lag(now))

    def _is_idle(self, now: float) -> bool:
        busy = self._sending is not None or self._lock.locked()
        return not busy and _is_over(now - self._last_write, self._settings.keep_alive)

    def _next_look(self, now: float) -> float:
        """When something may be due."""
        settings = self._settings
        due = [now + settings.shortest_wait]
        if settings.keep_alive is not None and self._sending is None:
            due.append(self._last_write + settings.keep_alive)
        if settings.send_timeout is not None and self._sending is not None:
            due.append(self._sending[0] + settings.send_timeout)
        if settings.max_staleness is not None and (age := self.age(now)):
            due.append(now - age + settings.max_staleness)
        if self._lasts is not None:
            due.append(self._began + self._lasts)
        return min(due)

    async def _beat(self) -> None:
        try:
            await self._put(comment(), rests=True)
        except ReaderGone:
            pass  # whoever found out has set the outcome
        except Exception as error:  # nobody else would hear of it
            self.close(Outcome("error", f"it could not be written: {error!r}"))

    # -- its end ------------------------------------------------------------------------------

    def close(self, outcome: Outcome) -> None:
        """Say why it ends. A send that takes too long is called off."""
        if self.outcome.done():
            return
        is_slow = outcome.reason == "timeout" and outcome.code != "MAX_DURATION"
        stuck = is_slow and self._sending is not None
        self.outcome.set_result(outcome._replace(stuck=True) if stuck else outcome)
        self._opened.set()  # or who waits for a head that will never go waits for ever
        if stuck:
            self._call_off()
        elif self._opening is not None:
            self._opening.reschedule(self._loop.time() + _LAST_WORD)

    def _call_off(self) -> None:
        """What is being sent will never have been: the body is broken, and over."""
        self._finished = True
        task = None if self._sending is None else self._sending[1]
        if task is not None and task is not self._called_off:  # once: it is counted
            self._called_off = task
            task.cancel()

    async def finish(self, last_word: bytes = b"") -> None:
        """End the body: cleanly, if the reader still reads."""
        if self._post is not None:
            self._post.leave()
        gone = self.outcome.done() and self.outcome.result() is GONE
        if self._finished or gone or self._encoder is None:
            return
        try:
            async with asyncio.timeout(_LAST_WORD):
                await self._put(last_word, last=True)
        except ReaderGone:
            pass
        except TimeoutError:
            self._call_off()

    def leave(self) -> None:
        """Be looked after no more. A send that is still under way is called off."""
        if self._post is not None:
            self._post.leave()
        self._call_off()


def _is_over(seconds: float, limit: float | None) -> bool:
    return limit is not None and seconds >= limit - 1e-6  # what clocks lose in rounding
