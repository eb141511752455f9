"""A run gets its end, once, whatever the agent does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from rx_agui import (
    Frame,
    batch,
    chunk,
    clock,
    compress,
    decompress,
    flow_control,
    from_iterable,
    reassemble,
    sequence,
    unbatch,
)
from rx_agui.agui.unfinished import Unfinished
from rx_agui.asgi import Shutdown, SSEResponse, stop
from rx_agui.asgi.run._terminal import RunState, ending
from rx_agui.frame import StreamChunk
from rx_agui.replay import MemoryLog
from rx_agui.types import AlgorithmName
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
from tests.support.virtual import play


def answer(source: Any, *, kept: bool, **settings: Any) -> Reader:
    async def main() -> Reader:
        more: dict[str, Any] = {"log": MemoryLog(), "stream": "s"} if kept else {}
        return await get(SSEResponse(source, **more, **settings))

    return play(main())


kept = pytest.mark.parametrize("kept", [False, True], ids=["alone", "in a log"])


@kept
@pytest.mark.parametrize(
    ("how", "code"),
    [("raises", "AGENT_ERROR"), ("is cancelled", "CANCELLED"), ("stops", "INCOMPLETE")],
)
def test_a_run_that_has_no_end_of_its_own_gets_one(
    how: str, code: str, kept: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def agent() -> AsyncIterator[Event]:
        yield STARTED
        yield step("a")
        if how == "raises":
            raise KeyError("secret")
        if how == "is cancelled":
            raise asyncio.CancelledError

    reader = answer(agent, kept=kept)

    error = reader.events[-1]
    assert (error["type"], error["code"]) == ("RUN_ERROR", code)
    assert "secret" not in error["message"]
    assert reader.types[-2:] == ["STEP_FINISHED", "RUN_ERROR"]
    assert [id.rpartition("/")[2] for id in reader.ids] == ["1", "2", "3", "4"]
    assert reader.ended
    told = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert len(told) == 1
    assert "behind number 2" in told[0].getMessage()
    assert f"stream {'s' if kept else 'r'}:" in told[0].getMessage()


@kept
@pytest.mark.parametrize("code", [{"code": "E"}, {}])  # null ends the stock client
@pytest.mark.parametrize("errors", ["keep", "hide"])
def test_an_agents_own_error_is_sent_as_it_is_or_without_its_message(
    errors: str, kept: bool, code: dict[str, str]
) -> None:
    own = {"type": "RUN_ERROR", "message": "api_key=1", **code, "rawEvent": 1}
    reader = answer(Agent([STARTED, own]), kept=kept, agent_errors=errors)

    hidden = {"type": "RUN_ERROR", "message": "The agent failed.", **code}
    assert reader.events[-1] == (own if errors == "keep" else hidden)
    assert reader.ids[-1].endswith("2")


class Panic(BaseException):
    """As an extension in Rust raises it; and nothing can be said of it."""

    def __repr__(self) -> str:
        raise RuntimeError


@kept
@pytest.mark.parametrize("where", ["factory", "async factory", "agent", "cleanup"])
def test_a_panic_ends_the_run_and_is_told(
    where: str, kept: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def agent() -> AsyncIterator[Event]:
        try:
            yield STARTED
            if where == "agent":
                raise Panic
        finally:
            if where == "cleanup":
                raise Panic

    def factory() -> Any:
        raise Panic

    async def async_factory() -> Any:
        raise Panic

    sources = {"factory": factory, "async factory": async_factory}
    reader = answer(sources.get(where, agent), kept=kept)

    if where in sources:
        assert reader.status == 500
    else:
        assert reader.types == ["RUN_STARTED", "RUN_ERROR"]
    assert [r for r in caplog.records if r.levelno >= logging.ERROR]


@kept
def test_an_agent_that_says_nothing_has_failed(kept: bool) -> None:
    reader = answer(Agent([]), kept=kept)

    assert reader.types == ["RUN_ERROR"]
    assert reader.events[0]["code"] == "INCOMPLETE"


@kept
@pytest.mark.parametrize("end", [FINISHED, {"type": "RUN_ERROR", "message": "no"}])
def test_nothing_is_added_to_a_run_that_has_its_end(
    end: Event, kept: bool, caplog: pytest.LogCaptureFixture
) -> None:
    events = [STARTED, step("a"), end]
    reader = answer(Agent([*events, step("late"), step("later"), end]), kept=kept)

    assert reader.events == events
    assert "3 events behind the end of the run" in caplog.text


@kept
@pytest.mark.parametrize("size", [1, 50], ids=["one by one", "in one payload"])
def test_another_run_in_a_response_is_told_to_be_a_mistake(
    size: int, kept: bool, caplog: pytest.LogCaptureFixture
) -> None:
    agent = Agent([*run_of("a"), *run_of("b")])
    reader = answer(agent, kept=kept, batch_size=size, leading=None)

    assert reader.events == run_of("a")
    assert "begins another run behind number 3" in caplog.text
    assert "Give each run a request of its own" in caplog.text


@kept
def test_what_fails_behind_the_end_is_logged_and_not_told(
    kept: bool, caplog: pytest.LogCaptureFixture
) -> None:
    agent = Agent(run_of("a"), then=KeyError("cleanup"))
    reader = answer(agent, kept=kept)

    assert reader.events == run_of("a")
    assert "behind the end of its run (KeyError('cleanup'))" in caplog.text


@kept
def test_an_agent_may_go_on_behind_the_end_of_its_run(kept: bool) -> None:
    saved: list[bool] = []

    async def agent() -> AsyncIterator[Event]:
        for event in run_of("a"):
            yield event
        await asyncio.sleep(5)
        saved.append(True)

    async def main() -> None:
        more: dict[str, Any] = {"log": MemoryLog(), "stream": "s"} if kept else {}
        reader = Reader()
        serving = asyncio.ensure_future(
            SSEResponse(agent, **more)(reader.scope, reader.receive, reader.send)
        )
        await reader.until(lambda: reader.ended)
        assert asyncio.get_running_loop().time() < 1
        assert not saved
        reader.leave()  # as a server says behind the end of a body
        await serving
        await asyncio.sleep(6)

    play(main())
    assert saved == [True]


class Hands:
    """Work for other threads, done when the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.jobs: list[Callable[[], object]] = []
        monkeypatch.setattr(clock, "_compute", self._take)

    def _take(self, job: Callable[[], Any], done: Callable[[Any], object]) -> None:
        self.jobs.append(lambda: done(job()))

    def do_one(self) -> None:
        self.jobs.pop(0)()


