#!/usr/bin/env bash
# ag-ui-langgraph: text behind a tool call, and a second block of text in one chunk, are not streamed
#
# Versions: ag-ui-langgraph 0.0.47, langgraph 1.2.24, langchain-core 1.8.3
# Guess:    text behind a tool call opens the message again (START on its id); two text blocks give two deltas.
# Seen:     the chunk with the text behind the call only ends the call: its own text is never sent, the snapshot has it.
#           Of two text blocks in one chunk the second is missing in the stream and in the MESSAGES_SNAPSHOT as well.
# Why:      "the deltas add up to the message" does not hold for this source, so a check of a stream against its
#           snapshot, or a log that keeps only deltas, differs from what the agent said, with no fault in between.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv --without-pip "$dir/v"
python3 -m pip --python "$dir/v/bin/python" -q --disable-pip-version-check install --no-compile ag-ui-langgraph==0.0.47 langgraph==1.2.24 langchain-core==1.8.3 ag-ui-protocol==1.0.0 fastapi==0.165.0
"$dir/v/bin/python" -W ignore - <<'E'
import asyncio
import sys

from ag_ui.core import RunAgentInput, UserMessage
from ag_ui_langgraph import LangGraphAgent
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk
from langgraph.checkpoint.memory import MemorySaver
from langgraph.graph import START, MessagesState, StateGraph


class Chunks(BaseChatModel):
    """A chat model that streams the chunks it was given."""

    chunks: list

    @property
    def _llm_type(self):
        return "chunks"

    def _generate(self, *args, **kwargs):
        raise NotImplementedError

    async def _astream(self, messages, stop=None, run_manager=None, **kwargs):
        for message in self.chunks:
            yield ChatGenerationChunk(message=message)


async def run(*chunks):
    model = Chunks(chunks=[AIMessageChunk(id="m", **c) for c in chunks])

    async def node(state):
        return {"messages": [await model.ainvoke("x")]}

    graph = StateGraph(MessagesState)
    graph.add_node("node", node)
    graph.add_edge(START, "node")
    agent = LangGraphAgent(name="one", graph=graph.compile(checkpointer=MemorySaver()))
    asked = RunAgentInput(
        thread_id="t", run_id="r", state={}, tools=[], context=[], forwarded_props={},
        messages=[UserMessage(id="u", role="user", content="hi")],
    )
    return [e async for e in agent.clone().run(asked) if e.type.value != "RAW"]


def shown(events):
    streamed = "".join(e.delta for e in events if e.type.value == "TEXT_MESSAGE_CONTENT")
    last = [e for e in events if e.type.value == "MESSAGES_SNAPSHOT"][-1]
    return streamed, last.messages[-1].content


async def main():
    call = {"name": "f", "args": "{}", "id": "A", "index": 0, "type": "tool_call_chunk"}
    behind = await run({"content": "one "}, {"content": "", "tool_call_chunks": [call]}, {"content": "two"})
    blocks = await run({"content": [{"type": "text", "text": "one ", "index": 0}, {"type": "text", "text": "two", "index": 1}]})
    saw = [shown(behind), shown(blocks)]
    for (streamed, final), name in zip(saw, ("text behind a call", "two blocks"), strict=True):
        print(f"{name}: streamed {streamed!r}, snapshot {final!r}")
    sys.exit("CHANGED" if saw != [("one ", "one two"), ("one ", "one ")] else 0)


asyncio.run(main())
E
