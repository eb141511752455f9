"""A log in the memory of this process.

    append     1 2 3 4 5 6 7 8 ▶          max_events=4
                       [5 6 7 8]          kept
              reduced ◀┘                  what was trimmed lives on in the prelude
    tail(6)                 7 8 ▶         at once, then as they come
    tail(3)    TrimmedError               4 is gone, and a reader must hear of it

Nothing here polls and nothing has a timer: a reader that waits is one future in the
set of its stream, and costs nothing until there is something for it.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Final

from rx_agui.agui.catch_up import catch_up_lines
from rx_agui.errors import (
    LogFullError,
    StreamClosedError,
    TrimmedError,
    UnknownStreamError,
    require_positive,
    require_whole,
)
from rx_agui.frame import Frame
from rx_agui.replay._identity import Asked, Conflict, Joined, Opened, StreamKey
from rx_agui.replay._log import Position
from rx_agui.replay._payload import to_stored
from rx_agui.replay._stored import StoredStream
from rx_agui.replay._tail import Tail, wake
from rx_agui.replay._tombstones import Tombstone, Tombstones

__all__ = ["LogStats", "MemoryLog"]

#: Payloads or segments of idle streams dropped by every call: more than come in.
_SWEPT: Final = 2

Place = tuple[str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogStats:
    """What a log holds now, and what became of the rest since it was made.

    Attributes:
        streams: Streams that are known, with their events.
        running: Those of them that are not closed yet.
        tombstones: Finished runs that are known without their events.
        events: Events that are kept.
        bytes: Memory in use: events, summaries for preludes, names, tombstones, and the
            objects around them.
        waiting: Readers that wait for the next event.
        appended: Events that ever came.
        trimmed: Events that were dropped for the bounds of their stream or of the log.
        forgotten: Streams that were dropped as a whole.
        overtaken: Readers that were told `TrimmedError`.
        summaries_lost: Streams without a prelude, since their summary was too large.
    """

    streams: int
    running: int
    tombstones: int
    events: int
    bytes: int
    waiting: int
    appended: int
    trimmed: int
    forgotten: int
    overtaken: int
    summaries_lost: int


class _Owner:
    """The streams of one owner: the closed ones, and the bytes of all."""

    __slots__ = ("closed", "size", "streams")

    def __init__(self) -> None:
        self.closed: OrderedDict[str, StoredStream] = OrderedDict()
        self.size = self.streams = 0


class MemoryLog:
    """A `ReplayLog` in memory: for one process, gone when it ends.

    >>> async def example() -> None:
    ...     log = MemoryLog()
    ...     opened = await log.open("run-7", owner="ann")
    ...     stream = opened.stream
    ...     await log.append(stream, Frame(b'{"type":"A"}', first=1, last=1))
    ...     await log.append(stream, Frame(b'{"type":"B"}', first=2, last=2))
    ...     await log.close(stream)
    ...     async for frame in log.tail(stream, after=1):
    ...         print(frame.last, frame.data)
    >>> asyncio.run(example())
    2 b'{"type":"B"}'

    Where a stream is asked for, a name alone stands for the newest epoch of that name
    in the default namespace, of everybody.

    Bounds are enforced by every `open`, `append` and `close`, whatever stream it is about; a process in which
    nothing happens any more holds what it held (`sweep`).

    May be called from any loop and any thread: the data is guarded by one lock, which
    is never held while waiting, and a reader is woken on its own loop.

    Args:
        max_events: Events kept of one stream. Answers of a model have hundreds or a
            few thousand: with the default a reader who was away for a whole one still
            gets it event by event, and not as a prelude.
        max_bytes: Bytes of memory for the events of one stream, of which the newest
            payload is always kept, and as many again for its summary. The default has
            room for 80,000 compressed text deltas, or for an answer of 4 MB. A run
            whose summary is larger has no prelude: readers with a cursor go on, a new
            one is refused.
        max_age: Seconds an event is kept. Also how long a stream is known after it was
            closed: long enough for a tunnel, a lift, or a phone in a pocket. None: as
            long as there is room.
        max_streams: Closed streams that are kept; the one closed first is dropped.
        max_total_bytes: Bytes of memory for everything. Beyond it the stream closed
            first is dropped; if none is closed, the one that grows gives up its oldest
            events and then its summary, and then others do that have been idle longest.
            If that is not enough either, `open` raises `LogFullError`.
        max_owner_streams: Closed streams kept of one owner. None: a tenth of
            `max_streams`. An empty owner is everybody, and has no quota.
        max_owner_bytes: Bytes of memory for the streams of one owner. None: a quarter of
            `max_total_bytes`. Beyond it only that owner's streams give up anything.
        max_tombstones: Finished runs that are known when their events are dropped, so
            that the same request is told how it ended, and runs no agent again.
        tombstone_age: Seconds for which they are: a day, in which a client may repeat a
            request from a tab that was left open.

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
        max_owner_streams: int | None = None,
        max_owner_bytes: int | None = None,
        max_tombstones: int = 10_000,
        tombstone_age: float = 86_400.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if max_owner_streams is None:
            max_owner_streams = max(1, max_streams // 10)
        if max_owner_bytes is None:
            max_owner_bytes = max(1, max_total_bytes // 4)
        whole = {
            "max_events": max_events,
            "max_bytes": max_bytes,
            "max_streams": max_streams,
            "max_total_bytes": max_total_bytes,
            "max_owner_streams": max_owner_streams,
            "max_owner_bytes": max_owner_bytes,
            "max_tombstones": max_tombstones,
        }
        require_positive(**whole, tombstone_age=tombstone_age)
        require_whole(**whole)
        if max_age is not None:
            require_positive(max_age=max_age)
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._max_age = inf if max_age is None else max_age
        self._max_streams = max_streams
        self._max_total = max_total_bytes
        self._max_owner_streams = max_owner_streams
        self._max_owner_bytes = max_owner_bytes
        self._tombstone_age = tombstone_age
        self._clock = clock
        self._lock = threading.Lock()
        #: By epoch; and the epochs of each place, the newest last.
        self._streams: dict[str, StoredStream] = {}
        self._tombstones = Tombstones(max_tombstones)
        self._epochs: dict[Place, list[str]] = {}
        self._owners: dict[str, _Owner] = {}
        #: Streams that hold something that grows old, the longest untouched first.
        self._aging: OrderedDict[str, StoredStream] = OrderedDict()
        #: Streams that may be dropped, the first closed first.
        self._closed: OrderedDict[str, StoredStream] = OrderedDict()
        self._events = self._size = 0
        self._appended = self._trimmed = self._forgotten = self._overtaken = 0
        self._summaries_lost = 0

    # -- filling ----------------------------------------------------------------------

    async def open(
        self,
        name: str,
        *,
        namespace: str = "",
        owner: str = "",
        asked: Asked | None = None,
    ) -> Opened | Joined | Conflict:
        """Claim a name; see `ReplayLog.open`.

        Raises:
            LogFullError: The bounds are reached, and nothing may be dropped.
        """
        place = namespace, owner, name
        with self._lock:
            self._sweep()
            is_running = False
            for epoch in reversed(self._epochs.get(place, ())):
                known = self._of_epoch(epoch)
                assert known is not None
                if _is_same(known, asked):
                    return Joined(known.key)
                if isinstance(known, StoredStream) and not (
                    known.finished or known.end
                ):
                    is_running = True
                    running = known.key
            if is_running:
                return Conflict(running)
            key = StreamKey(name, secrets.token_hex(16), namespace, owner)
            stream = StoredStream(key, asked)
            self._make_room(stream.size)
            self._streams[key.epoch] = stream
            self._epochs.setdefault(place, []).append(key.epoch)
            self._owners.setdefault(owner, _Owner()).streams += 1
            self._grow(stream, stream.size)
            self._touch(stream, self._clock())
            return Opened(key)

    async def find(self, stream: StreamKey | str) -> StreamKey | None:
        """Fill in epoch and owner; see `ReplayLog.find`."""
        with self._lock:
            known = self._find(stream)
            return None if known is None else known.key

    async def append(self, stream: StreamKey | str, frame: Frame) -> None:
        """Store a numbered payload; see `ReplayLog.append`.

        Raises:
            UnknownStreamError: The stream was not opened, or was dropped.
            StreamClosedError: It was closed.
            ReplayError: The payload does not follow on the last one, has no number, or
                is compressed.
        """
        with self._lock:
            growing = self._known(stream)
            if growing.finished:
                raise StreamClosedError(f"stream {growing.key.name!r} was closed")
            payload = to_stored(growing.key.name, frame, growing.last)
            now = self._clock()
            before = growing.size
            growing.add(payload, now)
            self._grow(growing, growing.size - before)
            self._appended += payload.events
            self._events += payload.events
            self._touch(growing, now)
            self._trim(growing, now)
            self._sweep(now)
            waiting = growing.take_waiting()
        wake(waiting)

    async def close(self, stream: StreamKey | str) -> None:
        """Mark the end; see `ReplayLog.close`. Twice is once.

        Raises:
            UnknownStreamError: The stream was not opened, or was dropped.
        """
        with self._lock:
            closing = self._known(stream)
            if closing.finished:
                return
            closing.finished = True
            epoch = closing.key.epoch
            self._closed[epoch] = closing
            self._touch(closing, self._clock())
            owner = self._owners[closing.key.owner or ""]
            owner.closed[epoch] = closing
            if closing.key.owner and len(owner.closed) > self._max_owner_streams:
                self._drop(next(iter(owner.closed.values())))
            if len(self._closed) > self._max_streams:
                self._drop(next(iter(self._closed.values())))
            self._sweep(closing.touched)
            waiting = closing.take_waiting()
        wake(waiting)

    async def forget(self, stream: StreamKey | str) -> None:
        """Drop a stream, closed or not, without a tombstone; see `ReplayLog.forget`."""
        with self._lock:
            known = self._find(stream)
            if known is None:
                return
            if isinstance(known, Tombstone):
                self._bury(self._tombstones.remove(known))
                return
            known.gone = True
            self._drop(known, tombstone=False)
            waiting = known.take_waiting()
        wake(waiting)

    # -- reading ----------------------------------------------------------------------

    async def position(self, stream: StreamKey | str) -> Position | None:
        """Return how far a stream has come; see `ReplayLog.position`."""
        with self._lock:
            known = self._find(stream)
            return None if known is None else known.position()

    def tail(self, stream: StreamKey | str, after: int = 0) -> Tail:
        """Yield every event behind `after`; see `ReplayLog.tail`.

        Errors are raised where the first event is asked for.
        """
        with self._lock:
            known = self._find(stream)
            key = StreamKey(stream) if isinstance(stream, str) else stream
            if isinstance(known, Tombstone):
                buried, known = known, StoredStream(known.key, None)
                known.finished = True
                known.last = known.lost = buried.last
            return Tail(self, key, known, after)

    async def prelude(self, stream: StreamKey | str) -> Frame:
        """Return what brings a new reader to the present; see `ReplayLog.prelude`.

        Raises:
            TrimmedError: There is none any more.
            UnknownStreamError: The stream was not opened, or was dropped.
        """
        while True:
            with self._lock:
                known = self._find(stream)
                if known is None:
                    raise UnknownStreamError(str(stream))
                if isinstance(known, Tombstone) or not known.has_prelude:
                    raise TrimmedError(known.key.name, 0, known.position().first)
                before = known.size
                is_complete = known.reduce_some()
                self._grow(known, known.size - before)
                self._bound(known)
                if is_complete and known.has_prelude:
                    if known.reducer is None:
                        return Frame(b"", events=0)
                    lines, last = catch_up_lines(known.reducer), known.last
                    break
            await asyncio.sleep(0)  # others on the loop have a turn
        prelude = Frame(b"\n".join(lines), events=len(lines), first=last, last=last)
        prelude.numbers = (0,) * (len(lines) - 1) + (last,)
        return prelude

    # -- its contents -----------------------------------------------------------------

    def stats(self) -> LogStats:
        """Return what it holds, in numbers. Costs as much as there are streams."""
        with self._lock:
            return LogStats(
                streams=len(self._streams),
                running=len(self._streams) - len(self._closed),
                tombstones=len(self._tombstones),
                events=self._events,
                bytes=self._size + self._tombstones.size,
                waiting=sum([len(one.waiting) for one in self._streams.values()]),
                appended=self._appended,
                trimmed=self._trimmed,
                forgotten=self._forgotten,
                overtaken=self._overtaken,
                summaries_lost=self._summaries_lost,
            )

    def sweep(self) -> None:
        """Drop at once all that is too old, which any other call does little by little.

        For a process that may be idle for long and wants its memory back meanwhile.
        """
        with self._lock:
            while self._sweep():
                pass

    # -- identity; all under the lock -----------------------------------------------------

    def _find(self, stream: StreamKey | str) -> StoredStream | Tombstone | None:
        key = StreamKey(stream) if isinstance(stream, str) else stream
        name, epoch, namespace, owner = key
        if not epoch:
            epochs = self._epochs.get((namespace, owner or "", name), ())
            if owner is None or not epochs:
                return None
            epoch = epochs[-1]
        known: StoredStream | Tombstone | None = self._streams.get(epoch)
        if known is None:
            known = self._tombstones.get(epoch)
        if known is None or known.key[:3] != (name, epoch, namespace):
            return None
        return known if owner is None or known.key.owner == owner else None

    def _of_epoch(self, epoch: str) -> StoredStream | Tombstone | None:
        stream = self._streams.get(epoch)
        return self._tombstones.get(epoch) if stream is None else stream

    def _known(self, stream: StreamKey | str) -> StoredStream:
        known = self._find(stream)
        if not isinstance(known, StoredStream):
            if known is not None:
                raise StreamClosedError(f"stream {known.key.name!r} was closed")
            raise UnknownStreamError(str(stream))
        return known

    # -- bounds; all under the lock -----------------------------------------------------

    def _grow(self, stream: StoredStream, by: int) -> None:
        self._size += by
        self._owners[stream.key.owner or ""].size += by

    def _touch(self, stream: StoredStream, now: float) -> None:
        stream.touched = now
        self._aging[stream.key.epoch] = stream
        self._aging.move_to_end(stream.key.epoch)

    def _trim(self, stream: StoredStream, now: float) -> None:
        """Keep a stream that grew, its owner and the log within bounds."""
        oldest = now - self._max_age
        while len(stream) > 1 and (
            stream.events > self._max_events
            or stream.stored > self._max_bytes
            or stream.oldest < oldest
        ):
            self._drop_first(stream)
        self._bound(stream)
        owner = self._owners[stream.key.owner or ""]
        if stream.key.owner:
            while owner.size > self._max_owner_bytes and self._release(
                stream, owner.closed
            ):
                pass
        while self._size + self._tombstones.size > self._max_total:
            if not self._release(stream, self._closed) and not self._release_idle():
                break

    def _release(
        self, stream: StoredStream, closed: OrderedDict[str, StoredStream]
    ) -> bool:
        """Give up something: of a closed stream, or else of the one that grows."""
        if closed:
            self._drop(next(iter(closed.values())))
        elif len(stream) > 1:
            self._drop_first(stream)
        elif stream.reducer is not None:
            self._lose_summary(stream)
        else:
            return False
        return True

    def _release_idle(self) -> bool:
        """Give up a tombstone, or the events and summary of the longest idle stream."""
        if self._tombstones:
            self._bury(self._tombstones.remove_first())
            return True
        for stream in self._aging.values():
            if len(stream) or stream.reducer is not None:
                self._lose_summary(stream)
                while len(stream):
                    self._drop_first(stream)
                return True
        return False

    def _make_room(self, size: int) -> None:
        """Make room for a new stream.

        Raises:
            LogFullError: There is none.
        """
        while (used := self._size + self._tombstones.size) + size > self._max_total:
            if self._closed:
                self._drop(next(iter(self._closed.values())))
            elif size > self._max_total or not self._release_idle():
                raise LogFullError(used, self._max_total)

    def _bound(self, stream: StoredStream) -> None:
        before = stream.size
        if stream.bound_summary(min(self._max_bytes, self._max_total)):
            self._summaries_lost += 1
        self._grow(stream, stream.size - before)

    def _lose_summary(self, stream: StoredStream) -> None:
        before = stream.size
        self._summaries_lost += stream.has_prelude
        stream.lose_summary()
        self._grow(stream, stream.size - before)

    def _sweep(self, now: float | None = None) -> bool:
        """Give up a little of what has not been touched for long; True if there was any."""
        now = self._clock() if now is None else now
        tombstone = next(iter(self._tombstones.values()), None)
        if tombstone is not None and tombstone.since <= now - self._tombstone_age:
            self._bury(self._tombstones.remove(tombstone))
            return True
        oldest = now - self._max_age
        for _ in range(_SWEPT):
            stream = next(iter(self._aging.values()), None)
            if stream is None or stream.touched >= oldest:
                return False
            if stream.finished:
                self._drop(stream)
            elif len(stream):
                self._drop_first(stream)
            else:
                del self._aging[stream.key.epoch]
        return True

    def _drop_first(self, stream: StoredStream) -> None:
        before = stream.size
        events = stream.drop_first()
        self._grow(stream, stream.size - before)
        self._events -= events
        self._trimmed += events

    def _drop(self, stream: StoredStream, *, tombstone: bool = True) -> None:
        """Drop a stream. A reader of it has it in hand, and reads it to its end."""
        key = stream.key
        del self._streams[key.epoch]
        self._closed.pop(key.epoch, None)
        self._aging.pop(key.epoch, None)
        self._grow(stream, -stream.size)
        owner = self._owners[key.owner or ""]
        owner.closed.pop(key.epoch, None)
        owner.streams -= 1
        if not owner.streams:
            del self._owners[key.owner or ""]
        self._events -= stream.events
        self._forgotten += 1
        stone = Tombstone(
            key,
            stream.asked,
            frozenset(stream.emitted),
            stream.last,
            stream.end,
            self._clock(),
        )
        for gone in self._tombstones.add(stone) if tombstone else [stone]:
            self._bury(gone)

    def _bury(self, tombstone: Tombstone) -> None:
        """Forget an epoch for good."""
        name, epoch, namespace, owner = tombstone.key
        place = namespace, owner or "", name
        epochs = self._epochs[place]
        epochs.remove(epoch)
        if not epochs:
            del self._epochs[place]


def _is_same(known: StoredStream | Tombstone, asked: Asked | None) -> bool:
    """Whether a request repeats the one that a stream was opened for."""
    if asked is None or known.asked is None:
        return True
    return known.asked.is_same(asked, known.emitted)
