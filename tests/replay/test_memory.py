"""What a log in memory keeps, gives up, and gives back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from rx_agui.errors import ConfigError, TrimmedError, UnknownStreamError
from rx_agui.frame import Frame
from rx_agui.replay import MemoryLog


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


async def read(log: MemoryLog, stream: str, after: int = 0) -> list[int]:
    return [frame.last async for frame in log.tail(stream, after)]


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
    log = MemoryLog(max_bytes=1000)
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

    assert await log.position("a") is None
    stats = log.stats()
    assert (stats.streams, stats.events, stats.bytes, stats.forgotten) == (0, 0, 0, 1)
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

    assert [await log.position(name) is not None for name in "abcd"] == [
        True, False, False, True
    ]  # fmt: skip


@on_a_loop
async def test_a_log_that_is_full_drops_closed_streams_and_then_trims_who_grows() -> (
    None
):
    log = MemoryLog(max_total_bytes=3000)
    await filled(log, "closed", 1, 10, size=90)
    await log.close("closed")
    await filled(log, "quiet", 1, 10, size=90)
    await filled(log, "grows", 1, 30, size=90)

    assert await log.position("closed") is None
    assert await first_of(log, "quiet") == 1
    assert await first_of(log, "grows") > 1
    assert log.stats().bytes <= 3000


@on_a_loop
async def test_who_reads_a_stream_that_is_dropped_reads_it_to_its_end() -> None:
    log = MemoryLog(max_streams=1)
    await filled(log, "a", 1, 3)
    tail = log.tail("a")
    assert (await anext(tail)).last == 1
    await log.close("a")
    await filled(log, "b", 1, 1)
    await log.close("b")
    assert await log.position("a") is None

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

    assert log._streams["a"].fold is None


@on_a_loop
async def test_a_reader_with_much_to_read_lets_others_have_a_turn() -> None:
    log = MemoryLog()
    await filled(log, "a", 1, 1000)
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
    log._streams["a"].waiting = Waiting()
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
