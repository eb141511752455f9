#!/usr/bin/env bash
# Starlette: a plain generator of a StreamingResponse is not closed when the reader leaves
#
# Versions: starlette 1.10.0, uvicorn 0.54.0
# Guess:    both kinds of generator are closed at once when the client is gone, so their `finally` runs.
# Seen:     the asynchronous one is. The plain one stays suspended, referenced in a cycle: its `finally` runs when the
#           cyclic garbage collector comes by, here not within a second, then at once on gc.collect().
# Why:      the `finally` of such a generator gives back the model's connection, or the database's. On a quiet server
#           that may be minutes after the reader left: for streams, write an asynchronous generator.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv --without-pip "$dir/v"
python3 -m pip --python "$dir/v/bin/python" -q --disable-pip-version-check install --no-compile starlette==1.10.0 uvicorn==0.54.0
"$dir/v/bin/python" - <<'E'
import asyncio
import gc
import socket
import sys
import threading
import time

import uvicorn
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route

closed = []


def plain():
    try:
        while True:
            yield b"data: x\n\n"
            time.sleep(0.05)
    finally:
        closed.append("plain")


async def asynchronous():
    try:
        while True:
            yield b"data: x\n\n"
            await asyncio.sleep(0.05)
    finally:
        closed.append("asynchronous")


def route(make):
    async def answer(request):
        return StreamingResponse(make(), media_type="text/event-stream")

    return Route(f"/{make.__name__}", answer)


app = Starlette(routes=[route(plain), route(asynchronous)])
gc.disable()
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
thread.start()
while not server.started:
    time.sleep(0.05)
for name in ("asynchronous", "plain"):
    with socket.create_connection(listener.getsockname()) as reader:
        reader.sendall(f"GET /{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        while b"data: x" not in reader.recv(4096):
            pass
    time.sleep(1)
before = list(closed)
gc.collect()
time.sleep(0.2)
print("a second after the readers left:", before, "| after gc.collect():", closed)
server.should_exit = True
thread.join(10)
sys.exit("CHANGED" if (before, closed) != (["asynchronous"], ["asynchronous", "plain"]) else 0)
E
