#!/usr/bin/env bash
# starlette-compress, brotli-asgi, zstd-asgi compress an event stream and pass each event on at once
#
# Versions: starlette-compress 2.0.0, brotli-asgi 1.7.0, zstd-asgi 1.0, asgi-gzip 0.3 on starlette 1.10.0, uvicorn 0.54.0
# Guess:    starlette-compress leaves text/event-stream alone, brotli-asgi and zstd-asgi hold the events to the end,
#           asgi-gzip flushes.
# Seen:     all four wrong. The first three set Content-Encoding and give five events in five pieces; asgi-gzip is
#           the one that leaves event streams alone.
# Why:      "a compressing middleware kills SSE" is no longer so for these; what remains is their cost, a compressor and
#           a flush per reader, and no batch: a server that compresses by itself must set Content-Encoding first.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv --without-pip "$dir/v"
python3 -m pip --python "$dir/v/bin/python" -q --disable-pip-version-check install --no-compile starlette==1.10.0 uvicorn==0.54.0 starlette-compress==2.0.0 brotli-asgi==1.7.0 zstd-asgi==1.0 asgi-gzip==0.3 httpx==0.28.1 brotli==1.2.1 zstandard==0.25.0
"$dir/v/bin/python" -W ignore - <<'E'
import asyncio
import socket
import sys
import threading
import time

import httpx
import uvicorn
from asgi_gzip import GZipMiddleware
from brotli_asgi import BrotliMiddleware
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Mount, Route
from starlette_compress import CompressMiddleware
from zstd_asgi import ZstdMiddleware


async def answer(request):
    async def events():
        for n in range(5):
            yield b"data: %d%s\n\n" % (n, b"x" * 600)
            await asyncio.sleep(0.3)

    return StreamingResponse(events(), media_type="text/event-stream")


TRIED = {
    "starlette-compress": (CompressMiddleware, "br"),
    "brotli-asgi": (BrotliMiddleware, "br"),
    "zstd-asgi": (ZstdMiddleware, "zstd"),
    "asgi-gzip": (GZipMiddleware, "gzip"),
}
plain = Starlette(routes=[Route("/", answer)])
app = Starlette(routes=[Mount(f"/{name}", app=made(plain)) for name, (made, _) in TRIED.items()])
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
thread.start()
while not server.started:
    time.sleep(0.05)
saw = {}
for name, (_, coding) in TRIED.items():
    address = f"http://127.0.0.1:{listener.getsockname()[1]}/{name}/"
    with httpx.stream("GET", address, headers={"Accept-Encoding": coding}) as response:
        # times, to a tenth of a second, at which something readable came
        came = {round(time.monotonic(), 1) for part in response.iter_bytes() if part}
        saw[name] = response.headers.get("Content-Encoding"), len(came)
server.should_exit = True
thread.join(10)
print(saw)
want = {"starlette-compress": "br", "brotli-asgi": "br", "zstd-asgi": "zstd", "asgi-gzip": None}
sys.exit("CHANGED" if {n: c for n, (c, _) in saw.items()} != want or min(n for _, n in saw.values()) < 5 else 0)
E
