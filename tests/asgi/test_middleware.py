"""AGUIMiddleware: endpoints as frameworks ship them, served unmodified by SSEResponse."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
import pytest
from ag_ui.core import (
    RunAgentInput,
    RunFinishedEvent,
    RunStartedEvent,
    StepStartedEvent,
)
from ag_ui.encoder import EventEncoder
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException
from sse_starlette import EventSourceResponse
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import JSONResponse, StreamingResponse

from rx_agui import ConfigError
from rx_agui.asgi import AGUIMiddleware
from rx_agui.replay import MemoryLog
from tests.support.by_hand import Reader, get, reading
from tests.support.patience import on_a_loop

STEPS = 30


class Endpoint:
    """An app with an AG-UI endpoint as EventEncoder's documentation writes it."""

    def __init__(self, *, fails_after: int | None = None, sse_starlette: bool = False):
        self.app = FastAPI()
        self.starts = 0
        self.given = 0
        self.how = ""
        self.tidied: list[str] = []
        self.background = asyncio.Event()
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()
        self.stops_at = STEPS + 5

        async def session() -> AsyncIterator[str]:
            yield "session"
            self.tidied.append("session")

        @self.app.post("/agent")
        async def run(
            asked: RunAgentInput, tasks: BackgroundTasks, _: str = Depends(session)
        ) -> Any:
            if asked.thread_id == "nobody":
                raise HTTPException(401, "who are you?")
            encoder = EventEncoder()
            tasks.add_task(self._later)

            async def events() -> AsyncIterator[str]:
                self.starts += 1
                try:
                    names: dict[str, Any] = {
                        "thread_id": asked.thread_id,
                        "run_id": asked.run_id,
                    }
                    yield encoder.encode(RunStartedEvent(**names))
                    for step in range(STEPS):
                        if step == self.stops_at:
                            self.may_go_on.clear()
                        await self.may_go_on.wait()
                        if step == fails_after:
                            raise RuntimeError("the model is gone")
                        self.given += 1
                        yield encoder.encode(StepStartedEvent(step_name=str(step)))
                    yield encoder.encode(RunFinishedEvent(**names))
                    self.how = "finished"
                finally:
                    self.how = self.how or "closed"

            if sse_starlette:
                return EventSourceResponse(
                    {"data": text[6:-2]} async for text in events()
                )
            return StreamingResponse(
                events(),
                media_type="text/event-stream",
                headers={"x-app": "1", "cache-control": "max-age=5"},
                background=tasks,
            )

        @self.app.post("/json")
        async def json(body: dict[str, Any]) -> JSONResponse:
            return JSONResponse(body, headers={"x-app": "1"})

    async def _later(self) -> None:
        self.background.set()


def asked(run: str = "r", thread: str = "t") -> bytes:
    return orjson.dumps(
        {
            "threadId": thread,
            "runId": run,
            "state": {},
            "messages": [],
            "tools": [],
            "context": [],
            "forwardedProps": {},
        }
    )


