"""A reader of a stream that is kept in a log: one loop.

    log ──▶ prelude, if it has seen nothing ──▶ tail ──▶ gather ──▶ format ──▶ write ──▶ again
                                                           │          │
                       what came during the last write ────┘          └── shared: fan-out

A payload is asked for when the one before it has been written. So a slow reader costs no
memory: what it has not been sent is in the log, once, for all. It gets fewer and larger
events; a reader too slow even for that is closed, and may come back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, suppress
from time import time_ns
from typing import Final

from rx_agui import probe
from rx_agui.agui.known_state import KnownState
from rx_agui.agui.merge import MAX_EVENT_SIZE
from rx_agui.agui.unfinished import Unfinished
from rx_agui.asgi._connection import COMPLETED, Connection, Outcome, come_back, trailer
from rx_agui.asgi._failure import Refused, failure_of, run_error
from rx_agui.asgi._identity import Claim
from rx_agui.asgi._request import Receive, Request
from rx_agui.asgi._settings import SSESettings
from rx_agui.asgi._sink import Sink
from rx_agui.asgi.reader._cut import CompressAndCut
from rx_agui.asgi.reader._fan_out import LAGGING, Subscriber
from rx_agui.asgi.reader._resume import LIVE, ReplayDecision, decide_replay
from rx_agui.asgi.run._run import Run
from rx_agui.asgi.run._terminal import RunState
from rx_agui.asgi.run._window import Reader
from rx_agui.errors import StreamError, TrimmedError
from rx_agui.frame import Frame
from rx_agui.operators._batch_stage import join_frames
from rx_agui.operators._conflate import conflate_frame
from rx_agui.probe import OperatorCounters, PayloadTrace
from rx_agui.replay import ReplayLog, StreamKey
from rx_agui.sse import format_frame
from rx_agui.types import RawEvent

__all__ = ["LogReader", "answered", "gathered"]

_log = logging.getLogger("rx_agui")

#: Why a connection ends that was closed by us: its reader will be back in a moment.
_SENT_AWAY: Final = ("timeout", "server_shutdown")

#: Payloads and bytes that go together at most.
_PAYLOADS, _BYTES = 64, 256 * 1024

#: Seconds within which a payload counts as there already; and that one reader may keep
#: the loop.
_AT_ONCE, _SLICE = 0.0005, 0.001


async def answered(
    request: Request,
    source: object,
    log: ReplayLog,
    claim: Claim,
    settings: SSESettings,
) -> tuple[ReplayDecision, Run | None]:
    """Decide on the answer; if it is `live`, the run is under way."""
    decided = await decide_replay(request, claim, log)
    if decided.status != 200:
        return decided, None
    if decided.replay == LIVE:
        return decided, Run(source, log, decided.stream, claim, settings)
    assert decided.stream is not None
    return decided, Run.of(log, decided.stream)


class LogReader:
    """Serves one reader.

    Args:
        run: The producer, if it is in this process.
        subscriber: Its place among the readers of the same stream.
        resumes: Whether the client comes back by itself.
    """

    def __init__(
        self,
        decided: ReplayDecision,
        run: Run | None,
        log: ReplayLog,
        connection: Connection,
        settings: SSESettings,
        subscriber: Subscriber,
        *,
        resumes: bool,
    ) -> None:
        self._decided = decided
        self._run = run
        self._log = log
        self._connection = connection
        self._settings = settings
        self._subscriber = subscriber
        self._resumes = resumes
        stream = self._stream = decided.stream
        name = stream.name if stream else ""
        self.state = RunState(name, expose=settings.expose_errors)
        self._stem = f"{stream.stem}/" if stream else ""
        self._replay_to = 0 if decided.replay == LIVE else decided.last
        self._reader: tuple[Run, Reader] | None = None
        self._attach(run)
        self._sink = Sink()
        watch = probe.observe(f"{settings.name}.reader") if probe.listeners else None
        if watch is not None:
            self._sink.join(watch)
        if decided.replay in ("tail", "trimmed"):
            self._sink.resumptions = 1
        self._conflates_always = settings.conflate == "always"
        self._may_conflate = settings.conflate != "never"
        self._merging: tuple[OperatorCounters, KnownState] | None = None
        self._cut = CompressAndCut(watch) if settings.profile == "chunk" else None

    async def serve(
        self, receive: Receive, status: int, headers: list[tuple[bytes, bytes]]
    ) -> None:
        """Send the stream until it or the reader ends.

        Raises:
            Refused: The run failed before its first event.
        """
        connection, outcome = self._connection, None
        if self._decided.stream is not None:
            self._subscriber.join(self._decided.stream)
        try:
            outcome = await connection.serve(
                receive, status, headers, self._read, self._refusal
            )
            if outcome is COMPLETED and connection.state == "done":
                return
            self._report(outcome)
            await connection.finish(await self._last_bytes(outcome))
        finally:
            connection.leave()
            self._subscriber.leave()
            if self._cut is not None:
                self._cut.close()
            reason = "client_disconnect" if outcome is None else outcome.reason
            self._sink.end(reason)
            self._detach(returns=reason in _SENT_AWAY and self._resumes)

    # -- the loop ----------------------------------------------------------------------

    async def _read(self) -> None:
        """Write the payloads that this client still needs."""
        stream = self._stream = await self._named()
        if stream is None:
            await self._write_failure()
            return
        log, state = self._log, self.state
        after = self._decided.after
        wants_prelude = self._decided.replay in ("prelude", "trimmed")
        while True:
            if wants_prelude:
                prelude = await log.prelude(stream)
                after = prelude.last
                if prelude.events:
                    await self._send(prelude)
                del prelude  # which may be large, and the tail long
            tail = log.tail(stream, after)
            try:
                async with aclosing(gathered(tail, self._keeps_up)) as payloads:
                    async for frame in payloads:
                        after = frame.last
                        await self._send(frame)
                        if self._connection.outcome is not None:
                            return
                if not state.over:
                    raise _CutShort(f"the log has no end of it behind number {after}")
                return
            except TrimmedError:
                if after or wants_prelude:
                    raise  # within a run there is no way on without coming back
                wants_prelude = True  # it was promised everything, and has nothing yet

    async def _send(self, frame: Frame) -> None:
        """Observe the run's state, format, write, acknowledge."""
        state, sink, number = self.state, self._sink, frame.last
        fan_out = self._subscriber.group.fan_out
        if b'"RUN_' in frame.data if fan_out is None else fan_out.tells_of_run(frame):
            state.passes(frame)
        elif state.state == "new":
            state.on("event")
        if number <= self._replay_to:
            sink.replayed += frame.events
        trace = None
        if sink.watch is not None:
            frame.trace = trace = PayloadTrace(sink.watch, time_ns(), frame.events)
            trace.first, trace.last = frame.first, number
        if self._conflates_always or frame.trigger == LAGGING:
            self._conflate(frame)
        events = frame.events
        if self._cut is None:
            data, pieces = (
                (
                    format_frame(frame, self._stem)
                    if fan_out is None
                    else fan_out.format(frame, self._stem)
                ),
                1,
            )
        else:
            data, pieces = await self._cut(frame, self._stem)
        sink.taken += events
        sink.under_way = len(data)
        traces = []
        if trace is not None:
            trace.size = len(data)
            traces.append((trace, True))
        begun = time_ns()
        try:
            await self._connection.write(data, last=state.over)
        except BaseException as error:
            sink.failed(error, events, begun, traces)
            raise
        sink.wrote(len(data), events, pieces, begun, traces)
        state.last = number
        if self._reader is not None:
            self._reader[1].wrote(number)

    def _conflate(self, frame: Frame) -> None:
        """Merge the events of a payload; see `SSEResponse(conflate=)`."""
        if self._merging is None:
            self._merging = OperatorCounters("conflate"), KnownState(MAX_EVENT_SIZE)
            if self._sink.watch is not None:
                self._sink.watch.joined(self._merging[0])
        merged, known = self._merging
        if not self._conflates_always:
            known.forget()  # payloads passed since that were not looked into
        before, begun = frame.events, time_ns()
        if before == 1:
            known.tell(frame.data)
        else:
            keeps: RawEvent = "keep_last" if self._settings.raw == "keep" else "strip"
            conflate_frame(frame, raw_event=keeps, known=known)
        merged.taken += before
        merged.merged += before - frame.events
        merged.sent += frame.events
        if isinstance(frame.trace, PayloadTrace):
            ended = time_ns()
            merged.count("operator.time", ended - begun)
            frame.trace.step("conflate", begun, ended, merged=before - frame.events)

    def _keeps_up(self, frame: Frame) -> bool:
        """Whether the reader is to be sent this payload as it is."""
        if not self._may_conflate:
            return True
        return frame.last > self._replay_to and self._subscriber.keeps_up(frame)

    # -- the run -----------------------------------------------------------------------

    async def _named(self) -> StreamKey | None:
        """Return the stream, once there is something to read; None if never."""
        run, stream = self._run, self._decided.stream
        if run is None:
            return stream
        opened = run.opened
        stream = opened.result() if opened.done() else await asyncio.shield(opened)
        if stream is None:
            if run.state.refusal() is not None:
                return None
            stream = run.elsewhere  # of another run, which began before
            assert stream is not None
            self._detach()
            self._attach(Run.of(self._log, stream))
        if self._decided.stream is None:
            self._stem = f"{stream.stem}/"
            self._subscriber.join(stream)
            self.state.stream = stream.name
        return stream

    def _refusal(self) -> BaseException | None:
        return None if self._run is None else self._run.state.refusal()

    async def _write_failure(self) -> None:
        """Tell of a run that never began. It is in no log, and has no number."""
        error = self._refusal()
        assert error is not None
        if not self._connection.is_open:
            raise Refused(error)
        failure = failure_of(error, expose=self._settings.expose_errors)
        self.state.on("fail")
        await self._send(Frame(run_error(failure.message, failure.code)))

    def _attach(self, run: Run | None) -> None:
        """Hold back the run, if it is in this process."""
        if run is not None:
            reader = run.attach(self._decided.after)
            self._reader = run, reader
            self._connection.lag = reader.lag

    def _detach(self, *, returns: bool = False) -> None:
        if self._reader is not None:
            (run, reader), self._reader = self._reader, None
            run.detach(reader, returns=returns)

    async def _last_bytes(self, outcome: Outcome) -> bytes:
        if self._resumes:
            return come_back(self._settings.retry)
        has_end = outcome is COMPLETED or self.state.over
        return trailer(outcome, None if has_end else await self._closing())

    async def _closing(self) -> list[bytes]:
        """Return what closes the events that this reader has, by reading them once more.

        Few readers are sent away, and none pays for it before.
        """
        last, unfinished = self.state.last, Unfinished()
        if self._stream is None or not last:
            return []
        with suppress(Exception):  # it was trimmed, or the log is what failed
            async for frame in self._log.tail(self._stream, 0):
                for line, number in zip(
                    frame.lines(), frame.line_numbers(), strict=True
                ):
                    if number <= last:
                        unfinished.note(line)
                if frame.last >= last:
                    break
        return unfinished.closing()

    def _report(self, outcome: Outcome) -> None:
        level = logging.INFO if outcome.reason != "error" else logging.ERROR
        if outcome is not COMPLETED:
            _log.log(
                level, "%s: %s, at number %d", self.state, outcome.why, self.state.last
            )


