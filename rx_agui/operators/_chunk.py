"""A payload leaves in pieces of a size that proxies and clients bear.

    in    X--------|
          chunk(max_chunk_size=100)
    out   (pqr)----|       p = [1/3], q = [2/3], r = [3/3]

Every piece says which it is, of how many, of which payload. Only the last carries
the number a reader may resume from, so a resume never lands inside a payload. A
payload that fits is not copied, and if it is not compressed either, it goes on the
wire as plain AG-UI frames.
"""

from __future__ import annotations

from dataclasses import replace
from time import time_ns
from typing import Any

from reactivex.abc import SchedulerBase

from rx_agui.clock import Timer
from rx_agui.codecs.registry import crc32
from rx_agui.engine import Errors, Stage, Subscription, as_frame, lift, operator
from rx_agui.errors import (
    CorruptError,
    IncompleteError,
    PayloadTooLargeError,
    StreamError,
    require_at_least,
    require_positive,
    require_whole,
)
from rx_agui.frame import IDENTITY, Frame, StreamChunk
from rx_agui.probe import PayloadTrace
from rx_agui.types import Item, Operator

__all__ = ["Carried", "chunk", "reassemble"]

#: Payloads whose pieces may still come twice after the payload was whole.
_REMEMBERED = 1024

#: Bytes in memory for a number of an incomplete payload, and how many are not counted.
_BYTES_A_NUMBER, _FEW_NUMBERS = 40, 1024

#: Pieces of incomplete payloads at most, beyond one for each of so many bytes: a piece of
#: a byte takes some 150 in memory.
_FEW_PIECES, _BYTES_A_PIECE = 4096, 256


@operator
def chunk(
    max_chunk_size: int = 65536, *, errors: Errors = None
) -> Operator[Item, StreamChunk]:
    """Cut payloads into StreamChunks of at most `max_chunk_size` bytes of data.

    Works without `sequence`: payloads of events that have no numbers are numbered
    here, for `reassemble` alone. Text is cut between characters.

    >>> from rx_agui import from_iterable
    >>> event = {"type": "CUSTOM", "name": "n", "value": "x" * 100}
    >>> _ = from_iterable([event]).pipe(chunk(80)).subscribe(
    ...     lambda piece: print(piece.chunk_index, piece.total_chunks, len(piece.data))
    ... )
    0 2 80
    1 2 59

    Args:
        max_chunk_size: Bytes of data in a piece, before base64. At least 4, the
            longest character of UTF-8.
        errors: Told of events that cannot be encoded, if this operator is the first.

    Raises:
        ConfigError: A setting makes no sense.
    """
    require_at_least(4, max_chunk_size=max_chunk_size)
    require_whole(max_chunk_size=max_chunk_size)
    return lift(_Chunk, max_chunk_size, errors)


@operator
def reassemble(
    *,
    max_size: int = 16 * 1024 * 1024,
    timeout: float = 30.0,
    max_partials: int = 64,
    errors: Errors = None,
    scheduler: SchedulerBase | None = None,
) -> Operator[Item | StreamChunk, Frame]:
    """Put the pieces of payloads together again: the inverse of `chunk`, for readers.

    Pieces may come twice and out of order. Frames and whole payloads pass.

    >>> from rx_agui import from_iterable
    >>> events = [{"type": "CUSTOM", "name": "text", "value": "to be " * 1000}]
    >>> _ = from_iterable(events).pipe(chunk(1024), reassemble()).subscribe(
    ...     lambda payload: print(payload.events, len(payload.data))
    ... )
    1 6042

    Args:
        max_size: Bytes that incomplete payloads may hold together.
        timeout: Seconds in which a payload must become whole.
        max_partials: Payloads that may be incomplete at the same time.
        errors: Told of payloads that never became whole (Incomplete), grew too large
            (PayloadTooLargeError) or contradict themselves (Corrupt); the others go on.
            Without it such a payload ends the stream.
        scheduler: Whose time to use. The default is the subscription's.

    Raises:
        ConfigError: A setting makes no sense.
    """
    require_positive(max_size=max_size, timeout=timeout, max_partials=max_partials)
    require_whole(max_size=max_size, max_partials=max_partials)
    return lift(
        _Reassemble, max_size, timeout, max_partials, errors, scheduler=scheduler
    )


