"""Which answer a reader of a log gets: live, tail, prelude, trimmed, 204 or 410.

    cursor    the log has                         answer
    none      nothing                             live       the run is started
    none      the stream                          prelude    what has been, condensed
    41        the stream, to 90                   tail       42, 43, ...
    41        the stream, from 60                 trimmed    the prelude: 42 to 59 are gone
    41        the stream, to 20                   trimmed    another run of the same name
    90        the stream, to 90, and its end      204        there is no more
    41        nothing, or another was named       410        and no agent is run

A second RUN_STARTED within one run is refused by the stock client, so who is inside a
run gets the bare tail, and who has seen nothing gets the prelude.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from rx_agui.asgi._request import Request
from rx_agui.replay import ReplayLog

__all__ = ["LIVE", "ReplayDecision", "decide_replay"]


@dataclass(frozen=True, slots=True)
class ReplayDecision:
    """How a request is answered.

    Attributes:
        status: 200, 204 or 410.
        replay: What the response header says: live, tail, prelude or trimmed.
        stream: Of which stream; None: of one that is not named yet.
        after: Behind which number; of a prelude nothing.
        last: How far the stream has come; what is up to here is replayed.
        why: Of a 410, for whoever reads it.
    """

    status: int
    replay: str = ""
    stream: str | None = None
    after: int = 0
    last: int = 0
    why: str = ""


LIVE: Final = "live"


async def decide_replay(
    request: Request, stream: str | None, log: ReplayLog
) -> ReplayDecision:
    """Which answer a request gets. If it is `live`, the log has opened the stream for it.

    Args:
        stream: As the application names it; None if the run names itself.
    """
    cursor = request.cursor
    if cursor is None:
        return await _first(request, stream, log)
    if cursor.stream is None:
        return ReplayDecision(410, why="the id names no stream")
    if stream is not None and cursor.stream != stream:
        return ReplayDecision(410, why="the id names another stream")
    position = await log.position(cursor.stream)
    if position is None:
        return ReplayDecision(410, why="the stream is not known (any more)")
    if cursor.number == position.last and position.finished:
        return ReplayDecision(204, stream=cursor.stream)
    within = position.first - 1 <= cursor.number <= position.last
    how = "tail" if within else "trimmed"
    return ReplayDecision(200, how, cursor.stream, cursor.number, position.last)


async def _first(
    request: Request, stream: str | None, log: ReplayLog
) -> ReplayDecision:
    """The answer to who has seen nothing."""
    joins = bool(request.join)
    if stream is None and request.join not in ("", "1"):
        stream = request.join
    if stream is not None:
        position = await log.position(stream)
        if position is not None:
            return ReplayDecision(200, "prelude", stream, last=position.last)
    if joins:
        return ReplayDecision(410, why="there is no such stream to join (any more)")
    if stream is not None and not await _opened(log, stream):
        return ReplayDecision(200, "prelude", stream)  # somebody was faster by a moment
    return ReplayDecision(200, LIVE, stream)


#: Names that are given back; the event loop alone would forget them.
_given_back: set[asyncio.Task[None]] = set()


async def _opened(log: ReplayLog, stream: str) -> bool:
    """Claim a name. Called off meanwhile, we give it back: nobody would ever fill it."""
    opening = asyncio.ensure_future(log.open(stream))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        giving_back = asyncio.ensure_future(_give_back(log, stream, opening))
        _given_back.add(giving_back)
        giving_back.add_done_callback(_given_back.discard)
        raise


async def _give_back(
    log: ReplayLog, stream: str, opening: asyncio.Future[bool]
) -> None:
    with suppress(Exception):  # there is nobody to tell
        if await opening:
            await log.forget(stream)
