"""A window of one on a loop: nothing more is asked for while an event is written."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
import reactivex as rx

from rx_agui import (
    SSEWriter,
    StreamClosedError,
    flow_control,
    from_async_iterable,
    sequence,
)
from rx_agui.engine import Sink


class Agent:
    """Says so many events; whether it was closed, and how many it was asked for."""

    def __init__(self, events: int) -> None:
        self.events = events
        self.asked = 0
        self.is_closed = False

    async def __call__(self) -> AsyncIterator[dict[str, Any]]:
        try:
            for number in range(self.events):
                self.asked += 1
                yield {"type": "CUSTOM", "name": "n", "value": number}
        finally:
            self.is_closed = True


class Slow:
    """A write that is over when it may be."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.begun = asyncio.Event()
        self.may_end = asyncio.Event()
        self.in_task: list[asyncio.Task[Any] | None] = []

    async def __call__(self, data: bytes) -> None:
        self.in_task.append(asyncio.current_task())
        self.begun.set()
        await self.may_end.wait()
        self.written.append(data)


class Each(Sink):
    """All of them hear it, one behind the other."""

    def __init__(self, *heard: Callable[[Any], object]) -> None:
        self.heard = heard
        self.is_over = asyncio.Event()

    def on_next(self, value: Any) -> None:
        for heard in self.heard:
            heard(value)

    def on_error(self, error: Exception) -> None:
        self.is_over.set()

    def on_completed(self) -> None:
        self.is_over.set()


def of(agent: Agent, window: int = 1) -> rx.Observable[Any]:
    return from_async_iterable(agent).pipe(flow_control(window), sequence())


def on_a_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(20):
            await test()

    asyncio.run(main())


def test_nothing_more_is_asked_for_during_a_write() -> None:
    async def main() -> None:
        agent, write = Agent(3), Slow()
        writer = SSEWriter(write)
        of(agent).subscribe(writer)
        await write.begun.wait()
        for _ in range(10):
            await asyncio.sleep(0)
        assert agent.asked == 1

        write.may_end.set()
        await writer.done
        assert (agent.asked, len(write.written)) == (3, 3)

    on_a_loop(main)


def test_a_disposal_lets_the_write_end_and_closes_the_iterable_behind_it() -> None:
    async def main() -> None:
        agent, write = Agent(3), Slow()
        writer = SSEWriter(write)
        subscription = of(agent).subscribe(writer)
        await write.begun.wait()
        (walk,) = {task for task in write.in_task if task}
        subscription.dispose()
        with pytest.raises(StreamClosedError):
            await writer.done
        assert write.written == []

        write.may_end.set()
        await walk
        assert len(write.written) == agent.asked == 1
        assert agent.is_closed

    on_a_loop(main)


def test_a_write_that_is_cancelled_ends_the_stream_and_closes_the_iterable() -> None:
    async def main() -> None:
        agent, write = Agent(3), Slow()
        writer = SSEWriter(write)
        of(agent).subscribe(writer)
        await write.begun.wait()
        (walk,) = {task for task in write.in_task if task}
        walk.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await walk

        with pytest.raises(Exception, match="cancelled"):
            await writer.done
        assert agent.is_closed

    on_a_loop(main)


def test_a_write_that_fails_ends_the_stream() -> None:
    async def main() -> None:
        agent = Agent(3)

        async def write(data: bytes) -> None:
            raise ConnectionResetError

        writer = SSEWriter(write)
        of(agent).subscribe(writer)
        with pytest.raises(ConnectionResetError):
            await writer.done
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))
        assert (agent.asked, agent.is_closed) == (1, True)

    on_a_loop(main)


def test_a_writer_comes_to_rest_though_somebody_beside_it_raised() -> None:
    async def main() -> None:
        agent, write = Agent(3), Slow()
        writer = SSEWriter(write)

        def fail(value: Any) -> None:
            raise ValueError("the other one")

        of(agent).subscribe(Each(writer.on_next, fail))
        (walk,) = asyncio.all_tasks() - {asyncio.current_task()}
        with pytest.raises(ValueError, match="the other one"):
            await walk

        assert (write.written, writer._is_busy) == ([], False)
        assert agent.is_closed

    on_a_loop(main)
