"""rx-agui decode: Server-Sent Events become one JSON event a line."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import orjson

from rx_agui.cli._pipes import Pipes, run
from rx_agui.errors import WireError
from rx_agui.flow import from_iterable
from rx_agui.frame import StreamChunk
from rx_agui.operators import decompress, reassemble, unbatch
from rx_agui.sse import Parser, read_chunk

__all__ = ["decode"]

#: Seconds a payload may lack pieces. A pipe may pause as long as it likes; only its
#: end says that they will never come.
_PATIENCE = 86400.0


def decode(_: Namespace) -> None:
    """Do it. What came whole is written, also where the stream was cut."""
    pipes = Pipes()
    done: Future[None] = Future()
    events = from_iterable(lambda: _chunks(pipes)).pipe(
        reassemble(timeout=_PATIENCE), decompress(), unbatch()
    )

    def write(event: dict[str, Any]) -> None:
        pipes.events += 1
        pipes.write(orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE))

    run(
        lambda: events.subscribe(
            write, done.set_exception, lambda: done.set_result(None)
        ),
        done,
        pipes,
    )


def _chunks(pipes: Pipes) -> Iterator[StreamChunk]:
    parser = Parser()
    for piece in pipes.pieces():
        for message in parser.feed(piece):
            yield read_chunk(message)
    parser.feed(b"")  # says so if the last block was too large
    if not parser.is_between_messages:
        raise WireError("the stream was cut inside an event")
