"""The unmodified AG-UI client, in Node, reads us as if it had been fed directly.

    RX_AGUI_RECORDINGS=path pytest tests/asgi/test_stock_client.py

takes the recorded streams of a folder as well, *.jsonl.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote

import pytest

from rx_agui.asgi import SSEResponse
from rx_agui.replay import MemoryLog
from tests.conftest import AG_UI_CLIENTS
from tests.support.by_hand import FINISHED, STARTED, Event, step
from tests.support.serving import served

SAMPLES = sorted((Path(__file__).parents[1] / "samples").glob("*_run.jsonl"))
if folder := os.environ.get("RX_AGUI_RECORDINGS"):
    SAMPLES += sorted(Path(folder).glob("*.jsonl"))
RUNS: dict[str, list[Event]] = {
    path.stem: [json.loads(line) for line in path.read_bytes().split(b"\n") if line]
    for path in SAMPLES
}

#: Bytes a write may have; a server cuts as it likes.
SLICES = (1, 7, 65536)

LOG = MemoryLog()


async def app(scope: Any, receive: Any, send: Any) -> None:
    """A run, as the query says it: ?run=&coding=&batch=&slice=&fail=&log=&alive="""
    query = {
        key: values[-1]
        for key, values in parse_qs(scope["query_string"].decode()).items()
    }
    scope["headers"] = [
        *[
            (name, value)
            for name, value in scope["headers"]
            if name != b"accept-encoding"
        ],
        (b"accept-encoding", query.get("coding", "identity").encode()),
    ]
    size = int(query.get("slice", "65536"))

    async def cut(message: Any) -> None:
        body = message.get("body", b"")
        if len(body) <= size:
            await send(message)
            return
        for start in range(0, len(body), size):
            await send(
                message | {"body": body[start : start + size], "more_body": True}
            )
        if not message.get("more_body", False):
            await send({"type": "http.response.body", "body": b""})

    more: dict[str, Any] = {}
    if "log" in query:
        more = {"log": LOG, "stream": query["log"]}
    if "alive" in query:
        more |= {"keep_alive": 0.002}
    response = SSEResponse(
        agent(query), batch_size=int(query.get("batch", "50")), **more
    )
    await response(scope, receive, cut)


async def agent(query: dict[str, str]) -> AsyncIterator[Event]:
    match query.get("fail"):
        case None:
            for number, event in enumerate(RUNS[query["run"]]):
                if "alive" in query and number % 10 == 5:
                    await asyncio.sleep(0.01)
                yield event
        case "early":
            raise KeyError("secret")
        case "stopped, an outcome":
            yield STARTED
            yield {**FINISHED, "outcome": {"type": "cancelled"}}
        case "stopped, an error":
            yield STARTED
            yield {"type": "RUN_ERROR", "message": "stopped", "code": "CANCELLED"}
        case how:
            yield STARTED
            for number in range(20):
                yield step(number)
            if how == "raises":
                raise KeyError("secret")
            if how == "is cancelled":
                raise asyncio.CancelledError


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served(app) as url:
        yield url


@pytest.fixture
def run_agent(
    url: str, node: Callable[..., str], ag_ui_client: str
) -> Callable[[list[str]], list[dict[str, Any]]]:
    """What the client makes of each query."""

    def run(queries: list[str]) -> list[dict[str, Any]]:
        lines = node(
            "agent.mjs", ag_ui_client, *(f"{url}/?{query}" for query in queries)
        )
        return [json.loads(line) for line in lines.split("\n") if line]

    return run


def test_messages_and_state_are_those_of_a_client_that_was_fed_directly(
    run_agent: Callable[[list[str]], list[dict[str, Any]]],
    node: Callable[..., str],
    ag_ui_client: str,
) -> None:
    fed = node(
        "reduce.mjs", ag_ui_client, read="\n".join(map(json.dumps, RUNS.values()))
    )
    direct = dict(zip(RUNS, map(json.loads, fed.split("\n")), strict=False))
    queries = [
        f"run={quote(run)}&coding={coding}&batch={batch}&slice={size}{alive}"
        for run in RUNS
        for coding in ("identity", "gzip", "deflate", "br")
        for batch in (1, 50)
        for size in SLICES
        for alive in ("", "&alive=1")
        if not alive or (batch, size) == (1, 7)
    ]
    told = run_agent(queries)

    assert len(told) == len(queries)
    for query, made in zip(queries, told, strict=True):
        expected = direct[parse_qs(query)["run"][0]]
        assert (query, made["error"]) == (query, expected["error"])
        assert (query, made["messages"]) == (query, expected["messages"])
        assert (query, made["state"]) == (query, expected["state"])


@pytest.mark.parametrize("kept", ["", "&log=%s"], ids=["alone", "in a log"])
def test_a_run_that_does_not_end_well_is_a_failure_and_the_process_lives(
    run_agent: Callable[[list[str]], list[dict[str, Any]]],
    kept: str,
    request: pytest.FixtureRequest,
) -> None:
    name = quote(request.node.name)
    ways = ("raises", "is cancelled", "stops", "early")
    queries = [
        f"fail={quote(how)}&coding={coding}"
        + (kept and kept % f"{name}-{how}-{coding}")
        for how in ways
        for coding in ("identity", "gzip")
    ]
    told = run_agent(queries)

    assert len(told) == len(queries)
    for query, made in zip(queries, told, strict=True):
        assert made["error"], query
        assert "secret" not in made["error"]


def test_the_word_for_a_stopped_run_is_one_that_every_client_bears(
    run_agent: Callable[[list[str]], list[dict[str, Any]]], ag_ui_client: str
) -> None:
    """The outcome is the protocol's own, but the older client refuses it."""
    ways = ("stopped, an outcome", "stopped, an error")
    outcome, error = run_agent([f"fail={quote(how)}" for how in ways])

    assert error["error"] == "RUN_ERROR: stopped"
    if ag_ui_client == AG_UI_CLIENTS["1.0.0"]:
        assert outcome["error"] is None
    else:
        assert "Invalid discriminator value" in outcome["error"]


def test_a_second_client_of_one_run_is_brought_to_where_the_first_is(
    run_agent: Callable[[list[str]], list[dict[str, Any]]],
    request: pytest.FixtureRequest,
) -> None:
    queries = [
        f"run={quote(run)}&log={quote(request.node.name)}-{quote(run)}"
        for run in RUNS
        for _ in range(2)
    ]
    told = run_agent(queries)

    for first, second in zip(told[::2], told[1::2], strict=True):
        assert first["error"] == second["error"]
        assert first["messages"] == second["messages"]
        assert first["state"] == second["state"]
