"""What many readers of one stream are sent is made once, and is the same bytes for each.

    log ──▶ payload ──▶ format ──▶ deflate ──▶ reader, reader, reader, ...
                        once       once

    blocks     K . . . . . . K . . .        K looks back at nothing
    reader     ██████████████████████       in step from the first
    reader         ▒▒▒▒▒▒▒▒▒▒███████        came in between, or had a word of its own

A block of DEFLATE looks back at what was sent before it. So it suits the readers that were sent
all of that, and nothing else, since the last K; every other reader has a compressor of its
own until the next (RFC 1951 has blocks that end at a byte, as behind a flush; RFC 1952
has one checksum of the whole, which is each reader's own).

One reader alone shares nothing, and costs nothing here. Contexts are shared only by
readers of one stream, who are sent the same bytes: what compresses together can be told
from lengths.
"""

from __future__ import annotations

import asyncio
import zlib
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from functools import partial
from typing import ClassVar, Final, NamedTuple

from rx_agui.codecs._deflate import DeflateEncoder, compressor
from rx_agui.codecs.codec import StreamEncoder
from rx_agui.frame import Frame
from rx_agui.replay import ReplayLog, StreamKey
from rx_agui.sse import format_frame

__all__ = ["LAGGING", "FanOut", "FanOutGroup", "Subscriber"]

#: Frame.trigger of a payload that was gathered of several for a reader that lags.
LAGGING: Final = "lagging"

#: Blocks from one that looks back at nothing to the next. Without any but the first it
#: would be 9 % fewer bytes with payloads of 5 events, and 2 % with 25; and a reader who
#: comes in between would have a compressor of its own until the run ends.
_GROUP: Final = 32

#: Payloads kept for who has not been sent them yet, and their bytes at most. Who is
#: further behind than the first of many lags, and is sent several as one.
_KEPT, _KEPT_BYTES = 8, 1024 * 1024


class Block(NamedTuple):
    """A piece of a stream of DEFLATE.

    Attributes:
        group: What it belongs to. It looks back at nothing before that.
        place: Where it stands in its group, from 0.
    """

    group: object
    place: int
    data: bytes

    def suits(self, before: Block | None) -> bool:
        """Whether it may follow on `before`, with nothing in between."""
        if before is None or self.place == 0:
            return self.place == 0
        return self.group is before.group and self.place == before.place + 1


class FanOutGroup:
    """The readers of one stream on this event loop.

    Attributes:
        readers: How many.
        fan_out: What they have in common; None while one is alone.
    """

    __slots__ = ("_forget", "_log", "fan_out", "readers")

    #: By the log's `id`, which is its own as long as a group of it is here.
    _groups: ClassVar[
        dict[tuple[int, StreamKey, asyncio.AbstractEventLoop], FanOutGroup]
    ] = {}

    def __init__(self, log: object, forget: Callable[[], object]) -> None:
        self._log = log
        self._forget = forget
        self.readers = 0
        self.fan_out: FanOut | None = None

    @classmethod
    def joined(cls, log: ReplayLog, stream: StreamKey) -> FanOutGroup:
        """Return the group of a stream, with one reader more."""
        key = id(log), stream, asyncio.get_running_loop()
        found = cls._groups.get(key)
        if found is None:
            for old in tuple(cls._groups):
                if old[2].is_closed():
                    del cls._groups[old]  # a loop that was torn down tells nothing
            found = cls._groups[key] = cls(log, partial(cls._groups.pop, key))
        found.readers += 1
        if found.readers == 2:
            found.fan_out = FanOut()
        return found

    def left(self) -> None:
        """Detach a reader."""
        self.readers -= 1
        if self.readers == 1:
            self.fan_out = None
        elif not self.readers:
            self._forget()


#: The group of a reader whose stream has no name yet: nothing is shared in it.
_ALONE: Final = FanOutGroup(None, lambda: None)


