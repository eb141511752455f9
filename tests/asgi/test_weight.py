"""What tests.benchmarks counts on the wire is what SSEResponse sends."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from rx_agui.asgi import SSEResponse
from rx_agui.replay import MemoryLog
from tests.benchmarks._wire import a_run, arriving, on_the_wire
from tests.support.virtual import play

SCOPE = {"type": "http", "method": "GET", "path": "/", "query_string": b""}


@pytest.mark.parametrize("coding", ["gzip", "identity"])
def test_the_bench_counts_what_a_response_sends(coding: str) -> None:
    arrivals = arriving(a_run())
    bodies: list[bytes] = []

    async def agent() -> AsyncIterator[Any]:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        for at, event in arrivals:
            await asyncio.sleep(begun + at - loop.time())
            yield event

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        bodies.append(message.get("body", b""))

    async def main() -> None:
        response = SSEResponse(
            agent,
            log=MemoryLog(),
            stream="run-1",
            conflate="always",
            window=10_000,
            batch_size=10_000,
            batch_timeout=0.05,
            leading=None,
        )
        scope = {**SCOPE, "headers": [(b"accept-encoding", coding.encode())]}
        await response(scope, receive, send)

    play(main())

    sent = b"".join(bodies)
    counted = on_the_wire(arrivals, coding=coding)
    text = zlib.decompress(sent, 31) if coding == "gzip" else sent
    assert text.count(b"RUN_FINISHED") == 1
    assert counted == pytest.approx(len(sent), rel=0.02)
