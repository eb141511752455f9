"""A run that belongs to its request: no log, so nothing to come back to.

    agent ──▶ flow_control ──▶ sequence ──▶ batch ──▶ ending ──▶ inbox
                   ▲                                                │
                   └── credit ◀── write ◀── format ◀── gather ◀─────┘  one loop

A reader who stops reading stops the agent, within the window. One who leaves cancels
it, unless the policy is to let it go on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from math import inf
from time import time_ns
from typing import Any, Final

from rx_agui.agui.unfinished import Unfinished
from rx_agui.asgi._connection import COMPLETED, GONE, Connection, Outcome, trailer
from rx_agui.asgi._failure import ReaderGone, Refused
from rx_agui.asgi._request import Receive
from rx_agui.asgi._settings import SSESettings
from rx_agui.asgi._sink import CloseReason, Sink, trace_of
from rx_agui.asgi.run._deferred import PipelineSpec
from rx_agui.asgi.run._source import Source, called, checked, must_be_awaited
from rx_agui.asgi.run._terminal import RunState
from rx_agui.clock import running_loop
from rx_agui.engine import Sink as LastObserver
from rx_agui.errors import as_exception, stops_process
from rx_agui.flow import Permit
from rx_agui.frame import Frame, StreamChunk
from rx_agui.sink import formatted

__all__ = ["CLEANUP", "RequestRun"]

_log = logging.getLogger("rx_agui")

#: Seconds an agent has to clean up, after its end or when it is cancelled.
CLEANUP = 10.0

#: Seconds of writes that never wait before others on the loop have a turn.
_SLICE: Final = 0.001

#: Runs that go on without their request; the event loop alone would forget them.
_going_on: set[asyncio.Task[None]] = set()


class RequestRun:
    """The source at work for one reader."""

    def __init__(
        self, source: Any, stream: str, connection: Connection, settings: SSESettings
    ) -> None:
        self._source = source
        self._connection = connection
        self._settings = settings
        self._policy = settings.without_readers(logged=False)
        self._close_reason = CloseReason()
        self._unfinished = unfinished = Unfinished()
        self.state = state = RunState(
            stream, expose=settings.expose_errors, unfinished=unfinished
        )
        state.hides_errors = settings.agent_errors == "hide"
        state.failing = partial(self._close_reason.set, "error")
        self._inbox = _Inbox(connection, state)
        self._chain = PipelineSpec(settings, state, self._close_reason, goes_out=True)
        self._feed: Source | None = None
        self._starting: asyncio.Task[None] | None = None

    async def serve(
        self, receive: Receive, status: int, headers: list[tuple[bytes, bytes]]
    ) -> None:
        """Run the source for this one reader.

        Raises:
            Refused: It failed before its first event.
        """
        connection, inbox = self._connection, self._inbox
        try:
            outcome = await connection.serve(
                receive, status, headers, self._write_all, self.state.refusal
            )
            if connection.state != "done":
                last_bytes = trailer(
                    outcome,
                    None
                    if inbox.has_written_end
                    else self._unfinished.closing(inbox.written),
                )
                await connection.finish(last_bytes)
        except asyncio.CancelledError:  # the server calls us off: the reader is gone
            connection.leave()
            await self._end(GONE)
            raise
        except BaseException:
            connection.leave()
            await self._stop("error")
            raise
        connection.leave()
        await self._end(outcome)

    # -- the loop ----------------------------------------------------------------------

    async def _write_all(self) -> None:
        """Write what the run says, as it comes; what came during a write goes together."""
        self._start()
        connection, inbox, clock = self._connection, self._inbox, time.monotonic
        yield_at = clock() + _SLICE
        while not connection.outcome:
            if not inbox.waiting:
                if inbox.is_over:
                    if inbox.error is not None:
                        raise inbox.error
                    return
                await inbox.changed()
                yield_at = clock() + _SLICE
                continue
            if connection.state == "new" and (error := self.state.refusal()):
                raise Refused(error)
            await inbox.write_to(connection)
            # A write that never waits would keep the loop for as long as the credit it
            # gives back brings more.
            if clock() >= yield_at:
                await asyncio.sleep(0)
                yield_at = clock() + _SLICE

    def _start(self) -> None:
        try:
            made = called(self._source)
            if must_be_awaited(made):
                self._starting = asyncio.ensure_future(self._start_late(made))
            else:
                self._subscribe(made)
        except BaseException as error:  # of the factory
            self._fails(error)

    async def _start_late(self, making: Any) -> None:
        try:
            self._subscribe(await making)
        except BaseException as error:
            if self.state.state == "cancelled":
                raise
            self._fails(error)

    def _subscribe(self, source: Any) -> None:
        self._feed = Source(checked(source), self._chain)
        self._feed.subscribe(self._inbox)

    def _fails(self, error: BaseException) -> None:
        self._inbox.on_next(self.state.fails(as_exception(error, "the source")))
        self._inbox.on_completed()
        if stops_process(error):
            raise error

    # -- its end -----------------------------------------------------------------------

    async def _end(self, outcome: Outcome) -> None:
        """Decide what becomes of the run, whose connection has ended."""
        state, grace = self.state, self._policy.seconds
        if outcome is COMPLETED:
            try:
                rests = await self._comes_to_rest(CLEANUP)
            except asyncio.CancelledError:  # what belongs to the request is gone
                await self._stop("completed")
                raise
            if not rests:
                _log.warning(
                    "%s: its agent is still at work %g s after its end, number %d, and "
                    "is cancelled",
                    state,
                    CLEANUP,
                    state.last,
                )
                await self._stop("completed")
            self._inbox.sink.end("completed")
            return
        level = logging.ERROR if outcome.reason == "error" else logging.INFO
        _log.log(level, "%s: %s, at number %d", state, outcome.why, state.last)
        if outcome.reason != "server_shutdown" and grace > 0:
            self._inbox.discard()
            going_on = asyncio.ensure_future(self._goes_on(grace))
            _going_on.add(going_on)
            going_on.add_done_callback(_going_on.discard)
            return
        await self._stop(outcome.reason)

    async def _goes_on(self, grace: float) -> None:
        if not await self._comes_to_rest(grace):
            _log.info(
                "%s: it has had no reader for %g s; it is cancelled at number %d",
                self.state,
                grace,
                self.state.last,
            )
        await self._stop("client_disconnect")

    async def _comes_to_rest(self, seconds: float) -> bool:
        """Whether the source ends by itself in so many seconds."""
        inbox = self._inbox
        inbox.discard()
        if inbox.is_over:
            return True
        try:
            async with asyncio.timeout(None if seconds == inf else seconds):
                while not inbox.is_over:
                    await inbox.changed()
        except TimeoutError:
            return False
        return True

    async def _stop(self, reason: str) -> None:
        """Cancel the source, and wait until it has cleaned up."""
        self._close_reason.set(reason)
        self._inbox.discard()
        self.state.on("cancel")
        if self._starting is not None:
            self._starting.cancel()
        feed = self._feed
        if feed is not None:
            feed.dispose()
        self._inbox.sink.end(reason)
        if feed is None or feed.closed.is_set():
            return
        try:
            async with asyncio.timeout(CLEANUP):
                await feed.closed.wait()
        except TimeoutError:
            _log.warning(
                "%s: its agent was cancelled %g s ago and is still at work",
                self.state,
                CLEANUP,
            )


class _Inbox(LastObserver):
    """Where payloads leave the stream, for the loop that writes them.

    Attributes:
        waiting: Payloads and their permits, which are held until they are written.
        is_over: Whether no more will come.
        error: What broke the stream behind `ending`.
        has_written_end: Whether the end of the run has been written.
        written: The number of the last event that was written.
    """

    def __init__(self, connection: Connection, state: RunState) -> None:
        self.waiting: list[tuple[Any, Permit]] = []
        self.is_over = False
        self.error: Exception | None = None
        self.has_written_end = False
        self.written = 0
        self.sink = Sink()
        self._connection = connection
        self._state = state
        self._loop = asyncio.get_running_loop()
        self._has_end = False  # it waits, or was written
        self._discards = False
        self._changed: asyncio.Future[None] | None = None

    # -- from the stream, on any thread ---------------------------------------------------

    def on_next(self, value: Any) -> None:
        trace = trace_of(value)
        if trace is not None:
            trace.is_claimed = True
            self.sink.join(trace.watch)
        self.sink.taken += _events_of(value)
        if self._discards:
            self._lose(value)
            return
        connection = self._connection
        if connection.waiting_since is None:
            connection.waiting_since = self._loop.time()
        if self._state.over and _is_end(value, self._state.last):
            self._has_end = True
        self.waiting.append((value, value.permit.hold()))
        self._wake()

    def on_error(self, error: Exception) -> None:
        self.error = error
        self.on_completed()

    def on_completed(self) -> None:
        self.is_over = True
        self._wake()

    def _lose(self, value: Any) -> None:
        self.sink.count_drop("cancelled", _events_of(value))

    def _wake(self) -> None:
        if self._changed is None:
            return
        if running_loop() is self._loop:
            self._set()
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._set)

    def _set(self) -> None:
        changed, self._changed = self._changed, None
        if changed is not None and not changed.done():
            changed.set_result(None)

    # -- for the loop ---------------------------------------------------------------------

    async def changed(self) -> None:
        """Wait until a payload or the end has come since the caller looked."""
        changed = self._changed = self._loop.create_future()
        if self.is_over or (self.waiting and not self._discards):
            return  # it came from another thread meanwhile
        await changed

    async def write_to(self, connection: Connection) -> None:
        """Write all that waits as one, and give its credit back."""
        payloads, self.waiting = self.waiting, []
        has_end = self._has_end
        events, traces, pieces = 0, [], []
        error: Exception | None = None
        begun = time_ns()
        try:
            for value, _ in payloads:
                piece = formatted(value, "")
                pieces.append(piece)
                more = _events_of(value)
                events += more
                if (trace := trace_of(value)) is not None:
                    trace.size += len(piece)
                    traces.append((trace, more > 0))
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            self.sink.under_way = len(data)
            await connection.write(data, last=has_end)
        except BaseException as caught:
            error = caught if isinstance(caught, Exception) else _gone(connection)
            self.sink.failed(error, events, begun, traces)
            raise
        else:
            self.sink.wrote(len(data), events, len(pieces), begun, traces)
            self.has_written_end = has_end
            self.written = _number_of(payloads[-1][0]) or self.written
        finally:
            for _, permit in payloads:
                permit.release(error if permit.is_answered else None)

    def discard(self) -> None:
        """Let go of what waits, and of all that comes."""
        self._discards = True
        waiting, self.waiting = self.waiting, []
        for value, permit in waiting:
            self._lose(value)
            permit.release()


def _gone(connection: Connection) -> ReaderGone:
    outcome = connection.outcome or GONE
    return ReaderGone(outcome.why)


def _events_of(payload: Frame | StreamChunk) -> int:
    """Events that are written once this is: those of a cut payload with its last piece."""
    if isinstance(payload, StreamChunk):
        return payload.events if _is_last_piece(payload) else 0
    return payload.events


def _is_end(payload: Frame | StreamChunk, last: int) -> bool:
    """Whether a run that is over ends with it; what has no numbers is never put off."""
    if isinstance(payload, StreamChunk) and not _is_last_piece(payload):
        return False
    number = _number_of(payload)
    return not number or number >= last


def _number_of(payload: Frame | StreamChunk) -> int:
    """Return the last number that a reader has with it; 0 for none."""
    if isinstance(payload, Frame):
        return payload.last
    is_numbered = _is_last_piece(payload) and payload.event_id.isdecimal()
    return int(payload.event_id) if is_numbered else 0


def _is_last_piece(piece: StreamChunk) -> bool:
    return piece.chunk_index == piece.total_chunks - 1
