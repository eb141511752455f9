"""A Strands agent behind AGUIMiddleware.

uv run --with ag-ui-strands==1.0.2 --with 'rx-agui[serve]' --with fastapi strands_app.py
"""

from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from ag_ui_strands import StrandsAgent, create_strands_app
from strands import Agent
from strands.models import Model

from rx_agui.asgi import AGUIMiddleware
from rx_agui.replay import MemoryLog


class Script(Model):
    """Stand in for a model: no key is needed."""

    def update_config(self, **config: Any) -> None: ...

    def get_config(self) -> dict[str, Any]:
        return {}

    def structured_output(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError

    async def stream(self, messages: Any, *_: Any, **__: Any) -> AsyncIterator[Any]:
        yield {"messageStart": {"role": "assistant"}}
        for word in range(40):
            if word == 20 and "fail" in str(messages[-1]):
                raise RuntimeError("the model is gone")
            yield {"contentBlockDelta": {"delta": {"text": f"word{word} "}}}
        yield {"contentBlockStop": {}}
        yield {"messageStop": {"stopReason": "end_turn"}}


agent = StrandsAgent(Agent(model=Script(), callback_handler=None), name="chat")
app = create_strands_app(agent, "/agent")
app.add_middleware(AGUIMiddleware, log=MemoryLog())

if __name__ == "__main__":
    uvicorn.run(app, port=8000)
