"""An interrupt that the stock client answers under the same runId is a run of its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from rx_agui.asgi import SSEResponse
from rx_agui.replay import MemoryLog
from tests.support.by_hand import Event
from tests.support.serving import served


class App:
    """An agent that asks, and goes on with the answer. The run "slow" waits for /go.

    Attributes:
        way: How it asks: by an outcome, or by a CUSTOM event.
        begun: What the agent was asked with, each time it began.
    """

    def __init__(self, way: str) -> None:
        self.way = way
        self.begun: list[str] = []
        self._log = MemoryLog()
        self._go = asyncio.Event()

    async def agent(self, asked: dict[str, Any]) -> AsyncIterator[Event]:
        name = asked["runId"]
        command = asked["forwardedProps"].get("command", {})
        answer = command.get("resume") or [
            entry["payload"] for entry in asked.get("resume") or []
        ]
        self.begun.append(f"{name}: {'answered' if answer else 'asked'}")
        run = {"threadId": asked["threadId"], "runId": name}
        yield {"type": "RUN_STARTED", **run}
        if name == "slow":
            await self._go.wait()
        if answer:
            message = {"messageId": "m"}
            yield {"type": "TEXT_MESSAGE_START", **message, "role": "assistant"}
            yield {"type": "TEXT_MESSAGE_CONTENT", **message, "delta": "You said yes."}
            yield {"type": "TEXT_MESSAGE_END", **message}
            yield {"type": "RUN_FINISHED", **run}
        elif self.way == "command":  # as LangGraph's adapter says it
            yield {"type": "CUSTOM", "name": "on_interrupt", "value": "Sure?"}
            yield {"type": "RUN_FINISHED", **run}
        else:
            interrupt = {"id": "i", "reason": "confirmation", "message": "Sure?"}
            outcome = {"type": "interrupt", "interrupts": [interrupt]}
            yield {"type": "RUN_FINISHED", **run, "outcome": outcome}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        answer: Any = Response()
        if scope["path"] == "/go":
            self._go.set()
        else:
            asked = await Request(scope, receive).json()
            answer = SSEResponse(
                lambda: self.agent(asked), log=self._log, run=asked, owner=""
            )
        await answer(scope, receive, send)


@pytest.mark.parametrize("way", ["resume", "command"])
def test_the_answer_to_an_interrupt_under_the_same_run_id_arrives(
    way: str, node: Callable[..., str], ag_ui_client: str
) -> None:
    app = App(way)
    with served(app) as url:
        said = json.loads(node("interrupted.mjs", ag_ui_client, f"{url}/", way))

    assert said["texts"] == ["You said yes."]
    # Both began; the same requests once more join their own run; the third began; a conflict.
    assert said["replays"] == ["live", "live", "prelude", "prelude", "live", 409]
    asked, answered = said["again"]
    assert "Sure?" in asked
    assert "You said yes." not in asked
    assert "You said yes." in answered
    assert "still running" in said["refused"]
    assert app.begun == ["run-1: asked", "run-1: answered", "slow: asked"]
