"""Whose run it is: nobody reads, joins, resumes or stops the run of another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from rx_agui.asgi import CONTINUE, SSEResponse, stop
from rx_agui.asgi.run._run import Run
from rx_agui.replay import MemoryLog, StreamKey
from tests.support.by_hand import FINISHED, STARTED, Agent, Event, Reader, get, reading
from tests.support.stems import UNKNOWN, stem
from tests.support.virtual import play


def of_user(scope: Any) -> str:
    """The user that the application's authentication has found."""
    return str(dict(scope["headers"]).get(b"x-user", b""), "latin-1")


INPUT: dict[str, Any] = {
    "threadId": "t",
    "runId": "run-1",
    "state": {},
    "messages": [{"id": "u", "role": "user", "content": "hi"}],
    "tools": [],
    "context": [],
    "forwardedProps": {},
}
ANSWER = {**INPUT, "resume": [{"interruptId": "i", "status": "resolved"}]}


@dataclass
class Server:
    """An endpoint whose agent tells its user a secret."""

    log: MemoryLog = field(default_factory=MemoryLog)
    owner: Any = of_user
    namespace: str = ""
    stays: bool = False
    starts: list[str] = field(default_factory=list)
    made: int = 0
    how: list[str] = field(default_factory=list)
    may_end: asyncio.Event = field(default_factory=asyncio.Event)

    async def agent(self, secret: str) -> AsyncIterator[Event]:
        self.starts.append(secret)
        try:
            yield {**STARTED, "runId": "run-1"}
            yield {"type": "CUSTOM", "name": "secret", "value": secret}
            if self.stays:
                await self.may_end.wait()
            yield FINISHED
            self.how.append("ended")
        finally:
            self.how.append("closed")

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope["headers"])
        asked = orjson.loads(headers.get(b"x-asked", orjson.dumps(INPUT)))
        user = of_user(scope) or "everybody"
        response = SSEResponse(
            lambda: self.agent(f"private to {user}"),
            log=self.log,
            run=asked,
            owner=self.owner,
            namespace=self.namespace,
            on_disconnect=CONTINUE,
        )
        await response(scope, receive, send)


def by(user: str, **headers: str) -> dict[str, Any]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return {"method": "POST", "headers": {"x-user": user, **named}}


def asking(user: str, asked: dict[str, Any]) -> dict[str, Any]:
    return by(user, x_asked=orjson.dumps(asked).decode())


# -- two users, one runId ------------------------------------------------------------------

#: Ways to ask for the run of another, once it is known: the method, the query, headers.
WAYS: list[tuple[str, str, dict[str, str]]] = [
    (method, query, headers)
    for method in ("GET", "POST")
    for query, headers in [
        ("", {}),
        ("join=1", {}),
        ("join=run-1", {}),
        ("", {"last-event-id": "run-1@{epoch}/0"}),
        ("", {"last-event-id": "run-1@{epoch}/1"}),
        ("", {"last-event-id": "run-1@{epoch}/3"}),
        ("", {"last-event-id": "run-1@{epoch}/99"}),
        ("", {"last-event-id": "run-1/1"}),
        ("last_event_id=run-1%40{epoch}/1", {}),
        ("last_event_id=run-1%40{epoch}/1&join=1", {}),
        ("join=1", {"last-event-id": "run-1@{epoch}/1"}),
        ("", {"rx-agui-stop": "1"}),
        ("", {"rx-agui-stop": "1", "last-event-id": "run-1@{epoch}/1"}),
        ("join=1", {"rx-agui-stop": "1"}),
        ("", {"authorization": "Bearer of-ann"}),
        ("join=1", {"authorization": "Bearer of-ann"}),
    ]
]


