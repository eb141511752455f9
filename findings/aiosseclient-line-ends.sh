#!/usr/bin/env bash
# aiosseclient: a line separator inside the data ends it, and the rest of the line is lost
#
# Versions: aiosseclient 0.1.8, aiohttp 3.14.5
# Guess:    aiohttp reads the lines, as bytes, so only LF ends one; U+2028 and the like are data.
# Seen:     the block is split again as text: "one" + U+2028 + "two" is "one", the rest is warned of ("Invalid SSE line")
#           and dropped. U+0085, VT, FF and FS do the same. An empty first data line is lost too: "", "a" is "a".
# Why:      JSON lets U+2028 and U+0085 stand in a string as they are, and models write them: the reader is left with
#           half a JSON text. A server that escapes them in its JSON is read by everybody.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv --without-pip "$dir/v"
python3 -m pip --python "$dir/v/bin/python" -q --disable-pip-version-check install --no-compile aiosseclient==0.1.8 aiohttp==3.14.5
"$dir/v/bin/python" - <<'E'
import asyncio
import sys
import threading
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from aiosseclient import aiosseclient

SENT = ["one\u2028two", "one\u0085two", "one\x0btwo", "one\x0ctwo", "one\x1ctwo", "one two"]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.write("".join(f"data: {text}\n\n" for text in SENT).encode() + b"data:\ndata: a\n\n")

    def log_message(self, *args):
        pass


async def read(url):
    got = []
    async for event in aiosseclient(url):
        got.append(event.data)
        if len(got) == len(SENT) + 1:
            break
    return got


warnings.simplefilter("ignore")
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
saw = asyncio.run(asyncio.wait_for(read(f"http://127.0.0.1:{server.server_port}/"), 20))
server.shutdown()
print(saw)
sys.exit("CHANGED" if saw != ["one"] * 5 + ["one two", "a"] else 0)
E