def request(body: bytes, path: str = "/agent", **headers: str) -> dict[str, Any]:
    sent = {"content-type": "application/json", "accept-encoding": "gzip"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    return {"method": "POST", "path": path, "headers": sent, "body": body}


async def bare(app: Any, **how: Any) -> Reader:
    how["headers"] = {k: v for k, v in how["headers"].items() if k != "accept-encoding"}
    return await get(app, **how)


@pytest.mark.parametrize("sse_starlette", [False, True])
@on_a_loop
async def test_an_endpoint_is_served_compressed_and_numbered_with_the_same_events(
    sse_starlette: bool,
) -> None:
    plain = Endpoint(sse_starlette=sse_starlette)
    wanted = await bare(plain.app, **request(asked()))
    endpoint = Endpoint(sse_starlette=sse_starlette)

    answer = await get(
        AGUIMiddleware(endpoint.app, log=MemoryLog()), **request(asked())
    )

    assert answer.headers["content-encoding"] == "gzip"
    assert answer.events == wanted.events
    assert all(answer.ids)
    assert (endpoint.starts, endpoint.how, endpoint.tidied) == (
        1,
        "finished",
        ["session"],
    )


@on_a_loop
async def test_what_the_app_says_in_headers_and_behind_its_body_is_kept() -> None:
    endpoint = Endpoint()

    answer = await get(AGUIMiddleware(endpoint.app), **request(asked()))

    assert answer.headers["x-app"] == "1"
    assert answer.headers["cache-control"] == "no-cache, no-transform"
    assert endpoint.background.is_set()


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/agent", asked(thread="nobody"), 401),
        ("/agent", b'{"runId": "r", "threadId": 7, "messages": [], "tools": []}', 422),
        ("/agent", b"{", 422),
        ("/json", asked(), 200),
        ("/json", b'{"a": 1}', 200),
        ("/nowhere", asked(), 404),
    ],
)
@on_a_loop
async def test_every_other_answer_passes_byte_for_byte(
    path: str, body: bytes, status: int
) -> None:
    wanted = await get(Endpoint().app, **request(body, path))

    answer = await get(
        AGUIMiddleware(Endpoint().app, log=MemoryLog()), **request(body, path)
    )

    assert answer.status == status
    assert answer.sent == wanted.sent


@on_a_loop
async def test_a_repeated_post_joins_the_run_and_passes_the_apps_authentication() -> (
    None
):
    endpoint = Endpoint()
    app = AGUIMiddleware(endpoint.app, log=MemoryLog())
    first = await get(app, **request(asked()))

    again = await get(app, **request(asked()))
    refused = await get(app, **request(asked(thread="nobody")))

    assert again.events[-1] == first.events[-1]
    assert refused.status == 401
    assert endpoint.starts == 1


@on_a_loop
async def test_a_reader_that_was_cut_goes_on_behind_its_cursor() -> None:
    endpoint = Endpoint()
    app = AGUIMiddleware(endpoint.app, log=MemoryLog())
    first = await get(app, **request(asked()))
    cut = first.ids[11]

    rest = await get(app, **request(asked(), last_event_id=cut))

    assert rest.events == first.events[12:]
    assert endpoint.starts == 1


@on_a_loop
async def test_a_run_that_breaks_in_the_middle_ends_with_run_error() -> None:
    endpoint = Endpoint(fails_after=3)

    answer = await get(AGUIMiddleware(endpoint.app), **request(asked()))

    assert answer.types[-1] == "RUN_ERROR"
    assert answer.types.count("STEP_STARTED") == 3


@on_a_loop
async def test_a_reader_that_leaves_stops_the_agent_at_once() -> None:
    endpoint = Endpoint()
    endpoint.stops_at = 5

    async with reading(AGUIMiddleware(endpoint.app), **request(asked())) as reader:
        await reader.until(lambda: len(reader.sent) > 1)

    assert endpoint.how == "closed"
    assert endpoint.given == 5


