"""An event loop whose time passes only when everybody waits, and a server by script.

Whatever sleeps or times out on it, asyncio's own and that of the libraries, takes its
seconds of virtual time and none of ours.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

import httpx
import orjson

__all__ = ["Script", "Server", "answer", "frame", "on_virtual_time"]

T = TypeVar("T")


class _Selector(selectors.DefaultSelector):
    """Where a loop waits for the next timer: here the clock is moved on instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("everybody waits, and nothing will ever happen")
            self.now += timeout
        return ready


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now


def on_virtual_time(main: Coroutine[Any, Any, T]) -> T:
    """What `main` returns, run on a loop of its own."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(main)


Step = bytes | float | Exception


class Script(httpx.AsyncByteStream):
    """A body: bytes come, seconds pass, an error breaks it off."""

    def __init__(self, *steps: Step) -> None:
        self.steps = steps
        self.taken = 0
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for step in self.steps:
            self.taken += 1
            match step:
                case bytes():
                    yield step
                case float():
                    await asyncio.sleep(step)
                case Exception():
                    raise step

    async def aclose(self) -> None:
        self.closed = True


def answer(*steps: Step, status: int = 200, **headers: str) -> httpx.Response:
    """What a server answers. In a header's name an underscore is a hyphen."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(
        status,
        headers={"content-type": "text/event-stream"} | named,
        stream=Script(*steps),
    )


class Server(httpx.AsyncBaseTransport):
    """Gives one answer after the other, and remembers what was asked, and when."""

    def __init__(self, *answers: httpx.Response | Exception | float) -> None:
        self.answers: list[httpx.Response | Exception | float] = [*answers]
        self.asked: list[httpx.Request] = []
        self.times: list[float] = []
        self.bodies = [a.stream for a in answers if isinstance(a, httpx.Response)]

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.asked.append(request)
        self.times.append(asyncio.get_running_loop().time())
        answer = self.answers.pop(0)
        if isinstance(answer, float):
            await asyncio.sleep(answer)
            answer = self.answers.pop(0)
        assert not isinstance(answer, float)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def cursors(self) -> list[str | None]:
        """The Last-Event-ID of each request."""
        return [request.headers.get("last-event-id") for request in self.asked]

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=self)


def frame(event: dict[str, Any], event_id: str = "") -> bytes:
    """An event on the wire."""
    named = b"id: %b\n" % event_id.encode() if event_id else b""
    return named + b"data: " + orjson.dumps(event) + b"\n\n"
