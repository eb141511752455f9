"""An agent behind SSEResponse, for CopilotKit's runtime to call.

python examples/copilotkit/app.py 8000

The last message says what it does: "ask" interrupts the run, and goes on with the answer;
"wait" runs until it is stopped; anything else tells a long story.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from ag_ui.core import RunAgentInput
from fastapi import FastAPI

from rx_agui.asgi import SSEResponse
from rx_agui.replay import MemoryLog

STORY = "".join(f"{number} mice went home. " for number in range(1, 401))

app = FastAPI()
log = MemoryLog()
told: dict[str, list[str]] = {"begun": [], "closed": []}


async def agent(asked: RunAgentInput) -> AsyncIterator[dict[str, Any]]:
    text = str(asked.messages[-1].content) if asked.messages else ""
    answer = [entry.payload for entry in asked.resume or []]
    told["begun"].append("answered" if answer else text)
    run = {"threadId": asked.thread_id, "runId": asked.run_id}
    try:
        yield {"type": "RUN_STARTED", **run}
        if text == "ask" and not answer:
            question = {"id": "i", "reason": "confirmation", "message": "Sure?"}
            outcome = {"type": "interrupt", "interrupts": [question]}
            yield {"type": "RUN_FINISHED", **run, "outcome": outcome}
            return
        message = {"messageId": f"of {asked.run_id} {text}"}
        yield {"type": "TEXT_MESSAGE_START", **message, "role": "assistant"}
        said = f"You said {answer[0]}." if answer else STORY
        for word in said.split(" "):
            await asyncio.sleep(0.0005)
            yield {"type": "TEXT_MESSAGE_CONTENT", **message, "delta": f"{word} "}
        while text == "wait":
            await asyncio.sleep(0.05)
            yield {"type": "TEXT_MESSAGE_CONTENT", **message, "delta": "... "}
        yield {"type": "TEXT_MESSAGE_END", **message}
        yield {"type": "RUN_FINISHED", **run}
    finally:
        told["closed"].append(text)


@app.post("/agent")
async def run(asked: RunAgentInput) -> SSEResponse:
    # owner="" since this example has no users; yours: owner=lambda scope: scope["user"].id
    return SSEResponse(
        lambda: agent(asked), log=log, run=asked, owner="", conflate="always"
    )


@app.get("/told")
async def what_was_told() -> dict[str, list[str]]:
    return told


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="error")
