"""Runs that are kept in a log, and who reads them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
import reactivex as rx

from rx_agui import Frame, batch, chunk, compress, flow_control, from_iterable, sequence
from rx_agui.asgi import CANCEL, CONTINUE, SSEResponse, grace
from rx_agui.asgi.run._run import Run
from rx_agui.replay import MemoryLog, ReplayLog, StreamKey
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
from tests.support.stems import UNKNOWN, stem
from tests.support.virtual import now, play

RUN = run_of(*"abcdefgh")


class Place:
    """A log, and an endpoint that streams one agent's run from it."""

    def __init__(
        self,
        agent: Any,
        log: ReplayLog | None = None,
        stream: str | None = "run/7",
        **settings: Any,
    ) -> None:
        self.agent = agent
        self.log = log or MemoryLog()
        self.stream = stream
        self.settings = settings

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        response = SSEResponse(
            self.agent, log=self.log, stream=self.stream, owner="", **self.settings
        )
        await response(scope, receive, send)


async def back(place: Place, number: int, stream: str = "run/7") -> Reader:
    cursor = f"{stem(place.log, stream)}/{number}"
    return await get(place, headers={"Last-Event-ID": cursor})


def numbers(reader: Reader) -> list[int]:
    return [int(id.rpartition("/")[2] or 0) for id in reader.ids]


# -- the answers -------------------------------------------------------------------------


def test_who_asks_first_starts_the_run_and_gets_it_live() -> None:
    async def main() -> None:
        reader = await get(place := Place(Agent(RUN)))

        assert reader.status == 200
        assert reader.headers["rx-agui-replay"] == "live"
        assert reader.headers["access-control-expose-headers"] == "Rx-Agui-Replay"
        assert reader.events == RUN
        assert reader.ids == [f"{stem(place.log)}/{n}" for n in range(1, 11)]
        assert reader.ended

    play(main())


def test_who_was_cut_off_gets_the_rest_exactly_once_from_wherever_it_was() -> None:
    async def main() -> None:
        place = Place(agent := Agent(RUN))
        await get(place)
        for number in range(len(RUN)):
            reader = await back(place, number)
            assert reader.headers["rx-agui-replay"] == "tail"
            assert reader.events == RUN[number:]
            assert numbers(reader) == list(range(number + 1, len(RUN) + 1))
            assert reader.ended
        assert agent.starts == 1

    play(main())


def test_who_has_everything_of_a_run_that_is_over_is_told_so() -> None:
    async def main() -> None:
        place = Place(agent := Agent(RUN))
        await get(place)
        reader = await back(place, len(RUN))

        assert (reader.status, reader.raw, agent.starts) == (204, b"", 1)

    play(main())


def test_who_has_everything_of_a_run_that_goes_on_waits_for_more() -> None:
    async def main() -> None:
        agent = Agent(RUN)
        agent.stops_at = 3
        place = Place(agent)
        async with reading(place) as first:
            await first.until(lambda: b'"b"' in first.body)
            headers = {"Last-Event-ID": f"{stem(place.log)}/3"}
            async with reading(place, headers=headers) as second:
                await second.until(lambda: len(second.sent) == 2)
                assert second.headers["rx-agui-replay"] == "tail"
                agent.stops_at = None
                agent.may_go_on.set()
                await second.until(lambda: second.ended)
                assert second.events == RUN[3:]

    play(main())


@pytest.mark.parametrize("asked", [{}, {"query": "join=1"}, {"method": "POST"}])
def test_who_asks_again_joins_and_no_second_agent_is_run(asked: Any) -> None:
    async def main() -> None:
        place = Place(agent := Agent(RUN))
        await get(place)
        reader = await get(place, **asked)

        assert reader.headers["rx-agui-replay"] == "prelude"
        assert reader.types[0] == "RUN_STARTED"
        assert reader.types[-1] == "RUN_FINISHED"
        # Only the last frame of it has an id: a cut inside neither loses nor repeats it.
        assert [n for n in numbers(reader) if n] == [len(RUN)]
        assert numbers(reader)[-1] == len(RUN)
        assert agent.starts == 1

    play(main())


