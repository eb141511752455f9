#!/usr/bin/env bash
# sseclient-py and parse-sse: the half of an event that a cut connection leaves is handed out as a whole one
#
# Versions: sseclient-py 1.9.0, parse-sse 0.1.0
# Guess:    a block without the blank line behind it is thrown away at the end of the stream, as the standard says.
# Seen:     both deliver it, with what has come of its data ("{"balance": 1" of 100) and, in sseclient-py, its id.
# Why:      a reader that resumes from the last id it saw skips the event whose second half it never had. Such a client
#           must be told the end by an event of the protocol, and take an id only with data that parse.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv --without-pip "$dir/v"
python3 -m pip --python "$dir/v/bin/python" -q --disable-pip-version-check install --no-compile sseclient-py==1.9.0
npm install --prefix "$dir" --silent --no-audit --no-fund --ignore-scripts parse-sse@0.1.0 >/dev/null
"$dir/v/bin/python" - <<'E'
import sys

import sseclient

cut = (piece for piece in (b'id: 1\ndata: {"balance": 7}\n\n', b'id: 2\ndata: {"balance": 1'))
saw = [(e.id, e.data) for e in sseclient.SSEClient(cut).events()]
print("sseclient-py", saw)
sys.exit("CHANGED" if saw != [("1", '{"balance": 7}'), ("2", '{"balance": 1')] else 0)
E
cat > "$dir/run.mjs" <<'E'
import { parseServerSentEvents } from 'parse-sse'
const body = new Response('id: 1\ndata: {"balance": 7}\n\nid: 2\ndata: {"balance": 1', { headers: { 'content-type': 'text/event-stream' } })
const saw = []
for await (const e of parseServerSentEvents(body)) saw.push([e.lastEventId, e.data])
console.log('parse-sse', JSON.stringify(saw))
if (JSON.stringify(saw.map(e => e[1])) !== JSON.stringify(['{"balance": 7}', '{"balance": 1'])) { console.log('CHANGED'); process.exit(1) }
E
node "$dir/run.mjs"
