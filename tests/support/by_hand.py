"""A server and a client by hand: what an application is given, and what it sends."""

from __future__ import annotations

import asyncio
import gzip
import inspect
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import brotli
import orjson
import zstandard

from rx_agui import sse
from rx_agui.asgi._request import Message
from tests.support.virtual import VirtualLoop

Event = dict[str, Any]
App = Callable[..., Awaitable[None]]

RUN = {"threadId": "t", "runId": "r"}
STARTED: Event = {"type": "RUN_STARTED", **RUN}
FINISHED: Event = {"type": "RUN_FINISHED", **RUN}

UNPACK: dict[str, Callable[[bytes], bytes]] = {
    "identity": lambda data: data,
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "br": brotli.decompress,
    "zstd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
}


def step(name: object) -> Event:
    return {"type": "STEP_STARTED", "stepName": str(name)}


def run_of(*names: object) -> list[Event]:
    return [STARTED, *map(step, names), FINISHED]


class Reader:
    """A client, as an application sees it.

    Attributes:
        sent: What the application has sent, as ASGI messages.
        took: Set for each message; see `until`.
        pauses: While set, `send` does not return: the reader does not read.
    """

    def __init__(
        self,
        method: str = "GET",
        path: str = "/",
        query: str = "",
        headers: dict[str, str] | None = None,
        body: bytes = b"",
    ) -> None:
        self.scope: Message = {
            "type": "http",
            "method": method,
            "path": path,
            "scheme": "http",
            "query_string": query.encode(),
            "headers": [
                (name.lower().encode(), value.encode())
                for name, value in (headers or {}).items()
            ],
        }
        self.sent: list[Message] = []
        self.reads = asyncio.Event()
        self.reads.set()
        self._left = asyncio.Event()
        self._changed = asyncio.Condition()
        self._body: list[bytes] = [body] if body else []

    # -- what the application is given ----------------------------------------------

    async def receive(self) -> Message:
        if self._body:
            return {
                "type": "http.request",
                "body": self._body.pop(),
                "more_body": False,
            }
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        await self.reads.wait()
        self.sent.append(message)
        async with self._changed:
            self._changed.notify_all()

    def leave(self) -> None:
        self._left.set()

    def pause(self) -> None:
        self.reads.clear()

    def go_on(self) -> None:
        self.reads.set()

    async def until(self, met: Callable[[], object]) -> None:
        """Wait until what was sent meets a condition."""
        async with asyncio.timeout(1000), self._changed:
            await self._changed.wait_for(met)

    # -- what it got --------------------------------------------------------------------

    @property
    def status(self) -> int:
        status: int = self.sent[0]["status"]
        return status

    @property
    def headers(self) -> dict[str, str]:
        head = self.sent[0]["headers"] if self.sent else []
        return {k.decode(): v.decode() for k, v in head}

    @property
    def raw(self) -> bytes:
        return b"".join(message["body"] for message in self.sent[1:])

    @property
    def body(self) -> bytes:
        return UNPACK[self.headers.get("content-encoding", "identity")](self.raw)

    @property
    def ended(self) -> bool:
        """Whether the body was ended cleanly."""
        last: Message = self.sent[-1] if self.sent else {}
        return "body" in last and not last.get("more_body", False)

    @property
    def messages(self) -> list[sse.Message]:
        return sse.Parser().feed(self.body)

    @property
    def events(self) -> list[Event]:
        return [orjson.loads(message.data) for message in self.messages]

    @property
    def ids(self) -> list[str]:
        return [message.id if message.own_id else "" for message in self.messages]

    @property
    def types(self) -> list[str]:
        return [event["type"] for event in self.events]


async def get(app: App, **asked: Any) -> Reader:
    """The whole answer."""
    reader = Reader(**asked)
    is_virtual = isinstance(asyncio.get_running_loop(), VirtualLoop)
    async with asyncio.timeout(10_000 if is_virtual else 10):
        await app(reader.scope, reader.receive, reader.send)
    return reader


@asynccontextmanager
async def reading(app: App, **asked: Any) -> AsyncIterator[Reader]:
    """A reader who is served while the block runs, and has then left.

    The request that started a run in a log goes on as long as the run; it is not waited
    for, but has a few turns of the loop.
    """
    reader = Reader(**asked)
    serving = asyncio.ensure_future(app(reader.scope, reader.receive, reader.send))
    reader.serving = serving  # type: ignore[attr-defined]
    try:
        yield reader
    finally:
        reader.leave()
        reader.go_on()
        if getattr(app, "log", None) or getattr(app, "_log", None):
            for _ in range(20):
                await asyncio.sleep(0)
        elif inspect.isfunction(app):  # which may have a log
            await asyncio.wait([serving], timeout=20)
        else:
            async with asyncio.timeout(20):
                await serving


class Agent:
    """An async generator that is told when to go on, and tells what became of it."""

    def __init__(self, events: Iterable[Event], *, then: BaseException | None = None):
        self.events = list(events)
        self.then = then
        self.given = 0
        self.starts = 0
        self.how = ""
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()
        self.stops_at: int | None = None

    async def __call__(self) -> AsyncIterator[Event]:
        self.starts += 1
        try:
            for index, event in enumerate(self.events):
                if index == self.stops_at:
                    self.may_go_on.clear()
                await self.may_go_on.wait()
                self.given += 1
                yield event
            if self.then is not None:
                raise self.then
            self.how = "finished"
        except asyncio.CancelledError:
            self.how = "cancelled"
            raise
        finally:
            self.how = self.how or "closed"