class _Chunk(Stage):
    __slots__ = ("_max_size", "_payloads")
    word = "chunk"
    emits = StreamChunk

    def __init__(
        self, subscription: Subscription, max_size: int, errors: Errors
    ) -> None:
        super().__init__(subscription, errors)
        self._max_size = max_size
        self._payloads = 0

    def next(self, frame: Frame) -> None:
        self.taken += frame.events
        self._payloads += 1
        begun = time_ns()
        data = frame.data
        pieces = [data] if len(data) <= self._max_size else self._cut(frame)
        total = len(pieces)
        is_plain = total == 1 and frame.encoding == IDENTITY
        if frame.crc32 is None and not is_plain:
            frame.crc32 = crc32(frame.data)
        self.sent += frame.events
        counts = self.counts()
        counts["chunk.emitted.chunks", ""] += total
        if total > 1:
            counts["chunk.split.frames", ""] += 1
        ended = time_ns()
        counts["operator.time", ""] += ended - begun
        if isinstance(frame.trace, PayloadTrace) and frame.trace.watch.wants_steps:
            frame.trace.step(self.word, begun, ended, count=total)
        for index, piece in enumerate(pieces):
            is_last = index == total - 1
            self.emit(
                StreamChunk(
                    data=piece,
                    event_type="" if is_plain else "chunk",
                    event_id=str(frame.last) if is_last and frame.last else "",
                    encoding=frame.encoding,
                    sequence_num=frame.first if frame.last else self._payloads,
                    events=frame.events,
                    numbers=frame.numbers,
                    chunk_index=index,
                    total_chunks=total,
                    crc32=frame.crc32,
                    timestamp=begun / 1e9,
                    permit=frame.permit,
                    trace=frame.trace,
                )
            )

    def _cut(self, frame: Frame) -> list[bytes]:
        data, pieces = frame.data, []
        is_text = frame.encoding == IDENTITY
        start = 0
        while start < len(data):
            end = start + self._max_size
            if is_text and end < len(data):
                while end > start and data[end] & 0xC0 == 0x80:  # inside a character
                    end -= 1
                if end == start:  # bytes that are no text; the reader will say so
                    end += self._max_size
            pieces.append(data[start:end])
            start = end
        return pieces


class Carried(Frame):
    """A piece as it comes in: admission writes a permit on this copy, not on yours."""

    __slots__ = ("piece",)

    def __init__(self, piece: StreamChunk) -> None:
        super().__init__(piece.data, piece.permit, piece.events)
        self.piece = piece


class _Partial:
    """A payload of which some pieces have come: the first one's facts, all ones' bytes."""

    __slots__ = ("events", "facts", "id", "is_consistent", "pieces", "since", "size")

    def __init__(self, first: StreamChunk, since: float) -> None:
        self.events = first.events
        self.facts = _facts(first)
        self.id = ""  # the last piece alone has it
        self.is_consistent = True
        self.pieces: dict[int, bytes] = {}
        # Kept once for all pieces; many take more memory than they took on the wire.
        numbers = len(first.numbers or ())
        self.size = _BYTES_A_NUMBER * numbers if numbers > _FEW_NUMBERS else 0
        self.since = since

    def add(self, piece: StreamChunk) -> None:
        self.pieces[piece.chunk_index] = piece.data
        self.size += len(piece.data)
        if piece.chunk_index == piece.total_chunks - 1:
            self.id = piece.event_id
        self.is_consistent = self.is_consistent and _facts(piece) == self.facts


def _facts(piece: StreamChunk) -> tuple[object, ...]:
    return piece.events, piece.encoding, piece.numbers


Key = tuple[int, int, int | None]