def test_a_prelude_goes_on_live_exactly_behind_it() -> None:
    async def main() -> None:
        agent = Agent(RUN)
        agent.stops_at = 4
        place = Place(agent)
        async with reading(place) as first:
            await first.until(lambda: b'"c"' in first.body)
            async with reading(place) as second:
                await second.until(lambda: b'"c"' in second.body)
                agent.stops_at = None
                agent.may_go_on.set()
                await second.until(lambda: second.ended)
                assert numbers(second)[-7:] == [4, 5, 6, 7, 8, 9, 10]
                assert second.events[-6:] == RUN[4:]

    play(main())


@pytest.mark.parametrize("last", [3, 99])
def test_a_cursor_that_the_log_cannot_serve_gets_the_prelude(last: int) -> None:
    """It lies behind what is kept, or beyond the end: another run of the same name."""

    async def main() -> None:
        place = Place(agent := Agent(RUN), MemoryLog(max_events=4), batch_size=1)
        await get(place)
        reader = await back(place, last)

        assert reader.headers["rx-agui-replay"] == "trimmed"
        assert reader.types[0] == "RUN_STARTED"
        assert reader.types[-1] == "RUN_FINISHED"
        assert [n for n in numbers(reader) if n] == [len(RUN)]
        assert agent.starts == 1

    play(main())


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"headers": {"Last-Event-ID": f"run%2F7@{UNKNOWN}/3"}}, "not known"),
        ({"headers": {"Last-Event-ID": "run%2F7/3"}}, "no epoch"),
        ({"headers": {"Last-Event-ID": "other/3"}}, "names another stream"),
        ({"headers": {"Last-Event-ID": "3"}}, "names no stream"),
        ({"query": f"last_event_id=run%252F7%40{UNKNOWN}/3"}, "not known"),
        ({"query": "join=1"}, "no such stream to join"),
    ],
)
def test_what_nobody_knows_is_gone_and_no_agent_is_run(asked: Any, why: str) -> None:
    async def main() -> None:
        place = Place(agent := Agent(RUN))
        reader = await get(place, **asked)

        assert reader.status == 410
        assert why in reader.raw.decode()
        assert reader.headers["cache-control"] == "no-store"
        assert agent.starts == 0

    play(main())


def test_head_starts_no_run() -> None:
    async def main() -> None:
        place = Place(agent := Agent(RUN))
        assert (await get(place, method="HEAD")).status == 200
        assert agent.starts == 0
        assert await place.log.position(StreamKey("run/7")) is None

    play(main())


# -- names -------------------------------------------------------------------------------


def test_a_run_without_a_name_is_called_by_its_run_id() -> None:
    async def main() -> None:
        place = Place(agent := Agent(RUN), stream=None)
        first = await get(place)
        assert first.headers["rx-agui-replay"] == "live"
        assert first.ids == [f"{stem(place.log, 'r')}/{n}" for n in range(1, 11)]
        tail = await back(place, 4, "r")
        assert tail.events == RUN[4:]
        assert (await get(place, query="join=r")).headers["rx-agui-replay"] == "prelude"
        assert (await get(place, query="join=x")).status == 410
        assert (await get(place, query="join=1")).status == 410
        assert agent.starts == 1

    play(main())


def test_a_second_run_of_the_same_id_is_given_up_and_joins_the_first() -> None:
    async def main() -> None:
        agent = Agent(RUN)
        agent.stops_at = 3
        place = Place(agent, stream=None)
        async with reading(place) as first:
            await first.until(lambda: b'"b"' in first.body)
            agent.stops_at = None
            second = Agent(RUN)
            second.stops_at = 3
            async with reading(Place(second, place.log, None)) as again:
                await again.until(lambda: b'"b"' in again.body)
                agent.may_go_on.set()
                await again.until(lambda: again.ended)
                assert again.events == RUN
            assert second.how in (
                "cancelled",
                "closed",
            )  # while it waits, or at a yield

    play(main())


def test_a_run_that_says_no_name_gets_one() -> None:
    async def main() -> None:
        reader = await get(Place(Agent([step("a"), FINISHED]), stream=None))
        stems = {id.rpartition("/")[0] for id in reader.ids}
        (made,) = stems
        assert [len(part) for part in made.split("@")] == [32, 32]

    play(main())


# -- at the same time ----------------------------------------------------------------------


