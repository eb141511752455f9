"""A run over HTTP that any AG-UI client reads, and that no reader loses.

python examples/fastapi_run.py

asks itself, and goes; `uvicorn fastapi_run:app --app-dir examples` stays.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
from ag_ui.core import RunAgentInput
from fastapi import FastAPI

from rx_agui.asgi import Shutdown, SSEResponse
from rx_agui.replay import MemoryLog

log = MemoryLog()  # for readers that come back
shutdown = Shutdown()  # a server that stops lets runs end well
app = FastAPI(lifespan=shutdown.lifespan)


async def agent(asked: RunAgentInput) -> AsyncIterator[dict[str, Any]]:
    run = {"threadId": asked.thread_id, "runId": asked.run_id}
    yield {"type": "RUN_STARTED", **run}
    yield {"type": "TEXT_MESSAGE_START", "messageId": "m", "role": "assistant"}
    for word in ("Nothing", "is", "lost."):
        await asyncio.sleep(0.1)  # a model thinks
        yield {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": f"{word} "}
    yield {"type": "TEXT_MESSAGE_END", "messageId": "m"}
    yield {"type": "RUN_FINISHED", **run}


@app.post("/agent")
async def run(asked: RunAgentInput) -> SSEResponse:
    # The agent runs once, however often the same is asked. With users, owner=user.id:
    # their runs are theirs alone.
    return SSEResponse(
        lambda: agent(asked), log=log, run=asked, owner="", shutdown=shutdown
    )


async def main() -> None:
    """A client that is cut off behind the second event, and comes back."""
    asked = {"threadId": "t", "runId": "r", "messages": [], "tools": [], "context": []}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://here"
    ) as http:
        body = {**asked, "state": {}, "forwardedProps": {}}
        headers: dict[str, str] = {}
        for _ in range(2):
            answer = await http.post("/agent", json=body, headers=headers)
            print(answer.headers["rx-agui-replay"], answer.text, sep="\n")
            ids = [line[4:] for line in answer.text.splitlines() if line[:4] == "id: "]
            headers = {"Last-Event-ID": ids[1]}


if __name__ == "__main__":
    asyncio.run(main())
