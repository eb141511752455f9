#!/usr/bin/env bash
# falcon and blacksheep: the generator of an event stream outlives its reader, in one while it waits, in the other always
#
# Versions: falcon 4.4.0, blacksheep 2.6.4, uvicorn 0.54.0
# Guess:    both end the asynchronous generator within a second of the reader's leaving, as Starlette does.
# Seen:     falcon tells it at its next event (GeneratorExit), so a generator that waits for the model waits on;
#           blacksheep never does: it is asked for event after event that nobody gets.
# Why:      "stop the model when the reader is gone" needs more than a `finally` there: wait with a time limit and look
#           for the disconnect yourself, or let something that watches `receive` own the run.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv --without-pip "$dir/v"
python3 -m pip --python "$dir/v/bin/python" -q --disable-pip-version-check install --no-compile falcon==4.4.0 blacksheep==2.6.4 uvicorn==0.54.0
cat > "$dir/run.py" <<'E'
import asyncio
import os
import socket
import threading
import time

import falcon.asgi
import uvicorn
from blacksheep import Application
from blacksheep.server.sse import ServerSentEvent, ServerSentEventsResponse

made, ended = [], []


async def events(kind, pause):
    try:
        while True:
            made.append(kind)
            yield kind
            await asyncio.sleep(pause)
    except BaseException as error:
        ended.append(f"{kind}: {type(error).__name__}")
        raise


PAUSE = {"busy": 0.05, "waiting": 60}


class Stream:
    async def on_get(self, request, response, kind):
        async def source():
            async for text in events(kind, PAUSE[kind]):
                yield falcon.asgi.SSEvent(text=text)

        response.sse = source()


with_falcon = falcon.asgi.App()
with_falcon.add_route("/{kind}", Stream())
with_blacksheep = Application()


@with_blacksheep.router.get("/{kind}")
def stream(kind: str):
    async def source():
        async for text in events(kind, PAUSE[kind]):
            yield ServerSentEvent(text)

    return ServerSentEventsResponse(source)


saw = {}
for name, app in (("falcon", with_falcon), ("blacksheep", with_blacksheep)):
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
    threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True).start()
    while not server.started:
        time.sleep(0.05)
    for kind in PAUSE:
        made.clear()
        ended.clear()
        with socket.create_connection(listener.getsockname()) as reader:
            reader.sendall(f"GET /{kind} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            got = b""
            while kind.encode() not in got:
                got += reader.recv(4096)
        time.sleep(0.5)
        then = made.count(kind)
        time.sleep(2)
        saw[f"{name}, {kind}"] = (list(ended), "goes on" if made.count(kind) > then else "no more events")
print("\n".join(f"{name}: {what}" for name, what in saw.items()), flush=True)
want = {
    "falcon, busy": (["busy: GeneratorExit"], "no more events"),
    "falcon, waiting": ([], "no more events"),
    "blacksheep, busy": ([], "goes on"),
    "blacksheep, waiting": ([], "no more events"),
}
# the servers' threads still hold the streams that nobody ended: do not wait for them
os._exit(0 if saw == want else print("CHANGED", flush=True) or 1)
E
"$dir/v/bin/python" -W ignore "$dir/run.py"
