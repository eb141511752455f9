"""Behind a run that failed, the stock client's next run has a history that is whole."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from rx_agui.agui.unfinished import NO_RESULT
from rx_agui.asgi import SSEResponse
from rx_agui.replay import MemoryLog
from tests.support.by_hand import Event
from tests.support.serving import served


async def app(scope: Any, receive: Any, send: Any) -> None:
    """A run that raises in the middle; the next one ends well. "/log" has a log."""
    body = (await receive())["body"]
    run = json.loads(body)
    more: dict[str, Any] = {}
    if scope["path"] == "/log":
        more = {"log": _log, "run": run, "owner": ""}
    response = SSEResponse(agent(run), **more)
    await response(scope, receive, send)


_log = MemoryLog()


async def agent(run: dict[str, Any]) -> AsyncIterator[Event]:
    of = {"threadId": run["threadId"], "runId": run["runId"]}
    yield {"type": "RUN_STARTED", **of}
    if run["runId"] == "run-2":
        yield {"type": "RUN_FINISHED", **of}
        return
    yield {"type": "STEP_STARTED", "stepName": "s"}
    yield {"type": "TEXT_MESSAGE_START", "messageId": "m", "role": "assistant"}
    yield {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": "Let me see"}
    for call in ("c", "d"):
        yield {"type": "TOOL_CALL_START", "toolCallId": call, "toolCallName": "look"}
        yield {"type": "TOOL_CALL_ARGS", "toolCallId": call, "delta": '{"q":1}'}
    yield {"type": "TOOL_CALL_END", "toolCallId": "c"}
    raise KeyError("secret")


def test_each_call_in_the_next_request_has_its_result(
    node: Callable[..., str], ag_ui_client: str
) -> None:
    with served(app) as server:
        urls = [f"{server}{path}" for path in ("/alone", "/log")]
        lines = node("unfinished.mjs", ag_ui_client, *urls).splitlines()

    assert len(lines) == 2
    for line in lines:
        read = json.loads(line)
        assert read["told"] == ["AGENT_ERROR"]
        messages = read["messages"]
        calls = [c["id"] for m in messages for c in m.get("toolCalls") or ()]
        results = {
            m["toolCallId"]: m["content"] for m in messages if m["role"] == "tool"
        }
        assert calls == ["c", "d"]
        assert results == dict.fromkeys(calls, NO_RESULT)
