r"""Encoded Server-Sent Events as a source of events.

"data: {...}\n\n", b"da", b"ta: {...}\n\n: ping\n\n"     ──▶     b"{...}", b"{...}"
"""

from __future__ import annotations

from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
    Sequence,
)
from itertools import chain
from typing import TypeAlias

from reactivex import Observable

from rx_agui.errors import ConfigError, ProcessingError
from rx_agui.flow import from_async_iterable, from_iterable
from rx_agui.sse._parse import Parser

__all__ = ["FrameReader", "from_sse"]

Encoded: TypeAlias = str | bytes

#: Bytes of one event at most. An image in a tool result has a few; a parser without a
#: bound would hold whatever a producer that never ends a block has sent.
_MAX_SIZE = 64 * 1024 * 1024


#: How EventEncoder, and nearly every framework, begins and ends an event.
_BEGIN, _END = b"data: ", b"\n\n"


class FrameReader:
    r"""Reads the events out of encoded frames, cut anywhere.

    >>> reader = FrameReader()
    >>> list(reader.read('data: {"type":"RAW","event":1}\n\ndata: {"type"'))
    [b'{"type":"RAW","event":1}']

    Args:
        max_size: Bytes of one event at most.
    """

    __slots__ = ("_max_size", "_parser")

    def __init__(self, max_size: int = _MAX_SIZE) -> None:
        self._max_size = max_size
        self._parser = Parser(max_size=max_size)

    def read(self, piece: Encoded) -> Iterable[bytes]:
        """Return the events that the piece completes, each as its JSON.

        Raises:
            PayloadTooLargeError: An event is larger than `max_size`. It is raised behind
                the events before it, as is the next.
            ProcessingError: The frames carry `event: error`, which sse-starlette and
                others send where the producer failed.
        """
        data = (
            piece.encode("utf-8", "surrogatepass") if isinstance(piece, str) else piece
        )
        return self._whole(data) or self._parsed(data)

    def read_many(self, pieces: Sequence[bytes]) -> Iterable[bytes]:
        """Return the events that several pieces complete: as `read`, for less.

        Raises:
            As `read`.
        """
        return self._whole(b"".join(pieces)) or chain.from_iterable(
            map(self.read, pieces)
        )

    def _whole(self, data: bytes) -> list[bytes]:
        """Split frames as EventEncoder writes them; none if one is cut or written otherwise."""
        if not (
            data.startswith(_BEGIN)
            and data.endswith(_END)
            and b"\r" not in data
            and self._parser.is_between_messages
        ):
            return []
        events = data[len(_BEGIN) : -len(_END)].split(_END + _BEGIN)
        is_plain = data.count(b"\n") == len(_END) * len(events)
        return events if is_plain and len(data) <= self._max_size else []

    def _parsed(self, data: bytes) -> Iterator[bytes]:
        for message in self._parser.feed(data):
            if message.event == "error":
                failure = RuntimeError(message.data.decode("utf-8", "replace")[:200])
                raise ProcessingError(
                    "the producer of the frames", message.data, failure
                )
            yield message.data


def from_sse(
    source: AsyncIterable[Encoded]
    | Iterable[Encoded]
    | Callable[[], AsyncIterable[Encoded] | Iterable[Encoded]],
    *,
    max_size: int = _MAX_SIZE,
) -> Observable[bytes]:
    r"""Emit the events of Server-Sent Events that were encoded elsewhere.

    Frames may be `str` or `bytes`, whole or cut anywhere: what `EventEncoder.encode`
    returns, the `body_iterator` of a StreamingResponse, the stream of a framework that
    yields encoded strings. Comments, ids and `retry` are left out: the events get numbers
    of their own. The source is pulled with credit, as `from_async_iterable` is.

    >>> from reactivex import operators as ops
    >>> frames = ['data: {"type":"RAW","event":1}\n', '\n: ping\n\n']
    >>> from_sse(frames).pipe(ops.to_list()).run()
    [b'{"type":"RAW","event":1}']

    Args:
        source: An (async) iterable of pieces, or a function that makes one for each
            subscriber.
        max_size: Bytes of one event at most (default 64 MiB).

    Returns:
        An Observable of JSON, one event each.

    Raises:
        ConfigError: The source is neither an iterable nor a function.

    Errors:
        PayloadTooLargeError, and ProcessingError for a frame with `event: error`.
    """
    if isinstance(source, str | bytes):
        must = "an iterable of frames; for one text write [text]"
        raise ConfigError("source", source, must)
    if isinstance(source, AsyncIterable):
        return from_async_iterable(_read_async(source, max_size))
    if isinstance(source, Iterable):
        return from_iterable(_read(source, max_size))
    if not callable(source):
        raise ConfigError("source", source, "an (async) iterable, or a function")

    def made() -> AsyncIterator[bytes]:
        frames = source()
        if isinstance(frames, AsyncIterable):
            return _read_async(frames, max_size)
        return _awaited(_read(frames, max_size))

    return from_async_iterable(made)


def _read(source: Iterable[Encoded], max_size: int) -> Iterator[bytes]:
    reader = FrameReader(max_size)
    for piece in source:
        yield from reader.read(piece)


async def _awaited(events: Iterator[bytes]) -> AsyncIterator[bytes]:
    for event in events:
        yield event


async def _read_async(
    source: AsyncIterable[Encoded], max_size: int
) -> AsyncIterator[bytes]:
    reader = FrameReader(max_size)
    pieces = aiter(source)
    try:
        async for piece in pieces:
            for event in reader.read(piece):
                yield event
    finally:
        close = getattr(pieces, "aclose", None)
        if close is not None:
            await close()
