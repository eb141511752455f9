"""A run as users have it, and three servers of it: an agent at a pace, one reader a run.

    bare      StreamingResponse and EventEncoder, which is what AG-UI's own examples do
    ours      SSEResponse, with its defaults
    logged    the same with a log, for a client that accepts no coding
    packed    the same with a log and gzip

The agent makes objects of ag_ui.core while it runs, for each of them: its cost is in
every figure.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

from ag_ui.core import RunFinishedEvent, RunStartedEvent, TextMessageContentEvent
from ag_ui.encoder import EventEncoder

from rx_agui.asgi import SSEResponse
from rx_agui.errors import MissingExtraError
from rx_agui.replay import MemoryLog

__all__ = ["KINDS", "Agent", "Application", "Pace", "request_of", "server"]

Application = Callable[[Any, Any, Any], Awaitable[None]]
Agent = Callable[[], AsyncIterator[Any]]

KINDS = ("bare", "ours", "logged", "packed")


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast runs come and how long they are.

    Attributes:
        runs: At a time.
        rate: Events a second of each; None: as fast as they are taken.
        length: Events of each, its start and its end among them.
    """

    runs: int
    rate: float | None
    length: int

    def agent(self, number: int, note: Callable[[], object] = int) -> Agent:
        """Return the agent of run `number`; the runs are spread over one interval.

        Args:
            number: From 0 to `runs` - 1, or beyond.
            note: Called before each event is yielded.
        """
        every = 0.0 if self.rate is None else 1 / self.rate
        offset = every * (number % self.runs) / self.runs

        async def agent() -> AsyncIterator[Any]:
            now = asyncio.get_running_loop().time
            begun = now() + offset
            for n in range(self.length):
                if every and (left := begun + n * every - now()) > 0:
                    await asyncio.sleep(left)
                event = _event(n, self.length, number)
                note()
                yield event

        return agent


def _event(n: int, length: int, run: int) -> Any:
    if n == 0:
        return RunStartedEvent(thread_id="thread-1", run_id=f"run-{run}")
    if n == length - 1:
        return RunFinishedEvent(thread_id="thread-1", run_id=f"run-{run}")
    return TextMessageContentEvent(message_id="msg-5f0a1c9e", delta=f" token {n}")


def server(make_agent: Callable[[int], Agent]) -> Application:
    """Return an application that serves each kind under its name as the path.

    Args:
        make_agent: Makes the agent of the nth request of a kind, from 0.
    """
    try:
        from starlette.responses import StreamingResponse
    except ImportError:
        raise MissingExtraError("this row", "starlette", "bench") from None
    encoder, log = EventEncoder(), MemoryLog()
    asked = {kind: count() for kind in KINDS}

    def bare(agent: Agent) -> Application:
        async def body() -> AsyncIterator[str]:
            async for event in agent():
                yield encoder.encode(event)

        return StreamingResponse(body(), media_type="text/event-stream")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        kind = scope["path"].removeprefix("/")
        number = next(asked[kind])
        agent = make_agent(number)
        response: Application
        if kind == "bare":
            response = bare(agent)
        elif kind == "ours":
            response = SSEResponse(agent)
        else:
            response = SSEResponse(agent, log=log, stream=f"{kind}-{number}")
        await response(scope, receive, send)

    return app


def request_of(kind: str) -> bytes:
    """Return the request for a run of this kind."""
    coding = "gzip" if kind == "packed" else "identity"
    return (
        f"POST /{kind} HTTP/1.1\r\nHost: x\r\nAccept-Encoding: {coding}\r\n"
        "Content-Length: 0\r\nConnection: close\r\n\r\n"
    ).encode()
