"""One reader of one stream, from the first byte to the last.

    feed ──▶ ... ──▶ ending ──▶ writer ──▶ connection ──▶ send
                                  ▲             │
             CANCEL, grace, ... ──┴── outcome ──┘

The end of the run and the end of the connection are kept apart: what ends a run is an
event, which has a number and goes to everybody; what ends a connection goes to nobody
who can come back.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from rx_agui import probe
from rx_agui.asgi._connection import COMPLETED, GONE, Connection, Outcome
from rx_agui.asgi._failure import ReaderGone, run_error
from rx_agui.asgi._request import Receive
from rx_agui.asgi._settings import Settings
from rx_agui.asgi.reader._fan_out import Subscriber
from rx_agui.asgi.run._terminal import RunState
from rx_agui.errors import TrimmedError
from rx_agui.frame import IDENTITY, Frame, StreamChunk
from rx_agui.probe import Probe, StreamObservation
from rx_agui.sse import format_frame
from rx_agui.writer import SSEWriter, Write, _Work

__all__ = ["CloseReason", "Refused", "Session"]

_log = logging.getLogger("rx_agui")


class Refused(Exception):
    """The source failed before its first event: there is still time for a status."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


class CloseReason(Probe):
    """Knows the stream that telemetry sees, to say why it ends. It watches nothing."""

    def __init__(self) -> None:
        self.watch: StreamObservation | None = None

    def is_awake(self) -> bool:
        return any(probe._is_awake(other) for other in probe.listeners)

    def started(self, watch: StreamObservation) -> None:
        self.watch = watch

    def says(self, reason: str, error: BaseException | None = None) -> None:
        """Why the stream will have ended, when it ends. The first who says so is right."""
        watch = self.watch
        if watch is not None and not watch.reason:
            watch.reason, watch.error = reason, error


class Session:
    """Writes what comes to a connection, until one of the two ends.

    Args:
        course: How far the run has come, as far as this reader is concerned.
        seat: Among others who read the same.
        resumes: Whether the client comes back by itself, and to something.
        outlives_reader: Whether what writes here goes on when the reader is gone.
        refusal: What the source raised before its first event, if it did.
    """

    def __init__(
        self,
        connection: Connection,
        course: RunState,
        witness: CloseReason,
        settings: Settings,
        *,
        stem: str = "",
        seat: Subscriber | None = None,
        resumes: bool = False,
        outlives_reader: bool = False,
        refusal: Callable[[], BaseException | None] | None = None,
    ) -> None:
        self.connection = connection
        self.course = course
        self.witness = witness
        self.resumes = resumes
        self.outlives_reader = outlives_reader
        self._refusal = refusal or course.refusal
        self._settings = settings
        #: Whether the run goes on without its reader, held back by nobody.
        self.is_alone = False
        self._has_ended = False
        self.writer = _Writer(connection, self._write, stem, seat, course)
        #: When everything was, or will not be; how that went is heard here.
        self.written = asyncio.wrap_future(self.writer.done)
        self.written.add_done_callback(self._all_written)
        self._listening: asyncio.Future[None] | None = None
        connection.is_last = self.writer.gives_the_end

    async def _write(self, data: bytes) -> None:
        if self.is_alone:
            return
        try:
            await self.connection.write(data)
        except ReaderGone:
            if not self.outlives_reader:
                raise
        else:
            self._has_ended = self.writer.gives_the_end()

    def _all_written(self, written: asyncio.Future[None]) -> None:
        error = None if written.cancelled() else written.exception()
        if error is None:
            outcome = COMPLETED
        elif isinstance(error, TrimmedError):
            told = "The connection was closed: it was read too slowly."
            outcome = Outcome("timeout", str(error), "READER_TOO_SLOW", told)
        else:
            outcome = Outcome("error", f"it could not be written: {error!r}")
        self.connection.close(outcome)

    async def begin(
        self, receive: Receive, status: int, headers: list[tuple[bytes, bytes]]
    ) -> Outcome:
        """Send the head as soon as there is a first event, or `status_grace` is over.

        Raises:
            Refused: There is an error instead.
        """
        connection = self.connection
        self._listening = asyncio.ensure_future(connection.listen(receive))
        await asyncio.wait(
            (connection.wanted, connection.outcome),
            timeout=self._settings.status_grace,
            return_when=asyncio.FIRST_COMPLETED,
        )
        error = self._refusal()
        if error is not None:
            raise Refused(error)
        if not (connection.outcome.done() and connection.outcome.result() is GONE):
            with suppress(ReaderGone):  # whoever found out has set the outcome
                await connection.open(status, headers)
        # Shielded: who calls us off does not say how the connection ended.
        return await asyncio.shield(connection.outcome)

    async def say_goodbye(self, outcome: Outcome) -> None:
        """End the body. Who cannot come back is told that this is not the end."""
        last_word = b""
        if not (outcome is COMPLETED or self.resumes or self._has_ended):
            last_word = format_frame(Frame(run_error(outcome.told, outcome.code)))
        elif self.resumes:
            # All of its readers come back at once otherwise, to one who has just begun.
            spread = random.uniform(1.0, 3.0) * self._settings.retry
            last_word = b"retry: %d\n\n" % (spread * 1000)
        await self.connection.finish(last_word)

    def leave(self) -> None:
        """Forget the request. A write that waits for its head waits no more."""
        self.connection.close(GONE)
        self.connection.leave()
        if self._listening is not None:
            self._listening.cancel()


class _Writer(SSEWriter):
    """Notes when something begins to wait, for who looks how long it has.

    And in which write the end of the run is. It may be long on its way: what comes before
    it is compressed, or written; and it may come from another thread, while we write.
    """

    def __init__(
        self,
        connection: Connection,
        write: Write,
        stem: str,
        seat: Subscriber | None,
        course: RunState,
    ) -> None:
        super().__init__(write, stream=stem)
        self._connection = connection
        self._seat = seat
        self._course = course
        self._given = 0  # events
        self._ends_at: int | None = None  # the end is so many events from the beginning

    def is_named(self, stem: str) -> None:
        """What ids begin with, if nobody knew before the first event."""
        self._stem = f"{stem}/"

    def counts(self, what: str, n: int) -> None:
        """Tell telemetry of more than events."""
        self._tally.count(what, n)

    def on_next(self, value: Any) -> None:
        self._connection.waits()
        super().on_next(value)
        if self._course.over and _is_end(value, self._course.last):
            self._ends_at = self._tally.taken  # nothing comes behind it

    def _format(self, value: Any) -> bytes:
        if self._seat is None or type(value) is not Frame or value.encoding != IDENTITY:
            return super()._format(value)
        return self._seat.format(value, self._stem)

    def _next_work(self) -> _Work | None:
        work = super()._next_work()
        if work is not None:
            self._given += work.events
        return work

    def gives_the_end(self) -> bool:
        """Whether the end of the run is in what is being written, or was."""
        return self._ends_at is not None and self._given >= self._ends_at


def _is_end(payload: Frame | StreamChunk, last: int) -> bool:
    """Whether a run that is over ends with it; what has no numbers is never put off."""
    if isinstance(payload, Frame):
        return not payload.last or payload.last >= last
    if payload.chunk_index < payload.total_chunks - 1:
        return False
    return not payload.event_id.isdecimal() or int(payload.event_id) >= last
