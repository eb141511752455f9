"""A small server with a log, which answers those who come back as the wire says.

It stands here so that the client is tested against a second reading of the same
rules; what the library itself serves is tested elsewhere too.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Iterable
from typing import Any
from urllib.parse import parse_qs, quote

import brotli
import orjson
import zstandard

from rx_agui.frame import Frame
from rx_agui.operators import chunk, compress
from rx_agui.sse import format_sse_chunk

__all__ = ["Logged", "text_of", "text_run"]

Event = dict[str, Any]


def text_run(deltas: int) -> list[Event]:
    """A run that says something long, in characters of one to four bytes."""
    ids = {"threadId": "t", "runId": "r"}
    said = [
        {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": f"{i} é水👩 "}
        for i in range(deltas)
    ]
    return [
        {"type": "RUN_STARTED", **ids},
        {"type": "TEXT_MESSAGE_START", "messageId": "m", "role": "assistant"},
        *said,
        {"type": "TEXT_MESSAGE_END", "messageId": "m"},
        {"type": "RUN_FINISHED", **ids},
    ]


def text_of(events: Iterable[Event]) -> str:
    """What a reader of the run has read."""
    return "".join(event.get("delta", "") for event in events)


class Logged:
    """One run for each path, told again and again.

    `?profile=chunk` sends it in pieces of compressed payloads. Of the encodings that
    a request accepts, it takes what `?encoding=` says.

    Attributes:
        runs_begun: How often an agent was started.
        kept_from: The first number that each log still has.
        asked: The cursors that came.
    """

    def __init__(self, events: list[Event], *, batch: int = 3) -> None:
        self.events = events
        self.batch = batch
        self.known: dict[str, int] = {}  # how far each run has come
        self.runs_begun = 0
        self.kept_from = 1
        self.asked: list[str | None] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        query = parse_qs(scope["query_string"].decode())
        headers = {n.decode(): v.decode("latin-1") for n, v in scope["headers"]}
        run = scope["path"]
        cursor = headers.get("last-event-id")
        self.asked.append(cursor)
        encoding = query.get("encoding", ["identity"])[0]
        assert encoding == "identity" or encoding in headers["accept-encoding"]
        status, replay, after = self._answer(run, cursor)
        answer = [
            (b"content-type", b"text/event-stream"),
            (b"content-encoding", encoding.encode()),
            (b"rx-agui-replay", replay.encode()),
        ]
        await send({"type": "http.response.start", "status": status, "headers": answer})
        pack = _packer(encoding)
        if status == 200:
            write = _chunked if query.get("profile") == ["chunk"] else _plain
            name = quote(run, safe="")
            async for piece in self._body(run, replay, after, write, name):
                body = pack(piece)
                await send(
                    {"type": "http.response.body", "body": body, "more_body": True}
                )
        await send({"type": "http.response.body", "body": b""})

    def _answer(self, run: str, cursor: str | None) -> tuple[int, str, int]:
        if cursor is None:
            if run in self.known:
                return 200, "prelude", self.known[run]
            self.known[run] = 0
            self.runs_begun += 1
            return 200, "live", 0
        stream, _, number = cursor.rpartition("/")
        if stream != quote(run, safe="") or run not in self.known:
            return 410, "", 0
        after = int(number)
        if after == len(self.events):
            return 204, "", 0
        if after + 1 < self.kept_from:
            return 200, "trimmed", self.known[run]
        return 200, "tail", after

    async def _body(
        self, run: str, replay: str, after: int, write: Any, name: str
    ) -> AsyncIterator[bytes]:
        if replay in ("prelude", "trimmed") and after:
            yield _prelude(self.events[:after], name, after)
        while after < len(self.events):
            await asyncio.sleep(0)
            if after == self.known[run]:  # the agent goes on
                self.known[run] = min(after + self.batch, len(self.events))
            until = self.known[run]
            yield write(self.events[after:until], name, after + 1)
            after = until


def _plain(events: list[Event], name: str, first: int) -> bytes:
    return b"".join(
        b"id: %b/%d\ndata: %b\n\n" % (name.encode(), number, orjson.dumps(event))
        for number, event in enumerate(events, first)
    )


def _chunked(events: list[Event], name: str, first: int) -> bytes:
    from reactivex import of

    payload = Frame(
        b"\n".join(orjson.dumps(event) for event in events),
        events=len(events),
        first=first,
        last=first + len(events) - 1,
    )
    pieces: list[bytes] = []

    def send(piece: Any) -> None:
        if piece.event_id:
            piece.event_id = f"{name}/{piece.event_id}"
        pieces.append(format_sse_chunk(piece))

    of(payload).pipe(compress(min_size=1), chunk(100)).subscribe(send)
    return b"".join(pieces)


def _prelude(events: list[Event], name: str, last: int) -> bytes:
    """What brings a newcomer up to date; only the last of it has an id."""
    deltas = [e for e in events if e["type"] == "TEXT_MESSAGE_CONTENT"]
    merged = [e for e in events if e not in deltas]
    if deltas:
        merged.insert(2, {**deltas[0], "delta": text_of(deltas)})
    frames = [b"data: %b\n\n" % orjson.dumps(event) for event in merged]
    frames[-1] = b"id: %b/%d\n%b" % (name.encode(), last, frames[-1])
    return b"".join(frames)


def _packer(encoding: str) -> Any:
    """What makes of a batch bytes that can be unpacked as they come."""
    match encoding:
        case "gzip" | "deflate":
            packer = zlib.compressobj(
                6, zlib.DEFLATED, 31 if encoding == "gzip" else 15
            )
            return lambda data: packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH)
        case "br":
            brotler = brotli.Compressor(quality=5)
            return lambda data: brotler.process(data) + brotler.flush()
        case "zstd":
            # A frame for each: httpx's own decoder fails at the second.
            return zstandard.ZstdCompressor().compress
    return lambda data: data
