"""The contract of a log, as rules that any log can be held to.

    @pytest.mark.parametrize("rule", LOG_RULES)
    def test_my_log(rule: LogRule) -> None:
        rule(LogCandidate("mine", make_my_log))

A rule raises AssertionError and says what it saw. It runs an event loop of its own,
and waits for what must happen, never for time.
"""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable
from contextlib import suppress
from typing import Final

import orjson

from rx_agui.errors import (
    ReplayError,
    StreamClosedError,
    TrimmedError,
    UnknownStreamError,
)
from rx_agui.flow import Credit, Permit
from rx_agui.frame import Frame
from rx_agui.replay import Joined, Opened, StreamKey, join
from rx_agui.testing._log_identity import IDENTITY_RULES
from rx_agui.testing._log_rules import (
    LogCandidate,
    LogRule,
    fill,
    numbers_of,
    opened,
    payload,
    rule,
    word,
)

__all__ = ["LOG_RULES", "LogCandidate", "LogRule"]

# -- the rules ------------------------------------------------------------------


@rule
async def a_stream_is_claimed_once(candidate: LogCandidate) -> None:
    async with candidate.make(100) as log:
        claims = await asyncio.gather(*(log.open("run") for _ in range(50)))
        opened = [claim for claim in claims if isinstance(claim, Opened)]
        assert len(opened) == 1, f"{len(opened)} of 50 may fill it"
        streams = {claim.stream for claim in claims}
        assert streams == {opened[0].stream}, f"50 were told of {streams}"
        await log.close(opened[0].stream)
        again = await log.open("run")
        assert isinstance(again, Joined), "a run that is over could be run again"


