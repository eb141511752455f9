"""What a log in memory keeps, gives up, and gives back."""

from __future__ import annotations

import asyncio
import threading
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from random import Random
from typing import Any

import orjson
import pytest

from rx_agui.errors import (
    ConfigError,
    LogFullError,
    StreamClosedError,
    TrimmedError,
    UnknownStreamError,
)
from rx_agui.frame import Frame
from rx_agui.replay import Asked, Conflict, Joined, MemoryLog, Position, StreamKey


class Clock:
    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def event(number: int, size: int = 0) -> Frame:
    data = b'{"n":%d,"x":"%b"}' % (number, b"x" * size)
    return Frame(data, first=number, last=number)


async def filled(
    log: MemoryLog, stream: str, first: int, last: int, size: int = 0
) -> None:
    await log.open(stream)
    for number in range(first, last + 1):
        await log.append(stream, event(number, size))


async def first_of(log: MemoryLog, stream: str) -> int:
    place = await log.position(stream)
    assert place is not None
    return place.first


async def is_kept(log: MemoryLog, stream: str) -> bool:
    place = await log.position(stream)
    return place is not None and place.first <= place.last


async def read(log: MemoryLog, stream: str, after: int = 0) -> list[int]:
    numbers = [frame.line_numbers() async for frame in log.tail(stream, after)]
    return [number for some in numbers for number in some]


def on_a_loop(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    def run() -> None:
        asyncio.run(asyncio.wait_for(test(), 30))

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@on_a_loop
async def test_a_stream_keeps_its_last_events() -> None:
    log = MemoryLog(max_events=10)
    await filled(log, "a", 1, 10)
    assert await first_of(log, "a") == 1

    await filled(log, "a", 11, 25)

    assert await first_of(log, "a") == 16
    stats = log.stats()
    assert (stats.events, stats.appended, stats.trimmed) == (10, 25, 15)


@on_a_loop
async def test_a_batch_is_kept_or_given_up_as_a_whole() -> None:
    log = MemoryLog(max_events=10)
    await log.open("a")
    for first in (1, 7, 13):
        lines = b"\n".join([b'{"n":1}'] * 6)
        await log.append("a", Frame(lines, events=6, first=first, last=first + 5))

    assert await first_of(log, "a") == 13


@on_a_loop
async def test_a_stream_keeps_its_last_bytes_and_always_its_newest_payload() -> None:
    log = MemoryLog(max_bytes=3000)
    await filled(log, "a", 1, 20, size=90)
    assert await first_of(log, "a") == 12

    await log.append("a", event(21, size=5000))

    assert await first_of(log, "a") == 21
    assert log.stats().bytes > 5000


@on_a_loop
async def test_a_stream_that_goes_on_gives_up_what_is_too_old() -> None:
    clock = Clock()
    log = MemoryLog(max_age=60, clock=clock)
    await filled(log, "a", 1, 5)
    clock.seconds += 50
    await filled(log, "a", 6, 7)
    clock.seconds += 20

    await log.append("a", event(8))

    assert await first_of(log, "a") == 6


@on_a_loop
async def test_an_idle_stream_gives_its_memory_back_when_another_is_used() -> None:
    clock = Clock()
    log = MemoryLog(max_age=60, clock=clock)
    await filled(log, "idle", 1, 100, size=100)
    clock.seconds += 61

    await filled(log, "busy", 1, 100)

    assert await first_of(log, "idle") == 101
    assert log.stats().events == 100
    # It is still known, and may go on: a run can wait for somebody for hours.
    await log.append("idle", event(101))
    assert await read_one(log, "idle", 100) == 101


async def read_one(log: MemoryLog, stream: str, after: int) -> int:
    return (await anext(log.tail(stream, after))).last


@on_a_loop
async def test_a_closed_stream_is_forgotten_when_it_is_old() -> None:
    clock = Clock()
    log = MemoryLog(max_age=60, clock=clock)
    await filled(log, "a", 1, 3)
    clock.seconds += 59
    await log.close("a")
    clock.seconds += 59
    assert await read(log, "a") == [1, 2, 3]
    clock.seconds += 2

    log.sweep()

    assert not await is_kept(log, "a")
    stats = log.stats()
    assert (stats.streams, stats.tombstones, stats.events) == (0, 1, 0)
    assert stats.forgotten == 1
    assert stats.bytes < 1000


@on_a_loop
async def test_a_tombstone_says_how_a_run_ended_for_a_day() -> None:
    clock = Clock()
    log = MemoryLog(max_age=60, clock=clock)
    opened = await log.open("a")
    end = b'{"type":"RUN_ERROR","message":"no"}'
    await log.append(opened.stream, Frame(end, first=1, last=1))
    await log.close(opened.stream)
    clock.seconds += 61
    log.sweep()

    assert await log.position("a") == Position(2, 1, True, "RUN_ERROR", False)
    assert await log.open("a") == Joined(opened.stream)
    assert await read(log, "a", 1) == []
    for asked in (log.prelude("a"), read(log, "a"), read(log, "a", 2)):
        with pytest.raises(TrimmedError):
            await asked
    with pytest.raises(StreamClosedError):
        await log.append(opened.stream, event(2))

    clock.seconds += 86_400
    log.sweep()
    assert await log.find(opened.stream) is None
    assert log.stats().bytes == 0
    assert await log.open("a")


@on_a_loop
async def test_without_an_age_nothing_is_too_old() -> None:
    clock = Clock()
    log = MemoryLog(max_age=None, clock=clock)
    await filled(log, "a", 1, 3)
    await log.close("a")
    clock.seconds += 1e9

    log.sweep()

    assert await read(log, "a") == [1, 2, 3]


@on_a_loop
async def test_of_closed_streams_the_one_closed_first_is_dropped() -> None:
    log = MemoryLog(max_streams=2)
    for name in "abcd":
        await filled(log, name, 1, 2)
    for name in "bcad":
        await log.close(name)

    assert [await is_kept(log, name) for name in "abcd"] == [
        True, False, False, True
    ]  # fmt: skip


@on_a_loop
async def test_a_log_that_is_full_drops_closed_streams_and_then_trims_who_grows() -> (
    None
):
    log = MemoryLog(max_total_bytes=15_000)
    await filled(log, "closed", 1, 10, size=90)
    await log.close("closed")
    await filled(log, "quiet", 1, 10, size=90)
    await filled(log, "grows", 1, 30, size=90)

    assert not await is_kept(log, "closed")
    assert await first_of(log, "quiet") == 1
    assert await first_of(log, "grows") > 1
    assert log.stats().bytes <= 15_000


@on_a_loop
async def test_who_reads_a_stream_that_is_dropped_reads_it_to_its_end() -> None:
    log = MemoryLog(max_streams=1)
    await filled(log, "a", 1, 3)
    tail = log.tail("a")
    assert (await anext(tail)).last == 1
    await log.close("a")
    await filled(log, "b", 1, 1)
    await log.close("b")
    assert not await is_kept(log, "a")

    assert [frame.last async for frame in tail] == [2, 3]


@on_a_loop
async def test_bytes_are_shared_and_never_copied() -> None:
    log = MemoryLog()
    await log.open("a")
    sent = event(1, size=100)
    await log.append("a", sent)

    for _ in range(2):
        assert (await anext(log.tail("a"))).data is sent.data


@on_a_loop
async def test_what_nobody_joins_and_nothing_trims_is_never_parsed() -> None:
    log = MemoryLog()
    await filled(log, "a", 1, 1000)
    reader = asyncio.create_task(read(log, "a"))
    await log.close("a")
    await reader

    assert log._known("a").reducer is None


@on_a_loop
async def test_a_reader_with_much_to_read_lets_others_have_a_turn() -> None:
    log = MemoryLog()
    await filled(log, "a", 1, 10_000, size=100)
    await log.close("a")
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    neighbour = asyncio.create_task(other())
    await read(log, "a")
    neighbour.cancel()

    assert turns >= 9


@on_a_loop
async def test_thousands_read_one_stream_with_no_task_but_their_own() -> None:
    log = MemoryLog()
    await log.open("a")
    readers = [asyncio.create_task(read(log, "a")) for _ in range(3000)]
    await asyncio.sleep(0)
    assert log.stats().waiting == 3000
    assert len(asyncio.all_tasks()) <= 3002

    for number in range(1, 4):
        await log.append("a", event(number))
        await asyncio.sleep(0)
    await log.close("a")

    assert all([await reader == [1, 2, 3] for reader in readers])
    assert log.stats().waiting == 0


@on_a_loop
async def test_who_is_cancelled_while_waiting_is_not_waited_for() -> None:
    log = MemoryLog()
    await log.open("a")
    readers = [asyncio.create_task(read(log, "a")) for _ in range(10)]
    await asyncio.sleep(0)

    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)

    assert log.stats().waiting == 0


