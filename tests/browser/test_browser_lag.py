"""Chromium sees each flushed batch when it is written, compressed and behind nginx too."""

from __future__ import annotations

import asyncio
import json
import re
import time
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, nullcontext
from statistics import quantiles
from typing import Any
from urllib.parse import parse_qs

import pytest
from starlette.responses import HTMLResponse, StreamingResponse

from rx_agui.agui.encoding import encode
from rx_agui.asgi import SSEResponse
from tests.support.serving import served

Node = Callable[..., str]
Nginx = Callable[..., AbstractContextManager[str]]

#: 80 batches of 50 ms.
EVENTS, PAUSE = 400, 0.01

#: What nginx may do to a stream; None is no nginx.
LINES = {
    "direct": None,
    "nginx as it is": "",
    "nginx that compresses": "gzip on; gzip_types text/event-stream;",
}


_BARE = {"content-type": "text/event-stream", "access-control-allow-origin": "*"}


class Clocked:
    """An app that notes, by reader, when it sent what.

    Attributes:
        sent: Milliseconds since the epoch, and the last event of each write.
        coding: How it was compressed.
    """

    def __init__(self) -> None:
        self.sent: dict[str, dict[int, float]] = {}
        self.coding: dict[str, bytes] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/":
            await HTMLResponse("")(scope, receive, send)
            return
        (reader,) = parse_qs(scope["query_string"].decode())["of"]
        sent = self.sent[reader] = {}
        inflate = zlib.decompressobj(47).decompress

        async def noted(message: Any) -> None:
            if "headers" in message:
                coding = dict(message["headers"]).get(b"content-encoding", b"")
                self.coding[reader] = coding
            if body := message.get("body"):
                plain = inflate(body) if self.coding[reader] else body
                if numbers := re.findall(rb'"value":(\d+)', plain):
                    sent[int(numbers[-1])] = time.time() * 1000
            await send(message)

        if scope["path"] == "/ours":
            answer: Any = SSEResponse(self._run())
        else:
            answer = StreamingResponse(self._bare(), headers=_BARE)
        await answer(scope, receive, noted)

    async def _run(self) -> AsyncIterator[dict[str, Any]]:
        yield {"type": "RUN_STARTED", "threadId": "t", "runId": "r"}
        for number in range(EVENTS):
            await asyncio.sleep(PAUSE)
            yield {"type": "CUSTOM", "name": "tick", "value": number}
        yield {"type": "RUN_FINISHED", "threadId": "t", "runId": "r"}

    async def _bare(self) -> AsyncIterator[bytes]:
        async for event in self._run():
            yield b"data: %b\n\n" % encode(event)

    def lags(self, reader: str, came: dict[int, float]) -> list[float]:
        """Milliseconds from each write to when the page had all of it."""
        return [came[last] - at for last, at in self.sent[reader].items()]


@pytest.mark.parametrize("line", LINES)
def test_a_page_sees_a_batch_within_50_ms_of_its_write(
    line: str, node: Node, chromium: str, nginx: Nginx
) -> None:
    app = Clocked()
    between = LINES[line]
    with served(app) as server:
        behind = nullcontext(server) if between is None else nginx(server, http=between)
        with behind as url:
            readers = {
                "EventSource": ("EventSource", f"{url}/ours?of=EventSource"),
                "fetch": ("fetch", f"{url}/ours?of=fetch"),
                # Starlette alone, not compressed, nothing between.
                "bare": ("fetch", f"{server}/bare?of=bare"),
            }
            said = node("arrivals.mjs", chromium, f"{url}/", json.dumps(readers))

    p95 = {}
    for reader, came in json.loads(said).items():
        assert [number for number, _ in came] == list(range(EVENTS))
        lags = app.lags(reader, dict(came))
        p95[reader] = quantiles(lags, n=20)[-1]
        print(f"{line}, {reader}: {p95[reader]:.1f} ms")  # pytest -rP tells
        assert len(lags) > 50 or reader == "bare"

    assert app.coding == {"EventSource": b"gzip", "fetch": b"gzip", "bare": b""}
    # Where the machine itself is late, as the bare stream shows, so may we be.
    bound = max(50, 3 * p95["bare"])
    assert p95["EventSource"] <= bound, p95
    assert p95["fetch"] <= bound, p95
