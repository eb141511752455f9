"""One line in FastAPI, Starlette, Litestar and bare ASGI; and without any of them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Annotated, Any

import fastapi
import httpx
import orjson
import pytest
from fastapi import Depends, FastAPI, HTTPException
from litestar import Litestar, asgi, post
from litestar.types import ASGIApp, Receive, Scope, Send
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rx_agui.asgi import SSEResponse
from rx_agui.replay import MemoryLog
from rx_agui.sse import Parser
from tests.support.by_hand import Event, run_of

RUN = run_of("a", "b")


async def agent() -> AsyncIterator[Event]:
    for event in RUN:
        yield event


async def failing() -> AsyncIterator[Event]:
    raise HTTPException(404, "no such thread")
    yield {}


def ask(app: Any, **asked: Any) -> httpx.Response:
    async def main() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as http:
            return await http.request("POST", "/run", **asked)

    return asyncio.run(main())


def events(response: httpx.Response) -> list[Event]:
    return [orjson.loads(message.data) for message in Parser().feed(response.content)]


def a_fastapi() -> Any:
    app = FastAPI()

    @app.post("/run")
    async def run() -> SSEResponse:
        return SSEResponse(agent())

    return app


def a_starlette() -> Any:
    async def run(request: Request) -> Response:
        return SSEResponse(agent())

    return Starlette(routes=[Route("/run", run, methods=["POST"])])


def a_litestar() -> Any:
    @post("/run")
    async def run() -> ASGIApp:
        return SSEResponse(agent())  # type: ignore[return-value]

    return Litestar([run])


def a_litestar_mount() -> Any:
    @asgi("/run", copy_scope=True)
    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        await SSEResponse(agent())(scope, receive, send)  # type: ignore[arg-type]

    return Litestar([run])


async def bare(scope: Any, receive: Any, send: Any) -> None:
    await SSEResponse(agent())(scope, receive, send)


APPS: dict[str, Any] = {
    "fastapi": a_fastapi,
    "starlette": a_starlette,
    "litestar": a_litestar,
    "litestar, mounted": a_litestar_mount,
    "asgi": lambda: bare,
}


@pytest.mark.parametrize("name", list(APPS))
def test_one_line_is_enough(name: str) -> None:
    response = ask(APPS[name](), json={})

    assert (
        response.status_code == 200 if "litestar" not in name else response.is_success
    )
    assert response.headers["content-type"] == "text/event-stream"
    assert response.headers["content-encoding"] == "gzip"
    assert events(response) == RUN


def test_fastapi_answers_an_early_error_as_it_answers_any() -> None:
    app = FastAPI()

    @app.exception_handler(ZeroDivisionError)
    async def teapot(request: fastapi.Request, error: ZeroDivisionError) -> Response:
        return JSONResponse({"short": "stout"}, 418)

    async def dividing() -> AsyncIterator[Event]:
        yield {"a": 1 / 0}

    async def breaking() -> AsyncIterator[Event]:
        raise KeyError("secret")
        yield {}

    sources: dict[str, Any] = {"http": failing, "own": dividing, "other": breaking}

    @app.post("/run")
    async def run(which: str) -> SSEResponse:
        return SSEResponse(sources[which])

    http, own, other = (ask(app, params={"which": which}) for which in sources)
    assert (http.status_code, http.json()) == (404, {"detail": "no such thread"})
    assert (own.status_code, own.json()) == (418, {"short": "stout"})
    assert (other.status_code, b"secret" in other.content) == (500, False)


def test_a_logged_run_answers_an_early_error_the_same_way() -> None:
    app, log = FastAPI(), MemoryLog()

    @app.post("/run")
    async def run() -> SSEResponse:
        return SSEResponse(failing, log=log, stream="s")

    assert [ask(app).status_code for _ in range(2)] == [404, 404]


@pytest.mark.parametrize("name", ["litestar", "asgi"])
def test_elsewhere_an_early_error_has_its_status_too(name: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await SSEResponse(failing())(scope, receive, send)

    @post("/run")
    async def run() -> ASGIApp:
        return SSEResponse(failing())  # type: ignore[return-value]

    response = ask(app if name == "asgi" else Litestar([run]))

    assert (response.status_code, response.json()) == (
        404,
        {"detail": "no such thread"},
    )


ORDER: list[str] = []


async def database() -> AsyncIterator[str]:
    yield "db"
    ORDER.append("database closed")


def test_a_dependency_is_there_for_as_long_as_the_agent_needs_it() -> None:
    app = FastAPI()

    async def using(db: str) -> AsyncIterator[Event]:
        try:
            for event in RUN:
                yield event
        finally:
            await asyncio.sleep(0.01)
            ORDER.append("agent closed")

    @app.post("/run")
    async def run(db: Annotated[str, Depends(database)]) -> SSEResponse:
        return SSEResponse(using(db))

    assert events(ask(app)) == RUN
    assert ORDER == ["agent closed", "database closed"]


def test_what_starlette_knows_of_responses_holds() -> None:
    done: list[str] = []

    async def run(request: Request) -> Response:
        response = SSEResponse(
            agent(),
            status_code=202,
            headers={"x-one": "1"},
            background=BackgroundTask(done.append, "done"),
        )
        response.headers["x-two"] = "2"
        response.set_cookie("seen", "yes")
        return response

    response = ask(Starlette(routes=[Route("/run", run, methods=["POST"])]))

    assert response.status_code == 202
    assert (response.headers["x-one"], response.headers["x-two"]) == ("1", "2")
    assert response.cookies["seen"] == "yes"
    assert events(response) == RUN
    assert done == ["done"]


def test_a_middleware_that_compresses_leaves_ours_alone() -> None:
    response = ask(GZipMiddleware(a_starlette(), minimum_size=1))

    assert response.headers["content-encoding"] == "gzip"
    assert events(response) == RUN


WITHOUT = """
import sys
for name in ("starlette", "fastapi", "litestar", "brotli", "zstandard", "uvicorn", "httpx"):
    sys.modules[name] = None
import asyncio
from rx_agui.asgi import SSEResponse

sent = []
async def main():
    async def send(message): sent.append(message)
    async def receive(): await asyncio.Event().wait()
    async def agent(): yield {"type": "RUN_STARTED", "threadId": "t", "runId": "r"}
    scope = {"type": "http", "method": "GET", "headers": [], "query_string": b""}
    response = SSEResponse(agent, headers={"X-One": "1"})
    await response(scope, receive, send)

asyncio.run(main())
assert (b"x-one", b"1") in sent[0]["headers"]
assert b"INCOMPLETE" in b"".join(m.get("body", b"") for m in sent)
"""


def test_without_starlette_it_is_an_asgi_application_all_the_same() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT], capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr
