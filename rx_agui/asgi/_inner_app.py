"""The app inside of AGUIMiddleware, at work on one request.

its head      held, until the run is let go or the app is called off
its body      up to `window` sends ahead ──▶ lists of events
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Iterable,
    MutableMapping,
)
from typing import Any, Final

from rx_agui.asgi._request import Message, Receive, Send
from rx_agui.flow._async_iterable import FromAsyncLists
from rx_agui.sse import FrameReader

__all__ = ["App", "InnerApp", "Listening", "NoHeadError"]

_log = logging.getLogger("rx_agui")

App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

#: Seconds an app that was called off has to end.
_CLEANUP: Final = 10.0


class NoHeadError(Exception):
    """The app did not start its response in time."""


class Listening:
    """A request's `receive`, with one call under way that outlives the wait for it."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._next: asyncio.Task[Message] | None = None

    def begin(self) -> asyncio.Task[Message]:
        """Return the call that is under way."""
        if self._next is None:
            self._next = asyncio.ensure_future(self._receive())
        return self._next

    async def __call__(self) -> Message:
        message = await asyncio.shield(self.begin())
        self._next = None
        return message

    def leave(self) -> None:
        """Listen no more."""
        if self._next is not None:
            self._next.cancel()


class InnerApp:
    """The app at work on one request, in a task of its own.

    Its sends wait: the first until the run is let go, the others while `window` of them
    have not been read.
    """

    def __init__(
        self,
        app: App,
        scope: Message,
        body: list[Message],
        listening: Listening,
        window: int,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.is_let_go = False
        self._listening = listening
        self._body = deque(body)
        self._window = window
        self._head: asyncio.Future[Message | None] = loop.create_future()
        self._go = asyncio.Event()
        self._onward: Send | None = None
        self._is_read = False  # let go, and not passed on as it is
        self._gone = asyncio.Event()
        self._sent: list[bytes] = []
        self._more = True
        self._came = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._task = loop.create_task(self._run(app, scope))

    async def _run(self, app: App, scope: Message) -> None:
        try:
            await app(scope, self._receive, self._send)
        finally:
            if not self._head.done():
                self._head.set_result(None)
            self._more = False
            self._came.set()

    async def head(self, within: float | None) -> Message | None:
        """Return the message that starts its response; None if it never does.

        Raises:
            NoHeadError: It did not come in `within` seconds.
            Exception: What the app raised before it.
        """
        hearing = self._listening.begin()
        await asyncio.wait(
            (self._head, hearing), timeout=within, return_when=asyncio.FIRST_COMPLETED
        )
        if not self._head.done():
            if hearing.done() and hearing.result()["type"] == "http.disconnect":
                return None
            raise NoHeadError
        head = self._head.result()
        if head is None:
            await self._task  # raises what it raised
        return head

    async def pass_on(self, send: Send) -> None:
        """Send what the app sends, from its head on, as it is."""
        self.is_let_go = True
        await send(self._head.result())  # type: ignore[arg-type]
        self._let_go(send)
        try:
            await asyncio.shield(self._task)
        except asyncio.CancelledError:
            await self.stop()
            raise

    def events(self) -> FromAsyncLists:
        """Return the events in its body; it goes on behind its head once they are asked for."""
        self.is_let_go = True
        return FromAsyncLists(self._events)

    async def _events(self) -> AsyncGenerator[list[bytes], None]:
        reader, sent, window = FrameReader(), self._sent, self._window
        self._let_go(None)
        is_over = False
        try:
            while True:
                if sent:
                    pieces = sent[:]
                    async for events in _up_to_failure(reader.read_many(pieces)):
                        yield events
                    del sent[: len(pieces)]  # only now: what is read has been let in
                    if len(sent) < window:
                        self._room.set()
                elif self._more:
                    self._came.clear()
                    await self._came.wait()
                else:
                    break
            is_over = True
            if self._task.done():
                await self._task  # raises what the app raised
        finally:
            if not is_over:
                await self.stop()

    def _let_go(self, onward: Send | None) -> None:
        self._onward, self._is_read = onward, onward is None
        self._go.set()

    async def stop(self) -> None:
        """Call the app off, and wait until it has cleaned up; not for ever."""
        self._is_read = False
        self._gone.set()
        self._sent.clear()
        self._room.set()
        self._task.cancel()
        done, _ = await asyncio.wait((self._task,), timeout=_CLEANUP)
        if not done:
            _log.warning(
                "the app was called off %g s ago and is still at work", _CLEANUP
            )
        elif not self._task.cancelled():
            self._task.exception()  # told in its place, or caused by us

    async def ended(self) -> None:
        """Wait for what the app does behind its body, such as background tasks."""
        await asyncio.wait((self._task,))
        if not self._task.cancelled() and (error := self._task.exception()) is not None:
            _log.info("the app failed behind its body: %r", error)

    async def _receive(self) -> Message:
        if self._body:
            return self._body.popleft()
        if self._onward is not None:  # passed on as it is
            return await self._listening()
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if self._is_read and len(self._sent) < self._window:  # called for every event
            if message["type"] == "http.response.body":
                self._take(message)
            return
        await self._send_slowly(message)

    async def _send_slowly(self, message: Message) -> None:
        self._raise_if_gone()
        if message["type"] == "http.response.start" and not self._head.done():
            self._head.set_result(message)
        await self._go.wait()
        if self._onward is not None:
            if message is not self._head.result():
                await self._onward(message)
            return
        if message["type"] != "http.response.body":
            return
        while len(self._sent) >= self._window:
            self._room.clear()
            await self._room.wait()
        self._raise_if_gone()
        self._take(message)

    def _take(self, message: Message) -> None:
        if piece := message.get("body"):
            self._sent.append(piece if type(piece) is bytes else bytes(piece))
        if not message.get("more_body"):
            self._more = False
        elif len(self._sent) > 1:
            return  # it was told of the first
        self._came.set()

    def _raise_if_gone(self) -> None:
        if self._gone.is_set():
            raise OSError("the request was called off")


async def _up_to_failure(
    events: Iterable[bytes],
) -> AsyncGenerator[list[bytes], None]:
    """Yield the events as one list; those before a failure, and then raise it."""
    read: list[bytes] = []
    try:
        for event in events:
            read.append(event)  # noqa: PERF402  # what came before a failure is kept
    except Exception:
        yield read
        raise
    yield read
