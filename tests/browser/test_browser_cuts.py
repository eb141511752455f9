"""The line is cut wherever it may be, and an unmodified AG-UI client does not notice."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from cutting import cutting, random_cuts
from remembering import Remembering
from serving import served

from rx_agui.testing import simulated_run

Node = Callable[..., str]

#: Words of a run, and bytes that it has, its chunks of HTTP included.
WORDS, SIZE = 40, 9000


def runs(node: Node, client: str, url: str, names: list[str]) -> list[dict[str, Any]]:
    said = node("cut_runs.mjs", client, url, read="\n".join(names)).split("\n")
    assert said[-2] == "alive"
    return [json.loads(line) for line in said[:-2]]


def expected(node: Node, client: str, name: str) -> dict[str, Any]:
    """What the client makes of the events themselves."""
    events = list(simulated_run(WORDS, run_id=name, messages=2))
    made: dict[str, Any] = json.loads(
        node("reduce.mjs", client, read=json.dumps(events))
    )
    return made


@pytest.mark.parametrize("reset", [True, False], ids=["reset", "closed"])
def test_500_random_cuts_lose_and_repeat_nothing(
    node: Node, ag_ui_client: str, reset: bool
) -> None:
    names = [f"run-{number}" for number in range(100)]
    app = Remembering(lambda name: simulated_run(WORDS, run_id=name, messages=2))
    cuts = random_cuts(3, of=500, up_to=SIZE // 3)
    pieces = [1, 3, 700, 65536] * 20_000

    with served(app) as server, cutting(server, cuts, pieces, reset=reset) as line:
        read = runs(node, ag_ui_client, line.url, names)

    assert line.cuts == 500
    assert len(app.runs) == len(names)  # no agent ran twice
    for run in read:
        sent = list(simulated_run(WORDS, run_id=run["runId"], messages=2))
        assert (run["error"], run["last"]["state"]) == (None, "done")
        assert [event["type"] for event in run["events"]] == [e["type"] for e in sent]
        made = expected(node, ag_ui_client, run["runId"]) if run is read[0] else None
        if made is not None:
            assert (run["messages"], run["state"]) == (made["messages"], made["state"])
        assert run["events"] == sent
