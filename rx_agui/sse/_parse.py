r"""Messages from the bytes of text/event-stream, wherever the network cut them.

    bytes ──▶ Parser.feed ──▶ Message ──▶ read_chunk ──▶ StreamChunk

The parser follows the WHATWG's "event stream interpretation" (html, §9.2.6) to the
letter: LF, CR and CRLF ends, one leading BOM, fields without a colon, ids that
persist until they are reset, an unfinished block at the end that is never
dispatched. It works on bytes, so a character that is cut in two is no matter.
"""

from __future__ import annotations

from binascii import a2b_base64
from dataclasses import dataclass
from typing import Any

import orjson

from rx_agui.errors import PayloadTooLargeError, WireError, require_positive
from rx_agui.frame import StreamChunk
from rx_agui.sse._bounds import require_bearable

__all__ = ["Message", "Parser", "read_chunk"]

#: `@ag-ui/client` 1.0.0 gives up at 10 MiB; a base64 payload of that size fits too.
_MAX_SIZE = 16 * 1024 * 1024

_BOM = b"\xef\xbb\xbf"

#: Digits of a number at most: no counter has more, and `int` raises at a few thousand.
_DIGITS = 19

#: Bytes of an id or of an event's name at most. No request header could carry more back.
_MAX_FIELD = 8 * 1024

#: Characters of an encoding's name to keep: none that is known has more.
_MAX_ENCODING = 32

#: Values in a chunk's envelope at most, most of which are the numbers of its events.
_MAX_VALUES = 256 * 1024


@dataclass(slots=True, frozen=True)
class Message:
    """One dispatched event of a stream.

    Attributes:
        data: The `data:` lines, joined by LF.
        event: The `event:` field; "" is what a browser calls "message".
        id: The last id seen, which persists from message to message.
        own_id: Whether this very block carried an `id:` line.
        retry: Milliseconds, if this very block asked for it.
    """

    data: bytes
    event: str = ""
    id: str = ""
    own_id: bool = False
    retry: int | None = None


class Parser:
    r"""Reads text/event-stream from pieces of any size.

    >>> parser = Parser()
    >>> parser.feed(b"id: 1\nda")
    []
    >>> parser.feed(b"ta: hi\n\n")
    [Message(data=b'hi', event='', id='1', own_id=True, retry=None)]

    Args:
        max_size: Bytes of one block that may be held until it ends.

    Attributes:
        last_event_id: What a browser would send back as Last-Event-ID.
        retry: The last `retry:` seen, in milliseconds.
    """

    def __init__(self, *, max_size: int = _MAX_SIZE) -> None:
        require_positive(max_size=max_size)
        self.last_event_id = ""
        self.retry: int | None = None
        self._max_size = max_size
        self._rest = bytearray()  # of a line that has no end yet
        self._at_start = True
        self._after_cr = False
        self._data: bytes | bytearray | None = None
        self._data_size = 0  # of the lines it stood on
        self._event = ""
        self._id: str | None = None
        self._retry: int | None = None
        self._error: PayloadTooLargeError | None = None

    def feed(self, data: bytes) -> list[Message]:
        """Return the messages that `data` completes.

        Raises:
            PayloadTooLargeError: A block exceeds `max_size`. The parser is spent. Messages
                that came before the block are handed out first, and this is raised
                by the next call.
        """
        if self._error is not None:
            raise self._error
        if self._after_cr and data:
            # The LF of a CRLF that was cut in two is no line end of its own.
            data = data.removeprefix(b"\n")
            self._after_cr = False
        if not data:
            return []
        messages: list[Message] = []
        try:
            for line in self._lines(data):
                if line:
                    self._field(line)
                else:
                    self._dispatch(messages)
            self._check_size(len(self._rest))
        except PayloadTooLargeError as error:
            self._error = error
            if not messages:
                raise
        return messages

    def _lines(self, data: bytes) -> list[bytes]:
        """Return the lines that `data` ends; what is left begins the next."""
        if b"\r" in data:
            self._after_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = data.split(b"\n")
        if lines and self._rest:
            self._rest += lines[0]
            lines[0] = bytes(self._rest)
            self._rest = bytearray()
        if rest:
            self._rest += rest
        if self._at_start and lines:
            lines[0] = lines[0].removeprefix(_BOM)
            self._at_start = False
        return lines

    def _field(self, line: bytes) -> None:
        self._check_size(len(line))
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data_size += len(line)
            if self._data is None:
                self._data = value
            else:  # in one piece: a list of many short lines takes ten times as much
                self._data = (
                    bytearray(self._data) if type(self._data) is bytes else self._data
                )
                self._data += b"\n" + value
        elif name == b"event":
            self._event = _short(value, "an event's name")
        elif name == b"id":
            if b"\0" not in value:
                self._id = _short(value, "an id")
        elif name == b"retry" and value.isdigit() and len(value) <= _DIGITS:
            self._retry = self.retry = int(value)

    def _dispatch(self, messages: list[Message]) -> None:
        # An id counts even without data: the block ended, so it was seen.
        if self._id is not None:
            self.last_event_id = self._id
        if self._data is not None:
            messages.append(
                Message(
                    bytes(self._data),
                    self._event,
                    self.last_event_id,
                    self._id is not None,
                    self._retry,
                )
            )
        self._data = None
        self._data_size = 0
        self._event = ""
        self._id = self._retry = None

    def _check_size(self, more: int) -> None:
        # What is asked of a whole line is asked of its pieces, so that it does not
        # matter where the network cut.
        if self._data_size + more > self._max_size:
            raise PayloadTooLargeError("an unfinished event", self._max_size)

    @property
    def is_between_messages(self) -> bool:
        """True if nothing is left over: the stream was not cut inside a block."""
        begun = self._data is not None or self._event or self._id is not None
        return not (begun or self._rest or self._error)


