"""One stream as a MemoryLog keeps it: old events compressed, the newest as they came.

    [segment][segment][segment] payload payload payload ◀ append
     50 events each, level 1     the newest 100 events or so, raw
     ──────▶ dropped from here, into the reducer that makes the prelude

Text of a model in JSON compresses to a tenth, and a segment is read in a twentieth of
the time in which a client applies it. What readers in step are sent is raw.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from array import array
from bisect import bisect_right
from collections.abc import Collection
from operator import attrgetter
from typing import Final

import orjson

from rx_agui.agui.events import TERMINAL
from rx_agui.agui.priority import type_of
from rx_agui.agui.reducer import Reducer
from rx_agui.frame import Frame
from rx_agui.replay._identity import Asked, StreamKey
from rx_agui.replay._log import Position
from rx_agui.replay._payload import slice_after
from rx_agui.replay._tombstones import size_of_asked, size_of_ids, size_of_key

__all__ = ["OVERHEAD", "StoredStream"]

#: Events that stay as they came, at the end of a stream, and the bytes of them: readers
#: that keep up are a few payloads behind.
_RAW_EVENTS: Final = 100
_RAW_BYTES: Final = 128 * 1024

#: Events that a segment has at least, if they are small.
_SEGMENT_EVENTS: Final = 50
_SEGMENT_BYTES: Final = 64 * 1024

#: Payloads beyond this stay raw: compressing them would hold up the event loop.
_LARGEST: Final = 256 * 1024

#: Events that are reduced for a prelude before others on the loop have a turn: 2 ms.
_REDUCED: Final = 1000

#: Bytes of the objects around a stream, and around a payload and a segment.
OVERHEAD: Final = 2048
_AROUND: Final = 200
_AROUND_SEGMENT: Final = 64

#: Events that may make a message of their own, and the ids in them.
_MAKES_MESSAGE: Final = re.compile(rb"_START\"|_CHUNK\"|_RESULT\"|_SNAPSHOT\"")
_ID: Final = re.compile(rb'"(?:messageId|toolCallId|id)":("(?:[^"\\]|\\.)*")')
_MAX_IDS: Final = 1000

_last = attrgetter("last")


class StoredStream:
    """The events of one stream, within bounds that the log enforces.

    Attributes:
        key: Its identity.
        asked: What was asked for when it was opened.
        emitted: Ids of the messages that its run emitted, by which a repeated request is
            known; only if `asked` has messages.
        events, size: What is kept: events, and bytes of memory with all overheads.
        last, lost: The highest number so far, and the highest that was given up.
        finished, gone: Whether it was closed, and whether it was forgotten.
        end: The type of the terminal event.
        reducer: The summary of what was reduced so far; None before anything was.
        has_prelude: Whether the summary is complete; not once it outgrew its bound.
        touched: When it last changed.
        waiting: Readers that wait for the next event.
    """

    __slots__ = (
        "_bare_size",
        "_blobs",
        "_cached",
        "_counts",
        "_floor",
        "_lasts",
        "_numbers",
        "_raw",
        "_raw_bytes",
        "_raw_events",
        "_raw_times",
        "_reduced",
        "_sizes",
        "_times",
        "asked",
        "emitted",
        "end",
        "events",
        "finished",
        "gone",
        "has_prelude",
        "key",
        "last",
        "lost",
        "reducer",
        "size",
        "touched",
        "waiting",
    )

    def __init__(self, key: StreamKey, asked: Asked | None) -> None:
        self.key = key
        self.asked = asked
        self.emitted: set[str] = set()
        self.events = 0
        self.size = OVERHEAD + size_of_key(key) + size_of_asked(asked)
        self._bare_size = self.size
        self.last = self.lost = 0
        self.finished = self.gone = False
        self.end = ""
        self.reducer: Reducer | None = None
        self.has_prelude = True
        self.touched = 0.0
        self.waiting: set[asyncio.Future[None]] = set()
        self._floor = 0  # the number before the first that is kept
        self._reduced = 0  # the last number that the reducer has
        # Of each segment: its data, raw size, events, last number, age, sparse numbers.
        self._blobs: list[bytes] = []
        self._sizes: array[int] = array("L")
        self._counts: array[int] = array("L")
        self._lasts: array[int] = array("Q")
        self._times: array[float] = array("d")
        self._numbers: list[tuple[int, ...] | None] = []
        self._raw: list[Frame] = []
        self._raw_times: list[float] = []
        self._raw_events = self._raw_bytes = 0
        self._cached: Frame | None = None  # the segment that was read last

    def __len__(self) -> int:
        """Return the number of payloads and segments."""
        return len(self._blobs) + len(self._raw)

    # -- filling ----------------------------------------------------------------------

    def add(self, frame: Frame, now: float) -> None:
        """Append a payload that follows on the last."""
        if not self.last:
            self._floor = frame.first - 1
        self._raw.append(frame)
        self._raw_times.append(now)
        self._raw_events += frame.events
        self._raw_bytes += len(frame.data)
        self.events += frame.events
        self.size += len(frame.data) + _AROUND
        self.last = frame.last
        self.touched = now
        if b'"RUN_' in frame.data:
            self._note_end(frame)
        if self.asked is not None:
            self._note_ids(frame.data)
        while len(self._raw) > 1 and (
            self._raw_events >= _RAW_EVENTS + _SEGMENT_EVENTS
            or self._raw_bytes > _RAW_BYTES
        ):
            self._seal()

    def _note_end(self, frame: Frame) -> None:
        for line in frame.lines():
            kind = type_of(line).decode()
            if kind in TERMINAL:
                self.end = kind
            elif kind == "RUN_STARTED":
                self.end = ""

    def _note_ids(self, data: bytes) -> None:
        if _MAKES_MESSAGE.search(data) and len(self.emitted) < _MAX_IDS:
            new = set(map(_unquoted, _ID.findall(data))) - self.emitted
            self.emitted |= new
            self.size += size_of_ids(new)

    def _seal(self) -> None:
        """Compress the oldest raw payloads into a segment."""
        frames: list[Frame] = []
        events = size = 0
        while len(self._raw) > 1 and events < _SEGMENT_EVENTS and size < _SEGMENT_BYTES:
            frame, when = self._pop_raw()
            frames.append(frame)
            events += frame.events
            size += len(frame.data)
        numbers = None
        if any(frame.numbers is not None for frame in frames):
            numbers = tuple([n for frame in frames for n in frame.line_numbers()])
        data = b"\n".join([frame.data for frame in frames])
        blob = zlib.compress(data, 1, -15) if len(data) <= _LARGEST else data
        if len(blob) >= len(data):
            blob = data  # of the same size: it is raw
        self._blobs.append(blob)
        self._sizes.append(len(data))
        self._counts.append(events)
        self._lasts.append(frames[-1].last)
        self._times.append(when)
        self._numbers.append(numbers)
        self.size += len(blob) + _AROUND_SEGMENT + 40 * len(numbers or ())

    def _pop_raw(self) -> tuple[Frame, float]:
        frame = self._raw.pop(0)
        self._raw_events -= frame.events
        self._raw_bytes -= len(frame.data)
        self.size -= len(frame.data) + _AROUND
        return frame, self._raw_times.pop(0)

    # -- reading ----------------------------------------------------------------------

    def position(self) -> Position:
        """Return how far it has come."""
        first = self._floor + 1 if self.events else self.last + 1
        return Position(first, self.last, self.finished, self.end, self.has_prelude)

    def behind(self, after: int) -> Frame:
        """Return the payload in which what follows `after` begins, cut to that.

        `after` must be at least `lost` and below `last`.
        """
        if self._lasts and after < self._lasts[-1]:
            return slice_after(self._segment(bisect_right(self._lasts, after)), after)
        newest = self._raw[-1]  # which readers that keep up ask for
        if newest.first > after + 1:
            newest = self._raw[bisect_right(self._raw, after, key=_last)]
        return slice_after(newest, after)

    def _segment(self, at: int) -> Frame:
        last = self._lasts[at]
        cached = self._cached
        if cached is not None and cached.last == last:
            return cached
        data = self._blobs[at]
        if len(data) != self._sizes[at]:
            data = zlib.decompress(data, -15, self._sizes[at])
        first = 1 + (self._lasts[at - 1] if at else self._floor)
        frame = Frame(data, events=self._counts[at], first=first, last=last)
        numbers = self._numbers[at]
        if numbers is not None:
            frame.numbers = numbers
        self._cached = frame
        return frame

    # -- giving up ----------------------------------------------------------------------

    @property
    def stored(self) -> int:
        """Bytes of its events alone, with the objects around them."""
        summary = 0 if self.reducer is None else self.reducer.size
        return self.size - self._bare_size - summary

    @property
    def oldest(self) -> float:
        """When the payload that would be dropped next came."""
        return self._times[0] if self._blobs else self._raw_times[0]

    def drop_first(self) -> int:
        """Move the oldest payload or segment into the summary; return its events."""
        frame = self._segment(0) if self._blobs else self._raw[0]
        if self.has_prelude and self._reduced < frame.last:
            self._reduce(frame)
        if self._blobs:
            blob, numbers = self._blobs.pop(0), self._numbers.pop(0)
            for column in (self._sizes, self._counts, self._lasts, self._times):
                del column[0]
            self.size -= len(blob) + _AROUND_SEGMENT + 40 * len(numbers or ())
            self._cached = None
        else:
            self._pop_raw()
        self.events -= frame.events
        self.lost = self._floor = frame.last
        return frame.events

    def reduce_some(self) -> bool:
        """Reduce a part of what was not yet; return whether that is all."""
        end = self._reduced + _REDUCED
        while self._reduced < end:
            after = max(self._reduced, self.lost)
            if after >= self.last:
                return True
            self._reduce(self.behind(after))
        return False

    def _reduce(self, frame: Frame) -> None:
        reducer = self.reducer
        if reducer is None:
            reducer = self.reducer = Reducer()
        before = reducer.size
        for line in slice_after(frame, self._reduced).lines():
            reducer.add(line)
        self._reduced = frame.last
        self.size += reducer.size - before

    def bound_summary(self, limit: int) -> bool:
        """Give the summary up if it is larger than `limit`; return whether it was.

        It is measured only when it may have doubled, so that this costs little.
        """
        reducer = self.reducer
        if reducer is None or reducer.size <= limit:
            return False
        before = reducer.size
        self.size += reducer.weigh() - before
        if reducer.size <= limit // 2:
            return False
        self.lose_summary()
        return True

    def lose_summary(self) -> None:
        """Drop the summary: there is no prelude any more."""
        if self.reducer is not None:
            self.size -= self.reducer.size
        self.reducer = None
        self.has_prelude = False

    # -- waiting ----------------------------------------------------------------------

    def wait(self) -> asyncio.Future[None]:
        """Make a future that is done when something comes."""
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.add(woken)
        return woken

    def take_waiting(self) -> Collection[asyncio.Future[None]]:
        """Remove and return the futures of all that wait."""
        if not self.waiting:
            return ()
        waiting, self.waiting = self.waiting, set()
        return waiting


def _unquoted(string: bytes) -> str:
    return str(orjson.loads(string))
