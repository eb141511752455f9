"""What a sink needs: the bytes of a payload, one write of several, and their counts.

Frame, StreamChunk, event ──▶ formatted ──▶ PendingWrite ──▶ one write
"""

from __future__ import annotations

from dataclasses import replace
from time import time_ns
from typing import Any

from rx_agui.engine import as_frame
from rx_agui.flow import Permit
from rx_agui.flow._downstream import permit_here
from rx_agui.frame import IDENTITY, Frame, StreamChunk
from rx_agui.probe import OperatorCounters, PayloadTrace
from rx_agui.sse import format_frame, format_sse_chunk

__all__ = ["PendingWrite", "SinkCounters", "facts_of", "formatted"]

#: The payloads of a write that no telemetry follows.
_NO_SENDS: dict[PayloadTrace, bool] = {}


class PendingWrite:
    """One write: its pieces, and the permits and traces that wait for it."""

    __slots__ = ("begun", "data", "ended", "events", "permits", "pieces", "sends")

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.permits: list[Permit] = []
        self.sends = _NO_SENDS  # and whether this ends them
        self.events = 0
        self.data = b""
        self.begun = self.ended = 0  # ns since 1970

    def add(
        self, data: bytes, permit: Permit, events: int, send: PayloadTrace | None
    ) -> None:
        """Add a piece, whose permit is held until it is written."""
        self.pieces.append(data)
        self.permits.append(permit)
        self.events += events
        if send is not None:
            send.size += len(data)
            if self.sends is _NO_SENDS:
                self.sends = {}
            self.sends[send] = events > 0

    def begin(self) -> int:
        """Begin the write; return its bytes."""
        self.data = b"".join(self.pieces)
        self.begun = time_ns()
        return len(self.data)

    def end(self) -> int:
        """End the write; return its duration in ns."""
        self.ended = time_ns()
        for send in self.sends:
            if send.watch.wants_steps:
                send.written(self.begun, self.ended)
        return self.ended - self.begun

    def tell(self, error: Exception | None) -> None:
        """Complete the traces of the payloads that end here."""
        for send, is_last in self.sends.items():
            if is_last or error is not None:
                send.done(error)

    def release(self, error: Exception | None) -> None:
        """Release the permits; with `error`, the write failed."""
        for permit in self.permits:
            permit.release(error)


class SinkCounters(OperatorCounters):
    """Counts of a stream's end: pieces and bytes written, and the ns that took."""

    __slots__ = ("busy", "frames", "size")

    def __init__(self) -> None:
        super().__init__("sink")
        self.frames = self.size = self.busy = 0

    @property
    def more(self) -> dict[tuple[str, str], int]:
        written = {
            ("sink.sent.frames", ""): self.frames,
            ("sink.sent.size", ""): self.size,
            ("operator.time", ""): self.busy,
        }
        return {**super().more, **{k: n for k, n in written.items() if n}}


def formatted(value: Any, stem: str) -> bytes:
    """Return the bytes of a chunk, frame or bare event, with `stem` before its numbers."""
    if type(value) is StreamChunk:
        if stem and value.event_id:
            value = replace(value, event_id=stem + value.event_id)
        return format_sse_chunk(value)
    frame = as_frame(value)
    if frame.encoding == IDENTITY:
        return format_frame(frame, stem)
    chunk = StreamChunk(
        data=frame.data,
        event_type="chunk",
        event_id=f"{stem}{frame.last}" if frame.last else "",
        encoding=frame.encoding,
        sequence_num=frame.first,
        events=frame.events,
        numbers=frame.numbers,
        crc32=frame.crc32,
        trace=frame.trace,
    )
    return format_sse_chunk(chunk)


def facts_of(value: Any) -> tuple[int, Permit, PayloadTrace | None]:
    """Return the events that are written with this, its permit, and its trace.

    The events of a payload that was cut are written with its last piece.
    """
    if not isinstance(value, StreamChunk | Frame):
        return 1, permit_here(), None
    send = value.trace if isinstance(value.trace, PayloadTrace) else None
    if type(value) is StreamChunk and value.chunk_index < value.total_chunks - 1:
        return 0, value.permit, send
    return value.events, value.permit, send
