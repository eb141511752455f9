"""What a reader of a log costs, counted in Python calls of the package: no clock, no noise."""

from __future__ import annotations

import asyncio
import sys
from types import FrameType
from typing import Any

import rx_agui
from rx_agui.asgi import SSEResponse
from rx_agui.frame import Frame
from rx_agui.replay import MemoryLog

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


def ending(number: int) -> Frame:
    line = b'{"type":"RUN_FINISHED","threadId":"t","runId":"s"}'
    return Frame(line, first=number, last=number)


async def resume(log: MemoryLog) -> list[bytes]:
    """Go on behind number 1, to the end of the run; the bodies it took."""
    bodies: list[bytes] = []
    headers = [(b"accept-encoding", b"gzip"), (b"last-event-id", b"s/1")]
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

    response = SSEResponse(list, log=log, stream="s", conflate="never")
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
        starts = [text(n * 25 + 1, n * 25 + 25) for n in range(PAYLOADS)]
        log = await filled(*starts, ending(PAYLOADS * 25 + 1))
        with Calls() as calls:
            bodies = await resume(log)
        assert len(bodies) == PAYLOADS + 3
        assert 10 < calls.count / PAYLOADS <= 30

    asyncio.run(main())


def test_a_resume_of_four_events_takes_at_most_so_many_calls() -> None:
    """453 in 0.1."""

    async def main() -> None:
        log = await filled(text(1, 1), *(text(n, n) for n in (2, 3, 4)), ending(5))
        await resume(log)
        with Calls() as calls:
            assert len(await resume(log)) == 6
        assert 50 < calls.count <= 270

    asyncio.run(main())
