#!/usr/bin/env bash
# eventsource (npm): an event without an id of its own has lastEventId "", and a block of an id alone is not remembered
#
# Versions: eventsource 4.1.1, against undici 7.30.2 (whose EventSource does what the standard says)
# Guess:    the last id persists: later events carry it, and an id without data moves it, also for the reconnect.
# Seen:     after "id: 5" the next event's lastEventId is "" (undici: "5"). The reconnect does send 5 then; but the id
#           of a block without data is forgotten: the reconnect names no id at all (undici: 9).
# Why:      a page that keeps e.lastEventId as its position loses it at the first event without an id, and a position
#           sent by itself (for what was skipped or merged) does not move such a reader: put the id on an event.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
npm install --prefix "$dir" --silent --no-audit --no-fund --ignore-scripts eventsource@4.1.1 undici@7.30.2 >/dev/null
cat > "$dir/run.mjs" <<'E'
import http from 'node:http'
import { EventSource as Package } from 'eventsource'
import { EventSource as Undici } from 'undici'
const read = (EventSource, first) => new Promise(resolve => {
  const ids = []
  let asked = 0, source
  const server = http.createServer((request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    if (asked++ === 0) return response.end('retry: 50\n\n' + first)
    source.close()
    resolve({ ids, reconnect: request.headers['last-event-id'] ?? null })
    response.end()
    server.close()
    server.closeAllConnections()
  })
  server.listen(0, '127.0.0.1', () => {
    source = new EventSource(`http://127.0.0.1:${server.address().port}/`)
    source.onmessage = e => ids.push(e.lastEventId)
  })
})
process.removeAllListeners('warning')
process.on('warning', () => {})
const persist = 'id: 5\ndata: a\n\ndata: b\n\n', alone = 'data: a\n\nid: 9\n\n'
const saw = {
  package: [await read(Package, persist), await read(Package, alone)],
  undici: [await read(Undici, persist), await read(Undici, alone)],
}
console.log(JSON.stringify(saw, null, 1))
const want = {
  package: [{ ids: ['5', ''], reconnect: '5' }, { ids: [''], reconnect: null }],
  undici: [{ ids: ['5', '5'], reconnect: '5' }, { ids: [''], reconnect: '9' }],
}
const same = JSON.stringify(saw) === JSON.stringify(want)
console.log(same ? '' : 'CHANGED')
process.exit(same ? 0 : 1)
E
node "$dir/run.mjs"
