"""What telemetry learns where a stream's bytes leave for a socket.

payload ──▶ claim ──▶ write ──▶ wrote        its trace, the sink's counts
the end ──▶ end(reason)                      completed, error, client_disconnect, ...
"""

from __future__ import annotations

from time import time_ns
from typing import Any

from rx_agui import probe
from rx_agui.probe import PayloadTrace, Probe, StreamObservation
from rx_agui.sink import SinkCounters

__all__ = ["CloseReason", "Sink", "trace_of"]


class CloseReason(Probe):
    """The reason for which telemetry sees a stream end; it observes nothing itself."""

    def __init__(self) -> None:
        self.watch: StreamObservation | None = None

    def is_awake(self) -> bool:
        return any(probe._is_awake(other) for other in probe.listeners)

    def started(self, watch: StreamObservation) -> None:
        self.watch = watch

    def set(self, reason: str, error: BaseException | None = None) -> None:
        """Set the close reason; the first call wins."""
        watch = self.watch
        if watch is not None and not watch.reason:
            watch.reason, watch.error = reason, error


class Sink(SinkCounters):
    """The counts and traces of one response's writes.

    Attributes:
        watch: The stream's observation; None until a payload belongs to one.
    """

    __slots__ = ("_is_over", "replayed", "resumptions", "under_way", "watch")

    def __init__(self) -> None:
        super().__init__()
        self.watch: StreamObservation | None = None
        self.under_way = 0  # bytes
        self.resumptions = 0  # 1: the reader goes on behind a cursor
        self.replayed = 0  # events from the log that were there before the reader
        self._is_over = False

    def join(self, watch: StreamObservation) -> None:
        """Become the last part of an observed stream."""
        if self.watch is None and not self._is_over:
            self.watch = watch
            watch.part_started()
            watch.joined(self, at_end=True)

    def wrote(
        self, size: int, events: int, frames: int, begun: int, traces: list[Any]
    ) -> None:
        """Count a write that began `begun` ns since 1970 and is done.

        Args:
            size: Its bytes, before the coding.
            events: The events that are written with its last byte.
            frames: The payloads or pieces in it.
            traces: Pairs of a payload's trace and whether this write ends it.
        """
        ended = time_ns()
        self.under_way = 0
        self.sent += events
        self.frames += frames
        self.size += size
        self.busy += ended - begun
        if self.watch is not None:
            self.watch.wrote(ended - begun, None)
        for trace, is_last in traces:
            trace.written(begun, ended)
            if is_last:
                trace.done()

    def failed(
        self, error: BaseException, events: int, begun: int, traces: list[Any]
    ) -> None:
        """Count a write that failed."""
        duration = time_ns() - begun
        self.under_way = 0
        self.busy += duration
        self.count_drop("write_failed", events)
        self.count("errors", 1, type(error).__qualname__)
        if self.watch is not None:
            self.watch.wrote(duration, error)
        for trace, _ in traces:
            trace.done(error)

    def end(self, reason: str, error: BaseException | None = None) -> None:
        """Leave the observed stream; the first call wins."""
        self._is_over = True
        watch, self.watch = self.watch, None
        if watch is not None:
            watch.part_ended(reason, error)

    @property
    def more(self) -> dict[tuple[str, str], int]:
        more = {
            ("session.resumptions", ""): self.resumptions,
            ("session.replayed.events", ""): self.replayed,
        }
        return {**super().more, **{k: n for k, n in more.items() if n}}

    @property
    def levels(self) -> dict[str, int]:
        return {"operator.buffer.usage": self.under_way}


def trace_of(payload: Any) -> PayloadTrace | None:
    """Return the trace of a frame or chunk; None if its stream is not observed."""
    trace = payload.trace
    return trace if isinstance(trace, PayloadTrace) else None
