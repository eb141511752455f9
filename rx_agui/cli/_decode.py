"""rx-agui decode: Server-Sent Events become one JSON event a line."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

from rx_agui.cli._pipes import Pipes, json_line, run
from rx_agui.errors import WireError
from rx_agui.flow import from_iterable
from rx_agui.frame import StreamChunk
from rx_agui.operators import decompress, reassemble, unbatch
from rx_agui.sse import Parser, read_chunk

__all__ = ["decode"]

#: Seconds that a payload may lack pieces. A pipe may pause for any time; only its end
#: means that they will never come.
_PATIENCE = 86400.0

#: What stands before the first colon of a line; a comment has nothing there.
_FIELDS = b"", b"data", b"event", b"id", b"retry"

#: Bytes without an event that are kept to tell a quiet stream from another format.
_ENOUGH = 65536


def decode(_: Namespace) -> None:
    """Run the command. What came whole is written, also where the stream was cut."""
    pipes = Pipes()
    done: Future[None] = Future()
    events = from_iterable(lambda: _chunks(pipes)).pipe(
        reassemble(timeout=_PATIENCE), decompress(), unbatch()
    )

    def write(event: dict[str, Any]) -> None:
        pipes.events += 1
        pipes.write(json_line(event))

    run(
        lambda: events.subscribe(
            write, done.set_exception, lambda: done.set_result(None)
        ),
        done,
        pipes,
    )


def _chunks(pipes: Pipes) -> Iterator[StreamChunk]:
    parser = Parser()
    start = bytearray()  # what came before the first message
    is_stream = False
    for piece in pipes.pieces():
        if not is_stream and len(start) < _ENOUGH:
            start += piece
        for message in parser.feed(piece):
            is_stream = True
            yield read_chunk(message)
    parser.feed(b"")  # raises if the last block was too large
    if not (is_stream or _may_be_stream(bytes(start))):
        shown = start[:60].decode("utf-8", "replace")
        raise WireError(f"not Server-Sent Events: {shown!r}")
    if not parser.is_between_messages:
        raise WireError("the stream was cut inside an event")


def _may_be_stream(start: bytes) -> bool:
    """Return True if a line is a field or a comment, or there is no line at all."""
    text = start.removeprefix(b"\xef\xbb\xbf").strip()
    return not text or any(
        line.partition(b":")[0] in _FIELDS for line in text.splitlines()
    )
