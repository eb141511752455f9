"""A server that stops: in virtual time, and with real signals in processes of their own."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import AsyncExitStack
from typing import Any

import pytest

from rx_agui.asgi import CANCEL, CONTINUE, Shutdown, SSEResponse
from rx_agui.asgi.run._run import Run
from rx_agui.errors import ConfigError
from rx_agui.replay import MemoryLog
from tests.support.by_hand import FINISHED, STARTED, Agent, Reader, get, reading, step
from tests.support.virtual import now, play

RESUMES = {"Accept": "text/event-stream;resume=1"}


def typing(words: int = 1000) -> Any:
    async def agent() -> Any:
        yield STARTED
        for n in range(words):
            await asyncio.sleep(1)
            yield step(n)
        yield FINISHED

    return agent


def test_readers_who_can_come_back_are_sent_away_early_and_not_all_at_once() -> None:
    async def main() -> None:
        shutdown, log = Shutdown(deadline=100), MemoryLog()
        ended: list[float] = []

        async def read() -> None:
            reader = Reader(headers=RESUMES)
            response = SSEResponse(
                typing(),
                log=log,
                stream="s",
                owner="",
                shutdown=shutdown,
                on_disconnect=CONTINUE,
            )
            serving = asyncio.ensure_future(
                response(reader.scope, reader.receive, reader.send)
            )
            await reader.until(lambda: reader.ended)
            ended.append(now())
            assert reader.types[-1] == "STEP_STARTED"
            assert reader.body.count(b"retry: ") == 2
            await (
                serving
            )  # which lasts, for the one that started it, as long as the run

        async with asyncio.TaskGroup() as group:
            for _ in range(20):
                group.create_task(read())
            await asyncio.sleep(5)
            begun = now()
            await shutdown.drain()
        assert max(ended) - begun <= 50
        assert max(ended) - min(ended) > 20
        assert now() - begun <= 101
        response = SSEResponse(typing(), log=log, stream="s", owner="")
        again = await get(response, query="join=1")
        assert again.events[-1]["code"] == "SERVER_SHUTDOWN"
        assert again.ids[-1] != ""  # it is the run's end, and kept

    play(main())


@pytest.mark.parametrize("kept", [False, True])
def test_who_cannot_come_back_is_read_to_nearly_the_deadline_and_then_told(
    kept: bool,
) -> None:
    async def main() -> None:
        shutdown = Shutdown(deadline=100)
        more: dict[str, Any] = {"log": MemoryLog(), "stream": "s"} if kept else {}
        reader = Reader()
        response = SSEResponse(typing(), shutdown=shutdown, **more)
        serving = asyncio.ensure_future(
            response(reader.scope, reader.receive, reader.send)
        )
        await reader.until(lambda: b"STEP" in reader.body)
        begun = now()
        shutdown.begin()
        await reader.until(lambda: reader.ended)
        assert 80 <= now() - begun <= 96
        assert reader.events[-1]["code"] == "SERVER_SHUTDOWN"
        assert reader.ids[-1] == ""
        await serving

    play(main())


def test_a_run_that_ends_in_time_is_not_disturbed() -> None:
    async def main() -> None:
        shutdown = Shutdown(deadline=100)
        async with reading(SSEResponse(typing(20), shutdown=shutdown)) as reader:
            await reader.until(lambda: b"STEP" in reader.body)
            await shutdown.drain()
            assert reader.types[-1] == "RUN_FINISHED"
            assert now() < 30

    play(main())


def test_a_run_that_nobody_reads_is_waited_for_and_cancelled_at_the_deadline() -> None:
    async def main() -> None:
        shutdown, log = Shutdown(deadline=100), MemoryLog()
        response = SSEResponse(
            typing(),
            log=log,
            stream="s",
            owner="",
            shutdown=shutdown,
            on_disconnect=CONTINUE,
        )
        async with reading(response) as reader:
            await reader.until(lambda: b"STEP" in reader.body)
        begun = now()
        await shutdown.drain()
        assert 100 <= now() - begun <= 101
        position = await log.position("s")
        assert position is not None
        assert position.finished

    play(main())


def test_a_run_that_begins_behind_the_deadline_is_cancelled_as_well() -> None:
    class Slow(MemoryLog):
        async def open(self, name: str, **more: Any) -> Any:
            await asyncio.sleep(150)
            return await super().open(name, **more)

    async def main() -> None:
        shutdown = Shutdown(deadline=100)
        response = SSEResponse(
            typing(10_000), log=Slow(), stream="s", shutdown=shutdown, max_duration=None
        )
        async with reading(response) as reader:
            await asyncio.sleep(1)
            shutdown.begin()
            await reader.until(lambda: b"STEP" in reader.body)
            begun = now()
            assert begun > 150
            await shutdown.drain()
            assert now() - begun <= 101

    play(main())


def test_a_run_that_is_made_just_at_the_deadline_does_not_begin() -> None:
    class Over(Shutdown):
        def enrol(self, run: Run) -> None:
            super().enrol(run)
            self._cancel_runs()

    async def main() -> None:
        agent = Agent([STARTED])
        response = SSEResponse(agent, log=MemoryLog(), stream="s", shutdown=Over())
        reader = await get(response)
        assert [event["code"] for event in reader.events] == ["SERVER_SHUTDOWN"]
        assert agent.starts == 0

    play(main())


def test_who_comes_while_the_server_stops_is_told_to_come_later() -> None:
    async def main() -> None:
        shutdown = Shutdown(deadline=10)
        shutdown.begin()
        agent = Agent([])
        reader = await get(SSEResponse(agent, shutdown=shutdown))
        assert reader.status == 503
        assert 1 <= int(reader.headers["retry-after"]) <= 11
        assert agent.starts == 0

    play(main())


def test_a_reader_who_is_stuck_does_not_hold_up_the_drain() -> None:
    async def main() -> None:
        shutdown = Shutdown(deadline=100)
        agent = Agent([STARTED, *map(step, range(100_000))])
        response = SSEResponse(
            agent, shutdown=shutdown, send_timeout=None, max_staleness=None
        )
        reader = Reader()
        serving = asyncio.ensure_future(
            response(reader.scope, reader.receive, reader.send)
        )
        await reader.until(lambda: len(reader.sent) > 3)
        reader.pause()
        await shutdown.drain()
        assert now() < 100
        await serving
        assert agent.how == "closed"

    play(main())


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("begun", ["before the head", "behind it"])
def test_a_head_that_does_not_go_out_does_not_hold_up_the_drain(
    begun: str, kept: bool
) -> None:
    async def main() -> None:
        shutdown = Shutdown(deadline=10)
        more: dict[str, Any] = {"log": MemoryLog(), "stream": "s"} if kept else {}
        reader = Reader()
        reader.pause()
        grace = 100 if begun == "before the head" else 0
        response = SSEResponse(
            lambda: asyncio.Event().wait(),
            shutdown=shutdown,
            status_grace=grace,
            on_disconnect=CANCEL,
            **more,
        )
        serving = asyncio.ensure_future(
            response(reader.scope, reader.receive, reader.send)
        )
        await asyncio.sleep(1)
        await asyncio.wait([asyncio.ensure_future(shutdown.drain())], timeout=20)
        assert serving.done()
        assert now() < 14

    play(main())


def test_nothing_is_sent_behind_first_bytes_that_do_not_go_out() -> None:
    """It would be decoded without them."""

    async def main() -> None:
        shutdown = Shutdown(deadline=10)
        reader = Reader(headers={"Accept-Encoding": "gzip"})

        async def send(message: Any) -> None:
            if len(reader.sent) == 1 and message.get("more_body"):
                await asyncio.sleep(20)
            await reader.send(message)

        response = SSEResponse(typing(), shutdown=shutdown)
        serving = asyncio.ensure_future(response(reader.scope, reader.receive, send))
        await asyncio.sleep(1)
        await shutdown.drain()
        await serving
        assert [message["type"] for message in reader.sent] == ["http.response.start"]

    play(main())


def test_nothing_to_drain_takes_no_time() -> None:
    async def main() -> None:
        await Shutdown().drain()
        assert now() == 0

    play(main())


def test_a_deadline_must_be_in_the_future() -> None:
    with pytest.raises(ConfigError, match="deadline must be positive"):
        Shutdown(deadline=0)


# -- signals -----------------------------------------------------------------------------


def test_a_signal_begins_the_drain_and_goes_on_to_who_had_it_before() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    try:

        async def main() -> None:
            shutdown = Shutdown()
            shutdown.install(signal.SIGTERM)
            shutdown.install(signal.SIGTERM)  # twice is once
            os.kill(os.getpid(), signal.SIGTERM)
            while not shutdown.draining:  # noqa: ASYNC110
                await asyncio.sleep(0)
            assert heard == [signal.SIGTERM]
            shutdown.uninstall()

        asyncio.run(main())
        os.kill(os.getpid(), signal.SIGTERM)
        assert heard == [signal.SIGTERM] * 2
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_handler_of_the_event_loop_is_chained_as_well() -> None:
    """As granian and hypercorn set theirs."""

    async def main() -> None:
        heard = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, heard.set)
        shutdown = Shutdown()
        shutdown.install(signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(10):
            await heard.wait()
        assert shutdown.draining
        shutdown.uninstall()
        loop.remove_signal_handler(signal.SIGTERM)

    asyncio.run(main())


def test_a_lifespan_installs_and_at_last_drains() -> None:
    async def main() -> None:
        before = signal.getsignal(signal.SIGTERM)
        shutdown = Shutdown(deadline=10)
        async with AsyncExitStack() as stack:
            async with shutdown.lifespan():
                assert signal.getsignal(signal.SIGTERM) is not before
                response = SSEResponse(typing(), shutdown=shutdown)
                reader = await stack.enter_async_context(reading(response))
                await reader.until(lambda: b"STEP" in reader.body)
            assert reader.events[-1]["code"] == "SERVER_SHUTDOWN"
        assert signal.getsignal(signal.SIGTERM) is before

    play(main())


def test_outside_of_the_main_thread_no_signal_is_to_be_had(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        with pytest.raises(ConfigError, match="in the main thread"):
            Shutdown().install()
        async with Shutdown().lifespan():
            pass

    async def in_a_thread() -> None:
        await asyncio.to_thread(asyncio.run, main())

    asyncio.run(in_a_thread())
    assert "no signal will begin the drain" in caplog.text
