"""What the doctor listens to: an endpoint that says when it sent what.

    app.mount("/probe", probe)        any ASGI application, for as long as you need it
    rx-agui doctor https://.../probe

Each answer is a short stream whose events carry the time they were sent, and whose
first says which request arrived and which headers were sent back. Of the request it
tells the values of those headers alone that proxies change; no cookie, no key.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs

import orjson

__all__ = ["MARK", "probe"]

#: What a response of the probe is known by.
MARK = "rx-agui-probe"

Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]

#: Headers whose values may be told: what a stream depends on.
_TOLD = (
    "accept",
    "accept-encoding",
    "cache-control",
    "connection",
    "last-event-id",
    "te",
    "via",
    "x-forwarded-proto",
)

#: What protects a stream on its way.
_PROTECTED = {
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",
    "vary": "Accept-Encoding",
}

_MAX_EVENTS = 500
_MAX_SECONDS = 600.0


async def probe(scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
    """Answer as the ASGI application that `rx-agui doctor` measures the way to.

    Its answers are short and bounded, and it needs nothing. Still it is for diagnosis:
    take it down again when you know.

    Query parameters (`rx-agui doctor` sets them):
        events, interval: So many, so many seconds apart.
        silence: Seconds before the last event in which none comes.
        keep_alive: Seconds between comments in that silence; 0: none.
        bare: 1 leaves out the headers that protect a stream from proxies.
        gzip: 1 compresses here, flushed with each event.
    """
    if scope["type"] != "http":
        return
    asked = {n: v[-1] for n, v in parse_qs(scope["query_string"].decode()).items()}
    headers = {"content-type": "text/event-stream", MARK: "1"}
    if asked.get("bare") != "1":
        headers |= _PROTECTED
    pack: Callable[[bytes], bytes] = bytes
    if asked.get("gzip") == "1":
        headers["content-encoding"] = "gzip"
        pack = _gzip()
    start = {
        "type": "http.response.start",
        "status": 200,
        "headers": [(n.encode(), v.encode()) for n, v in headers.items()],
    }
    await send(start)

    async def write(data: bytes) -> None:
        body = {"type": "http.response.body", "body": pack(data), "more_body": True}
        await send(body)

    telling = asyncio.create_task(_tell(write, asked, scope, headers))
    leaving = asyncio.create_task(_until_left(receive))
    try:
        await asyncio.wait((telling, leaving), return_when=asyncio.FIRST_COMPLETED)
        if telling.done():
            telling.result()
            await send({"type": "http.response.body", "body": b""})
    finally:
        for task in (telling, leaving):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def _tell(
    write: Callable[[bytes], Awaitable[None]],
    asked: Mapping[str, str],
    scope: Mapping[str, Any],
    headers: Mapping[str, str],
) -> None:
    heard = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in scope["headers"]]
    about = {
        "http": scope.get("http_version", ""),
        "method": scope["method"],
        "heard": {n: v if n in _TOLD else "" for n, v in heard},
        "answered": headers,
    }
    if asked.get("bare") != "1":
        # As SSEResponse begins. Caddy 2.6 compresses, and holds back, a stream whose
        # first write has 512 bytes or more.
        await write(b":\n")
    await write(_event(0, **about))
    for number in range(1, int(_bounded(asked, "events", 10, _MAX_EVENTS))):
        await asyncio.sleep(_bounded(asked, "interval", 0.1, 5.0))
        await write(_event(number))
    for pause in _pauses(asked):
        await asyncio.sleep(pause)
        await write(b": keep-alive\n")
    await write(_event(-1))


def _pauses(asked: Mapping[str, str]) -> Iterator[float]:
    left = _bounded(asked, "silence", 0.0, _MAX_SECONDS)
    keep_alive = _bounded(asked, "keep_alive", 0.0, _MAX_SECONDS)
    while left > 0:
        pause = min(left, keep_alive or left)
        yield pause
        left -= pause


def _event(number: int, **more: Any) -> bytes:
    value = {"n": number, "sent": time.time(), **more}
    event = {"type": "CUSTOM", "name": MARK, "value": value}
    return b"data: " + orjson.dumps(event) + b"\n\n"


def _bounded(asked: Mapping[str, str], name: str, default: float, most: float) -> float:
    try:
        return min(max(float(asked.get(name, default)), 0.0), most)
    except ValueError:
        return default


def _gzip() -> Callable[[bytes], bytes]:
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    return lambda data: packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH)


async def _until_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
