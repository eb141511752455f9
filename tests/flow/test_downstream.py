"""A source goes no further than the reader has room, whatever RxPY puts in between.

docs/backpressure.md shows the table; `python -m tests.flow.test_downstream` prints it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
import reactivex as rx
from reactivex import Observable
from reactivex import operators as ops
from reactivex.scheduler import NewThreadScheduler
from reactivex.scheduler.eventloop import AsyncIOScheduler
from reactivex.subject import Subject

from rx_agui import (
    BackpressureTimeoutError,
    SSEWriter,
    batch,
    flow_control,
    from_async_iterable,
    from_iterable,
    sequence,
    unbatch,
)
from rx_agui.engine import Operator
from rx_agui.flow import _downstream
from tests.support.virtual import play

WINDOW, BATCH, EVENTS = 10, 5, 300

Shape = Callable[[], Operator]


class Pulled:
    """A source that counts what is asked of it."""

    def __init__(self) -> None:
        self.events = 0

    async def stream(self) -> AsyncIterator[Any]:
        for value in range(EVENTS):
            self.events += 1
            yield {"type": "CUSTOM", "name": "n", "value": value}

    def iterate(self) -> Iterator[Any]:
        for value in range(EVENTS):
            self.events += 1
            yield {"type": "CUSTOM", "name": "n", "value": value}


class LoopTime(AsyncIOScheduler):
    """RxPY's own tells the time of the wall, which does not pass here."""

    @property
    def now(self) -> datetime:
        return self.to_datetime(self._loop.time())


def loop_scheduler() -> AsyncIOScheduler:
    return LoopTime(asyncio.get_running_loop())


