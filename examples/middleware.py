"""An endpoint that a framework ships, made resumable by one line.

python examples/middleware.py

asks itself, and goes; `uvicorn middleware:app --app-dir examples` stays.
"""

import asyncio
from collections.abc import AsyncIterator

import httpx
from ag_ui.core import (
    RunAgentInput,
    RunFinishedEvent,
    RunStartedEvent,
    TextMessageContentEvent,
    TextMessageEndEvent,
    TextMessageStartEvent,
)
from ag_ui.encoder import EventEncoder
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from rx_agui.asgi import AGUIMiddleware
from rx_agui.replay import MemoryLog

app = FastAPI()
app.add_middleware(AGUIMiddleware, log=MemoryLog())  # the one line


@app.post("/agent")
async def run(asked: RunAgentInput) -> StreamingResponse:
    async def events() -> AsyncIterator[str]:
        encode = EventEncoder().encode
        yield encode(RunStartedEvent(thread_id=asked.thread_id, run_id=asked.run_id))
        yield encode(TextMessageStartEvent(message_id="m", role="assistant"))
        for word in ("Nothing ", "is ", "lost."):
            yield encode(TextMessageContentEvent(message_id="m", delta=word))
        yield encode(TextMessageEndEvent(message_id="m"))
        yield encode(RunFinishedEvent(thread_id=asked.thread_id, run_id=asked.run_id))

    return StreamingResponse(events(), media_type="text/event-stream")


async def main() -> None:
    """Print the run, and what a client gets that was cut off behind its third event."""
    asked = {"threadId": "t", "runId": "r", "messages": [], "tools": [], "context": []}
    body = {**asked, "state": {}, "forwardedProps": {}}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as http:
        whole = await http.post("/agent", json=body)
        print(whole.headers["rx-agui-replay"], whole.text, sep="\n")
        third = [line[4:] for line in whole.text.splitlines() if line[:3] == "id:"][2]
        rest = await http.post("/agent", json=body, headers={"Last-Event-ID": third})
        print(rest.headers["rx-agui-replay"], rest.text, sep="\n")


if __name__ == "__main__":
    asyncio.run(main())
