"""SSEResponse, called by hand: what a request gets."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import reactivex as rx
from ag_ui.core import RunFinishedEvent, RunStartedEvent
from reactivex import operators as ops

from rx_agui import (
    EventStream,
    Frame,
    Gate,
    StreamConfig,
    batch,
    chunk,
    compress,
    flow_control,
    from_async_iterable,
    from_iterable,
    pipeline,
    sequence,
)
from rx_agui.asgi import SSEResponse, SSESettings
from rx_agui.errors import ConfigError
from rx_agui.frame import StreamChunk
from rx_agui.replay import MemoryLog
from rx_agui.sse import read_chunk
from tests.support.by_hand import (
    FINISHED,
    STARTED,
    Agent,
    Event,
    Reader,
    get,
    reading,
    run_of,
    step,
)
from tests.support.virtual import now, play

RUN = run_of("a", "b")


def answer(source: Any, settings: dict[str, Any] | None = None, **asked: Any) -> Reader:
    """What a request gets, in virtual time."""

    async def main() -> Reader:
        return await get(SSEResponse(source, **settings or {}), **asked)

    return play(main())


# -- the head --------------------------------------------------------------------------


def test_the_head_says_what_proxies_and_caches_need_to_know() -> None:
    reader = answer(Agent(RUN))

    assert reader.status == 200
    assert reader.headers == {
        "content-type": "text/event-stream",
        "cache-control": "no-cache, no-transform",
        "x-accel-buffering": "no",
        "vary": "Accept-Encoding",
    }


def test_headers_of_the_application_are_added_or_stand_instead() -> None:
    headers = {"X-Mine": "1", "Cache-Control": "no-store", "Vary": "Origin"}
    reader = answer(Agent(RUN), {"headers": headers, "status_code": 203})

    assert reader.status == 203
    assert reader.headers["x-mine"] == "1"
    assert reader.headers["cache-control"] == "no-store"
    assert reader.headers["vary"] == "Origin, Accept-Encoding"


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_a_body_is_encoded_as_the_reader_asks(coding: str) -> None:
    reader = answer(Agent(RUN), headers={"Accept-Encoding": coding})

    assert reader.headers["content-encoding"] == coding
    assert reader.events == RUN


def test_compression_can_be_switched_off() -> None:
    reader = answer(Agent(RUN), {"codings": ()}, headers={"Accept-Encoding": "gzip"})

    assert "content-encoding" not in reader.headers
    assert "vary" not in reader.headers
    assert reader.events == RUN


def test_who_takes_nothing_that_we_have_is_told_so_and_no_agent_is_run() -> None:
    agent = Agent(RUN)
    reader = answer(agent, headers={"Accept-Encoding": "lz4, identity;q=0"})

    assert reader.status == 406
    assert b"gzip, br, zstd, deflate, identity" in reader.raw
    assert agent.starts == 0


def test_head_gets_the_head_and_no_agent_is_run() -> None:
    agent = Agent(RUN)
    reader = answer(agent, method="HEAD", headers={"Accept-Encoding": "gzip"})

    assert reader.status == 200
    assert reader.headers["content-encoding"] == "gzip"
    assert (reader.raw, reader.ended, agent.starts) == (b"", True, 0)


@pytest.mark.parametrize(
    "asked",
    [
        {"headers": {"Last-Event-ID": "7"}},
        {"headers": {"Last-Event-ID": "run/7"}},
        {"query": "last_event_id=7"},
        {"query": "join=1"},
    ],
)
def test_without_a_log_nobody_comes_back_and_no_agent_is_run(asked: Any) -> None:
    agent = Agent(RUN)
    reader = answer(agent, **asked)

    assert reader.status == 410
    assert reader.headers["content-type"].startswith("text/plain")
    assert agent.starts == 0


def test_only_http_is_spoken() -> None:
    async def main() -> None:
        with pytest.raises(ConfigError, match="scope must be http, got 'websocket'"):
            await SSEResponse(Agent(RUN))({"type": "websocket"}, None, None)  # type: ignore[arg-type]

    play(main())


# -- status and first byte -------------------------------------------------------------


class NotFound(Exception):
    status_code = 404
    detail = "no such thread"
    headers = {"Retry-After": "7"}  # noqa: RUF012


@pytest.mark.parametrize(
    ("error", "status", "detail"),
    [
        (NotFound(), 404, "no such thread"),
        (KeyError("secret"), 500, "The agent failed."),
        (ConfigError("source", 1, "events"), 500, "The agent failed."),
    ],
)
@pytest.mark.parametrize(
    "where", ["generator", "factory", "async factory", "observable"]
)
def test_an_error_before_the_first_event_is_a_status(
    error: Exception, status: int, detail: str, where: str
) -> None:
    def factory() -> Any:
        raise error

    async def async_factory() -> Any:
        await asyncio.sleep(0.05)
        raise error

    sources: dict[str, Any] = {
        "generator": Agent([], then=error),
        "factory": factory,
        "async factory": async_factory,
        "observable": rx.throw(error),
    }
    reader = answer(sources[where])

    assert reader.status == status
    assert reader.raw == b'{"detail":"%b"}' % detail.encode()
    assert reader.headers.get("retry-after") == getattr(error, "headers", {}).get(
        "Retry-After"
    )
    assert int(reader.headers["content-length"]) == len(reader.raw)


class UpstreamRefused(Exception):
    """The shape of a generated API client's error: the upstream's answer, whole."""

    def __init__(self) -> None:
        self.status_code = 429
        self.headers = {
            "Retry-After": "7",
            "WWW-Authenticate": "Bearer\r\nset-cookie: injected=1",
            "set-cookie": "upstream=1",
            "content-length": "999",
            "content-encoding": "gzip",
            "x-org-id": "org-secret",
        }


def test_of_an_exceptions_headers_only_those_that_say_how_to_ask_again_go_out() -> None:
    reader = answer(Agent([], then=UpstreamRefused()))

    assert reader.status == 429
    assert reader.headers == {
        "content-type": "application/json",
        "cache-control": "no-store",
        "retry-after": "7",
        "content-length": str(len(reader.raw)),
    }


def test_an_error_behind_status_grace_is_an_event() -> None:
    async def agent() -> AsyncIterator[Event]:
        await asyncio.sleep(0.2)
        raise NotFound()
        yield {}

    reader = answer(agent)

    assert reader.status == 200
    assert reader.events == [
        {"type": "RUN_ERROR", "message": "no such thread", "code": "HTTP_404"}
    ]


def test_what_was_raised_is_told_only_if_that_is_asked_for() -> None:
    agent = Agent([STARTED], then=KeyError("secret"))

    assert (
        answer(agent, {"expose_errors": True}).events[-1]["message"]
        == "KeyError('secret')"
    )
    assert b"secret" not in answer(agent).body


def test_the_first_byte_goes_when_status_grace_is_over_though_nothing_was_said() -> (
    None
):
    async def main() -> None:
        agent = Agent(RUN)
        agent.may_go_on.clear()
        async with reading(SSEResponse(agent, status_grace=0.3)) as reader:
            await reader.until(lambda: len(reader.sent) == 2)
            assert now() == 0.3
            assert reader.status == 200
            assert reader.raw.startswith(b":\nretry: 1")
        assert agent.how == "cancelled"

    play(main())


def test_the_head_waits_no_longer_than_for_the_first_event() -> None:
    async def main() -> None:
        async with reading(SSEResponse(Agent(RUN), status_grace=60)) as reader:
            await reader.until(lambda: len(reader.sent) >= 2)
            assert now() < 0.1

    play(main())


def test_every_reader_is_told_a_time_of_its_own_to_come_back() -> None:
    retries = {
        answer(Agent(RUN), {"retry": 10.0}).raw.split(b"\n")[1] for _ in range(5)
    }

    assert len(retries) > 1
    assert all(10_000 <= int(r.removeprefix(b"retry: ")) <= 15_000 for r in retries)


# -- sources ---------------------------------------------------------------------------


async def agent() -> AsyncIterator[Event]:
    for event in RUN:
        yield event


async def slow_factory() -> AsyncIterator[Event]:
    await asyncio.sleep(0.01)
    return agent()


def blocking() -> Iterator[Event]:
    yield from RUN


class OneByOne:
    """An async iterable that is no generator."""

    def __aiter__(self) -> AsyncIterator[Event]:
        return agent()


BARE: dict[str, Any] = {
    "async generator": agent,
    "async iterable": OneByOne,
    "list": lambda: RUN,
    "generator": blocking,
    "models": lambda: [
        RunStartedEvent(thread_id="t", run_id="r"),
        step("a"),
        step("b"),
        RunFinishedEvent(thread_id="t", run_id="r"),
    ],
    "async factory": slow_factory,
    "paced observable": lambda: from_async_iterable(agent),
    "observable": lambda: rx.from_iterable(RUN),
    "observable, filtered": lambda: from_iterable(RUN).pipe(ops.filter(bool)),
}


@pytest.mark.parametrize("kind", list(BARE))
@pytest.mark.parametrize("made_by", ["us", "a factory"])
def test_bare_events_are_numbered_and_gathered_whatever_brings_them(
    kind: str, made_by: str
) -> None:
    async def main() -> Reader:
        make = BARE[kind]
        return await get(SSEResponse(make if made_by == "a factory" else make()))

    reader = asyncio.run(main())

    assert [
        {k: v for k, v in e.items() if k in ("type", "stepName", *STARTED)}
        for e in reader.events
    ] == RUN
    assert reader.ids == ["1", "2", "3", "4"]
    assert len(reader.sent) <= 4  # head, first byte, and what was gathered


def frames() -> list[Frame]:
    return [
        Frame(b'{"type":"RUN_STARTED","threadId":"t","runId":"r"}', first=5, last=5),
        Frame(b'{"type":"A"}\n{"type":"B"}', events=2, first=6, last=7),
        Frame(b'{"type":"RUN_FINISHED","threadId":"t","runId":"r"}', first=9, last=9),
    ]


async def async_frames() -> AsyncIterator[Frame]:
    for frame in frames():
        yield frame


PROCESSED: dict[str, Any] = {
    "operators": lambda: from_iterable(RUN).pipe(sequence(start=5)),
    "a pipeline": lambda: from_iterable(RUN).pipe(
        pipeline("mine", flow_control(), sequence(start=5))
    ),
    "rx behind": lambda: from_iterable(RUN).pipe(
        sequence(start=5), ops.map(lambda f: f)
    ),
}


@pytest.mark.parametrize("kind", list(PROCESSED))
def test_frames_that_went_through_operators_are_taken_as_they_are(kind: str) -> None:
    reader = answer(PROCESSED[kind])

    assert reader.events == RUN
    assert reader.ids == ["5", "6", "7", "8"]


@pytest.mark.parametrize("source", [frames, async_frames, lambda: rx.of(*frames())])
def test_frames_from_anywhere_are_taken_as_they_are(source: Any) -> None:
    reader = answer(source)

    assert reader.ids == ["5", "6", "7", "9"]
    assert reader.types == ["RUN_STARTED", "A", "B", "RUN_FINISHED"]


def chunked() -> Any:
    big = [STARTED, *(step("x" * 50 + str(n)) for n in range(100)), FINISHED]
    return from_iterable(big).pipe(
        flow_control(200), sequence(), batch(200), compress(min_size=1), chunk(300)
    )


class Chunks:
    """What an EventStream is to us."""

    def receive_chunks(self) -> AsyncIterator[StreamChunk]:
        async def receive() -> AsyncIterator[StreamChunk]:
            made: list[StreamChunk] = []
            chunked().subscribe(made.append)
            for piece in made:
                yield piece

        return receive()


@pytest.mark.parametrize("source", [chunked, Chunks])
def test_chunks_are_written_in_the_chunk_profile(source: Any) -> None:
    reader = answer(source)

    chunks = [read_chunk(message) for message in reader.messages]
    assert [chunk.chunk_index for chunk in chunks] == list(range(len(chunks)))
    assert len(chunks) == chunks[0].total_chunks > 1
    assert chunks[0].encoding == "gzip"
    assert reader.body.count(b"event: chunk") == len(chunks)
    assert reader.ended


def test_bare_events_leave_in_the_chunk_profile_if_it_is_asked_for() -> None:
    many = [STARTED, *(step("x" * 50) for _ in range(100)), FINISHED]
    reader = answer(many, {"profile": "chunk"})

    assert b'"encoding":"gzip"' in reader.body


@pytest.mark.parametrize("kept", [False, True])
def test_an_event_stream_is_a_source_and_its_senders_wait_for_the_reader(
    kept: bool,
) -> None:
    sent = 0

    async def main() -> None:
        nonlocal sent
        config = StreamConfig(
            max_concurrent_events=20, batch_size=5, event_buffer_size=50
        )
        stream = EventStream(config)
        stream.start()
        more: dict[str, Any] = {"log": MemoryLog(), "stream": "s"} if kept else {}

        async def produce() -> None:
            nonlocal sent
            for event in run_of(*range(1000)):
                await stream.asend(event)
                sent += 1
            stream.complete()

        response = SSEResponse(stream, send_timeout=None, max_staleness=None, **more)
        async with reading(response) as reader:
            producing = asyncio.ensure_future(produce())
            await reader.until(lambda: len(reader.sent) > 3)
            reader.pause()
            before = 0
            while before != sent:
                before = sent
                await asyncio.sleep(0.2)
            assert sent < 900
            reader.go_on()
            await producing
            await reader.until(lambda: reader.ended)
        assert b"RUN_FINISHED" in reader.body or reader.body.count(b"event: chunk")

    asyncio.run(main())
    assert sent == 1002


def test_a_gate_is_a_source() -> None:
    async def main() -> None:
        gate = Gate()
        async with reading(SSEResponse(gate)) as reader:
            await reader.until(lambda: reader.sent)  # and so somebody listens
            for event in RUN:
                await gate.asend(event)
            gate.close()
            await reader.until(lambda: reader.ended)
        assert reader.events == RUN

    asyncio.run(main())


def test_a_generator_that_is_not_async_may_block_and_harms_nobody() -> None:
    import threading

    here: set[int] = set()

    def agent() -> Iterator[Event]:
        for event in RUN:
            here.add(threading.get_ident())
            yield event

    async def main() -> Reader:
        return await get(SSEResponse(agent))

    assert asyncio.run(main()).events == RUN
    assert threading.get_ident() not in here


@pytest.mark.parametrize("source", [None, 7, "text", b"bytes", {"type": "A"}])
def test_what_is_no_source_is_refused_where_it_is_given(source: Any) -> None:
    with pytest.raises(ConfigError, match="source must be events"):
        SSEResponse(source)


def test_a_factory_that_makes_no_source_is_an_error_of_the_agent() -> None:
    assert answer(lambda: 7).status == 500


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("window", 0),
        ("window", 1.5),
        ("batch_size", 0),
        ("batch_timeout", 0),
        ("profile", "text"),
        ("conflate", "sometimes"),
        ("compression_level", 0),
        ("compression_level", 10),
        ("status_grace", -1),
        ("keep_alive", 0),
        ("retry", 0),
        ("send_timeout", -1),
        ("max_staleness", 0),
        ("max_duration", 0),
        ("on_disconnect", "cancel"),
        ("name", ""),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(setting: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"{setting} must be"):
        SSEResponse(Agent(RUN), **{setting: value})


def test_what_follows_a_response_is_done_behind_it() -> None:
    done: list[bool] = []

    async def main() -> None:
        async def background() -> None:
            done.append(reader.ended)

        reader = Reader()
        response = SSEResponse(Agent(RUN), background=background)
        await response(reader.scope, reader.receive, reader.send)

    play(main())
    assert done == [True]


def test_a_coroutine_that_was_not_needed_is_closed() -> None:
    async def main() -> None:
        made = slow_factory()
        await get(SSEResponse(made), method="HEAD")
        assert made.cr_frame is None  # type: ignore[attr-defined]

    play(main())


@pytest.mark.parametrize("how", ["fails", "takes too long"])
def test_a_coroutine_is_closed_if_the_log_does_not_say_whether_it_is_needed(
    how: str,
) -> None:
    class Silent(MemoryLog):
        async def open(self, name: str, **more: Any) -> Any:
            if how == "fails":
                raise ConnectionError
            await asyncio.Event().wait()

    async def source() -> Any:
        return RUN

    async def main() -> None:
        made = source()
        response = SSEResponse(made, log=Silent(), stream="s")
        reader = Reader()
        serving = asyncio.ensure_future(
            response(reader.scope, reader.receive, reader.send)
        )
        await asyncio.sleep(1)
        serving.cancel()
        await asyncio.wait([serving])
        assert inspect.getcoroutinestate(made) == inspect.CORO_CLOSED
        serving.cancelled() or serving.exception()

    play(main())


def test_a_name_that_was_claimed_for_who_is_called_off_meanwhile_is_given_back() -> (
    None
):
    class Slow(MemoryLog):
        async def open(self, name: str, **more: Any) -> Any:
            opened = await super().open(name, **more)
            await asyncio.sleep(1)
            return opened

    async def main() -> None:
        response = SSEResponse(Agent(RUN), log=Slow(), stream="s")
        reader = Reader()
        serving = asyncio.ensure_future(
            response(reader.scope, reader.receive, reader.send)
        )
        await asyncio.sleep(0.5)
        serving.cancel()
        await asyncio.wait([serving])
        await asyncio.sleep(1)
        assert (await get(response)).events == RUN  # else it waits for a run for ever

    play(main())


@pytest.mark.parametrize("made", [SSEResponse, SSESettings])
def test_the_class_of_a_log_is_refused_with_what_to_type(made: Any) -> None:
    source = () if made is SSESettings else ((),)
    with pytest.raises(ConfigError, match=r"log must be an instance: MemoryLog\(\)"):
        made(*source, log=MemoryLog)


def test_a_name_in_a_log_that_is_not_there_is_told() -> None:
    with pytest.warns(UserWarning, match=r"add log=MemoryLog\(\)"):
        SSEResponse((), stream="run-7")
    SSEResponse((), log=MemoryLog(), stream="run-7")
