"""What comes through, and when.

Clocks of two machines differ, so an event's lag is what it came later than the event
that came soonest: a way that holds everything back to the end shows as lags that grow
towards the first event.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from rx_agui.client._request import is_same_origin, require_httpx
from rx_agui.codecs.negotiation import decoder
from rx_agui.doctor._probe import MARK
from rx_agui.errors import PayloadError
from rx_agui.sse import Parser

__all__ = ["Measured", "listen"]

#: Bytes of a foreign stream to look at.
_ENOUGH = 4 * 1024 * 1024

#: Redirects to follow, and seconds between two looks at our own loop.
_REDIRECTS = 5
_TICK = 0.02


@dataclass(slots=True)
class Measured:
    """One answer, as it came.

    Attributes:
        status: Of the response; 0 if there was none.
        http: The version spoken to us.
        headers: Of the response, names in lower case.
        said: What the probe's first event tells; empty if it is none of ours.
        sent: For each event of the probe the time it was sent, in its seconds.
        came: For each event the time it came, in our seconds.
        pieces: When bytes came.
        first_byte: Seconds from asking to the first byte of the body.
        ended: Seconds from asking to the end; None if we stopped listening.
        is_whole: True if the probe's last event came.
        own_lag: Seconds that our own event loop was late, in 95 % of cases at most.
        away: Where it redirects to, if that is another origin; it is not asked.
        error: What broke it off.
    """

    status: int = 0
    http: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    said: dict[str, Any] = field(default_factory=dict)
    sent: list[float] = field(default_factory=list)
    came: list[float] = field(default_factory=list)
    pieces: list[float] = field(default_factory=list)
    first_byte: float | None = None
    ended: float | None = None
    is_whole: bool = False
    own_lag: float = 0.0
    away: str = ""
    error: str = ""

    @property
    def is_probe(self) -> bool:
        """Whether a probe of ours answered."""
        return bool(self.said) or MARK in self.headers

    @property
    def lags(self) -> list[float]:
        """Seconds each event came later than the one that came soonest."""
        ways = [came - sent for came, sent in zip(self.came, self.sent, strict=True)]
        return [way - min(ways) for way in ways]

    @property
    def lateness(self) -> float:
        """Seconds within which 95 % of the events came, less what is our own doing."""
        return max(0.0, _within(self.lags) - self.own_lag)

    @property
    def arrivals(self) -> int:
        """Moments at which events came. Two that come together are one."""
        if len(self.sent) < 2:
            return len(self.sent)
        apart = (self.sent[-1] - self.sent[0]) / (len(self.sent) - 1) / 4
        pauses = (b - a for a, b in zip(self.came, self.came[1:], strict=False))
        return 1 + sum(pause > apart for pause in pauses)

    @property
    def is_held(self) -> bool:
        """Whether events that were sent one by one came together."""
        return len(self.sent) > 2 and self.arrivals <= len(self.sent) / 2

    @property
    def longest_silence(self) -> float:
        """Seconds between two pieces, at most."""
        pauses = (b - a for a, b in zip(self.pieces, self.pieces[1:], strict=False))
        return max(pauses, default=0.0)


async def listen(
    client: Any,
    method: str,
    url: str,
    *,
    params: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    content: bytes | None = None,
    for_seconds: float | None = None,
) -> Measured:
    """Ask, and note what comes and when. Errors are findings here, and not raised.

    Redirects are followed within the origin alone.
    """
    httpx = require_httpx()
    measured = Measured()
    asked_at = time.monotonic()
    whole_url = httpx.URL(url).copy_merge_params(params or {})
    lags: list[float] = []
    watching = asyncio.create_task(_watch_loop(lags))
    try:
        async with asyncio.timeout(for_seconds) as limit:
            for _ in range(_REDIRECTS):
                request = client.build_request(
                    method, whole_url, headers=headers, content=content
                )
                response = await client.send(
                    request, stream=True, follow_redirects=False
                )
                try:
                    target = _redirect(response)
                    if target is None or not is_same_origin(whole_url, target):
                        measured.away = "" if target is None else str(target)
                        await _note(measured, response, asked_at)
                        break
                    whole_url = target
                finally:
                    await response.aclose()
        measured.ended = time.monotonic() - asked_at
    except TimeoutError as error:
        if not limit.expired():
            measured.error = str(error) or "timed out"
    except (httpx.TransportError, PayloadError) as error:
        measured.error = str(error) or type(error).__name__
        measured.ended = time.monotonic() - asked_at
    finally:
        watching.cancel()
        measured.own_lag = _within(lags)
    return measured


def _redirect(response: Any) -> Any:
    """Return where a response redirects to, as httpx.URL; None if it does not."""
    if response.status_code // 100 != 3 or "location" not in response.headers:
        return None
    return response.url.join(response.headers["location"])


async def _watch_loop(lags: list[float]) -> None:
    """Record how late this event loop wakes up, which would be blamed on the way."""
    while True:
        due = time.monotonic() + _TICK
        await asyncio.sleep(_TICK)
        lags.append(time.monotonic() - due)


def _within(lags: list[float]) -> float:
    """Return the lag that 95 % do not exceed; 0 for none."""
    return sorted(lags)[int(0.95 * (len(lags) - 1))] if lags else 0.0


async def _note(measured: Measured, response: Any, asked_at: float) -> None:
    measured.status = response.status_code
    measured.http = response.http_version
    measured.headers = {n.lower(): v for n, v in response.headers.items()}
    unpack = decoder(measured.headers.get("content-encoding", ""))
    parser = Parser()
    size = 0
    async for piece in response.aiter_raw():
        now = time.monotonic()
        measured.pieces.append(now)
        if measured.first_byte is None:
            measured.first_byte = now - asked_at
        size += len(piece)
        for unpacked in unpack(piece):
            for message in parser.feed(unpacked):
                _take(measured, message.data, now)
        if size > _ENOUGH:
            return


def _take(measured: Measured, data: bytes, now: float) -> None:
    try:
        event = orjson.loads(data)
        told = event["value"] if event["name"] == MARK else None
        number, sent = (told["n"], float(told["sent"])) if told else (0, 0.0)
    except (ValueError, KeyError, TypeError):
        return
    if not told:
        return
    if number == 0:
        measured.said = told
    if number == -1:
        measured.is_whole = True
    else:  # the last stands behind a silence, and would say nothing of the pace
        measured.sent.append(sent)
        measured.came.append(now)