def test_ten_requests_at_once_run_the_agent_once() -> None:
    async def main() -> None:
        place = Place(agent := Agent(RUN))
        readers = await asyncio.gather(*[get(place) for _ in range(10)])

        assert agent.starts == 1
        assert (
            sorted(r.headers["rx-agui-replay"] for r in readers)
            == ["live"] + ["prelude"] * 9
        )
        for reader in readers:
            assert reader.types[0] == "RUN_STARTED"
            assert reader.types[-1] == "RUN_FINISHED"
            assert numbers(reader)[-1] == len(RUN)

    play(main())


def test_two_that_find_nothing_at_the_same_moment_run_the_agent_once() -> None:
    class Slow(MemoryLog):
        async def position(self, stream: Any) -> Any:
            found = await super().position(stream)
            await asyncio.sleep(0.01)  # as one that is on another machine
            return found

    async def main() -> None:
        place = Place(agent := Agent(RUN), Slow())
        readers = await asyncio.gather(get(place), get(place))
        assert agent.starts == 1
        assert {r.headers["rx-agui-replay"] for r in readers} == {"live", "prelude"}

    play(main())


# -- an early error ------------------------------------------------------------------------


class Refusal(Exception):
    status_code = 422
    detail = "no"


@pytest.mark.parametrize("stream", ["run/7", None])
def test_a_run_that_is_refused_may_be_asked_for_again(stream: str | None) -> None:
    async def main() -> None:
        log = MemoryLog()
        refused = await get(Place(Agent([], then=Refusal()), log, stream))
        assert (refused.status, refused.raw) == (422, b'{"detail":"no"}')
        served = await get(Place(Agent(RUN), log, stream))
        assert served.events == RUN

    play(main())


def test_who_joins_a_run_that_is_then_refused_is_refused_too() -> None:
    async def main() -> None:
        async def agent() -> AsyncIterator[Event]:
            await asyncio.sleep(0.05)
            raise Refusal
            yield {}

        place = Place(agent)
        readers = await asyncio.gather(get(place), get(place))
        assert [reader.status for reader in readers] == [422, 422]

    play(main())


def test_an_early_error_behind_status_grace_is_an_event_and_the_run_may_be_repeated() -> (
    None
):
    async def main() -> None:
        async def agent() -> AsyncIterator[Event]:
            await asyncio.sleep(1)
            raise Refusal
            yield {}

        place = Place(agent)
        reader = await get(place)
        assert (reader.status, reader.types) == (200, ["RUN_ERROR"])
        assert reader.events[0]["code"] == "HTTP_422"
        assert await place.log.position(StreamKey("run/7")) is None

    play(main())


# -- sources -------------------------------------------------------------------------------


def test_what_went_through_operators_is_kept_as_events_whatever_it_was_made_into() -> (
    None
):
    async def main() -> None:
        chunks = from_iterable(RUN).pipe(
            flow_control(), sequence(), batch(), compress(min_size=1), chunk(50)
        )
        reader = await get(Place(chunks))
        assert reader.events == RUN
        assert numbers(reader) == list(range(1, 11))

    play(main())


def test_payloads_without_numbers_get_them() -> None:
    async def main() -> None:
        payloads = from_iterable([STARTED, step("a")]).pipe(batch(2))
        reader = await get(Place(payloads))
        assert numbers(reader) == [1, 2, 3, 4]
        assert reader.types[-2:] == ["STEP_FINISHED", "RUN_ERROR"]

    play(main())


def test_an_observable_may_speak_from_any_thread() -> None:
    async def main() -> None:
        from reactivex.scheduler import NewThreadScheduler

        threaded = rx.from_iterable(RUN, scheduler=NewThreadScheduler())
        reader = await get(Place(threaded))
        assert reader.events == RUN

    asyncio.run(main())


def test_readers_of_the_chunk_profile_and_of_the_other_read_one_log() -> None:
    async def main() -> None:
        long = run_of(*(f"{n:0100}" for n in range(100)))
        place = Place(Agent(long))
        plain = await get(place)
        chunks = await get(
            Place(None or Agent([]), place.log, profile="chunk"),
            headers={"Last-Event-ID": f"{stem(place.log)}/0"},
        )
        assert plain.events == long
        assert chunks.body.count(b"event: chunk") >= 1
        assert b"\nid: run%2F7@" in chunks.body

    play(main())


