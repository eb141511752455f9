"""A run that is nobody's but this request's: no log, so nobody can come back to it.

    agent ──▶ flow_control ──▶ sequence ──▶ batch ──▶ ending ──▶ one reader

A reader who stops reading stops the agent, within the window. One who leaves cancels
it, unless the policy is to let it go on.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from math import inf
from typing import Any

from rx_agui.asgi._connection import COMPLETED, GONE, Connection, Outcome
from rx_agui.asgi._request import Receive
from rx_agui.asgi._settings import Settings
from rx_agui.asgi.reader._session import CloseReason, Session
from rx_agui.asgi.run._deferred import PipelineSpec
from rx_agui.asgi.run._source import Source, resolved
from rx_agui.asgi.run._terminal import RunState, ending
from rx_agui.engine import Operator
from rx_agui.operators import batch, chunk, compress, conflate, flow_control, sequence

__all__ = ["CLEANUP", "bare_chain", "outgoing", "serve_alone"]

_log = logging.getLogger("rx_agui")

#: Seconds an agent has to clean up, after its end or when it is cancelled.
CLEANUP = 10.0

#: Runs that go on without their request; the event loop alone would forget them.
_going_on: set[asyncio.Task[None]] = set()


def bare_chain(settings: Settings) -> tuple[Operator, ...]:
    """What bare events go through, up to where they are numbered and gathered."""
    return (
        flow_control(settings.window),
        sequence(),
        batch(settings.batch_size, settings.batch_timeout),
    )


def outgoing(settings: Settings) -> tuple[Operator, ...]:
    """What payloads go through, last, in the profile that was asked for."""
    return (compress(), chunk()) if settings.profile == "chunk" else ()


def _always_conflated(settings: Settings) -> tuple[Operator, ...]:
    # One reader, of the window at most, never lags far enough to be worth more.
    return (conflate(),) if settings.conflate == "always" else ()


async def serve_alone(
    source: Any,
    stream: str,
    connection: Connection,
    settings: Settings,
    receive: Receive,
    status: int,
    headers: list[tuple[bytes, bytes]],
) -> None:
    """Run the source for this one reader.

    Raises:
        Refused: It failed before its first event.
    """
    course = RunState(stream, expose=settings.expose_errors, numbered=True)
    policy = settings.without_readers(logged=False)
    witness = CloseReason()
    course.failing = partial(witness.says, "error")
    session = Session(
        connection, course, witness, settings, outlives_reader=policy.seconds > 0
    )
    run = _Run(source, course, session, settings)
    try:
        outcome = await session.begin(receive, status, headers)
        await session.say_goodbye(outcome)
    except asyncio.CancelledError:  # the server calls us off: the reader is gone to it
        connection.close(GONE)
        await run.ends(GONE, policy.seconds)
        raise
    except BaseException:
        await run.stop("error")
        raise
    finally:
        session.leave()
    await run.ends(outcome, policy.seconds)


class _Run:
    """The source at work."""

    def __init__(
        self, source: Any, course: RunState, session: Session, settings: Settings
    ) -> None:
        self._source = source
        self._course = course
        self._session = session
        self._chain = PipelineSpec(
            settings.name,
            session.witness,
            bare_chain(settings),
            ending(course),
            (*_always_conflated(settings), *outgoing(settings)),
        )
        self._feed: Source | None = None
        self._starting = asyncio.ensure_future(self._start())

    async def _start(self) -> None:
        writer = self._session.writer
        try:
            self._feed = Source(await resolved(self._source), self._chain)
            self._feed.subscribe(writer)
        except Exception as error:
            writer.on_next(self._course.fails(error))
            writer.on_completed()

    async def ends(self, outcome: Outcome, grace: float) -> None:
        """The connection has ended. What becomes of the run?"""
        course = self._course
        if outcome is COMPLETED:
            try:
                rests = await self._comes_to_rest(CLEANUP)
            except asyncio.CancelledError:  # what belongs to the request is gone
                await self.stop("completed")
                raise
            if not rests:
                _log.warning(
                    "%s: its agent is still at work %g s after its end, number %d, and "
                    "is cancelled",
                    course,
                    CLEANUP,
                    course.last,
                )
                await self.stop("completed")
            return
        _log.info("%s: %s, at number %d", course, outcome.why, course.last)
        if outcome.reason != "server_shutdown" and grace > 0:
            self._session.is_alone = True
            going_on = asyncio.ensure_future(self._goes_on(grace))
            _going_on.add(going_on)
            going_on.add_done_callback(_going_on.discard)
            return
        await self.stop(outcome.reason)

    async def _goes_on(self, grace: float) -> None:
        if not await self._comes_to_rest(grace):
            _log.info(
                "%s: nobody has read it for %g s; it is cancelled at number %d",
                self._course,
                grace,
                self._course.last,
            )
        await self.stop("client_disconnect")

    async def _comes_to_rest(self, seconds: float) -> bool:
        """Whether the source ends by itself in so many seconds."""
        timeout = None if seconds == inf else seconds
        return not (await asyncio.wait({self._session.written}, timeout=timeout))[1]

    async def stop(self, reason: str) -> None:
        """Cancel it, and wait until it has cleaned up."""
        self._session.witness.says(reason)
        self._starting.cancel()
        feed = self._feed
        if feed is None:
            return
        self._course.over = True
        feed.dispose()
        self._session.writer.disposed()
        try:
            async with asyncio.timeout(CLEANUP):
                await feed.closed.wait()
        except TimeoutError:
            _log.warning(
                "%s: its agent was cancelled %g s ago and is still at work",
                self._course,
                CLEANUP,
            )
