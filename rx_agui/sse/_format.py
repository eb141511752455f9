"""What goes on the wire.

Profile agui, which any AG-UI client reads:

    id: 41
    data: {"type":"TEXT_MESSAGE_CONTENT","messageId":"m1","delta":"Hi"}

Profile chunk, for payloads that were compressed or cut:

    event: chunk
    id: 90
    data: {"sequenceNum":41,"events":50,"chunkIndex":1,"totalChunks":2,...,"data":"<base64>"}

Only what every client survives is ever written: LF line ends, one `data:` line per
event, no empty data, no `event:` in profile agui, and only comments for keep-alive
(`@ag-ui/client` splits on LF LF alone, and parses any `data:` it finds). U+2028, U+2029
and U+0085 are escaped as JSON: readers that split with `str.splitlines`, such as httpx's
and requests' `iter_lines`, end a line there, and lose the event without a word.
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import TypeVar, cast

import orjson

from rx_agui.errors import ConfigError
from rx_agui.frame import Frame, StreamChunk

__all__ = ["comment", "format_frame", "format_sse_chunk", "write_sse_chunk"]

T = TypeVar("T")

#: What would end a field early, or, as NUL does, make clients ignore it.
_BREAKS_A_FIELD = re.compile("[\r\n\0]")

#: Characters that are no line end in SSE but are one for `str.splitlines`, by the first
#: byte in UTF-8. A single byte is found by memchr, at 20 GB/s; text that has it is
#: searched with a one-byte prefix, three times as fast as for the whole character.
_SPLITTERS = {
    0xC2: (re.compile(rb"\xc2(?=\x85)"), ((b"\xc2\x85", b"\\u0085"),)),
    0xE2: (
        re.compile(rb"\xe2(?=\x80[\xa8\xa9])"),
        ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029")),
    ),
}


def format_frame(frame: Frame, stem: str = "") -> bytes:
    r"""Return a frame that is not compressed, in profile agui.

    Numbers are written behind `stem`: "run-7/" makes the id of number 41 "run-7/41".

    >>> format_frame(Frame(b'{"type":"A"}\n{"type":"B"}', events=2, first=7, last=8))
    b'id: 7\ndata: {"type":"A"}\n\nid: 8\ndata: {"type":"B"}\n\n'
    """
    return _format_lines(frame.data, frame.line_numbers(), stem.encode())


def format_sse_chunk(chunk: StreamChunk) -> bytes:
    r"""Return a chunk as it goes on the wire.

    One that is neither compressed nor cut is written in profile agui, each event
    with its own id, so that any AG-UI client reads it.

    >>> format_sse_chunk(StreamChunk(data=b'{"type":"A"}', event_id="7", sequence_num=7))
    b'id: 7\ndata: {"type":"A"}\n\n'

    Raises:
        ConfigError: The id would not stay on its line.
    """
    event_id = chunk.event_id
    if not event_id.isalnum() and _BREAKS_A_FIELD.search(event_id):
        raise ConfigError("event_id", event_id, must="on one line, without NUL")
    if chunk.is_whole and not chunk.compressed:
        stream, slash, _ = chunk.event_id.rpartition("/")
        body = _format_lines(
            chunk.data, _line_numbers(chunk), (stream + slash).encode()
        )
    else:
        body = _format_envelope(chunk)
    if chunk.retry is None:
        return body
    return b"retry: %d\n%b" % (chunk.retry, body)


def write_sse_chunk(write: Callable[[bytes], T], chunk: StreamChunk) -> T:
    """Write a chunk; return what `write` returns, of an async one to be awaited.

    For code that drives the writing itself; `SSEWriter` does it for a stream. If `write`
    raises, so does this, and the chunk counts as dropped.
    """
    try:
        written = write(format_sse_chunk(chunk))
    except Exception as error:
        _was_not_written(chunk, error)
        raise
    if isawaitable(written):
        return cast(T, _awaited(written, chunk))
    return written


async def _awaited(writing: Awaitable[T], chunk: StreamChunk) -> T:
    try:
        return await writing
    except Exception as error:
        _was_not_written(chunk, error)
        raise


def _was_not_written(chunk: StreamChunk, error: Exception) -> None:
    if not chunk.permit.is_spent:
        chunk.permit.hold().release(error)


def comment(text: str = "") -> bytes:
    r"""Format a line that every client ignores: the keep-alive that no client minds.

    It joins the block of the next event. With a blank line of its own it would be a block
    without data, of which httpx-sse and others make an event that is empty.

    >>> comment("keep-alive")
    b': keep-alive\n'
    """
    lines = text.replace("\r", "\n").split("\n")
    return "".join(f": {line}".rstrip() + "\n" for line in lines).encode()


def _format_lines(
    data: bytes, numbers: tuple[int, ...] | range, stream: bytes = b""
) -> bytes:
    if not data.isascii():
        data = _with_splitters_escaped(data)
    lines = data.split(b"\n")
    if not any(numbers):
        return b"data: " + b"\n\ndata: ".join(lines) + b"\n\n"
    if len(lines) == 1:
        return b"id: %b%d\ndata: %b\n\n" % (stream, numbers[0], data)
    return b"".join(
        [
            b"id: %b%d\ndata: %b\n\n" % (stream, number, line)
            if number and number != following
            else b"data: %b\n\n" % line
            # Of several with one number the last has the id: a reader who is cut off
            # among them comes back for all.
            for number, following, line in zip(
                numbers, (*numbers[1:], 0), lines, strict=True
            )
        ]
    )


def _with_splitters_escaped(data: bytes) -> bytes:
    """Escape what some readers take for line ends. In JSON it stands in strings only."""
    for first, (found, escapes) in _SPLITTERS.items():
        if first in data and found.search(data):
            for raw, escaped in escapes:
                data = data.replace(raw, escaped)
    return data


def _line_numbers(chunk: StreamChunk) -> tuple[int, ...] | range:
    if not chunk.event_id:
        return ()
    if chunk.numbers is not None:
        return chunk.numbers
    return range(chunk.sequence_num, chunk.sequence_num + chunk.events)


def _format_envelope(chunk: StreamChunk) -> bytes:
    envelope: dict[str, object] = {
        "sequenceNum": chunk.sequence_num,
        "events": chunk.events,
        "chunkIndex": chunk.chunk_index,
        "totalChunks": chunk.total_chunks,
        "encoding": chunk.encoding,
        "crc32": chunk.crc32,
    }
    context = getattr(chunk.trace, "context", "")
    if context:
        envelope["traceparent"] = context
    if chunk.numbers is not None:
        envelope["numbers"] = chunk.numbers
    head = orjson.dumps(envelope)[:-1]
    return b"".join(
        (
            b"event: chunk\n",
            b"id: %b\n" % chunk.event_id.encode() if chunk.event_id else b"",
            b"data: ",
            head,
            b',"data":"',
            b2a_base64(chunk.data, newline=False),
            b'"}\n\n',
        )
    )