def test_an_end_that_is_still_compressed_goes_out_behind_what_comes_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hands = Hands(monkeypatch)
    agent = Agent([STARTED, step("x" * 50_000), step("y" * 50_000), FINISHED])

    async def main() -> Reader:
        response = SSEResponse(agent, profile="chunk", batch_size=2, leading=None)
        async with reading(response) as reader:
            await reader.until(lambda: len(reader.sent) == 2)
            for _ in range(2):
                await asyncio.sleep(1)  # all that can has been done
                hands.do_one()
            await asyncio.sleep(1)
        return reader

    reader = play(main())

    assert [message.event for message in reader.messages] == ["chunk", "chunk"]
    assert reader.ended


def test_who_is_sent_away_before_the_end_was_written_is_told_so() -> None:
    """Or a run that was cut off would pass for a success."""

    async def main() -> Reader:
        reader = Reader()

        async def send(message: Any) -> None:
            if b"RUN_STARTED" in message.get("body", b""):
                await asyncio.sleep(2)  # meanwhile the run ends
            await reader.send(message)

        agent = Agent(run_of("a"))
        agent.stops_at = 1
        shutdown = Shutdown(1)
        response = SSEResponse(agent, shutdown=shutdown)
        serving = asyncio.ensure_future(response(reader.scope, reader.receive, send))
        await reader.until(lambda: len(reader.sent) == 1)
        await asyncio.sleep(0.1)
        agent.may_go_on.set()
        await asyncio.sleep(0.1)
        assert agent.how == "finished"
        await shutdown.drain()
        await serving
        return reader

    reader = play(main())

    assert reader.types[-1] == "RUN_ERROR"
    assert reader.ended


def test_an_event_that_cannot_be_sent_ends_the_run() -> None:
    reader = answer(
        [STARTED, {"type": "STEP_STARTED", "stepName": object()}, FINISHED],
        kept=False,
    )

    assert reader.types == ["RUN_STARTED", "RUN_ERROR"]
    assert reader.ids == ["1", "2"]


def test_a_name_that_is_anybodys_text_stays_on_its_log_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    forged = {"type": "RUN_STARTED", "threadId": "t", "runId": "r\nERROR all is lost"}
    answer([forged], kept=False)

    assert "\n" not in caplog.messages[0]
    assert r"stream 'r\nERROR all is lost':" in caplog.messages[0]


# -- as a stage --------------------------------------------------------------------------


def course() -> RunState:
    return RunState("", expose=False, unfinished=Unfinished())


def told(source: Any, *operators: Any) -> list[Any]:
    got: list[Any] = []
    from_iterable(source).pipe(*operators).subscribe(got.append)
    return got


