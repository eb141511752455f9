"""From the bytes of one answer to events, each exactly once.

    bytes ─▶ unpack ─▶ Parser ─┬─ plain frame ──────────────────────┬─▶ event, cursor
                               └─ pieces ─▶ reassemble, decompress ─┘
                     held back until the first id, where the answer begins with a prelude

A Cursor outlives the answer: what it has passed is not handed on again, whoever sends
it twice; and it moves only with an event that is handed on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from reactivex.subject import Subject

from rx_agui.agui.encoding import decode
from rx_agui.codecs.codec import Decoder
from rx_agui.errors import PayloadTooLargeError, WireError
from rx_agui.frame import Frame
from rx_agui.operators import decompress, reassemble
from rx_agui.sse import Message, Parser, read_chunk

__all__ = ["Answer", "Cursor", "PolicyClose", "Taken"]

Event = dict[str, Any]

#: Seconds a payload may lack pieces. Whether more will come, the connection says.
_PATIENCE = 86400.0

_TERMINAL = ("RUN_FINISHED", "RUN_ERROR")


class PolicyClose(Exception):
    """The server ends a connection, but not the run: a RUN_ERROR without a number."""


class Taken(NamedTuple):
    """An event, and the id to come back with once it was handed on."""

    event: Event
    stream: str
    number: int
    size: int  # bytes of its JSON


@dataclass(slots=True)
class Cursor:
    """How far one reader has come, across connections.

    Attributes:
        id: What to send as Last-Event-ID. "": from the beginning.
        begun: Whether anything was handed on.
        over: Whether the last run that began has ended.
        finished: Whether nothing can follow: a numbered stream has its end.
        retry_ms: The last `retry:`.
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

    def has_passed(self, taken: Taken) -> bool:
        """Whether the event was handed on before."""
        return bool(taken.stream) and (
            taken.stream == self.stream and taken.number <= self.number
        )

    def pass_by(self, taken: Taken) -> None:
        """The event is handed on now."""
        kind = taken.event.get("type")
        self.begun = True
        if taken.stream:
            self.id = f"{taken.stream}/{taken.number}"
        if kind in _TERMINAL:
            self.over = True
            self.finished = bool(taken.stream)
        elif kind == "RUN_STARTED":
            self.over = False


class Answer:
    """Reads one answer.

    Args:
        cursor: How far the reader has come.
        unpack: What HTTP's compression wants.
        max_size: Bytes of one event, payload or prelude at most.
        holds_back: Whether it begins with a prelude, of which nothing is worth anything
            before its end.
        comes_back: Whether a connection that the server closes is no end for us.
    """

    def __init__(
        self,
        cursor: Cursor,
        unpack: Decoder,
        max_size: int,
        *,
        holds_back: bool = False,
        comes_back: bool = True,
    ) -> None:
        self._cursor = cursor
        self._comes_back = comes_back
        self._unpack = unpack
        self._parser = Parser(max_size=max_size)
        self._held: list[Taken] | None = [] if holds_back else None
        self._held_size = 0
        self._max_size = max_size
        self._whole: list[Frame] = []
        self._error: Exception | None = None
        self._stream = ""
        self._pieces: Subject[Any] = Subject()
        self._pipeline = self._pieces.pipe(
            reassemble(max_size=max_size, timeout=_PATIENCE),
            decompress(max_size=max_size),
        ).subscribe(self._whole.append, self._fail)

    def close(self) -> None:
        """No more will come; what is incomplete is forgotten."""
        self._pipeline.dispose()

    def read(self, data: bytes) -> Iterator[Taken]:
        """The events that `data` completes, and that are new.

        The cursor is the caller's to move, with each that is handed on.

        Raises:
            PolicyClose: The server will send no more here.
            PayloadError: What came cannot become events.
        """
        for piece in self._unpack(data):
            messages = self._parser.feed(piece)
            if self._parser.retry is not None:
                self._cursor.retry_ms = self._parser.retry
            for message in messages:
                yield from self._new(message)

    def _new(self, message: Message) -> Iterator[Taken]:
        for taken in self._events(message):
            if self._is_policy(taken):
                raise PolicyClose(taken.event.get("message", "no reason given"))
            if self._held is not None:
                self._hold(taken)
                if taken.stream:
                    held, self._held = self._held, None
                    yield from held
            elif not self._cursor.has_passed(taken):
                yield taken

    def _hold(self, taken: Taken) -> None:
        assert self._held is not None
        self._held.append(taken)
        self._held_size += taken.size
        if self._held_size > self._max_size:
            raise PayloadTooLargeError("a prelude", self._max_size)

    def _is_policy(self, taken: Taken) -> bool:
        if not self._comes_back or taken.stream:
            return False
        is_numbered = bool(self._cursor.stream or self._stream)
        return is_numbered and taken.event.get("type") == "RUN_ERROR"

    def _events(self, message: Message) -> Iterator[Taken]:
        if not message.data:
            return  # some servers prime with it; it carries nothing
        stream, _ = split_id(message.id) if message.own_id else ("", 0)
        self._stream = stream or self._stream
        chunk = read_chunk(message)
        if message.event != "chunk":
            event = decode(chunk.data)
            if type(event.get("type")) is str:
                yield Taken(event, stream, chunk.sequence_num, len(chunk.data))
            elif not message.event:  # under a name of its own it is not for us
                raise WireError(f"not an AG-UI event, it has no type: {event!r:.80}")
            return
        self._pieces.on_next(chunk)
        if self._error is not None:
            raise self._error
        for frame in self._whole:
            for number, line in zip(frame.line_numbers(), frame.lines(), strict=True):
                stream = self._stream if number else ""
                yield Taken(decode(line), stream, number, len(line))
        self._whole.clear()

    def _fail(self, error: Exception) -> None:
        self._error = error


def split_id(event_id: str) -> tuple[str, int]:
    """Stream and number of an id; no stream if nobody can come back with it.

    >>> split_id("run-7/41"), split_id("41"), split_id("yesterday")
    (('run-7', 41), ('', 0), ('', 0))
    """
    stream, slash, digits = event_id.rpartition("/")
    if slash and stream and digits.isascii() and digits.isdigit():
        return stream, int(digits[:19])
    return "", 0
