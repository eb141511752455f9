#!/usr/bin/env bash
# eventsource-client (npm): a reconnect that is answered with 500, or with JSON, is asked again and again at one pace
#
# Versions: eventsource-client 1.2.0
# Guess:    as in EventSource, any status but 200 and any other content type end the matter.
# Seen:     it goes on for ever, each time after the same `retry` (50 ms here), with no growing pause; only 204 ends it.
# Why:      a server that is down for a while meets every reader at once, for as long as it is down. The pause that such
#           readers keep is the `retry` they were told: a small one, meant for quick resumes, is a load of its own.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
npm install --prefix "$dir" --silent --no-audit --no-fund --ignore-scripts eventsource-client@1.2.0 >/dev/null
cat > "$dir/run.mjs" <<'E'
import http from 'node:http'
import { createEventSource } from 'eventsource-client'
const count = async (status, type) => {
  let asked = 0
  const delays = new Set()
  const server = http.createServer((request, response) => {
    if (asked++ === 0) {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      return response.end('retry: 50\nid: 1\ndata: a\n\n')
    }
    response.writeHead(status, { 'content-type': type })
    response.end(status === 204 ? undefined : '{}')
  })
  await new Promise(go => server.listen(0, '127.0.0.1', go))
  const source = createEventSource({ url: `http://127.0.0.1:${server.address().port}/`, onScheduleReconnect: r => delays.add(r.delay) })
  await new Promise(go => setTimeout(go, 3000))
  source.close()
  server.close()
  server.closeAllConnections()
  return { asked, delays: [...delays] }
}
const saw = { 500: await count(500, 'text/plain'), json: await count(200, 'application/json'), 204: await count(204, 'text/plain') }
console.log(JSON.stringify(saw))
const same = saw[500].asked > 10 && saw.json.asked > 10 && saw[204].asked === 2 && [500, 'json'].every(k => JSON.stringify(saw[k].delays) === '[50]')
console.log(same ? '' : 'CHANGED')
process.exit(same ? 0 : 1)
E
node "$dir/run.mjs"
