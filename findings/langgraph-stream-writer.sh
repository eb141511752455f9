#!/usr/bin/env bash
# ag-ui-langgraph: what a node writes with get_stream_writer() never becomes an event
#
# Versions: ag-ui-langgraph 0.0.47, langgraph 1.2.24, langchain-core 1.8.3
# Guess:    both of LangGraph's ways to send data of one's own, the stream writer and a dispatched custom event,
#           come out as CUSTOM.
# Seen:     only the dispatched one does. The writer's data are in no event of the run, RAW ones included.
# Why:      LangGraph's documentation shows the writer first, so "progress does not arrive" is looked for in the
#           transport (buffering, a proxy, a full queue), where nothing is wrong.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv --without-pip "$dir/v"
python3 -m pip --python "$dir/v/bin/python" -q --disable-pip-version-check install --no-compile ag-ui-langgraph==0.0.47 langgraph==1.2.24 langchain-core==1.8.3 ag-ui-protocol==1.0.0 fastapi==0.165.0
"$dir/v/bin/python" -W ignore - <<'E'
import asyncio
import sys

from ag_ui.core import RunAgentInput, UserMessage
from ag_ui_langgraph import LangGraphAgent
from langchain_core.callbacks.manager import adispatch_custom_event
from langgraph.checkpoint.memory import MemorySaver
from langgraph.config import get_stream_writer
from langgraph.graph import START, MessagesState, StateGraph


async def node(state):
    get_stream_writer()({"progress": "written-by-writer"})
    await adispatch_custom_event("progress", "dispatched-by-callback")
    return {}


async def main():
    graph = StateGraph(MessagesState)
    graph.add_node("node", node)
    graph.add_edge(START, "node")
    compiled = graph.compile(checkpointer=MemorySaver())
    asked = RunAgentInput(
        thread_id="t", run_id="r", state={}, tools=[], context=[], forwarded_props={},
        messages=[UserMessage(id="u", role="user", content="hi")],
    )
    events = [e async for e in LangGraphAgent(name="one", graph=compiled).clone().run(asked)]
    saw = (
        [(e.name, e.value) for e in events if e.type.value == "CUSTOM"],
        sum("written-by-writer" in e.model_dump_json() for e in events),
    )
    plain = [part async for part in compiled.astream({"messages": []}, {"configurable": {"thread_id": "p"}}, stream_mode="custom")]
    print("CUSTOM events:", saw[0], "| events with the writer's data:", saw[1], "| LangGraph's own stream:", plain)
    want = ([("progress", "dispatched-by-callback")], 0)
    sys.exit("CHANGED" if saw != want or {"progress": "written-by-writer"} not in plain else 0)


asyncio.run(main())
E
