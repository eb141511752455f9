"""A page in Chromium that aborts a run stops its agent; a page that goes does not."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from starlette.responses import HTMLResponse, Response

from rx_agui import browser
from rx_agui.asgi import SSEResponse
from rx_agui.replay import MemoryLog
from tests.support.by_hand import FINISHED, STARTED, Event, step
from tests.support.serving import served

Node = Callable[..., str]


class App:
    """A page, the module, and an agent that runs until it is told to go on.

    Attributes:
        closed_at: When the agent's `finally` ran, in milliseconds since the epoch.
        how: How the agent ended.
        stops: Requests that stop a run.
    """

    def __init__(self) -> None:
        self.log = MemoryLog()
        self.closed_at = 0.0
        self.how = ""
        self.stops = 0
        self._go = asyncio.Event()
        self._closed = asyncio.Event()

    async def agent(self) -> AsyncIterator[Event]:
        self.how = "broken off"
        try:
            yield STARTED
            yield step(1)
            await self._go.wait()
            yield FINISHED
            self.how = "went on"
        finally:
            self.closed_at = time.time() * 1000
            self._closed.set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"]
        self.stops += (b"rx-agui-stop", b"1") in scope["headers"]
        answer: Any
        if path == "/rx-agui.mjs":
            answer = Response(browser.MODULE.read_text(), media_type="text/javascript")
        elif path == "/go":
            self._go.set()
            answer = Response()
        elif path == "/closed":
            await self._closed.wait()
            answer = Response()
        elif path == "/alone":
            answer = SSEResponse(self.agent())
        elif path == "/kept":
            answer = SSEResponse(self.agent, log=self.log, stream="kept", owner="")
        else:
            answer = HTMLResponse("")
        await answer(scope, receive, send)


@pytest.mark.parametrize(("run", "stops"), [("alone", 0), ("kept", 1)])
def test_aborting_stops_the_agent_at_once(
    run: str, stops: int, node: Node, chromium: str
) -> None:
    app = App()
    with served(app) as url:
        said = json.loads(node("stop_page.mjs", chromium, url, "aborts", run))

    took = app.closed_at - said["at"]
    print(f"{run}: {took:.0f} ms from abort() to the agent's finally")
    assert (app.how, app.stops) == ("broken off", stops)
    assert took < 10_000  # the minute of grace is far


def test_a_page_that_goes_does_not_stop_its_run(node: Node, chromium: str) -> None:
    app = App()
    with served(app) as url:
        said = json.loads(node("stop_page.mjs", chromium, url, "goes", "kept"))

    assert "RUN_FINISHED" in said["read"]
    assert (app.how, app.stops) == ("went on", 0)