# -- pace ------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [1, 10, 100])
def test_the_agent_is_at_most_the_window_ahead_of_the_fastest_reader(
    window: int,
) -> None:
    async def main() -> None:
        agent = Agent([STARTED, *map(step, range(10_000))])
        place = Place(agent, window=window, send_timeout=None, max_staleness=None)
        async with reading(place) as fast, reading(place) as slow:
            await fast.until(lambda: len(fast.sent) > 5)
            slow.pause()
            before = agent.given
            await fast.until(lambda: numbers(fast)[-1] > before + 3 * window)
            fast.pause()
            await asyncio.sleep(100)
            assert agent.given <= numbers(fast)[-1] + window + 1
            slow.go_on()  # now it is the fastest
            await slow.until(lambda: numbers(slow)[-1] > numbers(fast)[-1] + 2 * window)
            fast.go_on()

    play(main())


def test_a_slow_reader_gets_fewer_and_larger_writes_and_every_event() -> None:
    async def main() -> None:
        long = run_of(*range(2000))
        place = Place(Agent(long), conflate="never")
        async with reading(place) as fast:
            async with reading(place) as slow:
                await slow.until(lambda: len(slow.sent) > 2)
                slow.pause()
                await fast.until(lambda: fast.ended)
                slow.go_on()
                await slow.until(lambda: slow.ended)
            assert slow.events[-1000:] == fast.events[-1000:] == long[-1000:]

    play(main())


def test_a_reader_that_lags_is_given_what_has_come_in_one_write() -> None:
    async def main() -> None:
        long = run_of(*range(2000))
        place = Place(Agent(long))
        async with reading(place) as fast, reading(place) as slow:
            await slow.until(lambda: len(slow.sent) > 2)
            slow.pause()
            await fast.until(lambda: fast.ended)
            before = len(slow.sent)
            slow.go_on()
            await slow.until(lambda: slow.ended)
            assert len(slow.sent) - before <= 4
            assert len(fast.sent) > 20

    play(main())


