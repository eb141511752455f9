"""The agent of the Vite example, for a page of another origin.

uvicorn app:app --port 8000
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from ag_ui.core import RunAgentInput
from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from rx_agui.asgi import SSEResponse
from rx_agui.replay import MemoryLog

app = FastAPI()
app.add_middleware(
    CORSMiddleware,
    allow_origins=["http://localhost:5173"],
    # Last-Event-ID goes in the query from another origin, so only the stop asks for leave.
    allow_headers=["Content-Type", "Rx-Agui-Stop"],
    # An application that exposes headers of its own names ours beside them.
    expose_headers=["Rx-Agui-Replay"],
)
log = MemoryLog()


async def agent(asked: RunAgentInput) -> AsyncIterator[dict[str, Any]]:
    names = {"threadId": asked.thread_id, "runId": asked.run_id}
    yield {"type": "RUN_STARTED", **names}
    message = {"messageId": asked.run_id}
    yield {"type": "TEXT_MESSAGE_START", "role": "assistant", **message}
    for word in range(100):
        await asyncio.sleep(0.1)
        yield {"type": "TEXT_MESSAGE_CONTENT", "delta": f"word {word}, ", **message}
    yield {"type": "TEXT_MESSAGE_END", **message}
    yield {"type": "RUN_FINISHED", **names}


@app.post("/agent")
async def run(asked: RunAgentInput) -> SSEResponse:
    return SSEResponse(lambda: agent(asked), log=log, run=asked, owner="")