class _CutShort(StreamError):
    """The stream was closed without the end of its run."""


# -- gathering ---------------------------------------------------------------------------


async def gathered(
    tail: AsyncIterator[Frame], keeps_up: Callable[[Frame], bool]
) -> AsyncGenerator[Frame, None]:
    """Yield the payloads of a tail; those that are there already as one.

    Requesting the next payload says that the previous one is written. Nothing is looked
    for ahead of a reader that keeps up: it waited for its next payload, or `keeps_up` says
    so. Others on the loop have a turn, however much there is and however fast it is
    written.

    Args:
        tail: If it has a `get_nowait()`, as MemoryLog's has, that is asked for what is
            there; else the clock tells, and a task tries to advance it.
        keeps_up: Whether a payload that was there is to be sent as it is.
    """
    clock = asyncio.get_running_loop().time
    take = getattr(tail, "get_nowait", None)
    ahead = _Ahead(tail)
    turn = clock()  # when others had theirs
    try:
        while True:
            if take is None:
                asked = clock()
                first = await ahead.next()
                was_there = clock() - asked <= _AT_ONCE
            elif not (was_there := (first := take()) is not None):
                try:  # not anext(tail, None), which takes a step more for each reader
                    first = await tail.__anext__()
                except StopAsyncIteration:
                    return
            if first is None:
                return
            if not was_there:
                turn = clock()
                yield first
                continue
            if clock() - turn > _SLICE:
                await asyncio.sleep(0)
                turn = clock()
            if keeps_up(first):
                yield first
                continue
            frames, size = [first], len(first.data)
            while len(frames) < _PAYLOADS and size < _BYTES:
                more = await ahead.look() if take is None else take()
                if more is None:
                    break
                frames.append(more)
                size += len(more.data)
            yield _joined(frames)
    finally:
        await ahead.aclose()


