"""A LlamaIndex workflow behind AGUIMiddleware.

uv run --with llama-index-protocols-ag-ui==0.6.0 --with 'rx-agui[serve]' --with fastapi llama_index_app.py
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import uvicorn
from fastapi import FastAPI
from llama_index.core.llms import ChatMessage, ChatResponse
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.protocols.ag_ui.router import get_ag_ui_workflow_router

from rx_agui.asgi import AGUIMiddleware
from rx_agui.replay import MemoryLog


class Script(MockFunctionCallingLLM):
    """Stand in for a model: no key is needed."""

    async def astream_chat(
        self, messages: Sequence[ChatMessage], **_: Any
    ) -> AsyncIterator[ChatResponse]:
        async def chunks() -> AsyncIterator[ChatResponse]:
            text = ""
            for word in range(40):
                if word == 20 and "fail" in str(messages[-1].content):
                    raise RuntimeError("the model is gone")
                text += f"word{word} "
                message = ChatMessage(role="assistant", content=text)
                yield ChatResponse(message=message, delta=f"word{word} ")

        return chunks()


app = FastAPI()
app.include_router(get_ag_ui_workflow_router(llm=Script(is_chat_model=True)))
app.add_middleware(AGUIMiddleware, log=MemoryLog())

if __name__ == "__main__":
    uvicorn.run(app, port=8000)