@pytest.mark.parametrize("over", [False, True])
@pytest.mark.parametrize(("method", "query", "headers"), WAYS)
def test_no_other_user_sees_a_byte_of_a_run(
    method: str, query: str, headers: dict[str, str], over: bool
) -> None:
    async def main() -> None:
        server = Server(stays=not over)
        async with reading(server, **by("ann")) as ann:
            await ann.until(lambda: b"private" in ann.body)
            key = await server.log.find(StreamKey("run-1", owner="ann"))
            assert key is not None
            told = {
                name: value.replace("{epoch}", key.epoch)
                for name, value in headers.items()
            }
            bob = Reader(
                query=query.replace("{epoch}", key.epoch),
                method=method,
                headers={"x-user": "bob", **told},
            )
            serving = asyncio.ensure_future(server(bob.scope, bob.receive, bob.send))
            await asyncio.sleep(1)
            server.may_end.set()
            await serving
            assert b"private to ann" not in bob.body
            assert key.epoch.encode() not in bob.raw
            if bob.status == 200:  # a run of his own
                assert b"private to bob" in bob.body
            else:
                assert bob.status in (404, 410)
            await ann.until(lambda: ann.ended)
            assert ann.types[-1] == "RUN_FINISHED"  # and nothing has stopped it

    play(main())


def test_an_owner_may_come_back_in_every_way() -> None:
    async def main() -> None:
        server = Server()
        await get(server, **by("ann"))
        cursor = f"{stem(server.log, StreamKey('run-1', owner='ann'))}/1"
        for more, replay in (
            (by("ann"), "prelude"),
            ({**by("ann"), "query": "join=1"}, "prelude"),
            (by("ann", last_event_id=cursor), "tail"),
        ):
            reader = await get(server, **more)
            assert reader.headers["rx-agui-replay"] == replay
            assert b"private to ann" in reader.body
        assert server.starts == ["private to ann"]

    play(main())


def test_an_endpoint_of_another_namespace_knows_nothing_of_it() -> None:
    async def main() -> None:
        server = Server(namespace="one")
        await get(server, **by("ann"))
        cursor = f"{stem(server.log, StreamKey('run-1', '', 'one', 'ann'))}/1"
        other = Server(log=server.log, namespace="other")
        back = await get(other, **by("ann", last_event_id=cursor))
        joined = await get(other, **{**by("ann"), "query": "join=1"})

        assert (back.status, joined.status) == (410, 410)
        assert other.starts == []

    play(main())


def test_without_an_owner_runs_go_by_the_authorization_and_cursors_by_their_epoch() -> (
    None
):
    async def main() -> None:
        server = Server(owner=None)
        one, two = {"authorization": "Bearer 1"}, {"authorization": "Bearer 2"}
        first = await get(server, method="POST", headers=one)
        again = await get(server, method="POST", headers=one)
        other = await get(server, method="POST", headers=two)
        assert again.headers["rx-agui-replay"] == "prelude"
        assert other.headers["rx-agui-replay"] == "live"
        for headers in (two, {}):  # renewed, or of an EventSource
            cursor = {**headers, "last-event-id": first.ids[0]}
            back = await get(server, method="GET", headers=cursor)
            assert back.headers["rx-agui-replay"] == "tail"
        join = await get(server, query="join=1", headers={})
        assert join.status == 410
        halt = await get(server, method="POST", headers={"rx-agui-stop": "1"})
        assert halt.status == 404
        assert len(server.starts) == 2

    play(main())


# -- what is asked for ----------------------------------------------------------------------


def test_an_answer_to_an_interrupt_under_the_same_run_id_is_a_run_of_its_own() -> None:
    async def main() -> None:
        server = Server()
        await get(server, **asking("ann", INPUT))
        answered = await get(server, **asking("ann", ANSWER))
        assert answered.headers["rx-agui-replay"] == "live"
        for asked in (INPUT, ANSWER):
            again = await get(server, **asking("ann", asked))
            assert again.headers["rx-agui-replay"] == "prelude"
        assert len(server.starts) == 2

    play(main())