@pytest.mark.parametrize("conflate", ["never", "lagging", "always"])
def test_a_reader_that_lags_gets_fewer_events_and_the_same_text(conflate: str) -> None:
    deltas = [
        {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": f"{n} "}
        for n in range(2000)
    ]
    start = {"type": "TEXT_MESSAGE_START", "messageId": "m", "role": "assistant"}
    end = {"type": "TEXT_MESSAGE_END", "messageId": "m"}

    async def main() -> None:
        agent = Agent([STARTED, start, *deltas, end, FINISHED])
        place = Place(agent, conflate=conflate, profile="agui")
        async with reading(place) as fast, reading(place) as slow:
            await slow.until(lambda: len(slow.sent) > 2)
            slow.pause()
            await fast.until(lambda: fast.ended)
            slow.go_on()
            await slow.until(lambda: slow.ended)
        for reader in (fast, slow):
            text = "".join(event.get("delta", "") for event in reader.events)
            assert text == "".join(event["delta"] for event in deltas)
            # Each event carries the last number that it covers: a cursor stays exact.
            numbered = [n for n in numbers(reader) if n]
            assert numbered == sorted(set(numbered))
            assert numbered[-1] == 2004
        assert (len(slow.events) < 500) == (conflate != "never")

    play(main())


# -- who leaves, and what becomes of the run --------------------------------------------------


def test_a_run_waits_for_a_reader_who_was_cut_off_and_then_goes_on_as_if_nothing_was() -> (
    None
):
    async def main() -> None:
        place = Place(agent := _typing(100), on_disconnect=grace(10))
        async with reading(place) as first:
            await first.until(lambda: b"STEP" in first.body)
            seen = numbers(first)[-1]
        await asyncio.sleep(9)
        second = await back(place, seen)
        assert numbers(second) == list(range(seen + 1, 103))
        assert (agent.how, agent.starts) == ("finished", 1)

    play(main())


@pytest.mark.parametrize(
    ("policy", "seconds"), [(CANCEL, 0), (grace(10), 10), (None, 60)]
)
def test_a_run_that_nobody_reads_is_cancelled_and_says_so(
    policy: Any, seconds: float, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "rx_agui")

    async def main() -> None:
        place = Place(agent := _typing(1000), on_disconnect=policy)
        async with reading(place) as first:
            await first.until(lambda: b"STEP" in first.body)
            left = now()
        key = await place.log.find(StreamKey("run/7"))
        assert key is not None
        run = Run.of(place.log, key)
        if run is not None:
            await run.over.wait()
        assert seconds <= now() - left < seconds + 1
        second = await back(place, 1)
        assert second.events[-1]["type"] == "RUN_ERROR"
        assert second.events[-1]["code"] == "CANCELLED"
        assert numbers(second) == list(range(2, numbers(second)[-1] + 1))
        assert (await back(place, numbers(second)[-1])).status == 204
        await asyncio.sleep(1)
        assert agent.how == "cancelled"
        assert Run.of(place.log, key) is None

    play(main())
    assert "it is cancelled at number" in caplog.text


def test_a_run_that_waits_for_a_reader_does_not_run_away_from_it() -> None:
    async def main() -> None:
        agent = Agent([STARTED, *map(step, range(10_000))])
        place = Place(agent, window=20, on_disconnect=grace(100))
        async with reading(place) as first:
            await first.until(lambda: len(first.sent) > 5)
        await asyncio.sleep(50)
        seen = numbers(first)[-1]
        assert seen + 200 <= agent.given <= seen + 20 * 12
        assert numbers(await get_some(place, seen))[0] == seen + 1

    async def get_some(place: Place, number: int) -> Reader:
        headers = {"Last-Event-ID": f"{stem(place.log)}/{number}"}
        async with reading(place, headers=headers) as reader:
            await reader.until(lambda: len(reader.sent) > 20)
        assert reader.headers["rx-agui-replay"] == "tail"
        return reader

    play(main())


def test_a_run_may_go_on_to_its_end_though_nobody_reads_it() -> None:
    async def main() -> None:
        place = Place(agent := _typing(500), on_disconnect=CONTINUE, window=5)
        async with reading(place) as first:
            await first.until(lambda: b"STEP" in first.body)
        await asyncio.sleep(600)
        assert agent.how == "finished"
        assert numbers(await back(place, 0))[-1] == 502

    play(main())


class _typing:
    """An agent that says one thing a second."""

    def __init__(self, words: int) -> None:
        self.words = words
        self.how = ""
        self.starts = 0

    async def __call__(self) -> AsyncIterator[Event]:
        self.starts += 1
        try:
            yield STARTED
            for n in range(self.words):
                await asyncio.sleep(1)
                yield step(n)
            yield FINISHED
            self.how = "finished"
        except asyncio.CancelledError:
            self.how = "cancelled"
            raise


@pytest.mark.parametrize(
    ("policy", "seconds"), [(CANCEL, 3), (grace(10), 13), (CONTINUE, 103)]
)
def test_the_request_that_started_a_run_lasts_until_its_agent_has_cleaned_up(
    policy: Any, seconds: float
) -> None:
    """What belongs to the request, such as a database session, is open until then."""
    is_open = True

    async def agent() -> AsyncIterator[Event]:
        try:
            async for event in _typing(100)():
                assert is_open
                yield event
        finally:
            await asyncio.sleep(3)
            assert is_open
            cleaned.append(now())

    cleaned: list[float] = []

    async def main() -> None:
        nonlocal is_open
        place, reader = Place(agent, on_disconnect=policy), Reader()
        serving = asyncio.ensure_future(
            place(reader.scope, reader.receive, reader.send)
        )
        await reader.until(lambda: b"STEP" in reader.body)
        left = now()
        reader.leave()
        await serving
        is_open = False
        assert cleaned == [now()]
        assert seconds - 2 <= now() - left <= seconds + 2

    play(main())


def test_a_run_whose_event_loop_closes_has_an_end_in_the_log() -> None:
    log = MemoryLog()

    async def first() -> None:
        async with reading(Place(_typing(100), log)) as reader:
            await reader.until(lambda: b"STEP" in reader.body)

    async def second() -> None:
        reader = await get(Place(Agent(RUN), log))
        assert reader.types[-1] == "RUN_ERROR"
        assert reader.events[-1]["code"] == "CANCELLED"

    play(first())
    play(second())


# -- closed by policy --------------------------------------------------------------------------

RESUMES = {"Accept": "text/event-stream;resume=1, text/event-stream"}


@pytest.mark.parametrize("headers", [RESUMES, {}], ids=["resumes", "does not"])
def test_who_can_come_back_is_closed_without_a_word_and_who_cannot_is_told(
    headers: dict[str, str],
) -> None:
    async def main() -> None:
        asked = dict(headers)
        place = Place(agent := _typing(300), max_duration=100, on_disconnect=CANCEL)
        reader = await get_slowly(place, headers=asked)
        assert reader.ended
        last = reader.events[-1]
        if not headers:
            assert (last["type"], last["code"]) == ("RUN_ERROR", "MAX_DURATION")
            assert reader.ids[-1] == ""
            return
        assert last["type"] == "STEP_STARTED"
        # A moment later it is back, though the policy is to cancel at once.
        seen = numbers(reader)
        while seen[-1] < 302:
            asked["Last-Event-ID"] = f"{stem(place.log)}/{seen[-1]}"
            seen += numbers(await get_slowly(place, headers=asked))
        assert seen == list(range(1, 303))
        assert agent.starts == 1

    play(main())


async def get_slowly(place: Place, **asked: Any) -> Reader:
    reader = Reader(**asked)
    serving = asyncio.ensure_future(place(reader.scope, reader.receive, reader.send))
    # The request may last as long as the run that it started.
    while not (serving.done() or reader.ended):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    return reader


def test_who_is_too_far_behind_is_closed_and_comes_back_to_where_it_was() -> None:
    async def main() -> None:
        place = Place(_typing(300), max_staleness=20, send_timeout=None)
        async with reading(place) as fast:
            await fast.until(lambda: b"STEP" in fast.body)
            slow = Reader(headers=RESUMES)
            serving = asyncio.ensure_future(place(slow.scope, slow.receive, slow.send))
            await slow.until(lambda: b"STEP" in slow.body)
            slow.pause()
            stopped = now()
            await serving
            assert 20 <= now() - stopped <= 23
            rest = await get_slowly(
                place,
                headers={"Last-Event-ID": f"{stem(place.log)}/{numbers(slow)[-1]}"},
            )
            assert numbers(rest)[0] == numbers(slow)[-1] + 1
            assert numbers(rest)[-1] == 302

    play(main())


def test_a_reader_that_was_overtaken_by_the_log_comes_back_to_a_prelude() -> None:
    async def main() -> None:
        log = MemoryLog(max_events=20)
        place = Place(_typing(300), log, max_staleness=None, send_timeout=None)
        async with reading(place) as fast:
            await fast.until(lambda: b"STEP" in fast.body)
            slow = Reader(headers=RESUMES)
            serving = asyncio.ensure_future(place(slow.scope, slow.receive, slow.send))
            await slow.until(lambda: b"STEP" in slow.body)
            slow.pause()
            await asyncio.sleep(100)
            slow.go_on()
            await serving
            assert slow.ended
            seen = numbers(slow)[-1]
            assert seen < 50
            headers = {"Last-Event-ID": f"{stem(place.log)}/{seen}"}
            again = await get_slowly(place, headers=headers)
            assert again.headers["rx-agui-replay"] == "trimmed"
            assert again.types[0] == "RUN_STARTED"
            assert again.types[-1] == "RUN_FINISHED"

    play(main())


def test_a_log_that_fails_ends_the_run_and_its_readers_are_told_no_internals(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Failing(MemoryLog):
        async def append(self, stream: Any, frame: Frame) -> None:
            if frame.last > 3:
                raise ConnectionError("secret host")
            await super().append(stream, frame)

    async def main() -> None:
        place = Place(agent := _typing(100), Failing())
        reader = await get(place)
        assert reader.ended
        assert reader.types[-1] == "RUN_ERROR"
        assert b"secret" not in reader.body
        await asyncio.sleep(1)
        assert agent.how == "cancelled"

    play(main())
    assert "stream run/7: the log failed behind number" in caplog.text
    assert "secret host" in caplog.text


def test_nothing_is_left_behind() -> None:
    async def main() -> None:
        place = Place(Agent(RUN))
        await asyncio.gather(*[get(place) for _ in range(5)])
        await back(place, 3)
        await asyncio.sleep(1)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert list(Run.alive()) == []

    play(main())
