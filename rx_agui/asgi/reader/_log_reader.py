"""A reader of a stream that is kept in a log.

    log ──▶ prelude, if it has seen nothing ──▶ tail ──▶ one payload at a time ──▶ connection
                                                  │
                            what came meanwhile ──┘ goes together, and conflated

A payload is asked for when the one before it has been written. So a slow reader costs no
memory: what it has not been sent is in the log, once, for all. It gets fewer and larger
events; who is too slow even for that is closed, and may come back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Final

from reactivex.abc import DisposableBase

from rx_agui.asgi._connection import Connection
from rx_agui.asgi._failure import failure_of, run_error
from rx_agui.asgi._request import Receive, Request, event_id_stem
from rx_agui.asgi._settings import Settings
from rx_agui.asgi.reader._fan_out import Subscriber
from rx_agui.asgi.reader._lagging import conflate_for, gathered
from rx_agui.asgi.reader._resume import LIVE, ReplayDecision, decide_replay
from rx_agui.asgi.reader._session import CloseReason, Session
from rx_agui.asgi.run._request_run import outgoing
from rx_agui.asgi.run._run import Run
from rx_agui.asgi.run._terminal import RunState
from rx_agui.asgi.run._window import Reader
from rx_agui.errors import StreamError, TrimmedError
from rx_agui.flow._pull import FromAsyncIterable
from rx_agui.frame import Frame
from rx_agui.operators import flow_control
from rx_agui.pipeline import pipeline
from rx_agui.replay import ReplayLog

__all__ = ["LogReader", "answered"]

_log = logging.getLogger("rx_agui")

#: Why a connection ends that was closed by us: its reader will be back in a moment.
_SENT_AWAY: Final = ("timeout", "server_shutdown")


async def answered(
    request: Request,
    source: Any,
    log: ReplayLog,
    stream: str | None,
    settings: Settings,
) -> tuple[ReplayDecision, Run | None]:
    """Decide on the answer; if it is `live`, the run is under way."""
    decided = await decide_replay(request, stream, log)
    if decided.status != 200:
        return decided, None
    if decided.replay == LIVE:
        return decided, Run(source, log, decided.stream, settings)
    assert decided.stream is not None
    return decided, Run.of(log, decided.stream)


class LogReader:
    """Serves one reader.

    Args:
        run: The producer, if it is in this process.
        seat: Its place among those who read the same stream.
    """

    def __init__(
        self,
        decide_replay: ReplayDecision,
        run: Run | None,
        log: ReplayLog,
        connection: Connection,
        settings: Settings,
        seat: Subscriber,
        *,
        resumes: bool,
    ) -> None:
        self._answer = decide_replay
        self._seat = seat
        self._run = run
        self._log = log
        self._settings = settings
        name = decide_replay.stream or ""
        self.course = RunState(name, expose=settings.expose_errors, numbered=True)
        self._witness = CloseReason()
        self.session = Session(
            connection,
            self.course,
            self._witness,
            settings,
            stem=event_id_stem(name),
            seat=seat,
            resumes=resumes,
            refusal=None if run is None else run.course.refusal,
        )
        self._connection = connection
        self._reader: tuple[Run, Reader] | None = None
        self._reads(run)
        self._counts_replay(decide_replay)

    async def serve(
        self, receive: Receive, status: int, headers: list[tuple[bytes, bytes]]
    ) -> None:
        """Until the stream or the reader ends.

        Raises:
            Refused: The run failed before its first event.
        """
        session = self.session
        if self._answer.stream is not None:
            self._seat.sits_at(self._answer.stream)
        subscription = self._subscribe()
        outcome = None
        try:
            outcome = await session.begin(receive, status, headers)
            self._says_why(outcome.reason, outcome.why)
            await session.say_goodbye(outcome)
        finally:
            session.leave()
            self._seat.leave()
            subscription.dispose()
            session.writer.disposed()
            away = outcome is not None and outcome.reason in _SENT_AWAY
            self._leaves(returns=away and session.resumes)

    def _subscribe(self) -> DisposableBase:
        settings = self._settings
        return (
            FromAsyncIterable(self._payloads(), gives_way=True)  # see gathered
            .pipe(
                pipeline(
                    f"{settings.name}.reader",
                    flow_control(1),
                    *conflate_for(settings),
                    *outgoing(settings),
                    telemetry=self._witness,
                )
            )
            .subscribe(self.session.writer)
        )

    async def _payloads(self) -> AsyncIterator[Frame]:
        """What this reader has not seen. Who asks for the next has written the last."""
        stream = await self._stream()
        if stream is None:
            yield self._never_began()
            return
        after = self._answer.after
        wants_prelude = self._answer.replay in ("prelude", "trimmed")
        while True:
            if wants_prelude:
                prelude = await self._log.prelude(stream)
                after = prelude.last
                if prelude.events:
                    self._sends(prelude)
                    yield prelude
                    self._has_sent(after)
                del prelude  # which may be large, and the tail long
            tail = self._log.tail(stream, after)
            try:
                async with aclosing(gathered(tail, self._keeps_up)) as payloads:
                    async for frame in payloads:
                        self._sends(frame)
                        after = frame.last
                        yield frame
                        self._has_sent(after)
                if not self.course.over:
                    raise _CutShort(f"the log has no end of it behind number {after}")
                return
            except TrimmedError:
                if after or wants_prelude:
                    raise  # within a run there is no way on without coming back
                wants_prelude = True  # it was promised everything, and has nothing yet

    def _keeps_up(self, frame: Frame) -> bool:
        """Whether the reader is to be sent this payload as it is."""
        if self._settings.conflate == "never":
            return True
        return frame.last > self._replay_to and self._seat.keeps_up(frame)

    def _sends(self, frame: Frame) -> None:
        if self._seat.tells_of_run(frame):
            self.course.passes(frame)
        self.course.began = True
        if frame.last <= self._replay_to:
            self.session.writer.counts("session.replayed.events", frame.events)

    def _has_sent(self, number: int) -> None:
        self.course.last = number
        if self._reader is not None:
            self._reader[1].wrote(number)

    async def _stream(self) -> str | None:
        """Its name, once there is something to read; None: there never will be."""
        run = self._run
        if run is None:
            assert self._answer.stream is not None
            return self._answer.stream
        stream = await asyncio.shield(run.opened)
        if stream is None:
            if run.course.refusal() is not None:
                return None
            stream = run.course.stream  # which somebody else has begun to fill
            self._leaves()
            self._reads(Run.of(self._log, stream))
        if self._answer.stream is None:
            self.session.writer.is_named(event_id_stem(stream))
            self._seat.sits_at(stream)
            self.course.stream = stream
        return stream

    def _never_began(self) -> Frame:
        """What to tell whose head has gone already. It is in no log, and has no number."""
        assert self._run is not None
        self.course.over = True
        expose = self._settings.expose_errors
        failure = failure_of(self._run.course.error, expose=expose)
        return Frame(run_error(failure.message, failure.code))

    def _reads(self, run: Run | None) -> None:
        """Hold back the run, if it is in this process."""
        if run is not None:
            reader = run.attach(self._answer.after)
            self._reader = run, reader
            self._connection.lag = reader.lag

    def _leaves(self, *, returns: bool = False) -> None:
        if self._reader is not None:
            (run, reader), self._reader = self._reader, None
            run.leaves(reader, returns=returns)

    def _counts_replay(self, decide_replay: ReplayDecision) -> None:
        self._replay_to = decide_replay.last if decide_replay.replay != LIVE else 0
        if decide_replay.replay in ("tail", "trimmed"):
            self.session.writer.counts("session.resumptions", 1)

    def _says_why(self, reason: str, why: str) -> None:
        self._witness.says(reason)
        level = logging.INFO if reason != "error" else logging.ERROR
        if reason != "completed":
            _log.log(level, "%s: %s, at number %d", self.course, why, self.course.last)


class _CutShort(StreamError):
    """Whoever fills the stream closed it without the end of its run."""