def test_another_request_is_refused_with_a_sentence_while_the_first_runs() -> None:
    async def main() -> None:
        server = Server(stays=True)
        async with reading(server, **asking("ann", INPUT)) as first:
            await first.until(lambda: b"private" in first.body)
            refused = await get(server, **asking("ann", ANSWER))
            assert refused.status == 409
            assert b"still running" in refused.raw
            async with reading(
                server, **asking("ann", {**INPUT, "state": {"n": 1}})
            ) as again:
                await again.until(lambda: b"private" in again.body)
            server.may_end.set()
            await first.until(lambda: first.ended)
        assert len(server.starts) == 1

    play(main())


def test_a_run_that_is_over_and_gone_is_told_how_it_ended_and_not_run_again() -> None:
    async def main() -> None:
        server = Server(log=MemoryLog(max_streams=1))
        first = await get(server, **by("ann"))
        await get(server, **by("bob"))  # takes its place
        again = await get(server, **by("ann"))
        assert again.status == 410
        assert b"ended by RUN_FINISHED" in again.raw
        end = await get(server, **by("ann", last_event_id=first.ids[-1]))
        assert end.status == 204
        part = await get(server, **by("ann", last_event_id=first.ids[0]))
        assert part.status == 410
        assert server.starts == ["private to ann", "private to bob"]

    play(main())


def test_a_cursor_of_a_run_before_a_restart_is_gone_and_not_spliced() -> None:
    async def main() -> None:
        before, after = Server(), Server()
        first = await get(before, **by("ann"))
        await get(after, **by("ann"))
        back = await get(after, **by("ann", last_event_id=first.ids[1]))
        assert (back.status, back.events) == (410, [])

    play(main())


def test_a_name_that_is_no_unicode_is_run_and_resumed() -> None:
    async def main() -> None:
        log = MemoryLog()
        agent = Agent([STARTED, FINISHED])

        async def app(scope: Any, receive: Any, send: Any) -> None:
            response = SSEResponse(agent, log=log, stream="\ud800", owner="")
            await response(scope, receive, send)

        first = await get(app)
        assert first.ids[0].startswith("%ED%A0%80@")
        back = await get(app, headers={"last-event-id": first.ids[0]})
        assert back.events == [FINISHED]

    play(main())


# -- cursors --------------------------------------------------------------------------------

CURSORS = [
    "run-1@{other}/1",
    "run-1@{other}/0",
    "run-1@{other}/999999999999",
    "run-1@{epoch}/999999999999",
    "run-1@{epoch}/1000000000000000000",
    "run-1@{epoch}/99999999999999999999999999",
    "run-1@{epoch}/-1",
    "run-1@{epoch}/1e3",
    "run-1@{epoch}/٣",
    "run-1@{epoch}/",
    "run-1@{epoch}",
    "run-1@{epoch}/1/1",
    "run-1@{EPOCH}/1",
    "run-1@{epoch}0/1",
    "run-1@/1",
    "run-1/1",
    "run-1/999999999999",
    "@{epoch}/1",
    "/1",
    "1",
    "run-2@{epoch}/1",
    "run%2D1%40{epoch}/1",
    "run-1@{epoch}@{epoch}/1",
    "\x00",
    "run-1@{epoch}/1\n",
    "x" * 1_000_000 + "@{epoch}/1",
    "run-1@{epoch}/" + "9" * 1_000_000,
]


