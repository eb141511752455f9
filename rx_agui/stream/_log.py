"""What a stream says of itself in the `rx_agui` log, and how often.

    stream 'chat': number 41 came after it was given up
    stream 'chat': no credit within 5 s … (and 4,211 more like it)

Silent unless the application listens. Of each kind a few lines a second are said, and
then how many more there were: a flood of drops must not become a flood of lines.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any, Final

from rx_agui.errors import (
    CompressionError,
    FlowControlError,
    ProcessingError,
    SequencingError,
    StreamError,
    ValidationError,
)
from rx_agui.metrics import StreamMeter
from rx_agui.probe import PayloadTrace, Probe, StreamObservation

__all__ = ["StreamLog", "Witness"]

_log = logging.getLogger("rx_agui")

#: Lines of a kind that may be said each second.
_LINES: Final = 5

_KINDS: Final = {
    ValidationError: "validation",
    ProcessingError: "processing",
    CompressionError: "compression",
    SequencingError: "sequencing",
    FlowControlError: "flow_control",
}


class StreamLog:
    """Says what happens to one stream. Records carry `stream`, `kind` and `number`."""

    def __init__(self, stream: str) -> None:
        self._stream = stream
        self._taps: dict[str, _Tap] = {}
        self._mutex = threading.Lock()

    def error(self, error: StreamError) -> None:
        """Log that events were lost; the stream goes on."""
        kind = next((k for t, k in _KINDS.items() if isinstance(error, t)), "error")
        self.say(logging.WARNING, kind, "%s", error, number=error.number)

    def say(
        self, level: int, kind: str, text: str, *args: Any, number: int | None = None
    ) -> None:
        """One line, unless there were too many of the kind just now."""
        if not _log.isEnabledFor(level):
            return
        with self._mutex:
            unsaid = self._taps.setdefault(kind, _Tap()).turn(time.monotonic())
        if unsaid is None:
            return
        extra = {"stream": self._stream, "kind": kind, "number": number}
        more = f" (and {unsaid:,} more like it)" if unsaid else ""
        _log.log(level, f"stream %r: {text}%s", self._stream, *args, more, extra=extra)

    def end(self) -> None:
        """Say what was left unsaid."""
        with self._mutex:
            taps, self._taps = self._taps, {}
        for kind, tap in taps.items():
            if tap.unsaid:
                text = "%s more of kind %s were not logged"
                self.say(logging.WARNING, "unsaid", text, f"{tap.unsaid:,}", kind)


class _Tap:
    """Lets a few through each second, and counts the others."""

    __slots__ = ("left", "second", "unsaid")

    def __init__(self) -> None:
        self.second = 0.0
        self.left = 0
        self.unsaid = 0

    def turn(self, now: float) -> int | None:
        """How many went unsaid before this one, which may be said; None: it may not."""
        if now - self.second >= 1.0:
            self.second, self.left = now, _LINES
        if not self.left:
            self.unsaid += 1
            return None
        self.left -= 1
        unsaid, self.unsaid = self.unsaid, 0
        return unsaid


class Witness(Probe):
    """Hears what operators tell: for the log, and for the meter if there is one.

    Attributes:
        watch: The stream, once it has begun.
    """

    def __init__(self, log: StreamLog, meter: StreamMeter | None) -> None:
        self._log = log
        self._meter = meter
        self.watch: StreamObservation | None = None

    def started(self, watch: StreamObservation) -> None:
        self.watch = watch
        if self._meter is not None:
            self._meter.started(watch)

    def sent(self, send: PayloadTrace) -> None:
        if self._meter is not None:
            self._meter.sent(send)

    def reordered(self, watch: StreamObservation, seconds: float) -> None:
        if self._meter is not None:
            self._meter.reordered(watch, seconds)

    def waited(self, watch: StreamObservation, wait: int, outcome: str) -> None:
        if outcome == "admitted":
            text = "a sender waited %.3f s for the reader"
            self._log.say(logging.DEBUG, "wait", text, wait / 1e9)

    def ended(self, watch: StreamObservation) -> None:
        if self._meter is not None:
            self._meter.ended(watch)
