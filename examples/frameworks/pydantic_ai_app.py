"""A pydantic-ai agent behind AGUIMiddleware.

uv run --with 'pydantic-ai-slim[ag-ui]==2.68.0' --with 'rx-agui[serve]' pydantic_ai_app.py
"""

from collections.abc import AsyncIterator

import uvicorn
from pydantic_ai import Agent
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.ui.ag_ui import AGUIAdapter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rx_agui.asgi import AGUIMiddleware
from rx_agui.replay import MemoryLog


async def script(messages: list[object], info: AgentInfo) -> AsyncIterator[str]:
    """Stand in for a model: no key is needed."""
    for word in range(40):
        if word == 20 and "fail" in str(messages[-1]):
            raise RuntimeError("the model is gone")
        yield f"word{word} "


agent = Agent(FunctionModel(stream_function=script))


async def run(request: Request) -> Response:
    return await AGUIAdapter.dispatch_request(request, agent=agent)


app = Starlette(routes=[Route("/agent", run, methods=["POST"])])
app.add_middleware(AGUIMiddleware, log=MemoryLog())

if __name__ == "__main__":
    uvicorn.run(app, port=8000)
