"""Who is silent, who is stuck, who is gone: in virtual time."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from rx_agui.asgi import CANCEL, CONTINUE, Grace, SSEResponse, grace
from rx_agui.asgi._watchdog import Watchdog
from rx_agui.errors import ConfigError
from rx_agui.replay import MemoryLog
from tests.support.by_hand import (
    STARTED,
    Agent,
    Event,
    Reader,
    get,
    reading,
    run_of,
    step,
)
from tests.support.virtual import VirtualLoop, now, play


def typing(*pauses: float) -> Any:
    """An agent that waits so long before each event, and then says nothing for ever."""

    async def agent() -> AsyncIterator[Event]:
        yield STARTED
        for pause in pauses:
            await asyncio.sleep(pause)
            yield step(pause)
        await asyncio.Event().wait()

    return agent


# -- keep-alive ----------------------------------------------------------------------------


def beats(reader: Reader) -> int:
    return reader.body.count(b":\n") - 1  # the head has one too


def test_a_comment_goes_when_nothing_else_has_gone_for_a_while() -> None:
    async def main() -> None:
        async with reading(SSEResponse(typing(10, 10, 100), keep_alive=15)) as reader:
            await asyncio.sleep(34)
            assert beats(reader) == 0
            await asyncio.sleep(2)  # 15 behind the event of second 20
            assert beats(reader) == 1
            await asyncio.sleep(60)
            assert beats(reader) == 5

    play(main())


def test_a_comment_is_encoded_like_all_the_rest() -> None:
    async def main() -> None:
        encoded = {"headers": {"Accept-Encoding": "gzip"}}
        async with reading(SSEResponse(typing(40), keep_alive=15), **encoded) as reader:
            await asyncio.sleep(41)
            import zlib

            body = zlib.decompressobj(31).decompress(reader.raw)
            assert body.count(b":\n") == 1 + 2
            assert body.endswith(b'"40"}\n\n')

    play(main())


def test_silence_may_be_left_silent() -> None:
    async def main() -> None:
        async with reading(SSEResponse(typing(), keep_alive=None)) as reader:
            await asyncio.sleep(1000)
            assert beats(reader) == 0

    play(main())


def test_a_comment_that_fails_ends_the_connection() -> None:
    async def main() -> None:
        reader = Reader()

        async def send(message: Any) -> None:
            if message.get("body") == b":\n":
                raise RuntimeError("what a middleware raises when it has closed")
            await reader.send(message)

        response = SSEResponse(typing(), keep_alive=15)
        serving = asyncio.ensure_future(response(reader.scope, reader.receive, send))
        done, _ = await asyncio.wait([serving], timeout=100)
        assert done
        assert 15 <= now() < 16
        assert reader.types == ["RUN_STARTED", "RUN_ERROR"]

    play(main())


def test_a_thousand_idle_connections_have_one_timer() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        async with asyncio.TaskGroup() as group:
            readers = [Reader() for _ in range(1000)]
            for reader in readers:
                response = SSEResponse(typing(), keep_alive=15)
                group.create_task(response(reader.scope, reader.receive, reader.send))
            await asyncio.sleep(1)
            timers = [h for h in loop._scheduled if not h.cancelled()]  # type: ignore[attr-defined]
            assert len(timers) == 1
            before = loop.timers
            await asyncio.sleep(31)
            assert all(beats(reader) == 2 for reader in readers)
            assert loop.timers - before < 10
            for reader in readers:
                reader.leave()
        assert Watchdog.here()._timer is None

    play(main())


def test_a_connection_that_cannot_be_looked_after_does_not_harm_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    looked: list[float] = []

    class Bad:
        def look(self, now: float) -> float | None:
            raise ZeroDivisionError

    class Good:
        def look(self, now: float) -> float | None:
            looked.append(now)
            return now + 1

    async def main() -> None:
        bad, good = Watchdog.here().join(Bad(), 1), Watchdog.here().join(Good(), 1)
        await asyncio.sleep(3.5)
        good.leave()
        bad.leave()
        await asyncio.sleep(3)

    play(main())
    assert looked == [1, 2, 3]
    assert "could not be looked after" in caplog.text


# -- stuck ---------------------------------------------------------------------------------


def test_a_send_that_does_not_return_is_called_off_and_the_agent_cancelled(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "rx_agui")

    async def main() -> None:
        agent = Agent([STARTED, *map(step, range(100_000))])
        response = SSEResponse(agent, send_timeout=20, window=10)
        reader = Reader()
        serving = asyncio.ensure_future(
            response(reader.scope, reader.receive, reader.send)
        )
        await reader.until(lambda: len(reader.sent) > 3)
        reader.pause()
        begun = now()
        await serving
        assert 20 <= now() - begun < 21
        assert agent.how == "closed"  # it was waiting for credit, at a yield
        assert not reader.ended

    play(main())
    assert (
        "stream r: one send took longer than send_timeout=20 s, at number"
        in caplog.text
    )


def test_a_last_send_that_does_not_return_is_called_off_as_well() -> None:
    async def main() -> None:
        reader = Reader()

        async def send(message: Any) -> None:
            if b"RUN_FINISHED" in message.get("body", b""):
                assert not message["more_body"]
                reader.pause()
            await reader.send(message)

        response = SSEResponse(Agent(run_of("a")), send_timeout=20)
        serving = asyncio.ensure_future(response(reader.scope, reader.receive, send))
        done, _ = await asyncio.wait([serving], timeout=100)
        assert done
        assert 20 <= now() < 21
        assert others() == set()

    play(main())


def test_a_keep_alive_that_does_not_return_is_called_off_as_well() -> None:
    async def main() -> None:
        response = SSEResponse(typing(), keep_alive=15, send_timeout=20)
        reader = Reader()
        serving = asyncio.ensure_future(
            response(reader.scope, reader.receive, reader.send)
        )
        await reader.until(lambda: len(reader.sent) == 2)
        reader.pause()
        await serving
        assert 35 <= now() < 36

    play(main())


def test_a_head_that_does_not_go_out_is_called_off_as_well() -> None:
    async def main() -> None:
        agent = Agent(run_of("a"))
        reader = Reader()
        reader.pause()
        await SSEResponse(agent, send_timeout=5)(
            reader.scope, reader.receive, reader.send
        )
        assert 5 <= now() < 6
        assert reader.sent == []

    play(main())


@pytest.mark.parametrize("resumes", [False, True])
def test_a_connection_lasts_no_longer_than_it_may(resumes: bool) -> None:
    async def main() -> None:
        asked = {"accept": "text/event-stream;resume=1"} if resumes else {}
        reader = Reader(headers=asked)
        response = SSEResponse(typing(), max_duration=100)
        await response(reader.scope, reader.receive, reader.send)
        assert 80 <= now() <= 101
        assert reader.ended
        # Without a log nobody can come back, whatever they say.
        assert reader.types == ["RUN_STARTED", "RUN_ERROR"]
        assert reader.events[-1]["code"] == "MAX_DURATION"
        assert reader.ids == ["1", ""]  # it is not the run's, so it has no number

    play(main())


def test_a_connection_that_has_lasted_long_enough_ends_behind_what_is_being_sent() -> (
    None
):
    async def main() -> None:
        reader = Reader()

        async def send(message: Any) -> None:
            await asyncio.sleep(1)
            await reader.send(message)

        agent = Agent([STARTED, *map(step, range(10_000))])
        response = SSEResponse(agent, max_duration=100, window=10)
        await response(reader.scope, reader.receive, send)
        assert 80 <= now() <= 103
        assert reader.ended
        assert reader.events[-1]["code"] == "MAX_DURATION"

    play(main())


# -- gone ------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [None, CANCEL])
def test_a_reader_who_leaves_cancels_the_agent(policy: Grace | None) -> None:
    async def main() -> None:
        agent = Agent([STARTED, step("a")])
        agent.stops_at = 1
        async with reading(SSEResponse(agent, on_disconnect=policy)) as reader:
            await reader.until(lambda: b"RUN_STARTED" in reader.body)
        assert agent.how == "cancelled"

    play(main())


def test_the_response_waits_until_the_agent_has_cleaned_up() -> None:
    cleaned: list[float] = []

    async def agent() -> AsyncIterator[Event]:
        try:
            yield STARTED
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(3)
            cleaned.append(now())

    async def main() -> None:
        async with reading(SSEResponse(agent)) as reader:
            await reader.until(lambda: b"RUN_STARTED" in reader.body)
            left = now()
        assert cleaned == [round(left + 3, 3)]

    play(main())


def test_an_agent_that_does_not_let_itself_be_cancelled_is_not_waited_for_for_ever(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def agent() -> AsyncIterator[Event]:
        try:
            yield STARTED
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(3000)

    async def main() -> None:
        async with reading(SSEResponse(agent)) as reader:
            await reader.until(lambda: b"RUN_STARTED" in reader.body)
        assert now() < 30

    play(main())
    assert "was cancelled 10 s ago and is still at work" in caplog.text


def test_a_run_may_go_on_without_its_reader_to_its_end() -> None:
    async def main() -> None:
        agent = Agent([STARTED, *map(step, range(1000))])
        agent.stops_at = 5
        response = SSEResponse(agent, on_disconnect=CONTINUE, window=10)
        async with reading(response) as reader:
            await reader.until(lambda: b'"3"' in reader.body)
        agent.stops_at = None
        agent.may_go_on.set()
        while not agent.how:  # noqa: ASYNC110
            await asyncio.sleep(1)
        assert (agent.how, agent.given) == ("finished", 1001)

    play(main())


def test_a_run_may_go_on_without_its_reader_for_a_while() -> None:
    async def main() -> None:
        response = SSEResponse(agent := _ticking(), on_disconnect=grace(7))
        async with reading(response) as reader:
            await reader.until(lambda: b"STEP" in reader.body)
            left = now()
        assert now() == left
        while not agent.how:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        assert 7 <= now() - left < 8
        assert agent.how in ("cancelled", "closed")

    play(main())


def test_a_run_that_is_cancelled_without_its_reader_raises_nothing_unheard() -> None:
    unheard: list[dict[str, Any]] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: unheard.append(context))
        response = SSEResponse(agent := _ticking(), on_disconnect=grace(7))
        async with reading(response) as reader:
            await reader.until(lambda: b"STEP" in reader.body)
        while not agent.how:  # noqa: ASYNC110
            await asyncio.sleep(0.1)

    play(main())
    gc.collect()
    assert unheard == []


class _ticking:
    how = ""

    async def __call__(self) -> AsyncIterator[Event]:
        try:
            yield STARTED
            for n in range(10_000):
                await asyncio.sleep(0.5)
                yield step(n)
        except asyncio.CancelledError:
            self.how = "cancelled"
            raise
        finally:  # at a `yield`, if the grace is over as a step is on its way
            self.how = self.how or "closed"


@pytest.mark.parametrize("policy", [CANCEL, CONTINUE])
def test_a_server_that_says_so_by_raising_is_understood(policy: Grace) -> None:
    """As ASGI 2.4 has it: `send` raises OSError when the reader is gone."""

    async def main() -> None:
        agent = Agent([STARTED, *map(step, range(500))])
        reader = Reader()

        async def send(message: Any) -> None:
            if len(reader.sent) == 3:
                raise OSError("gone")
            await reader.send(message)

        response = SSEResponse(agent, on_disconnect=policy, window=10)
        await response(reader.scope, reader.receive, send)
        await asyncio.sleep(1)
        assert agent.how == ("closed" if policy is CANCEL else "finished")

    play(main())


@pytest.mark.parametrize("how", ["stuck", "called off"])
def test_a_run_may_go_on_though_its_reader_is_too_slow_or_the_server_calls_it_off(
    how: str,
) -> None:
    async def main() -> None:
        agent = Agent([STARTED, *map(step, range(500))])
        response = SSEResponse(agent, on_disconnect=CONTINUE, window=10, send_timeout=5)
        reader = Reader()
        serving = asyncio.ensure_future(
            response(reader.scope, reader.receive, reader.send)
        )
        await reader.until(lambda: len(reader.sent) > 3)
        reader.pause()
        if how == "called off":
            serving.cancel()
        await asyncio.wait([serving])
        await asyncio.sleep(10)
        assert agent.how == "finished"

    play(main())


@pytest.mark.parametrize("how", ["leaves", "is called off"])
@pytest.mark.parametrize("policy", [CANCEL, CONTINUE])
def test_a_send_that_does_not_return_when_all_is_over_is_called_off(
    policy: Grace, how: str
) -> None:
    async def main() -> None:
        agent = Agent([STARTED, *map(step, range(500))])
        response = SSEResponse(agent, on_disconnect=policy, window=10)
        reader = Reader()
        serving = asyncio.ensure_future(
            response(reader.scope, reader.receive, reader.send)
        )
        await reader.until(lambda: len(reader.sent) > 3)
        reader.pause()
        await asyncio.sleep(1)
        if how == "leaves":
            reader.leave()
        else:
            serving.cancel()
        await asyncio.wait([serving])
        await asyncio.sleep(1)
        assert agent.how == ("closed" if policy is CANCEL else "finished")
        assert others() == set()

    play(main())


def test_a_run_goes_on_though_it_writes_just_as_the_server_calls_it_off() -> None:
    async def main() -> None:
        agent = Agent([STARTED, *map(step, range(500))])
        response = SSEResponse(agent, on_disconnect=CONTINUE, batch_size=1)
        reader = Reader()
        serving = asyncio.ensure_future(
            response(reader.scope, reader.receive, reader.send)
        )
        await reader.until(lambda: len(reader.sent) > 3)
        reader.pause()
        await asyncio.sleep(1)
        reader.go_on()  # so that the next write begins before the response hears of it
        serving.cancel()
        await asyncio.wait([serving])
        await asyncio.sleep(1)
        assert agent.how == "finished"

    play(main())


def test_a_server_that_calls_the_response_off_cancels_the_agent() -> None:
    async def main() -> None:
        agent = Agent([STARTED, step("a")])
        agent.stops_at = 1
        reader = Reader()
        serving = asyncio.ensure_future(
            SSEResponse(agent)(reader.scope, reader.receive, reader.send)
        )
        await reader.until(lambda: b"RUN_STARTED" in reader.body)
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
        assert agent.how == "cancelled"

    play(main())


def test_a_server_that_calls_the_response_off_behind_its_end_cancels_the_agent() -> (
    None
):
    cleaned: list[float] = []

    async def agent() -> AsyncIterator[Event]:
        try:
            for event in run_of("a"):
                yield event
            await asyncio.Event().wait()
        finally:
            cleaned.append(now())

    async def main() -> None:
        reader = Reader()
        serving = asyncio.ensure_future(
            SSEResponse(agent)(reader.scope, reader.receive, reader.send)
        )
        await reader.until(lambda: reader.ended)
        await asyncio.sleep(3)
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
        assert cleaned == [now()]

    play(main())


def test_a_reader_who_leaves_before_anything_is_sent_leaves_nothing_behind() -> None:
    async def main() -> None:
        agent = Agent(run_of("a"))
        agent.may_go_on.clear()
        reader = Reader()
        reader.leave()
        await SSEResponse(agent)(reader.scope, reader.receive, reader.send)
        assert reader.sent == []
        assert agent.how in ("cancelled", "")
        await asyncio.sleep(1)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    play(main())


def test_an_agent_that_has_not_begun_is_not_waited_for() -> None:
    async def main() -> None:
        agent = Agent(run_of("a"))
        reader = Reader()

        async def late() -> AsyncIterator[Event]:
            serving.cancel()  # which the response hears before the agent is advanced
            return agent()

        serving = asyncio.ensure_future(
            SSEResponse(late)(reader.scope, reader.receive, reader.send)
        )
        await asyncio.wait([serving])
        assert now() == 0
        assert agent.given == 0

    play(main())


class NotFound(Exception):
    status_code = 404


@pytest.mark.parametrize("kept", [False, True])
def test_a_run_that_is_refused_leaves_no_write_behind(kept: bool) -> None:
    more: Any = {"log": MemoryLog(), "stream": "s"} if kept else {}

    async def main() -> None:
        reader = await get(SSEResponse(Agent([], then=NotFound()), **more))
        assert reader.status == 404
        await asyncio.sleep(1)
        assert others() == set()

    play(main())


@pytest.mark.parametrize("how", ["raises", "is called off"])
@pytest.mark.parametrize("policy", [CANCEL, CONTINUE])
def test_a_head_that_is_never_sent_holds_up_no_run(policy: Grace, how: str) -> None:
    async def main() -> None:
        agent = Agent([STARTED, *map(step, range(500))])
        reader = Reader()

        async def send(message: Any) -> None:
            if how == "raises":
                raise OSError("gone")
            await asyncio.Event().wait()

        response = SSEResponse(agent, on_disconnect=policy, window=10)
        serving = asyncio.ensure_future(response(reader.scope, reader.receive, send))
        await asyncio.sleep(1)
        serving.cancel()  # unless it is over
        await asyncio.wait([serving])
        await asyncio.sleep(1)
        assert agent.how == ("closed" if policy is CANCEL else "finished")
        assert others() == set()
        assert Watchdog.here()._timer is None

    play(main())


def others() -> set[asyncio.Task[Any]]:
    """Tasks that are still there."""
    return asyncio.all_tasks() - {asyncio.current_task()}


# -- held back -------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [1, 10, 100])
def test_a_reader_who_does_not_read_stops_the_agent_within_the_window(
    window: int,
) -> None:
    async def main() -> None:
        agent = Agent([STARTED, *map(step, range(10_000))])
        response = SSEResponse(
            agent, window=window, batch_size=7, send_timeout=None, max_staleness=None
        )
        async with reading(response) as reader:
            await reader.until(lambda: len(reader.sent) > 5)
            reader.pause()
            await asyncio.sleep(1000)
            taken = reader.body.count(b"id: ")
            assert agent.given <= taken + window + 1
            given = agent.given
            await asyncio.sleep(1000)
            assert agent.given == given

    play(main())


def test_a_grace_of_less_than_nothing_is_refused() -> None:
    with pytest.raises(ConfigError):
        grace(-1)
