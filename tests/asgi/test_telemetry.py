"""What an operator of a service sees of its connections."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from rx_agui import batch, chunk, compress, pipeline, probe, sequence
from rx_agui.asgi import CANCEL, Shutdown, SSEResponse
from rx_agui.flow import from_iterable
from rx_agui.frame import Frame, StreamChunk
from rx_agui.probe import PayloadTrace, Probe, Reading, StreamObservation
from rx_agui.replay import MemoryLog
from rx_agui.types import Operator
from tests.support.by_hand import (
    FINISHED,
    STARTED,
    Agent,
    Reader,
    get,
    reading,
    run_of,
    step,
)
from tests.support.stems import stem
from tests.support.virtual import play


class Notes(Probe):
    """Remembers every stream."""

    def __init__(self) -> None:
        self.watches: list[StreamObservation] = []
        self.over: list[StreamObservation] = []
        self.payloads: list[PayloadTrace] = []

    def sent(self, send: PayloadTrace) -> None:
        self.payloads.append(send)

    def ended(self, watch: StreamObservation) -> None:
        self.over.append(watch)

    def started(self, watch: StreamObservation) -> None:
        self.watches.append(watch)

    def of(self, name: str) -> list[StreamObservation]:
        return [watch for watch in self.watches if watch.pipeline == name]

    def reasons(self, name: str = "default") -> list[str]:
        return [watch.reason for watch in self.of(name)]

    def readings(self, name: str = "default") -> dict[str, Reading]:
        (watch,) = self.of(name)
        return {tally.name: tally.read() for tally in watch.operators}


@pytest.fixture
def notes() -> Iterator[Notes]:
    notes = Notes()
    with probe.watching(notes):
        yield notes


def typing() -> Any:
    async def agent() -> Any:
        yield STARTED
        for n in range(1000):
            await asyncio.sleep(1)
            yield step(n)

    return agent


def test_a_response_is_one_stream_from_the_agent_to_the_socket(notes: Notes) -> None:
    play(get(SSEResponse(Agent(run_of("a")), name="chat")))

    assert notes.reasons("chat") == ["completed"]
    told = notes.readings("chat")
    assert list(told) == ["flow_control", "sequence", "batch", "ending", "sink"]
    for reading_of in told.values():
        assert reading_of.received == reading_of.emitted == 3
        assert reading_of.held == 0


def test_a_pipeline_of_the_users_keeps_its_name_and_is_one_stream(notes: Notes) -> None:
    named = from_iterable(run_of("a")).pipe(pipeline("mine", sequence()))
    play(get(SSEResponse(named)))

    assert [watch.pipeline for watch in notes.watches] == ["mine"]
    assert list(notes.readings("mine")) == ["sequence", "ending", "sink"]


def test_chunks_of_a_stream_that_has_ended_are_written_in_the_response_s_own(
    notes: Notes,
) -> None:
    chunks: list[StreamChunk] = []
    run = [STARTED, step("x" * 300), FINISHED]
    whole: tuple[Operator, ...] = batch(2), compress(min_size=1), chunk(60)
    from_iterable(run).pipe(pipeline("ended", sequence(), *whole)).subscribe(
        chunks.append
    )
    assert chunks[0].total_chunks > 1

    async def agent() -> Any:
        for piece in chunks:
            yield piece

    play(get(SSEResponse(agent, name="chat")))

    assert list(notes.readings("chat")) == ["ending", "sink"]
    sink = notes.readings("chat")["sink"]
    assert (sink.received, sink.emitted) == (3, 3)
    assert "sink" not in notes.readings("ended")
    assert notes.of("chat")[0].delivered[0] == 2  # payloads, however many pieces


def test_a_run_ends_with_its_loop(notes: Notes) -> None:
    async def main() -> None:
        agent = Agent([STARTED, *map(step, range(1000))])
        reader = Reader()
        response = SSEResponse(agent, log=MemoryLog(), stream="s", window=10)
        serving = asyncio.ensure_future(
            response(reader.scope, reader.receive, reader.send)
        )
        await reader.until(lambda: len(reader.sent) > 2)
        reader.pause()
        await asyncio.sleep(1)  # the agent waits for credit
        assert not serving.done()

    play(main())

    assert len(notes.over) == 2
    assert set(notes.over) == set(notes.watches)


def test_a_payload_that_the_log_does_not_take_is_told_as_lost(notes: Notes) -> None:
    class Failing(MemoryLog):
        async def append(self, stream: Any, frame: Frame) -> None:
            raise ConnectionError("the log is gone")

    play(get(SSEResponse(Agent(run_of("a")), log=Failing(), stream="s")))

    lost = [send.error for send in notes.payloads]
    assert [str(error) for error in lost if error] == ["the log is gone"]
    window = notes.readings()["flow_control"]
    assert window.levels["flow_control.inflight"] == 0


def test_nobody_who_watches_costs_nothing() -> None:
    async def main() -> None:
        response = SSEResponse(Agent(run_of("a")))
        assert (await get(response)).events == run_of("a")

    play(main())


def test_a_run_that_failed_is_told_as_an_error_though_its_stream_ends_well(
    notes: Notes,
) -> None:
    play(get(SSEResponse(Agent([STARTED], then=KeyError("x")))))

    assert notes.reasons() == ["error"]
    assert isinstance(notes.watches[0].error, KeyError)
    ending = notes.readings()["ending"]
    assert (ending.received, ending.created, ending.emitted) == (1, 1, 2)


def test_a_run_that_is_refused_leaves_no_credit_out(notes: Notes) -> None:
    play(get(SSEResponse(Agent([], then=KeyError("x")))))

    window = notes.readings()["flow_control"]
    assert window.levels["flow_control.inflight"] == 0


def test_what_came_too_late_is_counted(notes: Notes) -> None:
    play(get(SSEResponse(Agent([*run_of("a"), step("late"), step("later")]))))

    ending = notes.readings()["ending"]
    assert ending.dropped == {"after_end": 2}
    assert ending.received + ending.created == ending.emitted + 2


def test_why_a_connection_was_closed_is_told(notes: Notes) -> None:
    async def main() -> None:
        async with reading(SSEResponse(typing(), name="left")) as reader:
            await reader.until(lambda: b"STEP" in reader.body)
        reader = Reader()
        lasting = SSEResponse(typing(), name="lasted", max_duration=5)
        await lasting(reader.scope, reader.receive, reader.send)
        shutdown = Shutdown(5)
        async with reading(
            SSEResponse(typing(), name="shut", shutdown=shutdown)
        ) as one:
            await one.until(lambda: b"STEP" in one.body)
            await shutdown.drain()

    play(main())

    assert notes.reasons("left") == ["client_disconnect"]
    assert notes.reasons("lasted") == ["timeout"]
    assert notes.reasons("shut") == ["server_shutdown"]


def test_a_run_in_a_log_is_a_stream_and_every_reader_of_it_is_one(notes: Notes) -> None:
    log = MemoryLog()

    def response() -> SSEResponse:
        return SSEResponse(
            typing(), log=log, stream="s", name="chat", on_disconnect=CANCEL
        )

    async def main() -> None:
        async with reading(response()) as first:
            await first.until(lambda: b'"2"' in first.body)
            async with reading(
                response(), headers={"Last-Event-ID": f"{stem(log, 's')}/1"}
            ) as second:
                await second.until(lambda: b'"3"' in second.body)
        await get(response())

    play(main())

    assert notes.reasons("chat") == ["client_disconnect"]
    left, also, last = notes.of("chat.reader")
    assert (left.reason, also.reason, last.reason) == (
        "client_disconnect",
        "client_disconnect",
        "completed",
    )
    more = [
        {what: n for tally in watch.operators for (what, _), n in tally.more.items()}
        for watch in (left, also, last)
    ]
    assert "session.resumptions" not in more[0]
    assert more[1]["session.resumptions"] == 1
    assert more[1]["session.replayed.events"] == 3  # 2, 3 and 4; the others came live
    assert more[2]["session.replayed.events"] > 0