@on_a_loop
async def test_a_tail_that_is_closed_gives_nothing_more() -> None:
    log = MemoryLog()
    await filled(log, "a", 1, 3)
    async with log.tail("a") as tail:
        await anext(tail)

    assert [frame async for frame in tail] == []


@on_a_loop
async def test_a_tail_that_has_raised_is_over() -> None:
    log = MemoryLog(max_events=2)
    await filled(log, "a", 1, 9)
    for tail, error in (
        (log.tail("a"), TrimmedError),
        (log.tail("nobody"), UnknownStreamError),
    ):
        with pytest.raises(error):
            await anext(tail)
        assert [frame async for frame in tail] == []

    assert log.stats().overtaken == 1


def test_loops_in_several_threads_share_a_log() -> None:
    log = MemoryLog(max_events=100_000)
    loops, events = 3, 2000
    got: list[list[int]] = []
    ready = threading.Barrier(loops + 1)

    async def one_reads() -> None:
        await asyncio.to_thread(ready.wait, 30)
        got.append(await read(log, "a"))

    async def one_fills() -> None:
        await log.open("a")
        await asyncio.to_thread(ready.wait, 30)
        for number in range(1, events + 1):
            await log.append("a", event(number))
            if number % 50 == 0:
                await asyncio.sleep(0)
        await log.close("a")

    def run(what: Callable[[], Any]) -> threading.Thread:
        thread = threading.Thread(target=lambda: asyncio.run(what()), daemon=True)
        thread.start()
        return thread

    threads = [run(one_fills)]
    while asyncio.run(log.position("a")) is None:
        threads[0].join(0.001)
    threads += [run(one_reads) for _ in range(loops)]
    for thread in threads:
        thread.join(60)

    assert got == [[*range(1, events + 1)]] * loops


@on_a_loop
async def test_who_leaves_while_others_are_woken_is_left_out_under_the_lock() -> None:
    class Waiting(set[Any]):
        def discard(self, woken: Any) -> None:
            locked.append(log._lock.locked())
            super().discard(woken)

    locked: list[bool] = []
    log = MemoryLog()
    await log.open("a")
    log._known("a").waiting = Waiting()
    reader = asyncio.create_task(read(log, "a"))
    await asyncio.sleep(0)
    reader.cancel()
    await asyncio.wait([reader])

    assert locked == [True]


@pytest.mark.parametrize(
    "settings",
    [{"max_events": 0}, {"max_bytes": -1}, {"max_age": 0}, {"max_streams": 1.5}, {"max_total_bytes": 0}],
)  # fmt: skip
def test_a_bound_that_makes_no_sense_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        MemoryLog(**settings)


# -- whatever is sent, it stays within its bounds ------------------------------------------

MB = 1_000_000


def pad(n: int) -> str:
    """10,000 characters that do not compress well."""
    return Random(n).randbytes(5000).hex()


#: What a hostile or a busy agent may send without end.
GROWTH: dict[str, Callable[[int], dict[str, Any]]] = {
    "tool results": lambda n: {
        "type": "TOOL_CALL_RESULT",
        "messageId": f"r{n}",
        "toolCallId": f"c{n}",
        "content": pad(n),
    },
    "text": lambda n: {
        "type": "TEXT_MESSAGE_CONTENT" if n > 2 else "TEXT_MESSAGE_START",
        "messageId": "m",
        "delta": pad(n),
    },
    "subagents": lambda n: {
        "type": "SUBAGENT_STARTED",
        "subagentRunId": f"s{n}",
        "name": pad(n),
    },
    "steps": lambda n: {"type": "STEP_STARTED", "stepName": f"{n}{pad(n)}"},
    "reasoning": lambda n: {"type": "REASONING_START", "messageId": f"{n}{pad(n)}"},
    "encrypted": lambda n: {
        "type": "REASONING_ENCRYPTED_VALUE",
        "subtype": "message",
        "entityId": f"{n}",
        "encryptedValue": pad(n),
    },
    "messages": lambda n: {
        "type": "TEXT_MESSAGE_CHUNK",
        "messageId": f"m{n}",
        "delta": pad(n),
    },
    "ends": lambda n: {"type": "RUN_ERROR", "message": pad(n)},
}