def retried() -> Operator:
    """Fails once, at its seventh event, and is then subscribed again."""
    seen = 0

    def once(item: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen == 7:
            raise RuntimeError("once")
        return item

    return rx.compose(ops.map(once), ops.retry(2))


def merged() -> Operator:
    other = from_iterable(Pulled().iterate).pipe(flow_control(WINDOW))
    return lambda source: rx.merge(other, source)


#: What stands in the chain, and how many events it says that it holds.
SHAPES: dict[str, tuple[Shape, int]] = {
    "map": (lambda: ops.map(lambda item: item), 0),
    "filter": (lambda: ops.filter(lambda item: True), 0),
    "scan": (lambda: ops.scan(lambda _, item: item), 0),
    "share": (ops.share, 0),
    "flat_map": (lambda: ops.flat_map(rx.just), 0),
    "delay": (lambda: ops.delay(0.01, loop_scheduler()), 0),
    "observe_on": (lambda: ops.observe_on(loop_scheduler()), 0),
    "merge": (merged, 0),
    "take": (lambda: ops.take(200), 0),
    "retry": (retried, 7),  # the tries before
    "window": (
        lambda: rx.compose(ops.window_with_count(4), ops.flat_map(lambda w: w)),
        0,
    ),
    "group_by": (
        lambda: rx.compose(ops.group_by(id), ops.flat_map(lambda group: group)),
        0,
    ),
}

#: Where in the chain; between and behind, payloads pass instead of events.
PLACES = ("before", "between", "behind")


async def run(shape: str, place: str) -> tuple[int, int, int]:
    """Events pulled while the reader is stuck, those written, those expected."""
    made = SHAPES[shape][0]()
    pulled, free, written = Pulled(), asyncio.Event(), []

    async def write(data: bytes) -> None:
        written.append(data)
        await free.wait()

    chain: list[Operator] = [flow_control(WINDOW), sequence(), batch(BATCH)]
    chain.insert({"before": 0, "between": 1, "behind": 3}[place], made)
    if place == "behind":
        chain.append(batch(BATCH))
    writer = SSEWriter(write)
    from_async_iterable(pulled.stream).pipe(*chain).subscribe(writer)
    await asyncio.sleep(5)
    stuck = pulled.events
    free.set()
    await writer.done
    expected = EVENTS
    if shape == "take" and place != "behind":
        expected = 200
    if shape == "merge":
        expected = 2 * EVENTS
    if shape == "retry":  # what came before the seventh comes twice
        expected += 6 * BATCH if place == "behind" else 6
    return stuck, b"".join(written).count(b"data:"), expected


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_source_is_pulled_no_further_than_the_window_behind(
    shape: str, place: str
) -> None:
    stuck, written, expected = play(run(shape, place))

    assert stuck <= WINDOW + SHAPES[shape][1], f"{stuck} events were pulled"
    assert written == expected


def test_two_sources_that_are_merged_find_the_same_room() -> None:
    async def main() -> int:
        pulled, free = Pulled(), asyncio.Event()

        async def write(_: bytes) -> None:
            await free.wait()

        writer = SSEWriter(write)
        rx.merge(
            from_async_iterable(pulled.stream), from_iterable(pulled.iterate)
        ).pipe(flow_control(WINDOW), batch(BATCH)).subscribe(writer)
        await asyncio.sleep(5)
        stuck = pulled.events
        free.set()
        await writer.done
        return stuck

    assert play(main()) <= WINDOW + 1


def test_a_source_behind_unbatch_is_held_back_as_well() -> None:
    async def main(*behind: Operator) -> tuple[int, int]:
        pulled, free, written = Pulled(), asyncio.Event(), []

        async def write(data: bytes) -> None:
            written.append(data)
            await free.wait()

        writer = SSEWriter(write)
        events = from_async_iterable(pulled.stream)
        events.pipe(flow_control(WINDOW), batch(BATCH), unbatch(), *behind).subscribe(
            writer
        )
        await asyncio.sleep(5)
        stuck = pulled.events
        free.set()
        await writer.done
        return stuck, b"".join(written).count(b"data:")

    def copied(event: dict[str, Any]) -> dict[str, Any]:
        return {**event}

    same = ops.map(copied)
    assert play(main()) == (WINDOW, EVENTS)
    assert play(main(same)) == (WINDOW, EVENTS)
    assert play(main(same, batch(BATCH))) == (WINDOW, EVENTS)
    assert play(main(sequence(), batch(BATCH))) == (WINDOW, EVENTS)


def test_without_a_loop_a_source_waits_for_the_thread_in_between() -> None:
    pulled, stuck, free, done = Pulled(), threading.Event(), threading.Event(), []
    over = threading.Event()

    def write(data: bytes) -> None:
        done.append(data)
        stuck.set()
        assert free.wait(30)

    writer = SSEWriter(write)
    writer.done.add_done_callback(lambda _: over.set())
    from_iterable(pulled.iterate).pipe(
        ops.observe_on(NewThreadScheduler()), flow_control(WINDOW, timeout=0.01)
    ).subscribe(writer)
    assert stuck.wait(30)
    assert pulled.events <= WINDOW
    free.set()
    assert over.wait(30)
    assert writer.done.exception() is None
    assert b"".join(done).count(b"data:") == EVENTS


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    _downstream._warned.clear()
    caplog.set_level(logging.WARNING, "rx_agui.flow")
    return lambda: [record.getMessage() for record in caplog.records]


def test_where_a_source_cannot_be_told_it_is_said_once(
    warnings: Callable[[], list[str]],
) -> None:
    def chain() -> Observable[Any]:
        return from_iterable([]).pipe(
            ops.map(lambda e: e),
            ops.subscribe_on(rx.scheduler.ImmediateScheduler.singleton()),
            ops.filter(lambda e: True),
            flow_control(),
        )

    chain().subscribe()
    chain().subscribe()
    assert len(warnings()) == 1
    assert "RxPY's subscribe_on()" in warnings()[0]


def test_what_a_delay_behind_the_window_keeps_is_said_once(
    warnings: Callable[[], list[str]],
) -> None:
    async def main() -> None:
        for _ in range(2):
            writer = SSEWriter(lambda _: None)
            from_iterable(Pulled().iterate).pipe(
                flow_control(WINDOW), ops.delay(0.01, loop_scheduler())
            ).subscribe(writer)
            await writer.done

    play(main())
    assert len(warnings()) == 1
    assert "RxPY's delay()" in warnings()[0]


def test_who_subscribes_something_else_from_inside_on_next_is_not_held_back() -> None:
    seen: list[Any] = []

    def elsewhere(_: Any) -> None:
        from_iterable(list(range(50))).subscribe(seen.append)

    events = from_iterable(Pulled().iterate)
    events.pipe(ops.map(lambda e: e), flow_control(1)).subscribe(elsewhere)
    assert len(seen) == 50 * EVENTS


# -- a refusal that a scheduler would lose ---------------------------------------------


@pytest.mark.parametrize("where", ["scheduler", "user"])
def test_a_refusal_where_a_scheduler_calls_ends_the_stream(where: str) -> None:
    held: list[Any] = []
    ends: list[Exception] = []
    ended = threading.Event()
    source: Subject[Any] = Subject()

    def hold(frame: Any) -> None:
        frame.permit.hold()
        held.append(frame)

    def end(error: Exception) -> None:
        ends.append(error)
        ended.set()

    ticks = rx.interval(0.001).pipe(
        ops.map(lambda n: {"type": "CUSTOM", "name": "n", "value": n})
    )
    events = ticks if where == "scheduler" else source
    subscription = events.pipe(flow_control(1, timeout=0.01)).subscribe(hold, end)
    if where == "user":
        source.on_next({"type": "RAW", "event": 1})
        with pytest.raises(BackpressureTimeoutError):
            source.on_next({"type": "RAW", "event": 2})
        assert not ends
    else:
        assert ended.wait(30)
        assert isinstance(ends[0], BackpressureTimeoutError)
        assert len(held) == 1
    subscription.dispose()


if __name__ == "__main__":
    for shape in SHAPES:
        print(shape, [play(run(shape, place)) for place in PLACES])
