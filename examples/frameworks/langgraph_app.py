"""A LangGraph graph behind AGUIMiddleware.

uv run --with ag-ui-langgraph==0.0.47 --with 'rx-agui[serve]' --with fastapi langgraph_app.py
"""

from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from ag_ui_langgraph import LangGraphAgent, add_langgraph_fastapi_endpoint
from fastapi import FastAPI
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langgraph.checkpoint.memory import MemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph

from rx_agui.asgi import AGUIMiddleware
from rx_agui.replay import MemoryLog


class Script(BaseChatModel):
    """Stand in for a model: no key is needed."""

    @property
    def _llm_type(self) -> str:
        return "script"

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        message = AIMessage("".join(f"word{word} " for word in range(40)))
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _astream(
        self, messages: list[BaseMessage], *_: Any, **__: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        for word in range(40):
            if word == 20 and "fail" in str(messages[-1].content):
                raise RuntimeError("the model is gone")
            yield ChatGenerationChunk(message=AIMessageChunk(content=f"word{word} "))


async def chat(state: MessagesState) -> dict[str, Any]:
    return {"messages": [await Script().ainvoke(state["messages"])]}


graph = StateGraph(MessagesState)
graph.add_node("chat", chat)
graph.add_edge(START, "chat")
graph.add_edge("chat", END)
agent = LangGraphAgent(name="chat", graph=graph.compile(checkpointer=MemorySaver()))

app = FastAPI()
add_langgraph_fastapi_endpoint(app, agent, "/agent")
app.add_middleware(AGUIMiddleware, log=MemoryLog())

if __name__ == "__main__":
    uvicorn.run(app, port=8000)
