"""Frame, the one value that moves between operators, and StreamChunk, its pieces.

    event ──▶ Frame ──▶ Frame ──▶ Frame ──▶ StreamChunk, StreamChunk
              number    batch     gzip      pieces

After the first operator everything is a Frame, until `chunk` cuts it up.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rx_agui.codecs.codec import IDENTITY
from rx_agui.flow import NO_PERMIT, Credit, Permit

__all__ = ["IDENTITY", "Frame", "StreamChunk"]


#: For a function of a user's that RxPY's `map` called with a frame.
_HINT = (
    ": behind an operator of rx_agui a frame carries the events; "
    "rx_agui.each(fn) calls fn with each of them"
)


class Frame:
    """One or more events as bytes, with the facts that operators need.

    Attributes:
        data: The events' JSON, one object a line, lines joined by LF; compressed
            if `encoding` says so.
        events: How many lines that is.
        first, last: The numbers the events cover, both included. 0: not numbered.
        numbers: The last number each line covers, where they are not simply
            first, first + 1, ... last: behind a conflation or a gap.
        encoding: "identity", or the codec that made `data`.
        crc32: Of the payload before compression; None until someone needed it.
        permit: The credit that comes home when the frame has been written.
        trigger: What made a batch leave: size, timeout, bytes, stalled,
            adaptive, completed or error. Empty for what was never batched.
        trace: The stream's telemetry, or None when nothing records it.
    """

    # One is made per event, so what few frames need is kept beside, not in, a slot.
    __slots__ = ("__dict__", "_permit", "data", "events", "first", "last")

    numbers: tuple[int, ...] | None = None
    encoding: str = IDENTITY
    crc32: int | None = None
    trigger: str = ""
    trace: Any = None

    def __init__(
        self,
        data: bytes,
        permit: Permit | Credit = NO_PERMIT,
        events: int = 1,
        first: int = 0,
        last: int = 0,
    ) -> None:
        self.data = data
        self._permit = permit
        self.events = events
        self.first = first
        self.last = last

    @property
    def permit(self) -> Permit:
        """The permit to hold if this frame is kept after `on_next` returns."""
        permit = self._permit
        if isinstance(
            permit, Credit
        ):  # on loan while on_next runs: most are never held
            permit = self._permit = Permit(permit)
        return permit

    @permit.setter
    def permit(self, permit: Permit) -> None:
        self._permit = permit

    def __repr__(self) -> str:
        numbered = f", {self.first}..{self.last}" if self.last else ""
        return f"Frame({self.events} events, {len(self.data)} bytes{numbered}, {self.encoding})"

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Say what to do to who takes a frame for its event."""
            raise AttributeError(f"'Frame' object has no attribute {name!r}{_HINT}")

        def __getitem__(self, key: object) -> Any:
            raise TypeError(f"'Frame' object is not subscriptable{_HINT}")

        __iter__ = None

    def copy(self, data: bytes | None = None, permit: Permit | None = None) -> Frame:
        """Return a copy, to change without changing what other subscribers hold."""
        frame = Frame(
            self.data if data is None else data,
            permit or self.permit,
            self.events,
            self.first,
            self.last,
        )
        frame.__dict__.update(self.__dict__)
        return frame

    def lines(self) -> list[bytes]:
        """Return the JSON of each event. Only for a frame that is not compressed."""
        return self.data.split(b"\n")

    def line_numbers(self) -> tuple[int, ...] | range:
        """Return the last number each line covers; zeros if the frame is not numbered."""
        if self.numbers is not None:
            return self.numbers
        if self.last:
            return range(self.first, self.last + 1)
        return (0,) * self.events


@dataclass(slots=True, eq=False, kw_only=True)
class StreamChunk:
    """A payload, or a piece of one, ready for the wire.

    One that is neither compressed nor cut is written as plain AG-UI frames, so
    the same sink serves every client; the others are written as `event: chunk`.

    Attributes:
        data: The bytes of this piece.
        event_type: The SSE event name: "chunk", or "" for plain AG-UI frames.
        event_id: The SSE id: the last event number, on the last piece only, so
            that a resume never lands inside a payload. "" elsewhere.
        compressed, encoding: Whether and how the payload was compressed.
        sequence_num: The first number the payload covers, or, for events without
            numbers, the number of the payload.
        events: How many events the payload holds.
        numbers: The last number each event covers, where not consecutive.
        chunk_index, total_chunks: Which piece this is, from 0, and of how many.
        crc32: Of the payload before compression; None where it was not needed.
        timestamp: Seconds since the epoch when the payload was cut.
        retry: Milliseconds the client should wait before it reconnects.
        permit: Shared by all pieces of the payload.
        trace: The stream's telemetry, or None.
    """

    data: bytes
    event_type: str = ""
    event_id: str = ""
    encoding: str = IDENTITY
    sequence_num: int = 0
    events: int = 1
    numbers: tuple[int, ...] | None = None
    chunk_index: int = 0
    total_chunks: int = 1
    crc32: int | None = None
    timestamp: float = 0.0
    retry: int | None = None
    permit: Permit = field(default=NO_PERMIT, repr=False)
    trace: Any = field(default=None, repr=False)

    @property
    def compressed(self) -> bool:
        """Whether the payload was compressed."""
        return self.encoding != IDENTITY

    @property
    def is_whole(self) -> bool:
        """Whether the payload was not cut."""
        return self.total_chunks == 1
