#!/usr/bin/env bash
# pydantic-ai: where two tool calls arrive in turns, arguments are sent behind the end of their call
#
# Versions: pydantic-ai-slim 2.68.0 (extra ag-ui), ag-ui-protocol 1.0.0, @ag-ui/client 1.0.0
# Guess:    the adapter puts the two calls one behind the other: START, ARGS, END of A, then START, ARGS, END of B.
# Seen:     END of A goes out as soon as the model begins B; the rest of A's arguments follow it as TOOL_CALL_ARGS
#           of the ended call. The stock client takes that as an error of the stream and the run is over.
# Why:      a model may stream parallel calls in turns (the deltas carry an index for that). Whoever merges, numbers
#           or repairs events must expect ARGS of a call that has ended, and hold the END back, or the page fails.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv --without-pip "$dir/v"
python3 -m pip --python "$dir/v/bin/python" -q --disable-pip-version-check install --no-compile 'pydantic-ai-slim[ag-ui]==2.68.0' ag-ui-protocol==1.0.0
npm install --prefix "$dir" --silent --no-audit --no-fund --ignore-scripts @ag-ui/client@1.0.0 rxjs@7.8.2 >/dev/null
cat > "$dir/agent.py" <<'E'
import asyncio
import json

from ag_ui.core import RunAgentInput, UserMessage
from pydantic_ai import Agent
from pydantic_ai.models.function import DeltaToolCall, FunctionModel
from pydantic_ai.ui.ag_ui import AGUIAdapter

turns = iter([1, 2])


async def model(messages, info):
    if next(turns) == 2:
        yield "done"
        return
    yield {0: DeltaToolCall(name="look", json_args='{"x":', tool_call_id="A")}
    yield {1: DeltaToolCall(name="look", json_args='{"x":', tool_call_id="B")}
    yield {0: DeltaToolCall(json_args="1}")}
    yield {1: DeltaToolCall(json_args="2}")}


agent = Agent(FunctionModel(stream_function=model))


@agent.tool_plain
def look(x: int) -> str:
    return f"saw {x}"


async def main():
    asked = RunAgentInput(
        thread_id="t", run_id="r", state={}, tools=[], context=[], forwarded_props={},
        messages=[UserMessage(id="u", role="user", content="hi")],
    )
    async for event in AGUIAdapter(agent=agent, run_input=asked, accept=None).run_stream():
        print(json.dumps(json.loads(event.model_dump_json(by_alias=True, exclude_none=True))))


asyncio.run(main())
E
"$dir/v/bin/python" "$dir/agent.py" > "$dir/events.jsonl"
cat > "$dir/client.mjs" <<'E'
import { readFileSync } from 'node:fs'
import { AbstractAgent } from '@ag-ui/client'
import { from } from 'rxjs'
const events = readFileSync(process.argv[2], 'utf8').trim().split('\n').map(l => JSON.parse(l))
const calls = events.filter(e => /^TOOL_CALL_(START|ARGS|END)$/.test(e.type)).map(e => `${e.type.slice(10)} ${e.toolCallId} ${e.delta ?? ''}`.trim())
class Replay extends AbstractAgent { run() { return from(events) } }
console.error = () => {}
let end = 'resolved'
try { await new Replay({ threadId: 't' }).runAgent() } catch (e) { end = String(e.message) }
console.log(calls.join(' | ')); console.log(end)
const want = 'START A | ARGS A {"x": | END A | START B | ARGS B {"x": | ARGS A 1} | ARGS B 2} | END B'
if (calls.join(' | ') !== want || !end.startsWith("Cannot send 'TOOL_CALL_ARGS' event: No active tool call found with ID 'A'")) { console.log('CHANGED'); process.exit(1) }
E
node "$dir/client.mjs" "$dir/events.jsonl"
