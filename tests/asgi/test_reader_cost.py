"""What a reader of a log costs, counted in Python calls of the package: no clock, no noise."""

from __future__ import annotations

import asyncio
import sys
import timeit
from collections.abc import AsyncIterator, Callable
from types import FrameType
from typing import Any, Literal

from starlette.responses import StreamingResponse

import rx_agui
from rx_agui.asgi import SSEResponse, SSESettings
from rx_agui.frame import Frame
from rx_agui.replay import MemoryLog
from tests.support.stems import stem

Conflate = Literal["never", "lagging", "always"]

PACKAGE = rx_agui.__path__[0]
PAYLOADS = 200


class Calls:
    """Counts calls of the package's functions while it is entered."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> Calls:
        sys.setprofile(self._profile)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _profile(self, frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            self.count += 1


def text(first: int, last: int) -> Frame:
    lines = [
        b'{"type":"TEXT_MESSAGE_CONTENT","messageId":"m","delta":"to be %d"}' % n
        for n in range(first, last + 1)
    ]
    return Frame(b"\n".join(lines), events=len(lines), first=first, last=last)


def step(number: int) -> Frame:
    line = b'{"type":"STEP_STARTED","stepName":"%d"}' % number
    return Frame(line, first=number, last=number)


def ending(number: int) -> Frame:
    line = b'{"type":"RUN_FINISHED","threadId":"t","runId":"s"}'
    return Frame(line, first=number, last=number)


async def resume(
    log: MemoryLog, cursor: bytes, conflate: Conflate = "lagging"
) -> list[bytes]:
    """Go on behind number 1, to the end of the run; the bodies it took."""
    bodies: list[bytes] = []
    headers = [
        (b"accept-encoding", b"gzip"),
        (b"last-event-id", cursor),
    ]
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "query_string": b"",
        "headers": headers,
    }

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        bodies.append(message.get("body", b""))

    response = SSEResponse(list, log=log, stream="s", conflate=conflate)
    await response(scope, receive, send)
    return bodies


async def filled(*payloads: Frame) -> MemoryLog:
    log = MemoryLog(max_events=1_000_000)
    await log.open("s")
    for frame in payloads:
        await log.append("s", frame)
    await log.close("s")
    return log


def test_a_payload_takes_a_reader_at_most_thirty_calls() -> None:
    """79 with the writer, the link and the walk of 0.1 between the log and the socket."""

    async def main() -> None:
        starts = [text(n * 50 + 1, n * 50 + 50) for n in range(PAYLOADS)]
        log = await filled(*starts, ending(PAYLOADS * 50 + 1))
        cursor = f"{stem(log, 's')}/1".encode()
        with Calls() as calls:
            bodies = await resume(log, cursor, "never")
        assert len(bodies) == PAYLOADS + 2
        assert 10 < calls.count / PAYLOADS <= 30

    asyncio.run(main())


def test_a_resume_of_four_events_takes_at_most_170_calls() -> None:
    """453 in 0.1."""

    async def main() -> None:
        log = await filled(*(step(n) for n in (1, 2, 3, 4)), ending(5))
        cursor = f"{stem(log, 's')}/1".encode()
        await resume(log, cursor)
        with Calls() as calls:
            assert len(await resume(log, cursor)) == 2
        assert 50 < calls.count <= 170

    asyncio.run(main())


def test_making_a_response_takes_at_most_twice_what_starlettes_takes() -> None:
    async def agent() -> AsyncIterator[Any]:
        yield {}

    settings = SSESettings()

    def made(make: Callable[[], object]) -> float:
        return min(timeit.repeat(make, number=2000, repeat=5))

    head = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    bare = made(
        lambda: StreamingResponse(agent(), headers=head, media_type="text/event-stream")
    )
    assert made(lambda: SSEResponse(agent)) < 2 * bare
    assert made(lambda: SSEResponse(agent, settings=settings)) < 2 * bare
