"""Bodies that a hostile server sends, and what reading one takes.

    python -m tests.support.hostile MAX_SIZE [NAME]

prints how far memory grew while `connect` read each, in bytes, and how the reading ended.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import sys
import zlib
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from itertools import islice, repeat
from pathlib import Path
from typing import Any

import brotli
import httpx
import lz4.frame
import zstandard

from rx_agui.client import connect

__all__ = ["BODIES", "HEADERS"]

TRICKLE = "two bytes at a time"

STARTED = b'id: s/1\ndata: {"type":"RUN_STARTED","threadId":"t","runId":"r"}\n\n'
_PIECE = 64 * 1024

Body = Iterator[bytes]


def pieces(start: bytes, filling: bytes, size: int, end: bytes = b"") -> Body:
    """`start`, then about `size` bytes of `filling`, then `end`."""
    block = filling * max(1, _PIECE // len(filling))
    yield start
    yield from repeat(block, max(1, size // len(block)))
    yield end


def gzipped(body: Body) -> Body:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    for piece in body:
        yield packer.compress(piece)
    yield packer.flush()


def event(
    filling: bytes, size: int, *, open: bytes = b"[", close: bytes = b"0]"
) -> Body:
    yield from pieces(
        b'data: {"type":"CUSTOM","name":"n","value":' + open,
        filling,
        size,
        close + b"}\n\n",
    )


def envelope(data: bytes, **changed: Any) -> bytes:
    facts = {
        "sequenceNum": 1,
        "events": 1,
        "chunkIndex": 0,
        "totalChunks": 1,
        "encoding": "identity",
        "crc32": None,
        "data": b64encode(data).decode(),
    }
    return b"event: chunk\ndata: " + json.dumps(facts | changed).encode() + b"\n\n"


def numbers(size: int) -> Body:
    """Chunks, each with a list of as many numbers as fit, which never become whole."""
    for number in range(1, 40):
        head = envelope(b"x", sequenceNum=number, totalChunks=2, events=size // 2)
        yield from pieces(head[:-3] + b',"numbers":[', b"1,", size - 200, b"1]}\n\n")


def some_numbers(size: int) -> Body:
    """Chunks with fewer numbers, which all begin and never become whole."""
    for number in range(1, 60):
        head = envelope(b"x", sequenceNum=number, totalChunks=2, events=200_000)
        listed = b",".join(b"%d" % n for n in range(10**9, 10**9 + 200_000))
        yield head[:-3] + b',"numbers":[' + listed + b"]}\n\n"


def tiny_pieces(size: int) -> Body:
    for at in range(0, 40_000, 500):
        yield b"".join(
            envelope(b"x", chunkIndex=index, totalChunks=10**9)
            for index in range(at, at + 500)
        )


def br(size: int) -> Body:
    packer = brotli.Compressor(quality=5)
    for piece in pieces(b"data: ", b"x", 40 * size):
        yield packer.process(piece)
    yield packer.finish()


def zstd(size: int) -> Body:
    packer = zstandard.ZstdCompressor(level=3).compressobj()
    for piece in pieces(b"data: ", b"x", 40 * size):
        yield packer.compress(piece)
    yield packer.flush()


def payload(encoding: str) -> Callable[[int], Body]:
    def body(size: int) -> Body:
        if encoding == "lz4":
            with lz4.frame.LZ4FrameCompressor() as packer:
                data = packer.begin()
                for piece in pieces(b"", b"\n", 20 * size):
                    data += packer.compress(piece)
                data += packer.flush()
        elif encoding == "zstd":
            frames = zstandard.ZstdCompressor(level=19).compressobj()
            data = b"".join(frames.compress(p) for p in pieces(b"", b"\n", 20 * size))
            data += frames.flush()
        else:
            data = b"".join(gzipped(pieces(b"", b"\n", 20 * size)))
        yield envelope(data, encoding=encoding)

    return body


def lines_in_a_payload(size: int) -> Body:
    data = b"".join(gzipped(pieces(b"", b'{"type":"A"}\n', size - 4 * _PIECE, b"{}")))
    whole = zlib.decompressobj(31).decompress(data)
    yield envelope(data, encoding="gzip", events=whole.count(b"\n") + 1)


#: By name, a body made for a `max_size`; what stands behind a colon is how it is encoded.
BODIES: dict[str, Callable[[int], Body]] = {
    "numbers:gzip": lambda size: gzipped(numbers(size)),
    "some numbers:gzip": lambda size: gzipped(some_numbers(size)),
    "a prelude of tiny events:gzip": lambda size: gzipped(
        pieces(b"", b'data: {"type":"A"}\n\n', 20 * size)
    ),
    "empty lists:gzip": lambda size: gzipped(event(b"[],", size - 200)),
    "just as many lists as may be:gzip": lambda size: gzipped(
        event(b"[],", 48 * size // 200)
    ),
    "short strings:gzip": lambda size: gzipped(event(b'"ab",', size - 200)),
    "objects:gzip": lambda size: gzipped(event(b'{"a":0},', size - 200)),
    "lists on lines:gzip": lambda size: gzipped(event(b"[],\ndata: ", size - 200)),
    "short lines:gzip": lambda size: gzipped(pieces(b"", b"data:ab\n", size - 99)),
    "text with an emoji:gzip": lambda size: gzipped(
        event(b"a", size // 2, open='"😀'.encode(), close=b'"')
    ),
    "a long line:gzip": lambda size: gzipped(pieces(b"data: ", b"x", 40 * size)),
    "a long line:br": br,
    "a long line:zstd": zstd,
    TRICKLE: lambda size: islice(repeat(b"xx"), size // 8),
    "tiny messages:gzip": lambda size: gzipped(
        pieces(b"", b"event:a\ndata:{}\n\n", 4 * size)
    ),
    "a long id:gzip": lambda size: gzipped(pieces("id: 😀".encode(), b"1", 4 * size)),
    "pieces of a byte:gzip": lambda size: gzipped(tiny_pieces(size)),
    "a payload of nothing but lines": payload("gzip"),
    "lz4": payload("lz4"),
    "zstd": payload("zstd"),
    "a payload of tiny events": lines_in_a_payload,
    "codings on codings:br, br, br, br": lambda size: iter([STARTED]),
}

HEADERS = {"a prelude of tiny events:gzip": {"rx-agui-replay": "prelude"}}


class _Stream(httpx.AsyncByteStream):
    def __init__(self, body: Body) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for number, piece in enumerate(self._body):
            if number % 1000 == 0:
                await asyncio.sleep(0)  # a socket would let the loop go on
            if piece:
                yield piece


def _memory(name: str) -> int:
    status = Path("/proc/self/status").read_text("ascii")
    return int(status.split(f"{name}:")[1].split()[0]) * 1024


def _resident() -> int:
    """Return what is in use now, and forget what was more before."""
    with suppress(OSError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # musl gives back by itself
    Path("/proc/self/clear_refs").write_text("5", "ascii")
    return _memory("VmRSS")


async def _read(name: str, size: int) -> tuple[int, str]:
    headers = {"content-type": "text/event-stream", **HEADERS.get(name, {})}
    if ":" in name:
        headers["content-encoding"] = name.partition(":")[2]
    body = BODIES[name](size)
    if name != TRICKLE:  # what it takes to make it is not what is measured
        body = iter(list(body))
    response = httpx.Response(200, headers=headers, stream=_Stream(body))
    transport = httpx.MockTransport(lambda _: response)
    async with httpx.AsyncClient(transport=transport) as client:
        events = connect("http://x/", client=client, reconnect=None, max_size=size)
        before = _resident()
        count = 0
        try:
            async for _ in events:
                count += 1
            ended = "the end"
        except Exception as error:
            ended = type(error).__name__
        return _memory("VmHWM") - before, f"{count} events, {ended}"


if __name__ == "__main__":
    for name in sys.argv[2:] or BODIES:
        print(json.dumps([name, *asyncio.run(_read(name, int(sys.argv[1])))]))
