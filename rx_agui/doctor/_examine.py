"""From what came through to what is in the way, and what to type.

pace, protected    ─┐
pace, bare          ├─▶ Diagnosis: seen, cause, remedy
pace, gzip          │
silence, kept alive │
silence            ─┘
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rx_agui.client._request import require_httpx
from rx_agui.doctor._diagnose import (
    Diagnosis,
    pace,
    pace_in_words,
    request_headers,
    response_headers,
    silence_of,
)
from rx_agui.doctor._measure import Measured, listen
from rx_agui.errors import RefusedError, TransportError, require_positive
from rx_agui.lint._headers import check_headers

__all__ = ["Report", "examine"]

_EVENTS = 15

#: What we ask with, to see whether it arrives.
_ASKED = {
    "accept": "text/event-stream;resume=1, text/event-stream",
    "accept-encoding": "gzip",
    "last-event-id": "probe/1",
    "cache-control": "no-store",
}


@dataclass(frozen=True, slots=True)
class Report:
    """What was measured, and what it means.

    Attributes:
        url: Where to.
        through: What is known of the way.
        facts: By what was asked, what came.
        diagnoses: Harm first.
        is_probe: Whether a probe answered. If not, only the outside could be seen.
    """

    url: str
    through: str
    facts: dict[str, str]
    diagnoses: list[Diagnosis]
    is_probe: bool

    def __str__(self) -> str:
        lines = [self.url, f"  {self.through}", ""]
        width = max((len(name) for name in self.facts), default=0)
        lines += [f"  {name:{width}}  {fact}" for name, fact in self.facts.items()]
        for number, one in enumerate(self.diagnoses, 1):
            mark = "" if one.is_harm else " (good to know)"
            lines += [
                "",
                f"{number}. {one.name}{mark}: {one.seen}",
                f"   cause: {one.cause}",
                f"   do:    {one.remedy}",
            ]
        if not any(one.is_harm for one in self.diagnoses):
            lines += ["", "Nothing is in the way of a stream, as far as can be seen."]
        return "\n".join(lines)


async def examine(
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    silence: float = 65.0,
    keep_alive: float = 15.0,
    interval: float = 0.1,
    method: str = "GET",
    content: bytes | None = None,
    client: Any = None,
) -> Report:
    """Measure the way to `url`, through whatever proxies lie between.

    Args:
        url: Where `rx_agui.doctor.probe` is mounted. Of any other stream, what can be
            seen from outside is told.
        headers: To ask with, such as an Authorization.
        silence: Seconds of silence to try. Most proxies give up at 60.
        keep_alive: Seconds between keep-alives in the second silence.
        interval: Seconds between events.
        method, content: For a stream that is not the probe.
        client: An httpx.AsyncClient of yours.

    Raises:
        TransportError: Nothing answers there. Refused: it does, with an error.
        ConfigError: A setting makes no sense.
        MissingExtraError: httpx is not installed.
    """
    require_positive(silence=silence, keep_alive=keep_alive, interval=interval)
    httpx = require_httpx()
    own = client or httpx.AsyncClient(timeout=httpx.Timeout(None, connect=10.0))
    asked = {**_ASKED, **{n.lower(): v for n, v in (headers or {}).items()}}
    try:

        async def ask(params: Mapping[str, float], encoding: str = "") -> Measured:
            sent = asked | ({"accept-encoding": encoding} if encoding else {})
            return await listen(
                own, method, url, params=params, headers=sent, content=content
            )

        first = await listen(
            own,
            method,
            url,
            params={"events": _EVENTS, "interval": interval},
            headers=asked,
            content=content,
            for_seconds=max(silence, _EVENTS * interval * 3),
        )
        if first.status == 0:
            raise TransportError(f"{url}: {first.error or 'no answer'}")
        if first.away:
            why = f"it redirects to {first.away}, another origin: ask there if you mean it"
            raise RefusedError(url, first.status, why)
        if first.status != 200:
            raise RefusedError(url, first.status, "the doctor sees streams alone")
        if not first.is_probe:
            return _from_outside(url, first)
        steady = {"events": _EVENTS, "interval": interval}
        quiet = {"events": 1, "silence": silence}
        bare, packed, plain, silent, kept = await asyncio.gather(
            ask({**steady, "bare": 1}),
            ask({**steady, "gzip": 1}),
            ask(steady, "identity"),
            ask(quiet),
            ask({**quiet, "keep_alive": min(keep_alive, silence / 2)}),
        )
    finally:
        if own is not client:
            await own.aclose()
    found = [
        *pace(first, bare, packed, plain),
        *silence_of(silent, kept, min(keep_alive, silence / 2)),
        *request_headers(first, asked),
        *response_headers(first),
    ]
    found.sort(key=lambda one: not one.is_harm)
    facts = {
        "events": pace_in_words(first),
        "without protection": pace_in_words(bare),
        "compressed by server": pace_in_words(packed),
        "without gzip": pace_in_words(plain),
        "silence": _silence_of(silent),
        "kept alive": _silence_of(kept),
    }
    return Report(url, _through(first), facts, found, is_probe=True)


def _from_outside(url: str, first: Measured) -> Report:
    """Any stream: what its headers say, and how it came."""
    diagnoses = [
        Diagnosis(
            one.rule,
            one.severity == "fatal" or one.rule == "content-type",
            one.seen,
            one.effect,
            one.instead,
        )
        for one in check_headers(first.headers)
    ]
    pauses = f"longest silence {first.longest_silence:.2f} s"
    facts = {"stream": f"{len(first.pieces)} pieces, {pauses}"}
    if first.first_byte is not None:
        facts["first byte"] = f"after {first.first_byte:.2f} s"
    if first.ended is not None:
        how = f" ({first.error})" if first.error else ""
        facts["end"] = f"after {first.ended:.2f} s{how}"
    together = len(first.pieces) == 1 and (first.ended or 0.0) > 1.0
    if together:
        diagnoses.insert(
            0,
            Diagnosis(
                "all-at-once",
                True,
                f"the whole came in one piece after {first.first_byte or 0.0:.1f} s",
                "it was all written at the end, or something held it back until then",
                "mount rx_agui.doctor.probe beside it, and ask the doctor again",
            ),
        )
    facts["probe"] = (
        "none: mount rx_agui.doctor.probe to have lags and time-outs measured"
    )
    return Report(url, _through(first), facts, diagnoses, is_probe=False)


def _through(first: Measured) -> str:
    said = [first.http]
    server, via = first.headers.get("server"), first.headers.get("via")
    if server:
        said.append(f"by {server}")
    if via:
        said.append(f"via {via}")
    if first.said:
        said.append(f"the server is asked in HTTP/{first.said.get('http')}")
    return ", ".join(said)


def _silence_of(measured: Measured) -> str:
    if measured.is_whole:
        return f"lived through {measured.ended or 0.0:.1f} s"
    why = f" ({measured.error})" if measured.error else ""
    return f"CUT after {measured.ended or 0.0:.1f} s{why}"