def numbered(event: dict[str, Any], number: int) -> Frame:
    line = b"%b" % orjson.dumps(event)  # which keeps its buffer, and that is large
    return Frame(line, first=number, last=number)


@pytest.mark.parametrize("kind", GROWTH)
def test_a_run_that_never_ends_stays_within_the_bounds(kind: str) -> None:
    """The summary of what was trimmed is memory too: counted, bounded, given up."""

    @on_a_loop
    async def run() -> None:
        log = MemoryLog(max_bytes=MB, max_total_bytes=10 * MB)
        stream = (await log.open("r")).stream
        tracemalloc.start()
        try:
            for number in range(1, 1500):
                await log.append(stream, numbered(GROWTH[kind](number), number))
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

        stats = log.stats()
        assert stats.bytes < 3 * MB
        assert held < 1.3 * stats.bytes
        place = await log.position(stream)
        assert place is not None
        if place.has_prelude:
            assert (await log.prelude(stream)).last == 1499
        else:
            assert stats.summaries_lost == 1
            with pytest.raises(TrimmedError):
                await log.prelude(stream)
        assert [frame.last async for frame in _until(log, stream, 1499)] == [1499]

    run()


@pytest.mark.parametrize("what", ["name", "owner", "namespace", "asked", "emitted"])
def test_strings_that_a_client_chooses_are_counted(what: str) -> None:
    """Those of streams and of tombstones: names, owners, ids of messages."""

    @on_a_loop
    async def run() -> None:
        log = MemoryLog(max_total_bytes=MB)
        tracemalloc.start()
        try:
            for number in range(400):
                long = f"{number}" + "y" * 10_000
                keys = {"name": f"{number}"}
                if what in ("name", "owner", "namespace"):
                    keys[what] = long
                messages = ((long, "0" * 64),) if what == "asked" else ()
                opened = await log.open(**keys, asked=Asked("0" * 64, messages))
                says = {"type": "TEXT_MESSAGE_START", "messageId": "m"}
                if what == "emitted":
                    says["messageId"] = long
                await log.append(opened.stream, numbered(says, 1))
                await log.close(opened.stream)
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

        assert log.stats().bytes <= MB
        assert held < 1.3 * MB

    run()


async def _until(log: MemoryLog, stream: StreamKey, last: int) -> AsyncIterator[Frame]:
    async for frame in log.tail(stream, last - 1):
        yield frame
        if frame.last == last:
            return


async def opened_without_end(log: MemoryLog, name: str) -> None:
    for number in range(2000):
        stream = (await log.open(name.format(number))).stream
        await log.append(stream, event(1, size=5000))


@pytest.mark.parametrize("name", ["{}", "{}" + "y" * 100_000])
def test_running_streams_are_bounded_too(name: str) -> None:
    """One that finds no room is refused; those that run go on."""

    @on_a_loop
    async def run() -> None:
        log = MemoryLog(max_total_bytes=MB)
        first = (await log.open("first")).stream
        tracemalloc.start()
        try:
            with pytest.raises(LogFullError, match="the log is full"):
                await opened_without_end(log, name)
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

        assert held < 1.3 * MB
        assert log.stats().bytes <= MB
        await log.append(first, event(1))
        await log.close(first)
        assert await log.open("another")

    run()


@on_a_loop
async def test_one_owner_evicts_no_other() -> None:
    log = MemoryLog(max_streams=100, max_total_bytes=MB)
    victim = (await log.open("run", owner="ann")).stream
    await log.append(victim, event(1))
    await log.close(victim)
    for number in range(1500):
        stream = (await log.open(f"m{number}", owner="mallory")).stream
        await log.append(stream, event(1, size=1000))
        await log.close(stream)

    assert [frame.last async for frame in log.tail(victim)] == [1]
    stats = log.stats()
    assert stats.streams == 11
    assert stats.bytes < MB


