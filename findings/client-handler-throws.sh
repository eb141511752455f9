#!/usr/bin/env bash
# @ag-ui/client: an exception in an event handler is only logged, the same one in onMessagesChanged ends the run
#
# Versions: @ag-ui/client 1.0.0
# Guess:    a handler that throws ends the run, whichever it is.
# Seen:     thrown in onTextMessageContentEvent: logged ("Subscriber error"), all text arrives, runAgent() resolves.
#           Thrown in onMessagesChanged: runAgent() rejects at the first event, the rest of the stream is not applied.
# Why:      a page's own mistake in a render callback looks like a broken stream ("Agent execution failed"), and the
#           same mistake one callback away is silent. Look there before you blame the server for an ended run.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
npm install --prefix "$dir" --silent --no-audit --no-fund --ignore-scripts @ag-ui/client@1.0.0 rxjs@7.8.2 >/dev/null
cat > "$dir/run.mjs" <<'E'
import { AbstractAgent } from '@ag-ui/client'
import { from } from 'rxjs'
const events = [
  { type: 'RUN_STARTED', threadId: 't', runId: 'r' },
  { type: 'TEXT_MESSAGE_START', messageId: 'm', role: 'assistant' },
  { type: 'TEXT_MESSAGE_CONTENT', messageId: 'm', delta: 'ab' },
  { type: 'TEXT_MESSAGE_CONTENT', messageId: 'm', delta: 'cd' },
  { type: 'TEXT_MESSAGE_END', messageId: 'm' },
  { type: 'RUN_FINISHED', threadId: 't', runId: 'r' },
]
class Replay extends AbstractAgent { run() { return from(events) } }
const saw = {}
for (const handler of ['onTextMessageContentEvent', 'onMessagesChanged']) {
  let logged = 0
  const keep = console.error
  console.error = () => { logged++ }
  const agent = new Replay({ threadId: 't' })
  let end = 'resolved'
  try { await agent.runAgent({}, { [handler]() { throw new Error('mistake') } }) } catch (e) { end = `rejected: ${e.message}` }
  console.error = keep
  saw[handler] = [end, agent.messages[0]?.content, logged]
}
console.log(JSON.stringify(saw, null, 1))
const want = { onTextMessageContentEvent: ['resolved', 'abcd', 2], onMessagesChanged: ['rejected: mistake', '', 1] }
if (JSON.stringify(saw) !== JSON.stringify(want)) { console.log('CHANGED'); process.exit(1) }
E
node "$dir/run.mjs"
