"""A log in the memory of this process.

    append     1 2 3 4 5 6 7 8 ▶          max_events=4
                       [5 6 7 8]          kept as they came
               folded ◀┘                  what was trimmed lives on in the prelude
    tail(6)                 7 8 ▶         at once, then as they come
    tail(3)    Trimmed                    4 is gone, and a reader must hear of it

Nothing here polls and nothing has a timer: a reader that waits is one future in the
set of its stream, and costs nothing until there is something for it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from operator import attrgetter
from types import TracebackType

from rx_agui.agui.catch_up import catch_up_lines
from rx_agui.agui.reducer import Reducer
from rx_agui.errors import (
    StreamClosedError,
    TrimmedError,
    UnknownStreamError,
    require_positive,
    require_whole,
)
from rx_agui.frame import Frame
from rx_agui.replay._log import Position
from rx_agui.replay._payload import slice_after, to_stored

__all__ = ["LogStats", "MemoryLog"]

#: Payloads a reader is given without a break before others on the loop have a turn.
_AT_ONCE = 100

#: Payloads that are folded for a prelude before others on the loop have a turn: 1 ms.
_FOLDED = 200

#: Payloads of idle streams that are given up with every call: more than come in.
_SWEPT = 2

_last = attrgetter("last")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogStats:
    """What a log holds now, and what became of the rest since it was made.

    Attributes:
        streams: Streams that are known, and of these
        running: those that are not closed yet.
        events, bytes: Kept of all of them.
        waiting: Readers that wait for the next event.
        appended: Events that ever came.
        trimmed: Events that were given up for the bounds of their stream or of the log.
        forgotten: Streams that were dropped as a whole.
        overtaken: Readers that were told `TrimmedError`.
    """

    streams: int
    running: int
    events: int
    bytes: int
    waiting: int
    appended: int
    trimmed: int
    forgotten: int
    overtaken: int


class MemoryLog:
    """A `ReplayLog` in memory: for one process, gone when it ends.

    >>> async def example() -> None:
    ...     log = MemoryLog()
    ...     assert await log.open("run-7")
    ...     await log.append("run-7", Frame(b'{"type":"A"}', first=1, last=1))
    ...     await log.append("run-7", Frame(b'{"type":"B"}', first=2, last=2))
    ...     await log.close("run-7")
    ...     async for frame in log.tail("run-7", after=1):
    ...         print(frame.last, frame.data)
    >>> asyncio.run(example())
    2 b'{"type":"B"}'

    Bounds are looked at when something is called, whatever stream it is about; a
    process in which nothing happens any more holds what it held (`sweep`).

    May be called from any loop and any thread: what is kept is guarded by one lock,
    which is never held while waiting, and a reader is woken on its own loop.

    Args:
        max_events: Events kept of one stream. Answers of a model have hundreds or a
            few thousand: with the default a reader who was away for a whole one still
            gets it event by event, and not as a prelude.
        max_bytes: Bytes kept of one stream; the newest payload is always kept. Room for
            the default number of events of 800 bytes.
        max_age: Seconds an event is kept. Also how long a stream is known after it was
            closed: long enough for a tunnel, a lift, or a phone in a pocket. None: as
            long as there is room.
        max_streams: Closed streams that are known; the one closed first is dropped.
        max_total_bytes: Bytes kept of all streams. Beyond it the stream closed first is
            dropped, and if none is closed, the one that grows gives up its oldest.

    Raises:
        ConfigError: A setting makes no sense.
    """

    def __init__(
        self,
        *,
        max_events: int = 10_000,
        max_bytes: int = 8 * 1024 * 1024,
        max_age: float | None = 600.0,
        max_streams: int = 1000,
        max_total_bytes: int = 256 * 1024 * 1024,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        whole = {
            "max_events": max_events,
            "max_bytes": max_bytes,
            "max_streams": max_streams,
            "max_total_bytes": max_total_bytes,
        }
        require_positive(**whole)
        require_whole(**whole)
        if max_age is not None:
            require_positive(max_age=max_age)
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._max_age = inf if max_age is None else max_age
        self._max_streams = max_streams
        self._max_total = max_total_bytes
        self._clock = clock
        self._lock = threading.Lock()
        self._streams: dict[str, _Stream] = {}
        #: Those that hold something that grows old, the longest untouched first.
        self._aging: OrderedDict[str, _Stream] = OrderedDict()
        #: Those that may be dropped, the first closed first.
        self._closed: OrderedDict[str, _Stream] = OrderedDict()
        self._events = self._bytes = 0
        self._appended = self._trimmed = self._forgotten = self._overtaken = 0

    # -- who fills it -----------------------------------------------------------------

    async def open(self, stream: str) -> bool:
        """Claim a name; see `ReplayLog.open`."""
        with self._lock:
            self._sweep()
            if stream in self._streams:
                return False
            self._streams[stream] = _Stream(stream)
            return True

    async def append(self, stream: str, frame: Frame) -> None:
        """Keep a numbered payload; see `ReplayLog.append`.

        Raises:
            UnknownStreamError: Nobody has opened it, or it was closed and is dropped.
            StreamClosedError: It was closed.
            ReplayError: The payload does not follow on the last one, has no number, or
                is compressed.
        """
        with self._lock:
            kept_here = self._known(stream)
            if kept_here.finished:
                raise StreamClosedError(f"stream {stream!r} was closed")
            payload = to_stored(stream, frame, kept_here.last)
            now = self._clock()
            kept_here.add(payload, now)
            self._appended += payload.events
            self._events += payload.events
            self._bytes += len(payload.data)
            if self._max_age < inf:
                self._aging[stream] = kept_here
                self._aging.move_to_end(stream)
            self._trim(kept_here, now)
            self._sweep(now)
            waiting = kept_here.take_waiting()
        _wake(waiting)

    async def close(self, stream: str) -> None:
        """No more will come; see `ReplayLog.close`. Twice is once.

        Raises:
            UnknownStreamError: Nobody has opened it, or it was closed and is dropped.
        """
        with self._lock:
            closing = self._known(stream)
            if closing.finished:
                return
            closing.finished = True
            closing.touched = self._clock()
            self._closed[stream] = closing
            if self._max_age < inf:
                self._aging[stream] = closing
                self._aging.move_to_end(stream)
            if len(self._closed) > self._max_streams:
                self._forget(next(iter(self._closed.values())))
            self._sweep(closing.touched)
            waiting = closing.take_waiting()
        _wake(waiting)

    async def forget(self, stream: str) -> None:
        """Drop a stream, closed or not; see `ReplayLog.forget`."""
        with self._lock:
            known = self._streams.get(stream)
            if known is None:
                return
            known.gone = True
            self._forget(known)
            waiting = known.take_waiting()
        _wake(waiting)

    # -- who reads it -----------------------------------------------------------------

    async def position(self, stream: str) -> Position | None:
        """How far a stream has come; see `ReplayLog.position`."""
        with self._lock:
            self._sweep()
            known = self._streams.get(stream)
            return None if known is None else known.position()

    def tail(self, stream: str, after: int = 0) -> Tail:
        """Every event behind `after`; see `ReplayLog.tail`.

        What it raises is raised where the first event is asked for.
        """
        with self._lock:
            return Tail(self, stream, self._streams.get(stream), after)

    async def prelude(self, stream: str) -> Frame:
        """What brings a new reader to the present; see `ReplayLog.prelude`."""
        while True:
            with self._lock:
                known = self._known(stream)
                if known.fold_some():
                    if known.fold is None:
                        return Frame(b"", events=0)
                    lines, last = catch_up_lines(known.fold), known.last
                    break
            await asyncio.sleep(0)  # others on the loop have a turn
        prelude = Frame(b"\n".join(lines), events=len(lines), first=last, last=last)
        prelude.numbers = (0,) * (len(lines) - 1) + (last,)
        return prelude

    # -- what it holds ----------------------------------------------------------------

    def stats(self) -> LogStats:
        """What it holds, in numbers. Costs as much as there are streams."""
        with self._lock:
            return LogStats(
                streams=len(self._streams),
                running=len(self._streams) - len(self._closed),
                events=self._events,
                bytes=self._bytes,
                waiting=sum([len(one.waiting) for one in self._streams.values()]),
                appended=self._appended,
                trimmed=self._trimmed,
                forgotten=self._forgotten,
                overtaken=self._overtaken,
            )

    def sweep(self) -> None:
        """Give up now whatever is too old, which any other call does little by little.

        For a process that may be idle for long and wants its memory back meanwhile.
        """
        with self._lock:
            while self._sweep():
                pass

    # -- bounds; all under the lock -----------------------------------------------------

    def _known(self, stream: str) -> _Stream:
        known = self._streams.get(stream)
        if known is None:
            raise UnknownStreamError(stream)
        return known

    def _trim(self, stream: _Stream, now: float) -> None:
        """Keep a stream that grew, and the log, within bounds."""
        oldest = now - self._max_age
        while len(stream) > 1 and (
            stream.events > self._max_events
            or stream.bytes > self._max_bytes
            or stream.times[stream.head] < oldest
        ):
            self._drop_first(stream)
        while self._bytes > self._max_total:
            if self._closed:
                self._forget(next(iter(self._closed.values())))
            elif len(stream) > 1:
                self._drop_first(stream)
            else:
                break

    def _sweep(self, now: float | None = None) -> bool:
        """Give up a little of what nobody touches any more; whether there was any."""
        oldest = (self._clock() if now is None else now) - self._max_age
        for _ in range(_SWEPT):
            stream = next(iter(self._aging.values()), None)
            if stream is None or stream.touched >= oldest:
                return False
            if stream.finished:
                self._forget(stream)
            elif len(stream):
                self._drop_first(stream)
            else:
                del self._aging[stream.name]
        return True

    def _drop_first(self, stream: _Stream) -> None:
        frame = stream.drop_first()
        self._events -= frame.events
        self._bytes -= len(frame.data)
        self._trimmed += frame.events

    def _forget(self, stream: _Stream) -> None:
        """Drop a stream. Who reads it has it in hand, and reads it to its end."""
        del self._streams[stream.name]
        self._closed.pop(stream.name, None)
        self._aging.pop(stream.name, None)
        self._events -= stream.events
        self._bytes -= stream.bytes
        self._forgotten += 1


class Tail:
    """One reader of one stream: an async iterator that holds nothing when idle.

    Not an async generator: one that is left and not closed lives on in its loop's
    books, while this is gone with its last reference.
    """

    __slots__ = (
        "__weakref__",
        "_after",
        "_at",
        "_at_once",
        "_done",
        "_log",
        "_name",
        "_stream",
    )

    def __init__(
        self, log: MemoryLog, name: str, stream: _Stream | None, after: int
    ) -> None:
        self._log = log
        self._name = name
        self._stream = stream
        self._after = after  # the last number this reader has
        self._at = -1  # which payload of the stream is next, counted from its first
        self._at_once = 0
        self._done = False

    def __aiter__(self) -> Tail:
        return self

    async def __anext__(self) -> Frame:
        if self._done:
            raise StopAsyncIteration
        if self._at_once >= _AT_ONCE:
            self._at_once = 0
            await asyncio.sleep(0)
        stream = self._stream
        if stream is None:
            self._done = True
            raise UnknownStreamError(self._name)
        while True:
            with self._log._lock:
                frame = self._next(stream)
                if frame is not None:
                    self._at_once += 1
                    return frame
                if stream.finished:
                    self._done = True
                    raise StopAsyncIteration
                woken = stream.wait()
            self._at_once = 0
            try:
                await woken
            finally:
                with self._log._lock:  # who wakes them walks through them
                    stream.waiting.discard(woken)

    def get_nowait(self) -> Frame | None:
        """The next payload if it is there already; None if it must be waited for.

        Raises:
            TrimmedError, UnknownStreamError: As where the next is awaited.
        """
        stream = self._stream
        if self._done or stream is None:
            return None
        with self._log._lock:
            return self._next(stream)

    async def aclose(self) -> None:
        """Nothing more will be asked for."""
        self._done = True
        self._stream = None

    async def __aenter__(self) -> Tail:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        await self.aclose()

    def _next(self, stream: _Stream) -> Frame | None:
        """The payload behind what was given, if there is one."""
        after = self._after
        if stream.gone:
            self._done = True
            raise UnknownStreamError(self._name)
        if self._at < 0:
            if after > stream.last or after < stream.lost:
                self._overtaken(stream)
            self._at = stream.dropped + stream.find(after)
        elif self._at < stream.dropped + stream.head:
            self._overtaken(stream)
        frame = stream.at(self._at)
        if frame is None:
            return None
        self._at += 1
        self._after = frame.last
        return slice_after(frame, after)

    def _overtaken(self, stream: _Stream) -> None:
        self._done = True
        self._log._overtaken += 1
        raise TrimmedError(self._name, self._after, stream.position().first)


class _Stream:
    """What is kept of one stream: a list of which the front is given up.

    Slots before `head` are empty, and are cut off when they are half of it: dropping
    one costs O(1), and a payload is found by its place.
    """

    __slots__ = (
        "bytes",
        "dropped",
        "events",
        "finished",
        "fold",
        "folded",
        "frames",
        "gone",
        "head",
        "last",
        "lost",
        "name",
        "times",
        "touched",
        "waiting",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.frames: list[Frame | None] = []
        self.times: list[float] = []
        self.head = 0
        self.dropped = 0  # slots that were cut off
        self.events = self.bytes = 0
        self.last = 0
        self.lost = 0  # the last number that was given up
        self.finished = self.gone = False
        self.fold: Reducer | None = None  # until something must be folded
        self.folded = 0  # payloads that are folded, counted from the first of all
        self.touched = 0.0
        self.waiting: set[asyncio.Future[None]] = set()

    def __len__(self) -> int:
        return len(self.frames) - self.head

    def fold_some(self) -> bool:
        """Fold what was not yet, for a moment; whether that is all."""
        end = min(self.folded + _FOLDED, self.dropped + len(self.frames))
        for place in range(self.folded, end):
            self.fold_one(place)
        return end == self.dropped + len(self.frames)

    def fold_one(self, place: int) -> None:
        frame = self.at(place)
        assert frame is not None
        if self.fold is None:
            self.fold = Reducer()
        for line in frame.lines():
            self.fold.add(line)
        self.folded = place + 1

    def position(self) -> Position:
        first = self.last + 1
        if len(self):
            frame = self.frames[self.head]
            assert frame is not None
            first = frame.first
        return Position(first, self.last, self.finished)

    def add(self, frame: Frame, now: float) -> None:
        self.frames.append(frame)
        self.times.append(now)
        self.events += frame.events
        self.bytes += len(frame.data)
        self.last = frame.last
        self.touched = now

    def drop_first(self) -> Frame:
        head = self.head
        frame = self.frames[head]
        assert frame is not None
        if self.folded == self.dropped + head:
            self.fold_one(self.folded)
        self.frames[head] = None
        self.head = head = head + 1
        self.events -= frame.events
        self.bytes -= len(frame.data)
        self.lost = frame.last
        if head * 2 >= len(self.frames):
            del self.frames[:head]
            del self.times[:head]
            self.dropped += head
            self.head = 0
        return frame

    def find(self, after: int) -> int:
        """The slot of the payload in which what follows `after` begins."""
        return bisect_right(self.frames, after, lo=self.head, key=_last)

    def at(self, place: int) -> Frame | None:
        """The payload at a place counted from the first of all, if it came already."""
        slot = place - self.dropped
        return self.frames[slot] if slot < len(self.frames) else None

    def wait(self) -> asyncio.Future[None]:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.add(woken)
        return woken

    def take_waiting(self) -> Collection[asyncio.Future[None]]:
        if not self.waiting:
            return ()
        waiting, self.waiting = self.waiting, set()
        return waiting


def _wake(waiting: Collection[asyncio.Future[None]]) -> None:
    """Tell readers, each on its loop, that there is something to read."""
    here = asyncio.get_running_loop() if waiting else None
    for woken in waiting:
        loop = woken.get_loop()
        if loop is here:
            _set(woken)
        else:
            with suppress(RuntimeError):  # its loop is closed, and so is the reader
                loop.call_soon_threadsafe(_set, woken)


def _set(woken: asyncio.Future[None]) -> None:
    if not woken.done():  # cancelled meanwhile
        woken.set_result(None)
