#!/usr/bin/env bash
# ag-ui-langgraph: two nodes that stream at the same time write into one message
#
# Versions: ag-ui-langgraph 0.0.47, langgraph 1.2.24, langchain-core 1.8.3
# Guess:    two messages, each with its own id, their deltas in turns (the protocol allows several open messages).
#           (Held when the test was written, put on paper only after it.)
# Seen:     one TEXT_MESSAGE_START; the tokens of both models go out under its id: "abc" and "abc" become "aabbcc".
#           Each token sits between a STEP_FINISHED and a STEP_STARTED of its own. Only the MESSAGES_SNAPSHOT at the end
#           has the two texts as they should be.
# Why:      text on the page is wrong until the end of the run, whatever lies between; and a step's end before each
#           token is a barrier, so a stage that merges neighbouring deltas has nothing to merge.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv --without-pip "$dir/v"
python3 -m pip --python "$dir/v/bin/python" -q --disable-pip-version-check install --no-compile ag-ui-langgraph==0.0.47 langgraph==1.2.24 langchain-core==1.8.3 ag-ui-protocol==1.0.0 fastapi==0.165.0
"$dir/v/bin/python" -W ignore - <<'E'
import asyncio
import sys

from ag_ui.core import RunAgentInput, UserMessage
from ag_ui_langgraph import LangGraphAgent
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langgraph.checkpoint.memory import MemorySaver
from langgraph.graph import START, MessagesState, StateGraph

model = FakeListChatModel(responses=["abc"])


async def left(state):
    return {"messages": [await model.ainvoke("x")]}


async def right(state):
    return {"messages": [await model.ainvoke("y")]}


async def main():
    graph = StateGraph(MessagesState)
    for name, node in (("left", left), ("right", right)):
        graph.add_node(name, node)
        graph.add_edge(START, name)
    agent = LangGraphAgent(name="two", graph=graph.compile(checkpointer=MemorySaver()))
    asked = RunAgentInput(
        thread_id="t", run_id="r", state={}, tools=[], context=[], forwarded_props={},
        messages=[UserMessage(id="u", role="user", content="hi")],
    )
    events = [e async for e in agent.clone().run(asked) if e.type.value != "RAW"]
    text = [e for e in events if e.type.value == "TEXT_MESSAGE_CONTENT"]
    last = [e for e in events if e.type.value == "MESSAGES_SNAPSHOT"][-1]
    steps = [i for i, e in enumerate(events) if e.type.value == "TEXT_MESSAGE_CONTENT" and events[i + 1].type.value == "STEP_FINISHED"]
    saw = {
        "message ids": len({e.message_id for e in text}),
        "starts": sum(e.type.value == "TEXT_MESSAGE_START" for e in events),
        "text as streamed": "".join(e.delta for e in text),
        "tokens followed by a STEP_FINISHED": len(steps),
        "snapshot": [m.content for m in last.messages if m.role == "assistant"],
    }
    print(saw)
    want = {"message ids": 1, "starts": 1, "text as streamed": "aabbcc", "tokens followed by a STEP_FINISHED": 6, "snapshot": ["abc", "abc"]}
    sys.exit("CHANGED" if saw != want else 0)


asyncio.run(main())
E
