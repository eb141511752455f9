"""A CrewAI flow behind AGUIMiddleware.

uv run --with ag-ui-crewai==1.0.0 --with 'rx-agui[serve]' --with fastapi crewai_app.py
"""

from collections.abc import AsyncIterator

import uvicorn
from ag_ui_crewai import (
    CopilotKitState,
    add_crewai_flow_fastapi_endpoint,
    copilotkit_stream,
)
from crewai.flow import Flow, start
from fastapi import FastAPI
from litellm import CustomStreamWrapper, acompletion

from rx_agui.asgi import AGUIMiddleware
from rx_agui.replay import MemoryLog


class Chat(Flow[CopilotKitState]):
    @start()
    async def chat(self) -> None:
        text = "".join(f"word{word} " for word in range(40))
        # litellm's own stand-in for a model: no key is needed.
        answer = await acompletion(
            model="openai/script",
            messages=[{"role": "user", "content": "hello"}],
            mock_response=text,
            stream=True,
        )
        if "fail" in str(self.state.messages[-1]):
            answer.completion_stream = broken(answer.completion_stream)
        message = (await copilotkit_stream(answer)).choices[0]["message"]
        self.state.messages.append(message)


async def broken(stream: CustomStreamWrapper) -> AsyncIterator[object]:
    """The stream of a model that goes away in the middle."""
    count = 0
    async for chunk in stream:
        if (count := count + 1) == 20:
            raise RuntimeError("the model is gone")
        yield chunk


app = FastAPI()
add_crewai_flow_fastapi_endpoint(app, Chat(), "/agent")
app.add_middleware(AGUIMiddleware, log=MemoryLog())

if __name__ == "__main__":
    uvicorn.run(app, port=8000)
