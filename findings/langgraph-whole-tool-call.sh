#!/usr/bin/env bash
# ag-ui-langgraph: a tool call that arrives whole is streamed without its arguments, a second one not at all
#
# Versions: ag-ui-langgraph 0.0.47, langgraph 1.2.24, langchain-core 1.8.3
# Guess:    each tool call chunk becomes START, ARGS, END, also where one model chunk holds two calls.
# Seen:     the chunk that carries the name gives only START: what it has in "args" is dropped, so a call in one chunk
#           has no TOOL_CALL_ARGS, and one cut in two streams its second half alone. Of two calls in a chunk the second
#           is never announced. The MESSAGES_SNAPSHOT at the end has everything.
# Why:      several providers send a call whole. What a live page shows of it, and what a log or a resumed reader gets
#           before the snapshot, is not JSON: the concatenated deltas of such a run cannot be checked or parsed.
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


def call(index, name=None, args=None, id=None):
    return {"name": name, "args": args, "id": id, "index": index, "type": "tool_call_chunk"}


def shown(events):
    return [
        f"{e.type.value[10:]} {e.tool_call_id} {getattr(e, 'delta', '')}".strip()
        for e in events
        if e.type.value in ("TOOL_CALL_START", "TOOL_CALL_ARGS", "TOOL_CALL_END")
    ]


def final(events):
    last = [e for e in events if e.type.value == "MESSAGES_SNAPSHOT"][-1]
    return [(c.id, c.function.arguments) for c in last.messages[-1].tool_calls]


async def main():
    whole = await run({"content": "", "tool_call_chunks": [call(0, "f", '{"x":1}', "A"), call(1, "g", '{"y":2}', "B")]})
    halves = await run(
        {"content": "", "tool_call_chunks": [call(0, "f", '{"x":', "A")]}, {"content": "", "tool_call_chunks": [call(0, args="1}")]}
    )
    saw = [shown(whole), final(whole), shown(halves), final(halves)]
    for line in saw:
        print(line)
    want = [
        ["START A", "END A"],
        [("A", '{"x": 1}'), ("B", '{"y": 2}')],
        ["START A", "ARGS A 1}", "END A"],
        [("A", '{"x": 1}')],
    ]
    sys.exit("CHANGED" if saw != want else 0)


asyncio.run(main())
E
