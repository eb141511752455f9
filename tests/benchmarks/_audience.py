"""One run, a thousand readers: what an event that reaches one of them costs.

    agent ──▶ log ──▶ SSEResponse          × 1,000 ──▶ uvicorn ──▶ sockets ──▶ readers
    agent ──▶ a queue each, sse-starlette  × 1,000 ──▶ uvicorn ──▶ sockets ──▶ readers

Over real HTTP, in an interpreter that does nothing else; the readers are another process,
which only counts. All are connected before anything is said, and stay: a round is so
many events to every one of them, and both take turns. Events are of one kind and there
at once, so batches are full: a hundred, which is what 50 ms have at 2,000 a second.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import socket
import sys
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any

from rx_agui.agui.encoding import encode
from rx_agui.asgi import SSEResponse
from rx_agui.errors import MissingExtraError
from rx_agui.replay import MemoryLog
from tests.benchmarks._fresh import NotToBeHad, fresh
from tests.benchmarks._measure import Spread
from tests.benchmarks._workloads import Event

__all__ = ["audience", "read"]

App = Callable[[Any, Any, Any], Awaitable[None]]

#: Events of a round. Of theirs fewer, as each takes them longer.
OURS, THEIRS = 400, 20

#: In the last event of a round.
_OVER = b"the round is over"

#: Events that come together where they are paced, and seconds between.
_TOGETHER, _EVERY = 20, 0.01

_ROUNDS = 5


def audience(
    readers: int = 1_000,
    coding: str = "gzip",
    *,
    paced: bool = False,
    leading: bool = False,
) -> Spread:
    """Measure deliveries per second of processor time, beside sse-starlette's.

    Args:
        readers: Of each.
        coding: What they accept. sse-starlette has none.
        paced: Events come 20 at a time every 10 ms, and a batch waits 50 ms at most;
            otherwise all are there at once, in batches of a hundred.
        leading: Paced with the default settings: an event leaves at once if none did
            just before, which makes more and smaller payloads.

    Raises:
        MissingExtraError: uvicorn or sse-starlette is not installed.
        NotToBeHad: This system does not allow so many sockets.
    """
    for module, extra in (("uvicorn", "serve"), ("sse_starlette", "bench")):
        try:
            __import__(module)
        except ImportError:
            raise MissingExtraError(
                "this row", module.replace("_", "-"), extra
            ) from None
    _allow(2 * readers + 100)
    return Spread.of(fresh(_served, readers, coding, paced, leading))


def _allow(sockets: int) -> None:
    """Let this process, and those it starts, have so many files open."""
    try:
        import resource
    except ImportError:  # a system without, and without the limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= sockets:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (sockets, hard))
    except (ValueError, OSError):
        raise NotToBeHad(f"{sockets} open files are not allowed here") from None


# -- the server ------------------------------------------------------------------------


class _Stage:
    """An agent that waits for its turn, and then yields so many events."""

    def __init__(self, paced: bool) -> None:
        self._due: asyncio.Queue[int] = asyncio.Queue()
        self._paced = paced

    def says(self, events: int) -> None:
        self._due.put_nowait(events)

    async def agent(self) -> AsyncIterator[Event]:
        while events := await self._due.get():
            for number in range(events):
                if self._paced and number % _TOGETHER == 0:
                    await asyncio.sleep(_EVERY)
                is_last = number == events - 1
                yield {
                    "type": "TEXT_MESSAGE_CONTENT",
                    "messageId": "msg-5f0a1c9e",
                    "delta": _OVER.decode() if is_last else f"token number {number}",
                }


def _ours(stage: _Stage, paced: bool, leading: bool) -> App:
    log = MemoryLog()
    gathering: dict[str, Any] = {"batch_size": 100}
    if paced:
        gathering = {} if leading else {"batch_timeout": 0.05, "leading": None}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        response = SSEResponse(
            stage.agent,
            log=log,
            stream="run-1",
            conflate="never",  # so that every reader is sent every event
            **gathering,
        )
        await response(scope, receive, send)

    return app


def _theirs(stage: _Stage) -> App:
    from sse_starlette import EventSourceResponse

    queues: list[asyncio.Queue[dict[str, str]]] = []
    feeding: list[asyncio.Task[None]] = []

    async def feed() -> None:
        number = 0
        async for event in stage.agent():
            number += 1
            message = {"id": f"run-1/{number}", "data": encode(event).decode()}
            for queue in queues:
                queue.put_nowait(message)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        queue: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        queues.append(queue)
        if not feeding:
            feeding.append(asyncio.create_task(feed()))

        async def body() -> AsyncIterator[dict[str, str]]:
            while True:
                yield await queue.get()

        await EventSourceResponse(body(), sep="\n")(scope, receive, send)

    return app


def _served(readers: int, coding: str, paced: bool, leading: bool) -> list[float]:
    """Of each round, deliveries a processor second of ours, beside theirs."""
    return asyncio.run(_rounds(readers, coding, paced, leading))


async def _rounds(readers: int, coding: str, paced: bool, leading: bool) -> list[float]:
    import uvicorn

    stages = {"/ours": _Stage(paced), "/theirs": _Stage(paced)}
    apps = {
        "/ours": _ours(stages["/ours"], paced, leading),
        "/theirs": _theirs(stages["/theirs"]),
    }

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await apps[scope["path"]](scope, receive, send)

    listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
    config = uvicorn.Config(app, log_level="critical", lifespan="off")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve([listening]))
    asked = listening.getsockname()[1], readers, coding
    code = f"from {__name__} import read; read{asked!r}"
    reading = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-c", code, stdout=asyncio.subprocess.PIPE
    )
    assert reading.stdout is not None
    try:
        await reading.stdout.readexactly(1)  # all are there
        ratios = []
        for _ in range(_ROUNDS + 1):
            costs = {}
            for path, events in (("/ours", OURS), ("/theirs", THEIRS)):
                begun = time.process_time()
                stages[path].says(events)
                await reading.stdout.readexactly(1)  # all have all of it
                costs[path] = (time.process_time() - begun) / events
            ratios.append(costs["/theirs"] / costs["/ours"])
        return ratios[1:]  # the first is to warm up
    finally:
        with suppress(ProcessLookupError):
            reading.kill()
        await reading.wait()
        server.force_exit = server.should_exit = True
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving


# -- who reads ---------------------------------------------------------------------------


class _Reader:
    """One response, as it comes: chunks of HTTP, unpacked where it is gzip."""

    def __init__(self, port: int, path: str, coding: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        asks = f"GET {path} HTTP/1.1\r\nHost: x\r\nAccept-Encoding: {coding}\r\n\r\n"
        self.socket.sendall(asks.encode())
        self.socket.setblocking(False)
        self.has_come = False
        self._unpacker: Any = None
        self._raw = self._text = b""

    def reads(self) -> int:
        """Take what is there: how many rounds are over with it.

        Raises:
            ConnectionError: The response has ended.
        """
        piece = self.socket.recv(1 << 16)
        if not piece:
            raise ConnectionResetError
        self._raw += piece
        if not self.has_come:
            head, end, rest = self._raw.partition(b"\r\n\r\n")
            if not end:
                return 0
            self.has_come, self._raw = True, rest
            if b"content-encoding: gzip" in head.lower():
                self._unpacker = zlib.decompressobj(31)
        for chunk in self._chunks():
            self._text += self._unpacker.decompress(chunk) if self._unpacker else chunk
        over = self._text.count(_OVER)
        self._text = self._text[-len(_OVER) + 1 :]
        return over

    def _chunks(self) -> Iterator[bytes]:
        while True:
            size, end, rest = self._raw.partition(b"\r\n")
            if not end or len(rest) < (n := int(size, 16)) + 2:
                return
            self._raw = rest[n + 2 :]
            yield rest[:n]


def read(port: int, readers: int, coding: str) -> None:
    """So many readers of each; a byte to stdout when all came, and when a round is over."""
    selector = selectors.DefaultSelector()
    coming = {
        _Reader(port, path, coding)
        for path in ("/ours", "/theirs")
        for _ in range(readers)
    }
    for reader in coming:
        selector.register(reader.socket, selectors.EVENT_READ, reader)
    over = 0
    with suppress(ConnectionError):
        while True:
            for key, _ in selector.select():
                over += key.data.reads()
                if coming and key.data.has_come:
                    coming.discard(key.data)
                    if not coming:
                        os.write(1, b".")
            if over == readers:
                over = 0
                os.write(1, b".")
