#!/usr/bin/env bash
# requests-sse, aiohttp-sse-client2, fetch-event-stream: all spaces in front of the data are taken away, not one
#
# Versions: requests-sse 0.5.3, aiohttp-sse-client2 0.3.0 (aiohttp 3.14.5), fetch-event-stream 0.1.6
# Guess:    one space behind the colon belongs to the syntax, the others to the data: "data:  world" is " world".
# Seen:     all three give "world". The two Python readers also take away the empty last line of "data: a" + "data:".
# Why:      who streams tokens as plain text ("Hello", " world") gets "Helloworld", and code loses its indentation.
#           JSON in the data is safe: nothing at its edges counts.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv --without-pip "$dir/v"
python3 -m pip --python "$dir/v/bin/python" -q --disable-pip-version-check install --no-compile requests-sse==0.5.3 requests==2.34.2 aiohttp-sse-client2==0.3.0 aiohttp==3.14.5
npm install --prefix "$dir" --silent --no-audit --no-fund --ignore-scripts fetch-event-stream@0.1.6 >/dev/null
"$dir/v/bin/python" - <<'E'
import asyncio
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests_sse
from aiohttp_sse_client2 import client


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.write(b"data: Hello\n\ndata:  world\n\ndata: a\ndata:\n\n")

    def log_message(self, *args):
        pass


async def read():
    async with client.EventSource(url) as source:
        got = []
        async for event in source:
            got.append(event.data)
            if len(got) == 3:
                return got


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}/"
with requests_sse.EventSource(url) as source:
    got = iter(source)
    saw = [[next(got).data for _ in range(3)], asyncio.run(read())]
server.shutdown()
print("requests-sse", saw[0], "| aiohttp-sse-client2", saw[1])
sys.exit("CHANGED" if saw != [["Hello", "world", "a"]] * 2 else 0)
E
cat > "$dir/run.mjs" <<'E'
import { events } from 'fetch-event-stream'
const saw = []
for await (const e of events(new Response('data: Hello\n\ndata:  world\n\n'))) saw.push(e.data)
console.log('fetch-event-stream', JSON.stringify(saw))
if (JSON.stringify(saw) !== JSON.stringify(['Hello', 'world'])) { console.log('CHANGED'); process.exit(1) }
E
node "$dir/run.mjs"
