"""From the bytes of one response to events, each exactly once.

    bytes ─▶ decode ─▶ Parser ─┬─ plain frame ──────────────────────┬─▶ event, cursor
                               └─ pieces ─▶ reassemble, decompress ─┘
                     held back until the first id, where the response begins with a prelude

A Cursor outlives the response: an event that it has passed is not handed on again, even if
the server sends it twice; and it moves only with an event that is handed on.

Memory is bounded by four times `max_size` and 32 MiB, whatever the server sends: bytes are
decoded a piece at a time, a prelude is held as the bytes it came in, and JSON that would
become many small objects is refused before it is parsed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import Any, NamedTuple

from reactivex.subject import Subject

from rx_agui.agui.encoding import decode
from rx_agui.codecs.codec import Decoder
from rx_agui.errors import PayloadTooLargeError, WireError
from rx_agui.frame import Frame
from rx_agui.operators import decompress, reassemble
from rx_agui.sse import Message, Parser, read_chunk
from rx_agui.sse._bounds import require_bearable

__all__ = ["Cursor", "PolicyCloseError", "ReceivedEvent", "ResponseReader"]

Event = dict[str, Any]

#: Seconds a payload may lack pieces: until the connection ends, which tells more.
_PATIENCE = 86400.0

#: Bytes to parse at a time: of the shortest messages they become some 4 MB.
_SLICE = 256 * 1024

_TERMINAL = ("RUN_FINISHED", "RUN_ERROR")


class PolicyCloseError(Exception):
    """The server ends a connection, but not the run: a RUN_ERROR without a number."""


class ReceivedEvent(NamedTuple):
    """An event, and its number in a stream; ("", 0) for one that cannot be resumed at."""

    event: Event
    stream: str
    number: int


@dataclass(slots=True)
class Cursor:
    """How far one reader has come, across connections.

    Attributes:
        id: The value to send as Last-Event-ID; "" from the beginning.
        begun: True once an event was handed on.
        over: True while the last run that began has ended.
        finished: True if the server says that nothing follows.
        retry_ms: The last `retry:`, in milliseconds.
    """

    id: str = ""
    begun: bool = False
    over: bool = False
    finished: bool = False
    retry_ms: int | None = None

    @property
    def stream(self) -> str:
        """The name before the number, as it stands in the id; "" if there is none."""
        return split_id(self.id)[0]

    @property
    def number(self) -> int:
        """The number of the last event."""
        return split_id(self.id)[1]

    def has_passed(self, received: ReceivedEvent) -> bool:
        """Return True if the event was handed on before."""
        return bool(received.stream) and (
            received.stream == self.stream and received.number <= self.number
        )

    def move_to(self, received: ReceivedEvent) -> None:
        """Record that an event is handed on now."""
        kind = received.event.get("type")
        self.begun = True
        if received.stream:
            self.id = f"{received.stream}/{received.number}"
        if kind in _TERMINAL:
            self.over = True
        elif kind == "RUN_STARTED":
            self.over = False


class ResponseReader:
    """Read one response.

    Args:
        cursor: How far the reader has come.
        decode_body: The inverse of the response's Content-Encoding.
        max_size: Bytes of one event, payload or prelude at most.
        holds_back: True if it begins with a prelude, which is handed on whole or not at
            all.
        comes_back: True if the reader resumes a connection that the server closes.
    """

    def __init__(
        self,
        cursor: Cursor,
        decode_body: Decoder,
        max_size: int,
        *,
        holds_back: bool = False,
        comes_back: bool = True,
    ) -> None:
        self._cursor = cursor
        self._comes_back = comes_back
        self._decode_body = decode_body
        self._parser = Parser(max_size=max_size)
        self._prelude: bytearray | None = bytearray() if holds_back else None
        self._max_size = max_size
        self._whole: list[Frame] = []
        self._error: Exception | None = None
        self._stream = ""
        self._is_named = False  # the message has an `event:` of its own
        self._pieces: Subject[Any] = Subject()
        self._pipeline = self._pieces.pipe(
            reassemble(max_size=max_size, timeout=_PATIENCE),
            decompress(max_size=max_size),
        ).subscribe(self._whole.append, self._fail)

    def close(self) -> None:
        """Forget what is incomplete: no more will come."""
        self._pipeline.dispose()

    def read(self, data: bytes) -> Iterator[ReceivedEvent]:
        """Yield the events that `data` completes and that are new.

        Move the cursor with each that is handed on.

        Raises:
            PolicyCloseError: The server sends no more on this connection.
            PayloadError: The bytes cannot become events, or only too large ones.
        """
        for piece in self._decode_body(data):
            for start in range(0, len(piece), _SLICE):
                messages = deque(self._parser.feed(piece[start : start + _SLICE]))
                if self._parser.retry is not None:
                    self._cursor.retry_ms = self._parser.retry
                while messages:  # each is let go before the next is taken
                    yield from self._new(self._lines(messages.popleft()))

    def _new(self, lines: Iterable[tuple[bytes, str, int]]) -> Iterator[ReceivedEvent]:
        for line, stream, number in lines:
            received = self._received(line, stream, number)
            if received is None:
                continue
            if self._is_policy(received):
                raise PolicyCloseError(received.event.get("message", "no reason given"))
            if self._prelude is not None:
                self._hold(line)
                if stream:
                    prelude, self._prelude = bytes(self._prelude), None
                    del received
                    yield from self._released(prelude, stream, number)
            elif not self._cursor.has_passed(received):
                yield received

    def _hold(self, line: bytes) -> None:
        assert self._prelude is not None
        if self._prelude:
            self._prelude += b"\n"
        self._prelude += line
        if len(self._prelude) > self._max_size:
            raise PayloadTooLargeError("a prelude", self._max_size)

    def _released(
        self, prelude: bytes, stream: str, number: int
    ) -> Iterator[ReceivedEvent]:
        """Yield a prelude's events, the last of which has the number."""
        for start, line in _lines_of(prelude):
            is_last = start + len(line) == len(prelude)
            event = decode(line)
            yield ReceivedEvent(event, *((stream, number) if is_last else ("", 0)))

    def _is_policy(self, received: ReceivedEvent) -> bool:
        if not self._comes_back or received.stream:
            return False
        is_numbered = bool(self._cursor.stream or self._stream)
        return is_numbered and received.event.get("type") == "RUN_ERROR"

    def _received(self, line: bytes, stream: str, number: int) -> ReceivedEvent | None:
        """Parse an event; None for one of a name that only others know."""
        require_bearable(line, self._max_size)
        event = decode(line)
        if type(event.get("type")) is str:
            return ReceivedEvent(event, stream, number)
        if not self._is_named:  # under a name of its own it is not for us
            raise WireError(f"not an AG-UI event, it has no type: {event!r:.80}")
        return None

    def _lines(self, message: Message) -> Iterator[tuple[bytes, str, int]]:
        """Yield the events of a message or of the payload it completes: JSON and number."""
        if not message.data:
            return  # some servers prime with it; it carries nothing
        stream, _ = split_id(message.id) if message.own_id else ("", 0)
        self._stream = stream or self._stream
        chunk = read_chunk(message, max_size=self._max_size)
        self._is_named = bool(message.event)
        if message.event != "chunk":
            yield chunk.data, stream, chunk.sequence_num
            return
        del message
        self._pieces.on_next(chunk)
        del chunk
        if self._error is not None:
            raise self._error
        while self._whole:
            frame = self._whole.pop(0)
            numbers: Iterable[int] = frame.numbers or repeat(0)
            if frame.last and frame.numbers is None:
                numbers = range(frame.first, frame.last + 1)
            lines = _lines_of(frame.data)
            for (_, line), number in zip(lines, numbers, strict=False):
                yield line, self._stream if number else "", number

    def _fail(self, error: Exception) -> None:
        self._error = error


def _lines_of(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield where each line starts, and the line: a list would take ten times `data`."""
    start = 0
    while (end := data.find(b"\n", start)) >= 0:
        yield start, data[start:end]
        start = end + 1
    yield start, data[start:] if start else data


def split_id(event_id: str) -> tuple[str, int]:
    """Return stream and number of an id; ("", 0) if it cannot be resumed at.

    >>> split_id("run-7/41"), split_id("41"), split_id("yesterday")
    (('run-7', 41), ('', 0), ('', 0))
    """
    stream, slash, digits = event_id.rpartition("/")
    if slash and stream and digits.isascii() and digits.isdigit():
        return stream, int(digits[:19])
    return "", 0