@on_a_loop
async def test_a_reader_that_stops_reading_stops_the_agent_within_the_window() -> None:
    sends = 0

    async def flood(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sends
        head = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        while True:
            body = b'data: {"type":"STEP_STARTED","stepName":"s"}\n\n'
            await send({"type": "http.response.body", "body": body, "more_body": True})
            sends += 1

    reader = Reader(**request(asked()))
    reader.pause()
    app = AGUIMiddleware(flood, window=50)
    serving = asyncio.ensure_future(app(reader.scope, reader.receive, reader.send))
    before = -1
    while sends != before or sends < 50:
        before = sends
        for _ in range(50):
            await asyncio.sleep(0)

    assert sends <= 50 + 100 + 50 + 2  # the middleware's window, SSEResponse's, a batch
    reader.leave()
    reader.go_on()
    await serving


@on_a_loop
async def test_an_app_with_no_head_in_time_is_504_and_called_off() -> None:
    how = ""

    async def silent(scope: Any, receive: Any, send: Any) -> None:
        nonlocal how
        try:
            await asyncio.Event().wait()
        finally:
            how = "called off"

    answer = await get(AGUIMiddleware(silent, head_timeout=0.01), **request(asked()))

    assert (answer.status, how) == (504, "called off")


@on_a_loop
async def test_a_reader_that_leaves_before_the_head_calls_the_app_off() -> None:
    began, how = asyncio.Event(), []

    async def silent(scope: Any, receive: Any, send: Any) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            how.append("called off")

    async with reading(AGUIMiddleware(silent), **request(asked())):
        await began.wait()

    assert how == ["called off"]


@on_a_loop
async def test_four_posts_at_once_are_one_run() -> None:
    endpoint = Endpoint()
    app = AGUIMiddleware(endpoint.app, log=MemoryLog())

    answers = await asyncio.gather(*[get(app, **request(asked())) for _ in range(4)])

    assert {answer.types[-1] for answer in answers} == {"RUN_FINISHED"}
    assert endpoint.starts == 1


@on_a_loop
async def test_a_body_that_comes_in_pieces_is_read_and_given_again() -> None:
    endpoint = Endpoint()
    how = request(b"")
    reader = Reader(**how)
    whole = asked()
    pieces = [whole[:10], whole[10:40], whole[40:]]

    async def receive() -> dict[str, Any]:
        if pieces:
            body = pieces.pop(0)
            return {"type": "http.request", "body": body, "more_body": bool(pieces)}
        return dict(await reader.receive())

    await AGUIMiddleware(endpoint.app)(reader.scope, receive, reader.send)

    assert reader.types[-1] == "RUN_FINISHED"


@on_a_loop
async def test_a_body_above_the_bound_passes_unread() -> None:
    wanted = await bare(Endpoint().app, **request(asked()))

    answer = await get(AGUIMiddleware(Endpoint().app, max_body=10), **request(asked()))

    assert "content-encoding" not in answer.headers
    assert answer.events == wanted.events


@pytest.mark.parametrize("where", ["inside", "outside"])
@on_a_loop
async def test_gzip_middleware_changes_nothing(where: str) -> None:
    endpoint = Endpoint()
    app: Any = endpoint.app
    if where == "inside":
        app = AGUIMiddleware(GZipMiddleware(app), log=MemoryLog())
    else:
        app = GZipMiddleware(AGUIMiddleware(app, log=MemoryLog()))

    answer = await get(app, **request(asked()))

    assert answer.headers["content-encoding"] == "gzip"
    assert answer.types[-1] == "RUN_FINISHED"


@on_a_loop
async def test_base_http_middleware_inside_is_warned_of_and_authorize_spares_the_app(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def passes(request: Any, call_next: Callable[..., Any]) -> Any:
        return await call_next(request)

    endpoint = Endpoint()
    warned = AGUIMiddleware(
        BaseHTTPMiddleware(endpoint.app, dispatch=passes), log=MemoryLog()
    )
    for _ in range(2):
        await get(warned, **request(asked()))
    assert caplog.text.count("authorize=") == 1

    async def authorize(scope: Any) -> object:
        allowed = dict(scope["headers"]).get(b"x-user") == b"ann"
        return None if allowed else JSONResponse({"detail": "no"}, 403)

    endpoint = Endpoint()
    app = AGUIMiddleware(
        BaseHTTPMiddleware(endpoint.app, dispatch=passes),
        log=MemoryLog(),
        authorize=authorize,
    )
    await get(app, **request(asked()))
    joined = await get(app, **request(asked(), x_user="ann"))
    refused = await get(app, **request(asked()))

    assert joined.types[-1] == "RUN_FINISHED"
    assert refused.status == 403
    assert endpoint.starts == 1


class SetsUser:
    """Authentication as a middleware inside does it: in the scope it was given."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        scope["user"] = dict(scope["headers"]).get(b"x-user", b"").decode()
        await self.app(scope, receive, send)


@on_a_loop
async def test_an_owner_is_told_by_what_the_app_has_set_and_sees_no_run_of_another() -> (
    None
):
    endpoint = Endpoint()
    app = AGUIMiddleware(
        SetsUser(endpoint.app), log=MemoryLog(), owner=lambda scope: str(scope["user"])
    )
    ann = await get(app, **request(asked(), x_user="ann"))

    await get(app, **request(asked(), x_user="ann"))
    assert endpoint.starts == 1
    bob = await get(app, **request(asked(), x_user="bob"))
    stolen = await get(app, **request(asked(), x_user="bob", last_event_id=ann.ids[3]))
    assert endpoint.starts == 2
    assert set(bob.ids).isdisjoint(ann.ids)
    assert stolen.status == 410


@on_a_loop
async def test_a_stop_passes_the_apps_authentication_and_starts_no_agent() -> None:
    endpoint = Endpoint()
    endpoint.stops_at = 5
    app = AGUIMiddleware(endpoint.app, log=MemoryLog(), owner="")

    async with reading(app, **request(asked())) as reader:
        await reader.until(lambda: len(reader.sent) > 1)
        refused = await get(app, **request(asked(thread="nobody"), rx_agui_stop="1"))
        stopped = await get(app, **request(asked(), rx_agui_stop="1"))
        await reader.until(lambda: reader.ended)
    again = await get(app, **request(asked(), rx_agui_stop="1"))

    assert (refused.status, stopped.status, again.status) == (401, 202, 204)
    assert (endpoint.starts, endpoint.how) == (1, "closed")
    assert reader.types[-1] in ("RUN_ERROR", "RUN_FINISHED")


@on_a_loop
async def test_an_answer_to_an_interrupt_under_the_same_run_id_reaches_the_app() -> (
    None
):
    endpoint = Endpoint()
    app = AGUIMiddleware(endpoint.app, log=MemoryLog(), owner="")
    await get(app, **request(asked()))
    body = orjson.loads(asked())
    body["messages"] = [{"id": "u1", "role": "user", "content": "yes"}]

    answer = await get(app, **request(orjson.dumps(body)))
    again = await get(app, **request(orjson.dumps(body)))

    assert answer.types[-1] == again.types[-1] == "RUN_FINISHED"
    assert endpoint.starts == 2


@on_a_loop
async def test_a_hundred_joins_retries_and_stops_start_one_agent() -> None:
    endpoint = Endpoint()
    app = AGUIMiddleware(endpoint.app, log=MemoryLog(), owner="")
    first = await get(app, **request(asked()))

    for turn in range(100):
        more = [{}, {"last_event_id": first.ids[turn % 20]}, {"rx_agui_stop": "1"}]
        await get(app, **request(asked(), **more[turn % 3]))

    assert endpoint.starts == 1


@on_a_loop
async def test_an_app_that_swallows_cancellation_is_left_with_a_warning(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rx_agui.asgi._inner_app._CLEANUP", 0.01)
    may_end = asyncio.Event()

    async def stubborn(scope: Any, receive: Any, send: Any) -> None:
        while not may_end.is_set():
            try:
                await may_end.wait()
            except asyncio.CancelledError:
                continue

    answer = await get(AGUIMiddleware(stubborn, head_timeout=0.01), **request(asked()))

    assert answer.status == 504
    assert "still at work" in caplog.text
    may_end.set()
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.gather(*tasks)


def test_a_setting_that_makes_no_sense_is_refused_when_it_is_written() -> None:
    app = Endpoint().app
    with pytest.raises(ConfigError, match="batch_size"):
        AGUIMiddleware(app, batch_size=0)
    with pytest.raises(ConfigError, match=r'\["/agent"\]'):
        AGUIMiddleware(app, paths="/agent")
    with pytest.raises(ConfigError, match=r"MemoryLog\(\)"):
        AGUIMiddleware(app, log=MemoryLog)  # type: ignore[arg-type]
