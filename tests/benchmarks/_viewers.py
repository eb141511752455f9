"""Viewers that have read something and wait: what each takes beside a bare stream.

    bare      Starlette's StreamingResponse, of an agent that has said an event, or some
    alone     SSEResponse of the same agent: a run of its own
    logged    the same, kept in a log: a run of its own that its reader can come back to
    shared    SSEResponse, and all of them view one logged run

Each is served as a server would do it, with a `send` that takes everything and a
`receive` that has nothing to say. Keep-alives are on, as they are by default. One kind
is measured in one interpreter; see _fresh.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any

from rx_agui.agui.encoding import encode
from rx_agui.asgi import SSEResponse
from rx_agui.errors import MissingExtraError
from rx_agui.replay import MemoryLog
from tests.benchmarks._fresh import fresh, resident
from tests.benchmarks._measure import Spread
from tests.benchmarks._wire import a_run
from tests.benchmarks._workloads import Event

__all__ = ["KINDS", "Viewers", "viewers"]

#: Viewers that come first: what all share is made for them.
_WARM = 100

#: Seconds the last of them may take to have everything, on a busy machine.
_PATIENCE = 120.0

#: Seconds without a message until nothing is due any more but keep-alives; and where
#: agents say more than one event, which takes them longer the more of them there are.
_SETTLES, _SAYS_IT_ALL = 0.1, 0.3

Agent = Callable[[], AsyncIterator[Event]]
Response = Callable[[Any, Any, Any], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Viewers:
    """What viewers of one kind cost that have said something, and now wait.

    Attributes:
        kind, coding: Which, and how their responses are coded.
        viewers: How many.
        bytes_each: Resident memory that each adds. They come in five groups, which is
            where the spread is from.
        cpu: Processor seconds that all of them took in one second of waiting.
        threads, timers: That are there because of them: what they share does not count.
    """

    kind: str
    coding: str
    viewers: int
    bytes_each: Spread
    cpu: float
    threads: int
    timers: int

    def above(self, bare: Viewers) -> Spread:
        """KB that each takes more than a bare one."""
        of, less = self.bytes_each, bare.bytes_each.median
        return Spread(
            *((value - less) / 1024 for value in (of.median, of.least, of.most))
        )


def viewers(
    kind: str,
    coding: str = "identity",
    n: int = 1_000,
    *,
    events: int = 1,
    wait: float = 0.2,
    keep_alive: float | None = 15.0,
    rest: float = 0.0,
) -> Viewers:
    """Let `n` of them come, and watch them wait, in an interpreter of their own.

    Args:
        kind: One of KINDS.
        coding: "identity" or "gzip"; a bare stream knows only the first.
        events: What their agents have said before they wait, of a run that has 2,200.
            Of a logged run that is what its log holds; and the context of gzip, which
            one event hardly touches, is all in use after some hundred.
        wait: Seconds to watch them.
        keep_alive: As SSEResponse has it. Who waits longer than that sees the
            processor time that it takes.
        rest: Seconds that each group of them waits before it is looked at. Whose last
            word was a keep-alive has let its compressor go, for the next group to use.

    Raises:
        MissingExtraError: Starlette is not installed, or memory is not told on this system.
    """
    resident()
    if kind == "bare":
        _streaming_response()
    groups, *more = fresh(_measure, kind, coding, n, events, wait, keep_alive, rest)
    return Viewers(kind, coding, n, Spread.of(groups), *more)


# -- in the other interpreter -----------------------------------------------------


def _measure(*of: Any) -> list[Any]:
    # Not asyncio.run, which would cancel each of them in the end.
    return asyncio.new_event_loop().run_until_complete(_wait_all(*of))


async def _wait_all(
    kind: str,
    coding: str,
    n: int,
    events: int,
    wait: float,
    keep_alive: float | None,
    rest: float,
) -> list[Any]:
    make = KINDS[kind](_agent(list(islice(a_run(), events))), keep_alive)
    loop: Any = asyncio.get_running_loop()
    # The head, and what the agent said. It may take more of them to say it all, so it is
    # over when nothing comes any more.
    expected = 2
    tasks: list[asyncio.Task[None]] = []
    sent = 0

    async def send(_: Any) -> None:
        nonlocal sent
        sent += 1

    async def receive() -> Any:
        await loop.create_future()

    async def come(count: int) -> None:
        for _ in range(count):
            response = make(len(tasks))
            serving = response(_scope(coding), receive, send)
            tasks.append(asyncio.ensure_future(serving))
        patience, before = loop.time() + _PATIENCE, -1
        while sent < expected * len(tasks) or sent > before:
            if loop.time() > patience or any(task.done() for task in tasks):
                raise RuntimeError(f"{sent} messages were sent to {len(tasks)} viewers")
            before = sent
            await asyncio.sleep(_SETTLES if events == 1 else _SAYS_IT_ALL)
        await asyncio.sleep(rest)
        gc.collect()
        gc.freeze()  # they stay: the next collection need not look at them again

    def timers() -> int:
        # asyncio has no public list of timers; those that were cancelled do not count.
        return sum(not handle.cancelled() for handle in loop._scheduled)

    gc.freeze()
    await come(_WARM)
    threads, due, memory = threading.active_count(), timers(), resident()
    groups = []
    for _ in range(5):
        await come(n // 5)
        before, memory = memory, resident()
        groups.append((memory - before) / (n // 5))
    begun = time.process_time()
    await asyncio.sleep(wait)
    cpu = (time.process_time() - begun) / wait
    return [groups, cpu, threading.active_count() - threads, timers() - due]


def _scope(coding: str) -> dict[str, Any]:
    """As uvicorn makes it."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 50000),
        "scheme": "http",
        "method": "GET",
        "root_path": "",
        "path": "/run",
        "raw_path": b"/run",
        "query_string": b"",
        "headers": [
            (b"host", b"127.0.0.1:8000"),
            (b"accept", b"text/event-stream"),
            (b"accept-encoding", coding.encode()),
        ],
        "state": {},
    }


def _agent(events: list[Event]) -> Agent:
    async def agent() -> AsyncIterator[Event]:
        for event in events:
            yield event
        await asyncio.get_running_loop().create_future()

    return agent


def _streaming_response() -> Any:
    try:
        from starlette.responses import StreamingResponse
    except ImportError:
        raise MissingExtraError("this row", "starlette", "serve") from None
    return StreamingResponse


def _bare(agent: Agent, _: float | None) -> Callable[[int], Response]:
    kind = _streaming_response()

    async def body() -> AsyncIterator[bytes]:
        async for event in agent():
            yield b"data: %b\n\n" % encode(event)

    return lambda number: kind(body(), media_type="text/event-stream")


def _alone(agent: Agent, keep_alive: float | None) -> Callable[[int], Response]:
    return lambda number: SSEResponse(agent, keep_alive=keep_alive)


def _logged(agent: Agent, keep_alive: float | None) -> Callable[[int], Response]:
    log = MemoryLog()
    return lambda number: SSEResponse(
        agent, log=log, stream=f"run-{number}", owner="", keep_alive=keep_alive
    )


def _shared(agent: Agent, keep_alive: float | None) -> Callable[[int], Response]:
    log = MemoryLog()
    return lambda number: SSEResponse(
        agent, log=log, stream="run-1", owner="", keep_alive=keep_alive
    )


#: What makes the response of a viewer, by the kind of viewer.
KINDS: dict[str, Callable[[Agent, float | None], Callable[[int], Response]]] = {
    "bare": _bare,
    "alone": _alone,
    "logged": _logged,
    "shared": _shared,
}
