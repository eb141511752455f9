"""The line is cut wherever it may be, and an unmodified AG-UI client does not notice."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rx_agui.asgi import CONTINUE, SSEResponse
from rx_agui.replay import MemoryLog
from rx_agui.testing import simulated_run
from tests.support.cutting import cutting, random_cuts
from tests.support.remembering import Remembering
from tests.support.serving import served

Node = Callable[..., str]
Event = dict[str, Any]

#: Cuts of each wire, for each client. RX_AGUI_CUTS=250 takes two minutes.
CUTS = int(os.environ.get("RX_AGUI_CUTS", "90"))


def sent(name: str) -> list[Event]:
    """What the agent says in a run: two messages at the same time."""
    return list(simulated_run(40, run_id=name, messages=2))


class Ours:
    """An application as one writes it, which counts how often it is asked for a run."""

    def __init__(self, **settings: Any) -> None:
        self.begun: list[str] = []
        self._settings = {"log": MemoryLog()} | settings
        self.app = Starlette(routes=[Route("/", self.run, methods=["POST"])])

    async def run(self, request: Request) -> Response:
        name = (await request.json())["runId"]

        async def agent() -> AsyncIterator[Event]:
            self.begun.append(name)
            for event in sent(name):
                await asyncio.sleep(0.0005)
                yield event

        stream = {"stream": name} if self._settings["log"] else {}
        return SSEResponse(
            agent,
            on_disconnect=CONTINUE,
            batch_timeout=0.005,
            retry=0.001,
            **stream,
            **self._settings,
        )


def read(
    node: Node, client: str, url: str, names: list[str], **options: Any
) -> list[dict[str, Any]]:
    """What unmodified clients make of the runs."""
    asked = json.dumps(options)
    said = node("cut_runs.mjs", client, url, asked, read="\n".join(names)).split("\n")
    assert said[-2] == "alive"
    return [json.loads(line) for line in said[:-2]]


def reduced(node: Node, client: str, names: list[str]) -> dict[str, Any]:
    """What the client makes of the events themselves, without a network."""
    streams = "\n".join(json.dumps(sent(name)) for name in names)
    made = node("reduce.mjs", client, read=streams).splitlines()
    return dict(zip(names, map(json.loads, made), strict=True))


def read_over_cuts(
    node: Node,
    client: str,
    app: Any,
    places: list[int],
    *,
    reset: bool,
    **options: Any,
) -> list[dict[str, Any]]:
    """The runs, of which each ended with the messages and the state that were sent."""
    names = [f"run-{number}" for number in range(len(places) // 3)]
    sizes = [1, 3, 700, 65536] * 100_000
    with served(app) as server, cutting(server, places, sizes, reset=reset) as line:
        runs = read(node, client, line.url, names, **options)

    assert line.cuts == len(places)
    assert [run["error"] for run in runs] == [None] * len(names)
    assert {run["last"]["state"] for run in runs} == {"done"}
    expected = reduced(node, client, names)
    for run in runs:
        as_sent = expected[run["runId"]]
        assert run["messages"] == as_sent["messages"]
        assert run["state"] == as_sent["state"]
    return runs


def assert_events_came_as_they_were_sent(runs: list[dict[str, Any]]) -> None:
    # A reader that was cut off before the first id gets the same in other events; how
    # many those are is a matter of timing.
    in_full = [run for run in runs if "prelude" not in run["answers"]]
    assert in_full
    for run in in_full:
        assert run["events"] == sent(run["runId"])


@pytest.mark.parametrize(
    ("reset", "up_to", "settings"),
    [
        (True, 2500, {"codings": []}),
        (False, 2500, {"codings": []}),
        (True, 1500, {"profile": "chunk", "codings": []}),
        (False, 1500, {"codings": ["gzip"]}),
    ],
    ids=["reset", "closed", "chunks", "gzip"],
)
def test_cuts_anywhere_lose_and_repeat_nothing(
    node: Node, ag_ui_client: str, reset: bool, up_to: int, settings: dict[str, Any]
) -> None:
    ours = Ours(conflate="never", **settings)
    cuts = random_cuts(3, of=CUTS, up_to=up_to)

    runs = read_over_cuts(node, ag_ui_client, ours.app, cuts, reset=reset)

    assert_events_came_as_they_were_sent(runs)
    # No agent ran twice, however often its run was asked for.
    assert sorted(ours.begun) == sorted(run["runId"] for run in runs)


def test_conflated_messages_that_interleave_come_out_character_for_character(
    node: Node, ag_ui_client: str
) -> None:
    ours = Ours(conflate="always", codings=[])
    cuts = random_cuts(3, of=CUTS, up_to=2500)  # a prelude must come through in one

    runs = read_over_cuts(node, ag_ui_client, ours.app, cuts, reset=True)

    events = sum(len(run["events"]) for run in runs)
    assert events < 0.95 * sum(len(sent(run["runId"])) for run in runs)


def test_another_server_that_follows_the_wire_is_resumed_as_well(
    node: Node, ag_ui_client: str
) -> None:
    app = Remembering(sent)
    cuts = random_cuts(3, of=CUTS, up_to=3000)

    runs = read_over_cuts(node, ag_ui_client, app, cuts, reset=False)

    assert_events_came_as_they_were_sent(runs)
    assert len(app.runs) == len(runs)


@pytest.mark.parametrize(
    ("up_to", "settings"),
    [(2500, {"codings": []}), (1500, {"profile": "chunk", "codings": []})],
    ids=["frames", "chunks"],
)
def test_the_module_of_an_application_that_was_not_updated_resumes_as_well(
    node: Node, ag_ui_client: str, up_to: int, settings: dict[str, Any]
) -> None:
    """As it was before ids had an epoch, which are opaque to it."""
    ours = Ours(conflate="never", **settings)
    cuts = random_cuts(3, of=CUTS, up_to=up_to)
    old = {"module": "./old/rx-agui-71184ab.mjs"}

    runs = read_over_cuts(node, ag_ui_client, ours.app, cuts, reset=True, **old)

    assert_events_came_as_they_were_sent(runs)
    assert any("tail" in run["answers"] for run in runs)
    assert all("@" in run["last"]["lastEventId"] for run in runs)
    assert sorted(ours.begun) == sorted(run["runId"] for run in runs)


@pytest.mark.parametrize(("log", "why"), [(True, "CONNECTION_LOST"), (False, "CUT")])
def test_a_run_that_cannot_be_resumed_fails_and_the_process_lives(
    log: bool, why: str, node: Node, ag_ui_client: str
) -> None:
    ours = Ours(codings=[]) if log else Ours(codings=[], log=None)
    with served(ours.app) as server, cutting(server, [1500, *[0] * 100]) as line:
        (run,) = read(node, ag_ui_client, line.url, ["run-1"], attempts=3)

    assert run["events"][0]["type"] == "RUN_STARTED"
    assert (run["events"][-1]["type"], run["events"][-1]["code"]) == ("RUN_ERROR", why)
    assert (run["last"]["state"], run["last"]["connections"]) == ("failed", 1)
    assert line.connections == (4 if log else 1)
    assert ours.begun == ["run-1"]
