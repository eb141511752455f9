"""An agno agent behind AGUIMiddleware.

uv run --with agno==3.1.10 --with 'rx-agui[serve]' --with fastapi agno_app.py
"""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import uvicorn
from agno.agent import Agent
from agno.models.base import Model
from agno.models.response import ModelResponse
from agno.os.interfaces.agui import AGUI
from fastapi import FastAPI

from rx_agui.asgi import AGUIMiddleware
from rx_agui.replay import MemoryLog


class Script(Model):
    """Stand in for a model: no key is needed."""

    def invoke(self, *_: Any, **__: Any) -> ModelResponse:
        raise NotImplementedError

    async def ainvoke(self, *_: Any, **__: Any) -> ModelResponse:
        raise NotImplementedError

    def invoke_stream(self, *_: Any, **__: Any) -> Iterator[ModelResponse]:
        raise NotImplementedError

    async def ainvoke_stream(
        self, messages: Any, *_: Any, **__: Any
    ) -> AsyncIterator[ModelResponse]:
        for word in range(40):
            if word == 20 and "fail" in str(messages):
                raise RuntimeError("the model is gone")
            yield ModelResponse(content=f"word{word} ")

    def _parse_provider_response(self, response: Any, **_: Any) -> ModelResponse:
        return response

    def _parse_provider_response_delta(self, response: Any) -> ModelResponse:
        return response


app = FastAPI()
app.include_router(AGUI(agent=Agent(model=Script(id="script"))).get_router())
app.add_middleware(AGUIMiddleware, log=MemoryLog())

if __name__ == "__main__":
    uvicorn.run(app, port=8000)
