"""A generator that may block runs in threads, in one context, as the reader has room."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from rx_agui import BrokenOffError, SSEWriter, flow_control
from rx_agui.flow._threaded import FromBlockingIterable

tenant: ContextVar[str] = ContextVar("tenant", default="")


def event(value: int = 0) -> dict[str, Any]:
    return {"type": "CUSTOM", "name": "n", "value": value}


def run(main: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(30):
            await main

    asyncio.run(bounded())


class Reader:
    """Writes down what it gets, and says when there is so much."""

    def __init__(self) -> None:
        self.got: list[Any] = []
        self.ends: list[Exception | None] = []
        self.changed = asyncio.Event()

    def subscribe(self, source: FromBlockingIterable, window: int = 100) -> Any:
        return source.pipe(flow_control(window)).subscribe(
            self.next, lambda error: self.end(error), lambda: self.end(None)
        )

    def next(self, frame: Any) -> None:
        self.got.append(frame)
        self.changed.set()

    def end(self, error: Exception | None) -> None:
        self.ends.append(error)
        self.changed.set()

    async def until(self, is_so: Callable[[], bool]) -> None:
        while not is_so():
            self.changed.clear()
            await self.changed.wait()


def test_context_variables_last_over_a_yield_whichever_thread_goes_on() -> None:
    seen: list[tuple[str, bool]] = []
    loop_thread = threading.get_ident()

    def agent() -> Iterator[Any]:
        tenant.set("acme")
        for value in range(200):
            yield event(value)
            seen.append((tenant.get(), threading.get_ident() != loop_thread))

    async def main() -> None:
        tenant.set("outside")
        reader = Reader()
        reader.subscribe(FromBlockingIterable(agent()))
        await reader.until(lambda: bool(reader.ends))
        assert reader.ends == [None]
        assert len(reader.got) == 200
        assert tenant.get() == "outside"

    run(main())
    assert set(seen) == {("acme", True)}


def test_a_next_that_blocks_holds_nothing_back() -> None:
    go_on = threading.Event()

    def agent() -> Iterator[Any]:
        for value in range(40):
            yield event(value)
        assert go_on.wait(30)
        yield event()

    async def main() -> None:
        reader = Reader()
        reader.subscribe(FromBlockingIterable(agent()))
        await reader.until(lambda: len(reader.got) == 40)
        go_on.set()
        await reader.until(lambda: bool(reader.ends))
        assert len(reader.got) == 41

    run(main())


def test_it_is_taken_no_further_than_there_is_credit() -> None:
    pulled = 0

    def agent() -> Iterator[Any]:
        nonlocal pulled
        for value in range(300):
            pulled += 1
            yield event(value)

    async def main() -> None:
        free, stuck = asyncio.Event(), asyncio.Event()
        written: list[bytes] = []

        async def write(data: bytes) -> None:
            written.append(data)
            stuck.set()
            await free.wait()

        writer = SSEWriter(write)
        FromBlockingIterable(agent()).pipe(flow_control(7)).subscribe(writer)
        await stuck.wait()
        for _ in range(100):
            await asyncio.sleep(0)
        assert pulled <= 7
        free.set()
        await writer.done
        assert b"".join(written).count(b"data:") == 300

    run(main())


def test_a_thread_takes_many_where_events_come_quickly() -> None:
    async def main() -> None:
        hops = 0
        loop = asyncio.get_running_loop()
        hop = loop.run_in_executor

        def counted(*args: Any) -> Any:
            nonlocal hops
            hops += 1
            return hop(*args)

        loop.run_in_executor = counted  # type: ignore[assignment,method-assign]
        reader = Reader()
        reader.subscribe(FromBlockingIterable(event(n) for n in range(3000)))
        await reader.until(lambda: bool(reader.ends))
        assert len(reader.got) == 3000
        assert hops < 300

    run(main())


@pytest.mark.parametrize("ending", ["completes", "is left", "raises", "panics"])
def test_it_is_closed_in_a_thread_before_it_is_said_to_be(ending: str) -> None:
    closed_in: list[int] = []

    def agent() -> Iterator[Any]:
        try:
            yield event()
            if ending == "raises":
                raise ValueError("raised")
            if ending == "panics":
                raise GeneratorExit
            while ending == "is left":
                yield event()
        finally:
            closed_in.append(threading.get_ident())

    async def main() -> None:
        reader, closed = Reader(), asyncio.Event()
        subscription = reader.subscribe(FromBlockingIterable(agent(), closed.set))
        await reader.until(lambda: bool(reader.got))
        if ending == "is left":
            subscription.dispose()
        await closed.wait()
        assert len(closed_in) == 1
        assert closed_in[0] != threading.get_ident()
        if ending == "is left":
            return
        await reader.until(lambda: bool(reader.ends))
        kind = {"raises": ValueError, "panics": BrokenOffError}.get(ending, type(None))
        assert isinstance(reader.ends[0], kind)

    run(main())


def test_who_leaves_while_it_waits_for_credit_ends_it() -> None:
    async def main() -> None:
        closed, stuck = asyncio.Event(), asyncio.Event()
        never = asyncio.Event()

        async def write(_: bytes) -> None:
            stuck.set()
            await never.wait()

        source = FromBlockingIterable((event(n) for n in range(100)), closed.set)
        writer = SSEWriter(write)
        subscription = source.pipe(flow_control(1)).subscribe(writer)
        await stuck.wait()
        subscription.dispose()
        await closed.wait()

    run(main())


def test_a_task_that_is_called_off_tells_the_reader_and_waits_for_the_thread() -> None:
    inside, go_on = threading.Event(), threading.Event()

    def agent() -> Iterator[Any]:
        yield event()
        inside.set()
        assert go_on.wait(30)
        yield event()
        yield event()

    async def main() -> None:
        reader, closed = Reader(), asyncio.Event()
        before = asyncio.all_tasks()
        reader.subscribe(FromBlockingIterable(agent(), closed.set))
        (task,) = asyncio.all_tasks() - before
        await reader.until(lambda: bool(reader.got))
        await asyncio.to_thread(inside.wait, 30)
        task.cancel()
        await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert closed.is_set()
        assert isinstance(reader.ends[0], BrokenOffError)

    run(main())
