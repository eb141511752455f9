"""Chromium sees each flushed batch when it is written, compressed and behind nginx too."""

from __future__ import annotations

import asyncio
import json
import time
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, nullcontext
from statistics import quantiles
from typing import Any
from urllib.parse import parse_qs

import pytest
from serving import served
from starlette.responses import HTMLResponse, StreamingResponse

from rx_agui.asgi import SSEResponse
from rx_agui.codec import encode

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
    """An app that notes when each event was made, and each body was sent, by reader."""

    def __init__(self) -> None:
        self.made: dict[str, list[float]] = {}
        self.sent: dict[str, list[float]] = {}
        self.coding: dict[str, bytes] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/":
            await HTMLResponse("")(scope, receive, send)
            return
        (reader,) = parse_qs(scope["query_string"].decode())["of"]
        made = self.made[reader] = []
        sent = self.sent[reader] = []

        async def noted(message: Any) -> None:
            if "headers" in message:
                coding = dict(message["headers"]).get(b"content-encoding", b"")
                self.coding[reader] = coding
            if message.get("body"):
                sent.append(time.time() * 1000)
            await send(message)

        if scope["path"] == "/ours":
            answer: Any = SSEResponse(self._run(made))
        else:
            answer = StreamingResponse(self._bare(made), headers=_BARE)
        await answer(scope, receive, noted)

    async def _run(self, made: list[float]) -> AsyncIterator[dict[str, Any]]:
        yield {"type": "RUN_STARTED", "threadId": "t", "runId": "r"}
        for number in range(EVENTS):
            await asyncio.sleep(PAUSE)
            made.append(time.time() * 1000)
            yield {"type": "CUSTOM", "name": "tick", "value": number}
        yield {"type": "RUN_FINISHED", "threadId": "t", "runId": "r"}

    async def _bare(self, made: list[float]) -> AsyncIterator[bytes]:
        async for event in self._run(made):
            yield b"data: %b\n\n" % encode(event)

    def lags(self, reader: str, came: list[tuple[int, float]]) -> list[float]:
        """Milliseconds from a write to the last event of it, for every write."""
        sent = self.sent[reader]
        of: dict[int, float] = {}
        for number, at in came:
            write = bisect_left(sent, self.made[reader][number])
            of[write] = max(of.get(write, 0), at - sent[write])
        return list(of.values())


@pytest.mark.parametrize("line", LINES)
def test_a_page_sees_a_batch_within_50_ms_of_its_write(
    line: str, node: Node, chromium: str, nginx: Nginx, record_property: Any
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
        lags = app.lags(reader, came)
        p95[reader] = quantiles(lags, n=20)[-1]
        record_property(f"p95 of {reader}, {line}, ms", round(p95[reader], 1))
        assert len(lags) > 50 or reader == "bare"

    assert app.coding == {"EventSource": b"gzip", "fetch": b"gzip", "bare": b""}
    # Where the machine itself is late, as the bare stream shows, so may we be.
    bound = max(50, 3 * p95["bare"])
    assert p95["EventSource"] <= bound, p95
    assert p95["fetch"] <= bound, p95