@on_a_loop
async def test_an_owner_who_grows_gives_up_only_their_own() -> None:
    log = MemoryLog(max_owner_bytes=20_000)
    for owner in ("ann", "mallory"):
        done = (await log.open("done", owner=owner)).stream
        await log.append(done, event(1, size=3000))
        await log.close(done)
    grows = (await log.open("grows", owner="mallory")).stream
    for number in range(1, 51):
        await log.append(grows, event(number, size=3000))

    kept = [
        await log.position(StreamKey("done", owner=owner))
        for owner in ("ann", "mallory")
    ]
    assert [place is not None and place.has_prelude for place in kept] == [True, False]
    assert log.stats().bytes < 30_000


@on_a_loop
async def test_tombstones_of_one_owner_are_a_tenth_of_all() -> None:
    log = MemoryLog(max_streams=10, max_tombstones=50)
    for owner, runs in (("ann", 1), ("mallory", 200), ("ann", 2)):
        for number in range(runs):
            stream = (await log.open(f"{runs}-{number}", owner=owner)).stream
            await log.close(stream)

    assert log.stats().tombstones <= 7
    assert await log.find(StreamKey("1-0", owner="ann")) is not None
    assert await log.find(StreamKey("200-0", owner="mallory")) is None


# -- old events are compressed -----------------------------------------------------------


def test_text_deltas_are_kept_in_an_eighth_of_their_bytes() -> None:
    """12 bytes for an event of 98, and the newest hundred raw."""

    @on_a_loop
    async def run() -> None:
        log = MemoryLog()
        stream = (await log.open("a")).stream
        deltas = [
            b'{"type":"TEXT_MESSAGE_CONTENT","messageId":"msg-1","delta":"word %d "}'
            % n
            for n in range(5000)
        ]
        tracemalloc.start()
        try:
            for first in range(0, 5000, 50):
                lines = b"\n".join(deltas[first : first + 50])
                await log.append(
                    stream, Frame(lines, events=50, first=first + 1, last=first + 50)
                )
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

        assert held / 5000 < 18
        await log.close(stream)
        got = [line async for frame in log.tail(stream) for line in frame.lines()]
        assert got == deltas

    run()


@pytest.mark.parametrize("size", [1, 7, 60])
def test_a_compressed_stream_is_read_behind_any_number(size: int) -> None:
    @on_a_loop
    async def run() -> None:
        log = MemoryLog()
        stream = (await log.open("a")).stream
        for first in range(5, 500, size):
            lines = b"\n".join(b'{"n":%d}' % n for n in range(first, first + size))
            frame = Frame(lines, events=size, first=first, last=first + size - 1)
            await log.append(stream, frame)
        await log.close(stream)
        last = (await log.position(stream) or Position(0, 0, True)).last

        for after in (0, 4, 5, 53, 54, 55, 104, 105, 250, last - 1, last):
            got = [line async for f in log.tail(stream, after) for line in f.lines()]
            wanted = [b'{"n":%d}' % n for n in range(max(5, after + 1), last + 1)]
            assert got == wanted, after

    run()


@on_a_loop
async def test_numbers_that_several_events_share_outlive_compression() -> None:
    log = MemoryLog()
    stream = (await log.open("a")).stream
    for first in range(1, 1000, 5):
        frame = Frame(b'{"n":2}\n{"n":5}', events=2, first=first, last=first + 4)
        frame.numbers = (first + 1, first + 4)
        await log.append(stream, frame)
    await log.close(stream)

    got = [n async for f in log.tail(stream, 7) for n in f.line_numbers()]
    assert got == [n for n in range(8, 1001) if n % 5 in (2, 0)]


@on_a_loop
async def test_another_request_meets_a_conflict_until_the_end_is_told() -> None:
    log = MemoryLog()
    one, other = Asked.of({"runId": "a"}), Asked.of({"runId": "a", "resume": [1]})
    first = (await log.open("a", asked=one)).stream
    assert await log.open("a", asked=other) == Conflict(first)

    await log.append(first, numbered({"type": "RUN_FINISHED"}, 1))

    assert (await log.open("a", asked=other)).stream.epoch != first.epoch
