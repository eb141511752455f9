"""The answer that a reader of a log gets: live, tail, prelude, trimmed, 204, 409 or 410.

    cursor      the log has                         answer
    none        nothing                             live       the run is started
    none        the stream                          prelude    what has been, condensed
    none        another request's run, not over     409        and no agent is run
    none        a tombstone                         410        how the run ended
    e/41        the stream, to 90                   tail       42, 43, ...
    e/41        the stream, from 60                 trimmed    the prelude: 42 to 59 are gone
    e/41        the stream, to 20                   trimmed    no such number was sent
    e/90        the stream, to 90, and its end      204        there is no more
    e/41        another epoch, or nothing           410        and no agent is run

A second RUN_STARTED within one run is refused by the stock client, so a reader inside a
run gets the bare tail, and a new one gets the prelude. A cursor without an epoch may be
of any run that had the name: 410.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from rx_agui.asgi._identity import Claim
from rx_agui.asgi._request import Cursor, Request
from rx_agui.errors import LogFullError
from rx_agui.replay import Conflict, Joined, Opened, ReplayLog, StreamKey

__all__ = ["LIVE", "ReplayDecision", "decide_replay", "requested_stream"]


@dataclass(frozen=True, slots=True)
class ReplayDecision:
    """How a request is answered.

    Attributes:
        status: 200, 204, 409, 410 or 503.
        replay: What the response header says: live, tail, prelude or trimmed.
        stream: The stream; None if it is not named yet.
        after: The number behind which to go on; 0 for a prelude.
        last: How far the stream has come; what is up to here is replayed.
        why: The body of a refusal.
    """

    status: int
    replay: str = ""
    stream: StreamKey | None = None
    after: int = 0
    last: int = 0
    why: str = ""


LIVE: Final = "live"

_UNKNOWN: Final = ReplayDecision(410, why="the stream is not known (any more)")


async def decide_replay(
    request: Request, claim: Claim, log: ReplayLog
) -> ReplayDecision:
    """Decide on the answer. If it is `live`, the log has opened the stream for it."""
    if request.cursor is not None:
        return await _behind(request.cursor, claim, log)
    if request.join:
        stream = await requested_stream(request, claim, log)
        if stream is None:
            why = "there is no such stream to join (any more)"
            return ReplayDecision(410, why=why)
        return await _from_the_start(stream, log)
    if claim.name is None:
        return ReplayDecision(200, LIVE)
    try:
        claimed = await _opened(log, claim.name, claim)
    except LogFullError as error:
        return ReplayDecision(503, why=str(error))
    match claimed:
        case Opened(stream):
            return ReplayDecision(200, LIVE, stream)
        case Joined(stream):
            return await _from_the_start(stream, log)
    why = "another request under this runId is still running: end or stop it first"
    return ReplayDecision(409, why=why)


async def requested_stream(
    request: Request, claim: Claim, log: ReplayLog
) -> StreamKey | None:
    """Find the stream that a request is about, without opening it."""
    cursor = request.cursor
    if cursor is not None:
        if cursor.stream is None or not cursor.epoch:
            return None
        if claim.name is not None and cursor.stream != claim.name:
            return None
        return await log.find(claim.key(cursor.stream, cursor.epoch))
    name = claim.name
    if name is None and request.join not in ("", "1"):
        name = request.join
    if name is None or claim.owner is None:  # names are guessed
        return None
    return await log.find(claim.key(name))


async def _behind(cursor: Cursor, claim: Claim, log: ReplayLog) -> ReplayDecision:
    """Return the answer to a reader that has a part of a run."""
    if cursor.stream is None:
        return ReplayDecision(410, why="the id names no stream")
    if claim.name is not None and cursor.stream != claim.name:
        return ReplayDecision(410, why="the id names another stream")
    if not cursor.epoch:
        return ReplayDecision(410, why="the id has no epoch: it may be another run's")
    owner = claim.owner if claim.is_told else None
    key = StreamKey(cursor.stream, cursor.epoch, claim.namespace, owner)
    stream = await log.find(key)
    position = None if stream is None else await log.position(stream)
    if stream is None or position is None:
        return _UNKNOWN
    if cursor.number == position.last and position.finished:
        return ReplayDecision(204, stream=stream)
    if position.first - 1 <= cursor.number <= position.last:
        return ReplayDecision(200, "tail", stream, cursor.number, position.last)
    if not position.has_prelude:
        return _gone(position.end)
    return ReplayDecision(200, "trimmed", stream, last=position.last)


async def _from_the_start(stream: StreamKey, log: ReplayLog) -> ReplayDecision:
    """Return the answer to a reader that has nothing of a known run."""
    position = await log.position(stream)
    if position is None:
        return _UNKNOWN
    if not position.has_prelude:
        return _gone(position.end)
    return ReplayDecision(200, "prelude", stream, last=position.last)


def _gone(end: str) -> ReplayDecision:
    if end:
        return ReplayDecision(
            410, why=f"the run ended by {end}, and its events are gone"
        )
    return ReplayDecision(410, why="the run is too large to be told from its beginning")


#: Names that are given back; the event loop alone would forget them.
_given_back: set[asyncio.Task[None]] = set()


async def _opened(
    log: ReplayLog, name: str, claim: Claim
) -> Opened | Joined | Conflict:
    """Claim a name; if the request is called off meanwhile, give it back."""
    opening = asyncio.ensure_future(
        log.open(
            name,
            namespace=claim.namespace,
            owner=claim.owner or "",
            asked=claim.asked,
        )
    )
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        giving_back = asyncio.ensure_future(_give_back(log, opening))
        _given_back.add(giving_back)
        giving_back.add_done_callback(_given_back.discard)
        raise


async def _give_back(
    log: ReplayLog, opening: asyncio.Future[Opened | Joined | Conflict]
) -> None:
    with suppress(Exception):  # there is no request left to tell
        claimed = await opening
        if isinstance(claimed, Opened):
            await log.forget(claimed.stream)
