"""Chromium reads what many readers of a run are sent, whose bytes are made once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from rx_agui.asgi import SSEResponse
from rx_agui.codecs._deflate import DeflateEncoder
from rx_agui.replay import MemoryLog
from tests.support.serving import served

EVENTS = 400

READERS = ("fetch 1", "fetch 2", "EventSource 1", "EventSource 2")


class App:
    """An empty page, and one run, which begins when all are there."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        self.came = 0
        self.all_are_there = asyncio.Event()

    async def agent(self) -> AsyncIterator[dict[str, Any]]:
        await self.all_are_there.wait()
        run = {"threadId": "t", "runId": "r"}
        yield {"type": "RUN_STARTED", **run}
        for number in range(EVENTS):
            yield {"type": "CUSTOM", "name": "n", "value": number}
            if number % 10 == 0:
                await asyncio.sleep(0.001)
        yield {"type": "RUN_FINISHED", **run}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] != "/run":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        self.came += 1
        if self.came == len(READERS):
            self.all_are_there.set()
        response = SSEResponse(
            self.agent, log=self.log, stream="run-7", batch_size=10, conflate="never"
        )
        await response(scope, receive, send)


def test_every_reader_in_a_page_sees_every_event(
    node: Callable[..., str], chromium: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared: list[int] = []
    takes = DeflateEncoder.takes

    def noted(self: DeflateEncoder, block: bytes, data: bytes) -> bytes:
        shared.append(len(block))
        return takes(self, block, data)

    monkeypatch.setattr(DeflateEncoder, "takes", noted)
    with served(App()) as url:
        asked = {name: (name.split()[0], f"{url}/run") for name in READERS}
        said = json.loads(node("arrivals.mjs", chromium, f"{url}/", json.dumps(asked)))

    assert set(said) == set(READERS)
    for came in said.values():
        assert [number for number, _ in came] == list(range(EVENTS))
    # Not the first of a payload's readers alone: most of what they were sent was common.
    assert len(shared) > len(READERS) * EVENTS / 10 / 2
