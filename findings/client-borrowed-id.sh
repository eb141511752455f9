#!/usr/bin/env bash
# @ag-ui/client: an id that another message has already: text goes into the user's message
#
# Versions: @ag-ui/client 1.0.0
# Guess:    TEXT_MESSAGE_START under the id of a user's or a tool's message is refused or ignored
#           (TOOL_CALL_START does look at the role and warns).
# Seen:     the assistant's text is appended to the user's words ("hi" becomes "hi there"), with no warning and
#           no new message.
# Why:      ids made from a run's or a request's id collide easily: a join prelude or a replay that opens START again
#           under such an id corrupts the history, which goes back to the agent with the next turn.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
npm install --prefix "$dir" --silent --no-audit --no-fund --ignore-scripts @ag-ui/client@1.0.0 rxjs@7.8.2 >/dev/null
cat > "$dir/run.mjs" <<'E'
import { AbstractAgent } from '@ag-ui/client'
import { from } from 'rxjs'
const run = async (initialMessages, ...events) => {
  class Replay extends AbstractAgent {
    run() { return from([{ type: 'RUN_STARTED', threadId: 't', runId: 'r' }, ...events, { type: 'RUN_FINISHED', threadId: 't', runId: 'r' }]) }
  }
  let warned = 0
  console.warn = () => { warned++ }
  const agent = new Replay({ threadId: 't', initialMessages })
  const { newMessages } = await agent.runAgent()
  return { messages: agent.messages.map(m => [m.id, m.role, m.content]), new: newMessages.length, warned }
}
const text = id => [
  { type: 'TEXT_MESSAGE_START', messageId: id, role: 'assistant' },
  { type: 'TEXT_MESSAGE_CONTENT', messageId: id, delta: ' there' },
  { type: 'TEXT_MESSAGE_END', messageId: id },
]
const saw = [
  await run([{ id: '1', role: 'user', content: 'hi' }], ...text('1')),
  await run([{ id: '1', role: 'tool', toolCallId: 'c', content: 'result' }], ...text('1')),
]
for (const line of saw) console.log(JSON.stringify(line))
const want = [
  { messages: [['1', 'user', 'hi there']], new: 0, warned: 0 },
  { messages: [['1', 'tool', 'result there']], new: 0, warned: 0 },
]
if (JSON.stringify(saw) !== JSON.stringify(want)) { console.log('CHANGED'); process.exit(1) }
E
node "$dir/run.mjs"
