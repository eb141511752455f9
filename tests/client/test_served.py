"""Both ends are ours: the client reads an SSEResponse with a log, on a line that is cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import httpx
import pytest

from rx_agui.asgi import CONTINUE, SSEResponse
from rx_agui.client import Reconnect, connect
from rx_agui.errors import GoneError
from rx_agui.lint import lint
from rx_agui.replay import MemoryLog
from tests.support.cutting import cutting, random_cuts
from tests.support.logged import text_of, text_run
from tests.support.serving import served

EVENTS = text_run(60)

AT_ONCE = Reconnect(attempts=1000, base=0.001, longest=0.001)


class Served:
    """An agent's runs, one for each path, kept in a log; POST starts one."""

    def __init__(self, **settings: Any) -> None:
        self.log = MemoryLog()
        self.settings = settings
        self.runs_begun = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        response = SSEResponse(
            self.run,
            log=self.log,
            stream=scope["path"],
            on_disconnect=CONTINUE,
            status_grace=0.01,
            batch_timeout=0.002,
            retry=0.001,
            **self.settings,
        )
        await response(scope, receive, send)

    async def run(self) -> AsyncIterator[dict[str, Any]]:
        self.runs_begun += 1
        for event in EVENTS:
            await asyncio.sleep(0.0005)
            yield event


@pytest.mark.parametrize(
    ("profile", "accepts"),
    [
        ("agui", "identity"),
        ("agui", "gzip"),
        ("agui", "br, gzip"),
        ("chunk", "identity"),
    ],
)
def test_a_line_that_is_cut_anywhere_loses_and_repeats_nothing(
    profile: Any, accepts: str
) -> None:
    server = Served(profile=profile)
    chance = Random(accepts)
    sizes = iter(lambda: chance.randint(1, 900), None)
    cuts = random_cuts(chance.randint(0, 99), of=1000, up_to=1500)
    readings: list[list[dict[str, Any]]] = []
    with served(server) as url, cutting(url, cuts, sizes) as line:

        async def main() -> None:
            async with httpx.AsyncClient() as client:
                while line.cuts < 60:
                    events = connect(
                        f"{line.url}/run {len(readings)}/é",
                        json={},
                        client=client,
                        reconnect=AT_ONCE,
                        headers={"Accept-Encoding": accepts},
                    )
                    readings.append([event async for event in events])

        asyncio.run(main())

    assert line.cuts >= 60
    assert server.runs_begun == len(readings)
    for events in readings:
        assert text_of(events) == text_of(EVENTS)
        kinds = [e["type"] for e in events if e["type"] != "TEXT_MESSAGE_CONTENT"]
        assert kinds == [
            "RUN_STARTED",
            "TEXT_MESSAGE_START",
            "TEXT_MESSAGE_END",
            "RUN_FINISHED",
        ]


@pytest.mark.parametrize("conflate", ["never", "lagging"])
def test_who_comes_late_is_given_a_prelude_and_who_comes_back_the_tail(
    conflate: Any,
) -> None:
    with served(Served(conflate=conflate)) as url:

        async def main() -> None:
            async with connect(f"{url}/r", json={}).read() as first:
                taken = [await anext(first) for _ in range(20)]
                cursor = first.last_event_id
            late = [event async for event in connect(f"{url}/r", json={})]
            back = connect(f"{url}/r", json={}, last_event_id=cursor)
            taken += [event async for event in back]

            assert text_of(late) == text_of(taken) == text_of(EVENTS)
            if conflate == "never":
                assert taken == EVENTS
            end = f"{(cursor or '').rpartition('/')[0]}/{len(EVENTS)}"
            over = connect(f"{url}/r", json={}, last_event_id=end)
            assert [event async for event in over] == []

        asyncio.run(main())


@pytest.mark.parametrize("accepts", ["identity", "gzip", "deflate"])
def test_the_linter_has_nothing_to_say_of_our_own_response(accepts: str) -> None:
    with served(Served()) as url, httpx.Client() as client:
        for _ in ("live", "prelude"):
            headers = {"Accept-Encoding": accepts}
            with client.stream("POST", f"{url}/r", headers=headers) as response:
                body = b"".join(response.iter_raw())
            assert lint(body, response.headers) == []


def test_a_run_that_nobody_knows_any_more_is_gone() -> None:
    server = Served()
    with served(server) as url:

        async def main() -> None:
            reading = connect(f"{url}/r", json={}, last_event_id="%2Fr/7")
            with pytest.raises(GoneError):
                [event async for event in reading]

        asyncio.run(main())

    assert server.runs_begun == 0
