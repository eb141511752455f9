"""The interface of a log: what was sent, for readers that come back or come late.

    agent ──▶ sequence ──▶ append ──▶ log ──▶ tail(after=41) ──▶ a reader cut off behind 41
                                        └───▶ prelude()      ──▶ a reader that is new

A stream is what one run of an agent emitted: its numbered events, as they were before
any was conflated for a slow reader. The first to open it fills it; all others read.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple, Protocol

from rx_agui.frame import Frame
from rx_agui.replay._identity import Asked, Conflict, Joined, Opened, StreamKey

__all__ = ["Position", "ReplayLog"]


class Position(NamedTuple):
    """How far a stream has come.

    Attributes:
        first: The lowest number that is still kept; `last + 1` if none is.
        last: The highest number so far; 0 before the first event.
        finished: Whether no more will come.
        end: The type of the terminal event of its last run; empty before it.
        has_prelude: Whether a new reader can be brought to `last`. Not if the events are
            gone (of a finished stream only a tombstone is left), or their summary
            outgrew the log's bounds.
    """

    first: int
    last: int
    finished: bool
    end: str = ""
    has_prelude: bool = True


class ReplayLog(Protocol):
    """Keeps streams within its bounds. Called on an event loop, and never blocks it.

    Any object with these methods will do: a log need be neither hashable nor weakly
    referenced. `rx_agui.testing.LOG_RULES` is the contract that every log is held to.
    The rules of AG-UI that a log needs are public: `Reducer` and `catch_up_lines` make
    a prelude, `to_stored` and `slice_after` check and cut payloads.
    """

    async def open(
        self,
        name: str,
        *,
        namespace: str = "",
        owner: str = "",
        asked: Asked | None = None,
    ) -> Opened | Joined | Conflict:
        """Claim a name: it is the caller's to fill, or was claimed before.

        In one step, whatever processes share the log: of two requests for one run only
        one runs the agent. Names of other namespaces and owners are other names.

        Args:
            name: Any string, the empty one and lone surrogates included.
            asked: The request. None joins whatever is there. Another request than the
                known one is a `Conflict` until that one's run has ended, and then a
                new epoch.

        Raises:
            LogFullError: The bounds are reached, and nothing may be dropped.
        """

    async def find(self, stream: StreamKey) -> StreamKey | None:
        """Return the stream with its epoch and owner filled in; None if it is unknown.

        An empty epoch stands for the newest one, and an owner of None for any owner,
        which needs an epoch: names are guessed, 128 random bits are not.
        """

    async def append(self, stream: StreamKey, frame: Frame) -> None:
        """Store a numbered payload. Numbers go up, and leave nothing out.

        The log takes the bytes and the numbers; the permit stays with the sender.

        Raises:
            ReplayError: It does not follow on the last one, has no number, or is
                compressed.
            StreamClosedError: The stream was closed.
            UnknownStreamError: The stream was not opened, or was dropped.
        """

    async def close(self, stream: StreamKey) -> None:
        """Mark the end. Readers of the tail end behind the last event."""

    async def forget(self, stream: StreamKey) -> None:
        """Drop the stream, as if it had never been opened; no tombstone is left.

        For a run that failed before its first event: it was answered with a status of
        its own, and the same request may be made again. Readers of its tail get
        `UnknownStreamError`. An unknown stream is ignored.
        """

    async def position(self, stream: StreamKey) -> Position | None:
        """Return how far it has come; None if it is unknown.

        A finished stream whose events were dropped leaves a tombstone for a while: its
        position has no events and no prelude.
        """

    def tail(self, stream: StreamKey, after: int = 0) -> AsyncIterator[Frame]:
        """Yield every event behind number `after`, exactly once: the kept, then the live.

        Ends when the stream is closed. A payload that spans `after` is cut, and several
        small ones may come as one. The frames are the reader's own, their bytes are
        shared. It may be left at any moment, and leaves nothing behind.

        Raises:
            TrimmedError: At the first event. The log no longer reaches back that far, or not yet that far
                forward, or a reader was so slow that it was overtaken.
            UnknownStreamError: The stream was not opened, or was dropped.
        """

    async def prelude(self, stream: StreamKey) -> Frame:
        """Return what brings a new reader to `position().last`.

        One payload of ordinary events (RUN_STARTED, snapshots, one START and one delta
        for each open construct ...), of which only the last line has a number: the last
        it covers. So a cut inside it neither loses nor repeats it. Without events it is
        empty. `join` gives it and the tail behind it.

        Raises:
            TrimmedError: `position().has_prelude` is False.
            UnknownStreamError: The stream was not opened, or was dropped.
        """