@pytest.mark.parametrize("cursor", CURSORS, ids=lambda cursor: repr(cursor[:30]))
def test_no_cursor_moves_an_agent_or_reads_another_run(cursor: str) -> None:
    """Held back by a reader that is stuck; 27 ways to say that it has read further."""

    async def main() -> None:
        log, made = MemoryLog(), 0

        async def agent() -> AsyncIterator[Event]:
            nonlocal made
            yield STARTED
            while made < 5000:
                made += 1
                yield {"type": "CUSTOM", "name": "n", "value": made}

        async def app(scope: Any, receive: Any, send: Any) -> None:
            response = SSEResponse(
                agent,
                log=log,
                stream="run-1",
                owner="",
                window=100,
                max_staleness=None,
                send_timeout=None,
            )
            await response(scope, receive, send)

        async with reading(app) as stuck:
            await stuck.until(lambda: b"RUN_STARTED" in stuck.body)
            stuck.pause()
            await asyncio.sleep(30)
            before = made
            assert before < 500
            epoch = stem(log, "run-1").partition("@")[2]
            said = cursor.replace("{epoch}", epoch).replace("{other}", UNKNOWN)
            said = said.replace("{EPOCH}", epoch.upper())
            other = Reader(headers={"last-event-id": said})
            head: list[Any] = []

            async def takes_the_head_alone(message: Any) -> None:
                if head and head[0]["status"] == 200:
                    await asyncio.Event().wait()
                head.append(message)

            serving = asyncio.ensure_future(
                app(other.scope, other.receive, takes_the_head_alone)
            )
            await asyncio.sleep(30)
            assert made == before
            answered = dict(head[0]["headers"]).get(b"rx-agui-replay")
            assert head[0]["status"] == 410 or answered in (b"trimmed", b"tail")
            serving.cancel()
            await asyncio.wait([serving])

    play(main())


# -- stop -----------------------------------------------------------------------------------


async def http(server: Server, log: MemoryLog, id: str) -> Any:
    return (await get(server, **by("ann", rx_agui_stop="1"))).status == 202


async def http_with_a_cursor(server: Server, log: MemoryLog, id: str) -> Any:
    asked = by("ann", rx_agui_stop="1", last_event_id=id)
    return (await get(server, **asked)).status == 202


async def code(server: Server, log: MemoryLog, id: str) -> Any:
    return await stop(log, "run-1", owner="ann")


@pytest.mark.parametrize("way", [http, http_with_a_cursor, code])
def test_a_run_that_is_stopped_ends_at_once_and_its_readers_are_told(
    way: Callable[..., Any],
) -> None:
    async def main() -> None:
        server = Server(stays=True)
        async with reading(server, **by("ann")) as reader:
            await reader.until(lambda: b"private" in reader.body)
            assert await way(server, server.log, reader.ids[0])
            await reader.until(lambda: reader.ended)
            assert reader.events[-1]["type"] == "RUN_ERROR"
            assert reader.events[-1]["code"] == "CANCELLED"
            assert reader.ids[-1] != ""
        await asyncio.sleep(0)
        assert server.how == ["closed"]
        again = await get(server, **by("ann", rx_agui_stop="1"))
        assert (again.status, again.body) == (204, b"")
        assert not await stop(server.log, "run-1", owner="ann")
        assert len(server.starts) == 1

    play(main())


@pytest.mark.parametrize("log", [True, False])
def test_what_is_unknown_cannot_be_stopped_and_no_agent_is_run(log: bool) -> None:
    async def main() -> None:
        agent = Agent([STARTED, FINISHED])
        response = SSEResponse(agent, log=MemoryLog() if log else None, owner="")
        reader = Reader(method="POST", headers={"rx-agui-stop": "1"})
        await response(reader.scope, reader.receive, reader.send)
        assert (reader.status, agent.starts) == (404, 0)

    play(main())


# -- a log of one's own ---------------------------------------------------------------------


@dataclass(eq=True)
class Forwarding:
    """A log that is neither hashable nor weakly referenced."""

    __slots__ = ("inner",)
    inner: MemoryLog

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def test_a_log_need_be_neither_hashable_nor_weakly_referenced() -> None:
    async def main() -> None:
        log: Any = Forwarding(MemoryLog())
        with pytest.raises(TypeError):
            hash(log)
        server = Server(log=log, stays=True)
        async with reading(server, **by("ann")) as one:
            await one.until(lambda: b"private" in one.body)
            async with reading(server, **by("ann")) as other:
                await other.until(lambda: b"private" in other.body)
                server.may_end.set()
                await one.until(lambda: one.ended)
                await other.until(lambda: other.ended)
        assert len(server.starts) == 1
        assert not [run for run in Run._of_log.values() if run._log is log]

    play(main())
