"""A head and keep-alives make no events: in the stock clients, and in Python's own readers."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import pytest

from rx_agui.asgi import SSEResponse
from tests.support.by_hand import Reader
from tests.support.serving import served
from tests.support.virtual import play

SAMPLES = sorted((Path(__file__).parents[1] / "samples").glob("*_run.jsonl"))
PATIENCE = 20.0


def events_of(sample: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in sample.read_bytes().split(b"\n") if line]


def body_with_keep_alives(sample: Path) -> bytes:
    """The run as SSEResponse writes it, with two keep-alives before each event."""

    async def agent() -> AsyncIterator[dict[str, Any]]:
        for event in events_of(sample):
            await asyncio.sleep(40)  # virtual
            yield event

    async def main() -> bytes:
        reader = Reader()
        response = SSEResponse(agent, keep_alive=15)
        await response(reader.scope, reader.receive, reader.send)
        return reader.body

    return play(main())


@pytest.fixture(params=SAMPLES, ids=lambda path: path.stem)
def run(request: pytest.FixtureRequest) -> tuple[list[dict[str, Any]], bytes]:
    body = body_with_keep_alives(request.param)
    assert body.count(b":\n") > len(events_of(request.param))
    return events_of(request.param), body


def test_the_stock_client_hears_no_comment(
    run: tuple[list[dict[str, Any]], bytes],
    node: Callable[..., str],
    ag_ui_client: str,
) -> None:
    events, body = run
    asked = {"body": b64encode(body).decode(), "headers": {}}

    made = json.loads(node("read.mjs", ag_ui_client, read=json.dumps(asked)))

    assert (made["error"], made["events"]) == (None, len(events))


def test_httpx_sse_makes_no_event_of_a_comment(
    run: tuple[list[dict[str, Any]], bytes],
) -> None:
    events, body = run
    headers = {"content-type": "text/event-stream"}
    response = httpx.Response(200, headers=headers, content=body)

    source = import_module("httpx_sse").EventSource(response)

    assert [json.loads(one.data) for one in source.iter_sse()] == events


def test_sseclient_makes_no_event_of_a_comment(
    run: tuple[list[dict[str, Any]], bytes],
) -> None:
    events, body = run
    source = import_module("sseclient").SSEClient(iter([body[:100], body[100:]]))

    assert [json.loads(one.data) for one in source.events()] == events


def test_aiosseclient_makes_no_event_of_a_comment(
    run: tuple[list[dict[str, Any]], bytes],
) -> None:
    events, body = run

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def read(url: str) -> list[Any]:
        source = import_module("aiosseclient").aiosseclient(url)
        return [json.loads(one.data) async for one in source]

    with served(app) as url:
        assert asyncio.run(asyncio.wait_for(read(url), PATIENCE)) == events


def test_a_line_of_its_own_goes_through_nginx_at_once(
    nginx: Callable[..., AbstractContextManager[str]],
) -> None:
    async def agent() -> AsyncIterator[dict[str, Any]]:
        await asyncio.Event().wait()
        yield {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        response = SSEResponse(agent, keep_alive=0.1, status_grace=0.0)
        await response(scope, receive, send)

    with (
        served(app) as server,
        nginx(server) as url,
        httpx.stream("GET", url, timeout=PATIENCE) as response,
    ):
        body = b""
        for piece in response.iter_bytes():
            body += piece
            if body.count(b":\n") == 1 + 3:
                break  # the agent has said nothing, and its stream has no end

    assert body.startswith(b":\nretry: ")
    assert b"\n\n" not in body
