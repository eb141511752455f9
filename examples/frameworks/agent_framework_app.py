"""A Microsoft Agent Framework agent behind AGUIMiddleware.

uv run --with agent-framework-ag-ui==1.7.0 --with 'rx-agui[serve]' agent_framework_app.py
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import uvicorn
from agent_framework import (
    Agent,
    BaseChatClient,
    ChatResponse,
    ChatResponseUpdate,
    Content,
    ResponseStream,
)
from agent_framework_ag_ui import add_agent_framework_fastapi_endpoint
from fastapi import FastAPI

from rx_agui.asgi import AGUIMiddleware
from rx_agui.replay import MemoryLog


class Script(BaseChatClient):
    """Stand in for a model: no key is needed."""

    def _inner_get_response(
        self, *, messages: Sequence[Any], stream: bool, options: Any, **_: Any
    ) -> Any:
        async def updates() -> AsyncIterator[ChatResponseUpdate]:
            for word in range(40):
                if word == 20 and "fail" in str(messages[-1].text):
                    raise RuntimeError("the model is gone")
                yield ChatResponseUpdate(
                    contents=[Content.from_text(f"word{word} ")], role="assistant"
                )

        return ResponseStream(updates(), finalizer=ChatResponse.from_updates)


app = FastAPI()
agent = Agent(client=Script(), name="chat", instructions="")
add_agent_framework_fastapi_endpoint(app, agent, "/agent", single_user=True)
app.add_middleware(AGUIMiddleware, log=MemoryLog())

if __name__ == "__main__":
    uvicorn.run(app, port=8000)
