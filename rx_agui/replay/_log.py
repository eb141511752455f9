"""What was sent, for those who come back.

    agent ──▶ sequence ──▶ append ──▶ log ──▶ tail(after=41) ──▶ a reader, cut off behind 41
                                        └───▶ prelude()      ──▶ a reader who has seen nothing

A stream is what one run of an agent emitted: its numbered events, as they were before
anything was conflated for a slow reader. Whoever opens it first fills it; everybody
else reads.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple, Protocol

from rx_agui.frame import Frame

__all__ = ["Position", "ReplayLog"]


class Position(NamedTuple):
    """How far a stream has come.

    Attributes:
        first: The lowest number that is still kept; `last + 1` if none is.
        last: The highest number so far; 0 before the first event.
        finished: Whether no more will come.
    """

    first: int
    last: int
    finished: bool


class ReplayLog(Protocol):
    """Keeps streams within its bounds. Called on an event loop; none of it blocks.

    `rx_agui.testing` has the contract that every log is held to.
    """

    async def open(self, stream: str) -> bool:
        """Claim a name: whether nobody had, so that it is the caller's to fill.

        In one step, whatever processes share the log: of two requests for one run only
        one runs the agent.
        """

    async def append(self, stream: str, frame: Frame) -> None:
        """Keep a numbered payload. Numbers go up, and leave nothing out.

        The log takes the bytes and the numbers; whose permit it is stays with the one
        who sends it.

        Raises:
            ReplayError: It does not follow on the last one, has no number, or is
                compressed.
            StreamClosedError: The stream was closed.
            UnknownStreamError: The stream was never opened, or has been dropped.
        """

    async def close(self, stream: str) -> None:
        """No more will come. Readers of the tail end behind the last event."""

    async def forget(self, stream: str) -> None:
        """Drop the stream, as if nobody had ever opened it.

        For a run that failed before its first event: it was answered with a status of
        its own, and the same request may be made again. Readers of its tail get
        `UnknownStreamError`. Nothing happens if nobody knows it.
        """

    async def position(self, stream: str) -> Position | None:
        """How far it has come; None if nobody knows it (any more)."""

    def tail(self, stream: str, after: int = 0) -> AsyncIterator[Frame]:
        """Every event behind number `after`, exactly once: what is kept, then live.

        Ends when the stream is closed. A payload that spans `after` is cut. What comes
        out is the reader's own: the bytes are shared, the frames are not. It may be
        left at any moment, and leaves nothing behind.

        Raises:
            TrimmedError: At the first event. The log no longer reaches back that far, or not yet that far
                forward (`after` is of another run of the same name), or a reader was so
                slow that it was overtaken.
            UnknownStreamError: At the first event. The stream was never opened, or has
                been dropped.
        """

    async def prelude(self, stream: str) -> Frame:
        """What brings a reader who has seen nothing to `position().last`.

        One payload of ordinary events (RUN_STARTED, snapshots, one START and one delta
        for each construct that is still open ...), of which only the last line has a
        number: the last it covers. So a cut inside it neither loses nor repeats it.
        It exists however much was trimmed. Without events it is empty. `join` gives it
        and the tail behind it.

        Raises:
            UnknownStreamError: The stream was never opened, or has been dropped.
        """