def events(items: list[Any]) -> list[Event]:
    return told(items, reassemble(), decompress(), unbatch())


@pytest.mark.parametrize("size", [1, 2, 3, 10])
def test_an_end_within_a_batch_is_the_end_of_the_batch(size: int) -> None:
    late = [STARTED, step("a"), FINISHED, step("late"), step("later")]
    frames = told(late, flow_control(), sequence(), batch(size), ending(course()))

    assert events(frames) == late[:3]
    assert frames[-1].last == 3


@pytest.mark.parametrize("size", [50, 10_000])
@pytest.mark.parametrize("algorithm", ["gzip", "lz4", "none"])
def test_an_end_within_compressed_chunks_is_seen(
    algorithm: AlgorithmName, size: int
) -> None:
    late = [STARTED, *(step(f"{n:050}") for n in range(30)), FINISHED, step("late")]
    through = (
        flow_control(),
        sequence(),
        batch(10),
        compress(algorithm, min_size=1),
        chunk(size),
    )
    chunks = told(late, *through, ending(course()))

    assert events(chunks) == late[:-1]
    is_plain = algorithm == "none" and size == 10_000
    assert isinstance(chunks[0], Frame if is_plain else StreamChunk)


def test_chunks_without_an_end_get_one_as_a_plain_event() -> None:
    cut = [STARTED, *(step(f"{n:050}") for n in range(30))]
    through = (flow_control(), sequence(), batch(100), compress(min_size=1), chunk(50))
    chunks = told(cut, *through, ending(course()))

    assert isinstance(chunks[-1], Frame)
    assert (chunks[-1].first, chunks[-1].last) == (32, 62)  # each step is finished
    assert events(chunks)[:31] == cut
    assert events(chunks)[-1]["code"] == "INCOMPLETE"


def test_every_credit_comes_home() -> None:
    late = [
        STARTED,
        *(step(f"{n:050}") for n in range(500)),
        FINISHED,
        *(step(n) for n in range(500)),
    ]
    through = (flow_control(10), sequence(), batch(7), compress(min_size=1), chunk(50))

    assert events(told(late, *through, ending(course()))) == late[:502]


def test_text_that_speaks_of_ends_is_no_end() -> None:
    talk = [STARTED, step('{"type":"RUN_FINISHED"}'), step("RUN_ERROR"), FINISHED]

    assert events(told(talk, sequence(), batch(), ending(course()))) == talk


OPENED = [
    STARTED,
    step("s"),
    {"type": "TEXT_MESSAGE_START", "messageId": "m", "role": "assistant"},
    {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": "Hal"},
    {"type": "TOOL_CALL_START", "toolCallId": "c", "toolCallName": "f"},
    {"type": "TOOL_CALL_ARGS", "toolCallId": "c", "delta": '{"q":'},
]
CLOSED = ["TOOL_CALL_END", "TEXT_MESSAGE_END", "TOOL_CALL_RESULT", "STEP_FINISHED"]


@kept
@pytest.mark.parametrize("profile", ["agui", "chunk"])
def test_what_is_open_is_closed_before_our_error(profile: str, kept: bool) -> None:
    async def agent() -> AsyncIterator[Event]:
        for event in OPENED:
            yield event
        raise KeyError("secret")

    reader = answer(agent, kept=kept)
    assert reader.types == [e["type"] for e in OPENED] + [*CLOSED, "RUN_ERROR"]
    numbers = [int(id.rpartition("/")[2]) for id in reader.ids]
    assert numbers == list(range(1, len(OPENED) + 6))


def resting() -> Agent:
    agent = Agent([*OPENED, FINISHED])
    agent.stops_at = len(OPENED)
    return agent


def test_a_run_that_is_stopped_is_closed_in_its_log() -> None:
    async def main() -> None:
        log = MemoryLog()
        async with reading(SSEResponse(resting(), log=log, stream="s")) as reader:
            await reader.until(lambda: len(reader.events) == len(OPENED))
            assert await stop(log, "s") is True
            await reader.until(lambda: reader.ended)
        assert reader.types[len(OPENED) :] == [*CLOSED, "RUN_ERROR"]
        assert reader.events[-1]["code"] == "CANCELLED"
        assert all(reader.ids)

    play(main())


@kept
def test_a_reader_that_is_sent_away_and_cannot_resume_is_told_the_same(
    kept: bool,
) -> None:
    reader = answer(resting(), kept=kept, max_duration=5)
    assert reader.types[len(OPENED) :] == [*CLOSED, "RUN_ERROR"]
    assert reader.events[-1]["code"] == "MAX_DURATION"
    assert not any(reader.ids[len(OPENED) :])
