"""What a request asks for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from ag_ui.core import RawEvent
from ag_ui.encoder import EventEncoder
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import StreamingResponse

from rx_agui.asgi import AGUIMiddleware, SSEResponse
from rx_agui.asgi._request import Cursor, Request, event_id_stem
from rx_agui.replay import StreamKey
from tests.support.by_hand import Reader, get


def asked(query: str = "", **headers: str) -> Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request(Reader(query=query, headers=named).scope)


@given(st.text(st.characters(), min_size=1), st.integers(0, 10**18))
def test_an_id_says_stream_and_number_whatever_the_stream_is_called(
    stream: str, number: int
) -> None:
    epoch = "0123456789abcdef" * 2
    for stem, said in (
        (event_id_stem(stream), ""),
        (StreamKey(stream, epoch).stem, epoch),
    ):
        assert stem.isascii()
        assert "/" not in stem
        assert Cursor.read(f"{stem}/{number}") == (stream, number, said)


@pytest.mark.parametrize(
    "id", ["41", "/41", "run/", "run/x", "run/-1", "run/" + "9" * 30]
)
def test_an_id_that_names_no_stream_is_a_cursor_to_nowhere(id: str) -> None:
    assert Cursor.read(id).stream is None


def test_the_header_is_newer_than_the_url() -> None:
    request = asked("last_event_id=run/1", last_event_id="run/2")

    assert request.cursor == ("run", 2, "")
    assert asked(f"last_event_id={quote('run%2F7/1')}").cursor == ("run/7", 1, "")
    assert asked(last_event_id="").cursor is None


@pytest.mark.parametrize(
    ("said", "resumes"),
    [
        ({}, False),
        ({"accept": "text/event-stream"}, False),
        ({"accept": "text/event-stream;resume=1, text/event-stream"}, True),
        ({"accept": "application/json, Text/Event-Stream; resume=1"}, True),
        ({"accept": "application/json;resume=1"}, False),
        ({"last_event_id": "run/0"}, True),
    ],
)
def test_a_client_says_that_it_can_resume(said: dict[str, str], resumes: bool) -> None:
    assert asked(**said).resumes == resumes


@pytest.mark.parametrize(
    ("query", "join"),
    [("", ""), ("join=0", ""), ("join=1", "1"), ("join=run-7", "run-7")],
)
def test_who_only_wants_to_watch_says_so(query: str, join: str) -> None:
    assert asked(query).join == join


def test_a_header_that_comes_twice_is_one_list() -> None:
    scope = Reader().scope
    scope["headers"] = [(b"Accept", b"a"), (b"accept", b"text/event-stream;resume=1")]

    assert Request(scope).resumes


PROTOBUF = "application/vnd.ag-ui.event+proto"


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        (PROTOBUF, 406),
        (f"{PROTOBUF};q=1, text/event-stream;q=0", 406),
        (f"{PROTOBUF}, application/json", 406),
        (f"{PROTOBUF}, text/event-stream", 200),
        (f"{PROTOBUF}, */*;q=0.1", 200),
        ("application/json", 200),  # as ever: a client that does not care
        ("text/event-stream", 200),
    ],
)
@pytest.mark.parametrize("middleware", [False, True])
def test_a_client_that_reads_nothing_but_protobuf_is_told_so(
    accept: str, status: int, middleware: bool
) -> None:
    begun: list[str] = []

    async def agent() -> AsyncIterator[dict[str, str]]:
        begun.append("agent")
        yield {"type": "RUN_STARTED", "threadId": "t", "runId": "r"}
        yield {"type": "RUN_FINISHED", "threadId": "t", "runId": "r"}

    async def shipped(scope: Any, receive: Any, send: Any) -> None:
        await StreamingResponse(
            (EventEncoder().encode(RawEvent(event=e)) async for e in agent()),
            media_type="text/event-stream",
        )(scope, receive, send)

    app: Any = AGUIMiddleware(shipped) if middleware else SSEResponse(agent)
    asked = {"threadId": "t", "runId": "r", "messages": [], "tools": []}
    answer = asyncio.run(
        get(app, method="POST", headers={"accept": accept}, body=orjson.dumps(asked))
    )

    assert answer.status == status
    assert begun == (["agent"] if status == 200 else [])
    if status == 406:
        assert answer.headers["content-type"] == "application/json"
        assert PROTOBUF in orjson.loads(answer.body)["detail"]
