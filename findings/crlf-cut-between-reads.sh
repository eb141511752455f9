#!/usr/bin/env bash
# requests-sse and parse-sse: a CR at the end of one read and its LF at the start of the next are two line ends
#
# Versions: requests-sse 0.5.3 (requests 2.34.2), parse-sse 0.1.0
# Guess:    both keep a CR that ends a read until they know what follows, as the standard's grammar asks.
# Seen:     the LF is read as an empty line: the event is cut there. Its name is lost ("progress" comes as "message"),
#           of two data lines the second becomes an event of its own.
# Why:      legal CRLF streams fail now and then, by where the network cuts. A server that ends its lines with LF
#           alone is not hit; one that writes CRLF should at least write an event in one piece.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv --without-pip "$dir/v"
python3 -m pip --python "$dir/v/bin/python" -q --disable-pip-version-check install --no-compile requests-sse==0.5.3 requests==2.34.2
npm install --prefix "$dir" --silent --no-audit --no-fund --ignore-scripts parse-sse@0.1.0 >/dev/null
"$dir/v/bin/python" - <<'E'
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests_sse

PIECES = {
    "/name": [b"event: progress\r", b"\ndata: 1\r\n\r\n"],
    "/data": [b"data: one\r", b"\ndata: two\r\n\r\n"],
    "/whole": [b"event: progress\r\ndata: 1\r\n\r\n"],
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in PIECES[self.path]:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.flush()
            time.sleep(0.2)
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *args):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
saw = {}
for path, events in (("/whole", 1), ("/name", 1), ("/data", 2)):
    with requests_sse.EventSource(f"http://127.0.0.1:{server.server_port}{path}") as source:
        got = iter(source)
        saw[path] = [(e.type, e.data) for e, _ in zip(got, range(events), strict=False)]
server.shutdown()
print("requests-sse", saw)
want = {"/whole": [("progress", "1")], "/name": [("message", "1")], "/data": [("message", "one"), ("message", "two")]}
sys.exit("CHANGED" if saw != want else 0)
E
cat > "$dir/run.mjs" <<'E'
import { parseServerSentEvents } from 'parse-sse'
const read = async pieces => {
  const body = new ReadableStream({ start(c) { for (const p of pieces) c.enqueue(new TextEncoder().encode(p)); c.close() } })
  const out = []
  for await (const e of parseServerSentEvents(new Response(body, { headers: { 'content-type': 'text/event-stream' } }))) out.push([e.type, e.data])
  return out
}
const saw = {
  whole: await read(['event: progress\r\ndata: 1\r\n\r\n']),
  name: await read(['event: progress\r', '\ndata: 1\r\n\r\n']),
  data: await read(['data: one\r', '\ndata: two\r\n\r\n']),
}
console.log('parse-sse', JSON.stringify(saw))
const want = { whole: [['progress', '1']], name: [['message', '1']], data: [['message', 'one'], ['message', 'two']] }
if (JSON.stringify(saw) !== JSON.stringify(want)) { console.log('CHANGED'); process.exit(1) }
E
node "$dir/run.mjs"