class _Reassemble(Stage):
    __slots__ = (
        "_max_partials",
        "_max_size",
        "_partials",
        "_pieces",
        "_settled",
        "_size",
        "_timeout",
        "_timer",
    )
    word = "reassemble"

    def __init__(
        self,
        subscription: Subscription,
        max_size: int,
        timeout: float,
        max_partials: int,
        errors: Errors,
    ) -> None:
        super().__init__(subscription, errors)
        self._max_size = max_size
        self._timeout = timeout
        self._max_partials = max_partials
        self._partials: dict[Key, _Partial] = {}  # in order of their first piece
        self._settled: dict[Key, None] = {}  # whole or given up, the oldest first
        self._size = self._pieces = 0
        self._timer: Timer | None = None

    def frame_of(self, item: Any) -> Any:
        is_piece = type(item) is StreamChunk and (item.compressed or not item.is_whole)
        return Carried(item) if is_piece else super().frame_of(item)

    def next(self, frame: Frame) -> None:
        if isinstance(frame, Carried):
            self._take_piece(frame)
        else:
            self.passed += frame.events
            self.emit(frame)

    @property
    def levels(self) -> dict[str, int]:
        return {"operator.buffer.usage": self._size}

    def _take_piece(self, carried: Carried) -> None:
        piece = carried.piece
        key = piece.sequence_num, piece.total_chunks, piece.crc32
        if key in self._settled:
            return  # it came twice
        partial = self._partials.get(key)
        if partial is None:
            if len(self._partials) >= self._max_partials:
                self._give_up(next(iter(self._partials)))
            now = self.subscription.clock.now()
            partial = self._partials[key] = _Partial(piece, now)
            self._size += partial.size
            self.taken += piece.events
        if piece.chunk_index in partial.pieces:
            return
        most = _FEW_PIECES + self._max_size // _BYTES_A_PIECE
        if self._size + len(piece.data) > self._max_size or self._pieces >= most:
            what = f"payload {piece.sequence_num}, with all that is incomplete,"
            self._lose(key, "too_large", PayloadTooLargeError(what, self._max_size))
            return
        partial.add(piece)
        self._pieces += 1
        self._size += len(piece.data)
        if len(partial.pieces) == piece.total_chunks:
            self._complete(key, carried)
        elif self._timer is None:
            self._timer = self.after(self._timeout, self._ring)

    def _complete(self, key: Key, carried: Carried) -> None:
        partial = self._settle(key)
        if not partial.is_consistent:
            self.count_drop("invalid", partial.events)
            self.refuse(
                CorruptError(f"payload {key[0]}: its pieces contradict each other")
            )
            return
        # The other pieces were stored on purpose, and gave their credit back.
        frame = as_frame(
            replace(
                carried.piece,
                data=b"".join([partial.pieces.pop(index) for index in range(key[1])]),
                event_id=partial.id,
                chunk_index=0,
                total_chunks=1,
                permit=carried.permit,
            )
        )
        self.sent += frame.events
        self.emit(frame)

    def _ring(self, _: object) -> None:
        self._timer = None
        now = self.subscription.clock.now()
        for key, partial in list(self._partials.items()):
            left = partial.since + self._timeout - now
            if left > 1e-6:  # what clocks lose in rounding
                self._timer = self.after(left, self._ring)
                return
            self._give_up(key)

    def _give_up(self, key: Key) -> None:
        received = len(self._partials[key].pieces)
        self._lose(key, "incomplete", IncompleteError(key[0], received, key[1]))

    def _lose(self, key: Key, reason: str, error: StreamError) -> None:
        self.count_drop(reason, self._settle(key).events)
        self.refuse(error)

    def _settle(self, key: Key) -> _Partial:
        partial = self._partials.pop(key)
        self._size -= partial.size
        self._pieces -= len(partial.pieces)
        self._settled[key] = None
        if len(self._settled) > _REMEMBERED:
            del self._settled[next(iter(self._settled))]
        return partial

    def finish(self, error: Exception | None) -> None:
        lost = [
            IncompleteError(key[0], len(partial.pieces), key[1])
            for key, partial in self._partials.items()
        ]
        self._drop_partials("incomplete")
        self._cancel()
        if self.tell is not None:
            for one in lost:
                self.tell(one)
        elif lost:
            error = error or lost[0]
        self.end(error)

    def drop(self) -> None:
        self._cancel()
        self._drop_partials("cancelled")

    def _drop_partials(self, reason: str) -> None:
        for partial in self._partials.values():
            self.count_drop(reason, partial.events)
        self._partials.clear()
        self._size = self._pieces = 0

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