@rule
async def every_reader_gets_every_event_once_whenever_it_joins(
    candidate: LogCandidate,
) -> None:
    async with candidate.make(1000) as log:
        run = (await log.open("run")).stream
        readers: list[tuple[int, asyncio.Task[list[int]]]] = []
        number = 1
        while number <= 200:
            last = number + number % 4  # single events, and batches
            for after in {0, number // 2, number - 1}:
                reader = asyncio.create_task(numbers_of(log.tail(run, after)))
                readers.append((after, reader))
            await log.append(run, payload(number, last))
            number = last + 1
            if number % 3 == 0:
                await asyncio.sleep(0)
        await log.close(run)
        for after, reader in readers:
            got = await reader
            wanted = [*range(after + 1, number)]
            assert got == wanted, f"behind {after} of {number - 1} came {got}"


@rule
async def a_payload_that_spans_the_cursor_is_cut(candidate: LogCandidate) -> None:
    async with candidate.make(100) as log:
        run = (await log.open("run")).stream
        await log.append(run, payload(1, 5))
        await log.append(run, payload(6, 9))
        await log.close(run)
        for after in range(10):
            got = await numbers_of(log.tail(run, after))
            assert got == [*range(after + 1, 10)], f"behind {after} came {got}"


@rule
async def an_event_that_covers_several_numbers_is_not_cut(
    candidate: LogCandidate,
) -> None:
    async with candidate.make(100) as log:
        run = (await log.open("run")).stream
        frame = Frame(b'{"n":2}\n{"n":5}', events=2, first=1, last=5)
        frame.numbers = (2, 5)
        await log.append(run, frame)
        await log.close(run)
        got = [f async for f in log.tail(run, 2)]
        assert [f.data for f in got] == [b'{"n":5}'], f"behind 2 came {got}"
        assert [*got[0].line_numbers()] == [5], f"its number is {got[0].line_numbers()}"


@rule
async def what_was_trimmed_is_told(candidate: LogCandidate) -> None:
    async with candidate.make(4) as log:
        run = (await log.open("run")).stream
        await fill(log, run, 1, 50)
        place = await log.position(run)
        assert place is not None, "the stream is not known"
        assert 1 < place.first <= 50, f"4 of 50 are kept, from {place.first} on"
        await log.close(run)
        got = await numbers_of(log.tail(run, place.first - 1))
        assert got == [*range(place.first, 51)], f"what is kept came as {got}"
        for after in (0, place.first - 2):
            with suppress(TrimmedError):
                got = await numbers_of(log.tail(run, after))
                raise AssertionError(f"behind {after}, which is gone, came {got}")


@rule
async def a_reader_that_is_overtaken_is_told(candidate: LogCandidate) -> None:
    async with candidate.make(4) as log:
        run = (await log.open("run")).stream
        await log.append(run, payload(1))
        tail = log.tail(run)
        got = [(await anext(tail)).last]
        await fill(log, run, 2, 50)
        try:
            while (frame := await anext(tail, None)) is not None:
                got.append(frame.last)
            raise AssertionError(f"it was not told that it got only {got}")
        except TrimmedError:
            pass
        assert got == [*range(1, len(got) + 1)], f"it got {got} before it was told"


@rule
async def a_cursor_at_the_end_waits_for_what_comes(candidate: LogCandidate) -> None:
    async with candidate.make(100) as log:
        run = (await log.open("run")).stream
        first = asyncio.create_task(numbers_of(log.tail(run)))
        await log.append(run, payload(1, 3))
        reader = asyncio.create_task(numbers_of(log.tail(run, 3)))
        await asyncio.sleep(0)
        assert not reader.done(), "it did not wait"
        await log.append(run, payload(4))
        await log.close(run)
        got = await reader
        assert got == [4], f"behind 3 came {got}"
        assert await first == [1, 2, 3, 4], "who joined first did not get all"
        got = await numbers_of(log.tail(run, 4))
        assert got == [], f"behind the end came {got}"


@rule
async def a_cursor_beyond_the_end_is_told(candidate: LogCandidate) -> None:
    async with candidate.make(100) as log:
        run = (await log.open("run")).stream
        await log.append(run, payload(1, 3))
        tail = log.tail(run, 7)  # of another run that had this name
        reader = asyncio.ensure_future(anext(tail, None))
        await asyncio.sleep(0)
        await fill(log, run, 4, 9)
        await log.close(run)
        try:
            got = await reader
        except TrimmedError:
            return
        raise AssertionError(f"behind 7 of 3 came {got}, and what is between is lost")


@rule
async def closing_ends_readers_behind_the_last_event(candidate: LogCandidate) -> None:
    async with candidate.make(100) as log:
        run = (await log.open("run")).stream
        readers = [asyncio.create_task(numbers_of(log.tail(run))) for _ in range(3)]
        await fill(log, run, 1, 3)
        await asyncio.sleep(0)
        assert not any(reader.done() for reader in readers), "they ended by themselves"
        await log.close(run)
        await log.close(run)  # twice is once
        for reader in readers:
            got = await reader
            assert got == [1, 2, 3], f"a reader got {got}"
        place = await log.position(run)
        assert place is not None, "it is forgotten"
        assert place[:3] == (1, 3, True), f"its position is {place}"
        try:
            await log.append(run, payload(4))
        except StreamClosedError:
            return
        raise AssertionError("it took an event behind its end")


@rule
async def a_stream_that_was_never_opened_is_told(candidate: LogCandidate) -> None:
    async with candidate.make(100) as log:
        run = StreamKey("run", "0" * 32)
        assert await log.position(run) is None, "it has a position"
        assert await log.find(run) is None, "it is found"
        assert await log.find(StreamKey("run")) is None, "it is found by its name"
        await log.forget(run)
        asked: dict[str, Awaitable[object]] = {
            "tail": numbers_of(log.tail(run)),
            "prelude": log.prelude(run),
            "append": log.append(run, payload(1)),
            "close": log.close(run),
        }
        answers = await asyncio.gather(*asked.values(), return_exceptions=True)
        for name, answer in zip(asked, answers, strict=True):
            assert isinstance(answer, UnknownStreamError), f"{name} gave {answer!r}"


@rule
async def a_forgotten_stream_may_be_opened_again(candidate: LogCandidate) -> None:
    async with candidate.make(100) as log:
        run = (await log.open("run")).stream
        await log.append(run, payload(1, 2))
        reader = asyncio.create_task(numbers_of(log.tail(run)))
        await asyncio.sleep(0)
        await log.forget(run)
        with suppress(UnknownStreamError):
            got = await reader
            raise AssertionError(f"its reader ended as if that were all: {got}")
        assert await log.position(run) is None, "it is known still"
        again = await log.open("run")
        assert isinstance(again, Opened), "it may not be filled again"
        assert again.stream.epoch != run.epoch, "it has the old epoch"
        run = again.stream
        await log.append(run, payload(1))
        await log.close(run)
        got = await numbers_of(log.tail(run))
        assert got == [1], f"of the new one came {got}"


@rule
async def only_numbers_that_follow_are_kept(candidate: LogCandidate) -> None:
    async with candidate.make(100) as log:
        run = (await log.open("run")).stream
        await log.append(run, payload(1, 3))
        squeezed = payload(4)
        squeezed.encoding = "gzip"
        for wrong in (payload(3), payload(5), Frame(b'{"n":1}'), squeezed):
            try:
                await log.append(run, wrong)
            except ReplayError:
                continue
            raise AssertionError(f"behind 3 it took {wrong!r}")
        await log.append(run, payload(4))
        await log.close(run)
        got = await numbers_of(log.tail(run))
        assert got == [1, 2, 3, 4], f"it gives {got}"


@rule
async def what_a_reader_gets_is_its_own(candidate: LogCandidate) -> None:
    async with candidate.make(100) as log:
        credit = Credit(1)
        credit.acquire()
        permit = Permit(credit)
        sent = payload(1)
        sent.permit, sent.trace = permit, object()
        run = (await log.open("run")).stream
        await log.append(run, sent)
        permit.release()
        assert credit.in_flight == 0, "it holds the credit of what it keeps"
        await log.close(run)
        first = await anext(log.tail(run))
        first.permit, first.trace = Permit(credit), object()
        second = await anext(log.tail(run))
        assert first is not second, "two readers were given one frame"
        assert second.trace is None, "one reader sees what the other did to it"
        assert second.permit is not first.permit, "two readers share a permit"


@rule
async def readers_that_go_leave_nothing_behind(candidate: LogCandidate) -> None:
    async with candidate.make(100) as log:
        run = (await log.open("run")).stream
        await log.append(run, payload(1))
        before = len(asyncio.all_tasks())
        tails = [log.tail(run, 1) for _ in range(20)]
        waiting = [asyncio.ensure_future(anext(tail)) for tail in tails]
        stays = asyncio.create_task(numbers_of(log.tail(run, 1)))
        left = log.tail(run)
        await anext(left)  # and never again
        await asyncio.sleep(0)
        for one in waiting:
            one.cancel()
        for one in waiting:
            with suppress(asyncio.CancelledError):
                await one
        traces = [weakref.ref(tail) for tail in (*tails, left)]
        del tails, waiting, left, one
        await asyncio.sleep(0)
        gc.collect()
        alive = sum([trace() is not None for trace in traces])
        assert alive == 0, f"{alive} of 21 readers that left are referred to"
        tasks = len(asyncio.all_tasks()) - before
        assert tasks == 1, f"{tasks} tasks are there for one reader"
        await log.append(run, payload(2))
        await log.close(run)
        got = await stays
        assert got == [2], f"who stayed got {got}"


@rule
async def a_prelude_and_the_tail_behind_it_meet(candidate: LogCandidate) -> None:
    async with candidate.make(1000) as log:
        run = (await log.open("run")).stream
        last = 400
        begun = asyncio.Event()

        async def produce() -> None:
            for number in range(1, last + 1):
                await log.append(run, payload(number))
                if number == 20:
                    begun.set()
                if number % 7 == 0:
                    await asyncio.sleep(0)
            await log.close(run)

        async def late() -> None:
            covered = 0
            text = ""
            async for frame in join(log, run):
                numbers = [*frame.line_numbers()]
                if not covered:
                    assert not any(numbers[:-1]), f"numbers inside a prelude: {numbers}"
                    assert len(numbers) == frame.events, f"{frame!r}: {numbers}"
                else:
                    assert numbers[0] == covered + 1, f"{numbers} behind {covered}"
                covered = numbers[-1]
                events = [orjson.loads(line) for line in frame.lines()]
                text += "".join([event.get("delta", "") for event in events])
                wanted = "".join([word(number) for number in range(3, covered + 1)])
                assert text == wanted, f"number {covered}, but the text is {text!r}"
            assert covered == last, f"it ended at {covered}"

        tasks = [asyncio.create_task(produce())]
        await begun.wait()
        for _ in range(25):
            tasks.append(asyncio.create_task(late()))
            await asyncio.sleep(0)
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()


@rule
async def a_prelude_exists_however_much_was_trimmed(candidate: LogCandidate) -> None:
    async with candidate.make(4) as log:
        run = (await log.open("run")).stream
        empty = await log.prelude(run)
        assert (empty.events, empty.last) == (0, 0), f"of nothing it is {empty!r}"
        await fill(log, run, 1, 100)
        for _ in range(2):
            prelude = await log.prelude(run)
            events = [orjson.loads(line) for line in prelude.lines()]
            text = "".join([event.get("delta", "") for event in events])
            assert text == "".join([word(n) for n in range(3, 101)]), f"it tells {text}"
            assert prelude.last == 100, f"its number is {prelude.last}, not 100"
            await log.close(run)


@rule
async def a_name_may_be_anything(candidate: LogCandidate) -> None:
    names = [
        "",
        "/",
        "a/1",
        "a",
        "名前",
        "🌊",
        " ",
        "a:b",
        "*",
        "{a}",
        "\n",
        "x" * 500,
        "%2F",
        "\ud800",
    ]
    async with candidate.make(100) as log:
        streams = [await opened(log, name) for name in names]
        for i, stream in enumerate(streams, start=1):
            await log.append(stream, payload(1, i))
            await log.close(stream)
        for i, stream in enumerate(streams, start=1):
            got = await numbers_of(log.tail(stream))
            assert got == [*range(1, i + 1)], f"of {stream!r} came {got}"


#: Every rule, in the order in which one would want to hear of a fault.
LOG_RULES: Final[tuple[LogRule, ...]] = (
    a_stream_is_claimed_once,
    every_reader_gets_every_event_once_whenever_it_joins,
    a_payload_that_spans_the_cursor_is_cut,
    an_event_that_covers_several_numbers_is_not_cut,
    what_was_trimmed_is_told,
    a_reader_that_is_overtaken_is_told,
    a_cursor_at_the_end_waits_for_what_comes,
    a_cursor_beyond_the_end_is_told,
    closing_ends_readers_behind_the_last_event,
    a_stream_that_was_never_opened_is_told,
    a_forgotten_stream_may_be_opened_again,
    only_numbers_that_follow_are_kept,
    what_a_reader_gets_is_its_own,
    readers_that_go_leave_nothing_behind,
    a_prelude_and_the_tail_behind_it_meet,
    a_prelude_exists_however_much_was_trimmed,
    a_name_may_be_anything,
    *IDENTITY_RULES,
)
