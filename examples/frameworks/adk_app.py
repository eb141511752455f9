"""A Google ADK agent behind AGUIMiddleware.

uv run --with ag-ui-adk==0.11.0 --with 'rx-agui[serve]' --with fastapi adk_app.py
"""

from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from ag_ui_adk import ADKAgent, create_adk_app
from google.adk.agents import LlmAgent
from google.adk.models import BaseLlm, LlmResponse
from google.genai.types import Content, Part

from rx_agui.asgi import AGUIMiddleware
from rx_agui.replay import MemoryLog


class Script(BaseLlm):
    """Stand in for a model: no key is needed."""

    async def generate_content_async(
        self, request: Any, stream: bool = False
    ) -> AsyncIterator[LlmResponse]:
        words = [f"word{word} " for word in range(40)]
        for index, word in enumerate(words):
            if index == 20 and "fail" in str(request.contents[-1]):
                raise RuntimeError("the model is gone")
            yield LlmResponse(
                content=Content(role="model", parts=[Part(text=word)]), partial=True
            )
        whole = Content(role="model", parts=[Part(text="".join(words))])
        yield LlmResponse(content=whole, partial=False, turn_complete=True)


agent = ADKAgent(
    adk_agent=LlmAgent(name="chat", model=Script(model="script")),
    app_name="chat",
    user_id="ann",
    use_in_memory_services=True,
)
app = create_adk_app(agent, "/agent")
app.add_middleware(AGUIMiddleware, log=MemoryLog())

if __name__ == "__main__":
    uvicorn.run(app, port=8000)