def _short(value: bytes, what: str) -> str:
    if len(value) > _MAX_FIELD:
        raise PayloadTooLargeError(what, _MAX_FIELD)
    return value.decode("utf-8", "replace")


def read_chunk(message: Message, *, max_size: int = _MAX_SIZE) -> StreamChunk:
    """Return what a message carries: a piece of a payload, or one plain AG-UI event.

    Args:
        max_size: The `max_size` of the parser it comes from.

    Raises:
        PayloadTooLargeError: As objects it would take more memory than that allows.
        WireError: Under `event: chunk`, it is not what `chunk` writes; or it is an
            event of several lines that are not JSON together.
    """
    if message.event == "chunk":
        return _read_envelope(message)
    number = _number_of(message.id) if message.own_id else 0
    return StreamChunk(
        data=_on_one_line(message.data, max_size),
        event_type=message.event,
        event_id=message.id if number else "",
        sequence_num=number,
        retry=message.retry,
    )


def _on_one_line(data: bytes, max_size: int) -> bytes:
    """Join the `data:` lines of an event, which may be cut between any two tokens."""
    if b"\n" not in data:
        return data
    require_bearable(data, max_size)
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise WireError(f"not JSON ({error}): {data[:80]!r}") from None
    return data.replace(b"\n", b"")  # in a string, JSON would not have it


def _read_envelope(message: Message) -> StreamChunk:
    try:
        if message.data.count(b",") > _MAX_VALUES:
            raise ValueError(f"more than {_MAX_VALUES} values")
        envelope = orjson.loads(message.data)
        if type(envelope) is not dict:
            raise ValueError("not a JSON object")
        crc32 = envelope.get("crc32")
        chunk = StreamChunk(
            data=_bytes_in(envelope, "data"),
            event_type="chunk",
            event_id=message.id if message.own_id else "",
            encoding=_of(envelope, "encoding", str)[:_MAX_ENCODING],
            sequence_num=_number_in(envelope, "sequenceNum"),
            events=_number_in(envelope, "events", least=1),
            numbers=_numbers_in(envelope),
            chunk_index=_number_in(envelope, "chunkIndex"),
            total_chunks=_number_in(envelope, "totalChunks", least=1),
            crc32=None if crc32 is None else _number_in(envelope, "crc32"),
            retry=message.retry,
        )
        if chunk.chunk_index >= chunk.total_chunks:
            raise ValueError(
                f"chunkIndex {chunk.chunk_index} of totalChunks {chunk.total_chunks}"
            )
        if chunk.numbers is not None and len(chunk.numbers) != chunk.events:
            raise ValueError(f"{len(chunk.numbers)} numbers for {chunk.events} events")
    except ValueError as error:
        raise WireError(f"not a chunk ({error}): {message.data[:80]!r}") from None
    return chunk


def _of(envelope: dict[str, Any], name: str, kind: type) -> Any:
    value = envelope.get(name)
    if type(value) is not kind:
        raise ValueError(f"{name} must be {kind.__name__}, got {value!r}")
    return value


def _bytes_in(envelope: dict[str, Any], name: str) -> bytes:
    text = _of(envelope, name, str)
    try:
        return a2b_base64(text, strict_mode=True)
    except ValueError as error:
        raise ValueError(f"{name} must be base64: {error}") from None


def _number_in(envelope: dict[str, Any], name: str, least: int = 0) -> int:
    value: int = _of(envelope, name, int)
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
    return value


def _numbers_in(envelope: dict[str, Any]) -> tuple[int, ...] | None:
    if envelope.get("numbers") is None:
        return None
    numbers = tuple(_of(envelope, "numbers", list))
    for number in numbers:
        if type(number) is not int or number < 0:
            raise ValueError(f"numbers must be 0 or more, got {number!r}")
    return numbers


def _number_of(event_id: str) -> int:
    """Return the number in `<stream>/<number>` or a bare number; 0 if there is none."""
    digits = event_id.rpartition("/")[2]
    if len(digits) <= _DIGITS and digits.isascii() and digits.isdigit():
        return int(digits)
    return 0