class FanOut:
    """One stream's payloads, as many readers are sent them."""

    def __init__(self) -> None:
        #: The last numbers of the payloads that were sent last to any reader; and of the
        #: latest, whether it says something of the run.
        self._ends: deque[int] = deque([0], maxlen=_KEPT)
        self._latest: tuple[bytes, bool] = b"", False
        #: What was formatted, and which numbers it is.
        self._wires: OrderedDict[Hashable, bytes] = OrderedDict()
        self._spans: dict[bytes, tuple[int, int]] = {}
        self._newest = self._size = 0
        self._streams: dict[int, _Blocks] = {}

    def keeps_up(self, frame: Frame) -> bool:
        """Whether others are about to be sent this payload too, or were just now."""
        if frame.last > self._ends[-1]:
            self._ends.append(frame.last)
        return frame.last >= self._ends[0]

    def tells_of_run(self, frame: Frame) -> bool:
        """Whether the run may begin or end in it. To look takes 5 µs for 10 KB."""
        data, tells = self._latest
        if frame.data is not data:
            tells = b'"RUN_' in frame.data
            self._latest = frame.data, tells
        return tells

    def format(self, frame: Frame, stem: str) -> bytes:
        """`format_frame`, for the first who asks."""
        if frame.trigger == LAGGING:
            return format_frame(frame, stem)
        span = frame.first, frame.last
        key = *span, frame.numbers, frame.data
        wire = self._wires.get(key)
        if wire is None:
            wire = format_frame(frame, stem)
            if frame.last >= self._newest:  # else others are past it
                self._newest = frame.last
                self._keep(key, span, wire)
        return wire

    def _keep(self, key: Hashable, span: tuple[int, int], wire: bytes) -> None:
        self._wires[key] = wire
        self._spans[wire] = span
        self._size += len(wire)
        while len(self._wires) > _KEPT or (
            self._size > _KEPT_BYTES and len(self._wires) > 1
        ):
            _, oldest = self._wires.popitem(last=False)
            self._size -= len(oldest)
            self._spans.pop(oldest, None)
            for blocks in self._streams.values():
                blocks.drop(oldest)

    def block(self, wire: bytes, level: int) -> Block | None:
        """Return the compressed form of what was formatted here; None if it was not.

        Or if it does not follow on the block before: it was cut, or gathered for one who
        lags, and suits few others.
        """
        span = self._spans.get(wire)
        if span is None:
            return None
        blocks = self._streams.get(level)
        if blocks is None:
            blocks = self._streams[level] = _Blocks(level)
        return blocks.of(wire, *span)

    def count_miss(self, level: int, readers: int) -> None:
        """Count a cache miss: a reader could not use the shared block.

        It compressed the same by itself, which costs it what a block that looks back at
        nothing costs a reader in step. So after as many misses as there are readers, all
        begin anew.
        """
        blocks = self._streams[level]
        blocks.misses += 1
        if blocks.misses >= readers:
            blocks.begin_anew()

    def rests(self, level: int, after: Block) -> None:
        """One reader, who was in step up to this block, has a word of its own."""
        blocks = self._streams.get(level)
        if blocks is not None and blocks.latest is after:
            blocks.begin_anew()  # nothing came for long: hold no compressor


class _Blocks:
    """One stream of DEFLATE blocks, for many responses."""

    def __init__(self, level: int) -> None:
        self.latest: Block | None = None
        self.misses = 0  # payloads that were compressed for one, in this group
        self._level = level
        self._stream: zlib._Compress | None = None
        self._last = 0  # the last number of the latest
        self._made: dict[bytes, Block] = {}

    def of(self, wire: bytes, first: int, last: int) -> Block | None:
        made = self._made.get(wire)
        if made is None and (self.latest is None or first == self._last + 1):
            made = self._made[wire] = self.latest = self._make(wire)
            self._last = last
        return made

    def _make(self, wire: bytes) -> Block:
        stream, before = self._stream, self.latest
        if stream is None or before is None or before.place == _GROUP - 1:
            stream = self._stream = compressor(self._level)
            group, place, self.misses = object(), 0, 0
        else:
            group, place = before.group, before.place + 1
        data = stream.compress(wire) + stream.flush(zlib.Z_SYNC_FLUSH)
        return Block(group, place, data)

    def begin_anew(self) -> None:
        """Begin anew: the next block does not refer to earlier ones."""
        self._stream = None

    def drop(self, wire: bytes) -> None:
        self._made.pop(wire, None)


class Subscriber:
    """One reader's membership in the group of its stream, once that has a name.

    Attributes:
        group: The readers of the same stream.
    """

    __slots__ = ("_log", "group")

    def __init__(self, log: ReplayLog) -> None:
        self._log = log
        self.group = _ALONE

    def join(self, stream: StreamKey) -> None:
        """Become a reader of this stream."""
        if self.group is not _ALONE:
            self.leave()
        self.group = FanOutGroup.joined(self._log, stream)

    def leave(self) -> None:
        """Leave the group."""
        group, self.group = self.group, _ALONE
        if group is not _ALONE:
            group.left()

    def keeps_up(self, frame: Frame) -> bool:
        """Whether the payload is one that others are sent as it is."""
        fan_out = self.group.fan_out
        return fan_out is not None and fan_out.keeps_up(frame)

    def format(self, frame: Frame, stem: str) -> bytes:
        """Return the bytes of a payload: the others', if they are sent the same."""
        fan_out = self.group.fan_out
        if fan_out is None:
            return format_frame(frame, stem)
        return fan_out.format(frame, stem)

    def in_step(self, own: StreamEncoder) -> StreamEncoder:
        """Return the coding of this reader's response: with the others', as far as it can be."""
        return SharedEncoder(own, self) if isinstance(own, DeflateEncoder) else own


class SharedEncoder:
    """One response's coding, of blocks that other readers are sent as well."""

    __slots__ = ("_latest", "_own", "_subscriber")

    def __init__(self, own: DeflateEncoder, subscriber: Subscriber) -> None:
        self._own = own
        self._subscriber = subscriber
        self._latest: Block | None = None  # if nothing else was sent since

    def encode(self, data: bytes) -> bytes:
        """Encode a payload, as a shared block where there is one that fits."""
        own, latest, group = self._own, self._latest, self._subscriber.group
        self._latest = None
        fan_out = group.fan_out
        if fan_out is None or (block := fan_out.block(data, own.level)) is None:
            return own.encode(data)
        if block.suits(latest):
            self._latest = block
            return own.takes(block.data, data)
        fan_out.count_miss(own.level, group.readers)
        return own.encode(data)

    def rest(self, data: bytes) -> bytes:
        """Encode data of this reader alone, behind which nothing may follow for long."""
        latest, self._latest = self._latest, None
        fan_out = self._subscriber.group.fan_out
        if latest is not None and fan_out is not None:
            fan_out.rests(self._own.level, latest)
        return self._own.rest(data)

    def finish(self) -> bytes:
        """Return the end of the coded stream."""
        return self._own.finish()
