"""The line is cut 1,000 times, anywhere: nothing is lost, and nothing comes twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import httpx
import pytest

from rx_agui import flow_control, unbatch
from rx_agui.client import Reconnect, connect
from tests.support.cutting import Cutting, cutting, random_cuts
from tests.support.logged import Logged, text_of, text_run
from tests.support.serving import served

EVENTS = text_run(60)

#: Comes back at once, and as often as it takes.
AT_ONCE = Reconnect(attempts=1000, base=0.001, longest=0.001)

#: Each wire, and bytes within which to cut it: a few times in a run.
UP_TO = {
    ("agui", "identity"): 3000,
    ("agui", "gzip"): 1200,
    ("agui", "br"): 1200,
    ("agui", "zstd"): 3000,
    ("chunk", "identity"): 5000,
}
WIRES = list(UP_TO)

CUTS = 1000 // len(WIRES)


@pytest.mark.parametrize(("profile", "encoding"), WIRES)
@pytest.mark.parametrize("reset", [True, False], ids=["reset", "closed"])
def test_a_line_that_is_cut_anywhere_loses_and_repeats_nothing(
    profile: str, encoding: str, reset: bool
) -> None:
    server = Logged(EVENTS)
    seed = WIRES.index((profile, encoding)) * 2 + reset
    cuts = random_cuts(seed, of=10 * CUTS, up_to=UP_TO[profile, encoding])
    pieces = Random(seed)
    sizes = iter(lambda: pieces.randint(1, 900), None)
    with served(server) as url, cutting(url, cuts, sizes, reset=reset) as line:
        query = f"?profile={profile}&encoding={encoding}"
        readings = asyncio.run(_read_until_cut(line, query, CUTS // 2))

    assert line.cuts >= CUTS // 2
    assert server.runs_begun == len(readings)
    for events, preludes in readings:
        assert text_of(events) == text_of(EVENTS)
        if not preludes:
            assert events == EVENTS
        else:  # where it was cut before the first id, a run may begin with a prelude
            kinds = [event["type"] for event in events]
            assert [kind for kind in kinds if "CONTENT" not in kind] == [
                event["type"] for event in EVENTS if "delta" not in event
            ]
            assert events[-1] == EVENTS[-1]


async def _read_until_cut(
    line: Cutting, query: str, cuts: int
) -> list[tuple[list[dict[str, Any]], int]]:
    """Read one run after the other; the events of each, and how often a prelude came."""
    readings: list[tuple[list[dict[str, Any]], int]] = []
    async with httpx.AsyncClient() as client:
        while line.cuts < cuts:
            told: list[Any] = []
            events = connect(
                f"{line.url}/run {len(readings)}/é{query}",
                json={},
                client=client,
                reconnect=AT_ONCE,
                watch=told.append,
            )
            if len(readings) % 2:  # every second one by way of a pipeline
                events = _through_a_pipeline(events)
            got = [event async for event in events]
            preludes = [t for t in told if getattr(t, "replay", "") == "prelude"]
            readings.append((got, len(preludes)))
    return readings


def _through_a_pipeline(events: Any) -> Any:
    queue: asyncio.Queue[Any] = asyncio.Queue()
    end = object()

    async def read() -> AsyncIterator[Any]:
        with events.pipe(flow_control(4), unbatch()).subscribe(
            queue.put_nowait, queue.put_nowait, lambda: queue.put_nowait(end)
        ):
            while (event := await queue.get()) is not end:
                if isinstance(event, Exception):
                    raise event
                yield event

    return read()


def test_the_cuts_fall_into_the_prelude_too() -> None:
    """A reader who never gets further than the prelude is given it until it is whole."""
    server = Logged(EVENTS)
    whole = 200 + 2 * len(text_of(EVENTS).encode())
    cuts = [0, *range(250, whole, 50)]
    with served(server) as url, cutting(url, cuts) as line:

        async def main() -> list[dict[str, Any]]:
            server.known["/run"] = len(EVENTS) - 1
            events = connect(f"{line.url}/run", json={}, reconnect=AT_ONCE)
            return [event async for event in events]

        got = asyncio.run(main())

    assert line.cuts > 5
    assert server.runs_begun == 0
    assert text_of(got) == text_of(EVENTS)
    assert [event["type"] for event in got] == [
        "RUN_STARTED",
        "TEXT_MESSAGE_START",
        "TEXT_MESSAGE_CONTENT",
        "TEXT_MESSAGE_END",
        "RUN_FINISHED",
    ]
    assert {*server.asked} <= {None, "%2Frun/63"}