class _Ahead:
    """Advances a tail, also by a task that is given one turn of the loop."""

    def __init__(self, tail: AsyncIterator[Frame]) -> None:
        self._tail = tail
        self._task: asyncio.Task[Frame | None] | None = None

    async def next(self) -> Frame | None:
        """Return the next payload; None at the end."""
        if self._task is not None:
            task, self._task = self._task, None
            return await task
        return await anext(self._tail, None)

    async def look(self) -> Frame | None:
        """Return the next payload, if it is there already."""
        task = self._task = asyncio.ensure_future(self._advance())
        await asyncio.sleep(0)
        if not task.done() or task.exception() is not None or task.result() is None:
            return None  # what it raises is raised behind what has come
        self._task = None
        return task.result()

    async def _advance(self) -> Frame | None:
        return await anext(self._tail, None)

    async def aclose(self) -> None:
        """Close the tail, even while it is being advanced."""
        if self._task is not None:
            self._task.cancel()  # and wait: what is being advanced cannot be closed
            await asyncio.gather(self._task, return_exceptions=True)
        close = getattr(self._tail, "aclose", None)
        if close is not None:
            await close()


def _joined(frames: list[Frame]) -> Frame:
    if len(frames) == 1:
        return frames[0]
    payload = join_frames(frames)
    payload.trigger = LAGGING
    return payload
