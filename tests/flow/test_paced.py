"""A source that is pulled goes as far as the reader has room, and no further."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import itertools
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from reactivex import Observable
from reactivex import operators as ops
from reactivex.abc import DisposableBase

from rx_agui import (
    Credit,
    Frame,
    Permit,
    SSEWriter,
    StreamError,
    ValidationError,
    batch,
    flow_control,
    from_async_iterable,
    from_iterable,
    unbatch,
)
from rx_agui.engine import Stage
from rx_agui.errors import ConfigError
from rx_agui.flow import _iterable as _paced
from rx_agui.probe import OperatorCounters, Probe, StreamObservation, watching
from tests.support.patience import SOON, auntil, in_thread, until

EVENT = {"type": "CUSTOM", "name": "n", "value": 0}


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run `main`, not longer than a test may take, and see that it leaves no task."""
    unheard: list[Any] = []

    async def alone() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: unheard.append(context))
        async with asyncio.timeout(3 * SOON):
            await main
        await auntil(lambda: len(asyncio.all_tasks()) == 1)

    asyncio.run(alone())
    gc.collect()
    assert not unheard


class Source:
    """Events without end, that know how many were taken and whether they were closed."""

    def __init__(self, n: int = sys.maxsize) -> None:
        self.n = n
        self.taken = 0
        self.closed = 0

    def __call__(self) -> Iterator[Any]:
        try:
            for _ in range(self.n):
                self.taken += 1
                yield EVENT
        finally:
            self.closed += 1

    async def arun(self) -> AsyncIterator[Any]:
        try:
            for _ in range(self.n):
                self.taken += 1
                yield EVENT
        finally:
            await asyncio.sleep(0)  # it can take its time to clean up
            self.closed += 1


class Reader:
    """A sink that holds what came until it is told to let go."""

    def __init__(self) -> None:
        self.events = 0
        self.permits: list[Permit] = []
        self.ended: list[Exception | None] = []

    def on_next(self, frame: Any) -> None:
        self.events += frame.events
        self.permits.append(frame.permit.hold())

    def subscribe(self, source: Observable[Any]) -> DisposableBase:
        return source.subscribe(
            self.on_next, self.ended.append, lambda: self.ended.append(None)
        )

    def let_go(self, n: int = 1) -> None:
        for _ in range(n):
            self.permits.pop(0).release()


class Watcher(Probe):
    """A probe that finds the window of a stream."""

    def __init__(self) -> None:
        self.operators: list[Any] = []

    def joined(self, _: StreamObservation, tally: OperatorCounters) -> None:
        self.operators.append(tally)

    @property
    def credit(self) -> Credit:
        stage = next(tally for tally in self.operators if isinstance(tally, Stage))
        head = stage.subscription.head
        assert head is not None
        credit: Credit = head.credit
        return credit


# -- from_iterable: pace -------------------------------------------------------------


def test_an_iterable_is_never_more_than_the_window_ahead_of_the_reader() -> None:
    source, reader = Source(), Reader()
    subscription = reader.subscribe(from_iterable(source).pipe(flow_control(4)))

    for written in range(50):
        assert source.taken == written + 4
        reader.let_go()
    subscription.dispose()

    assert source.closed == 1


def test_through_a_batch_it_is_never_more_than_the_window_ahead() -> None:
    source, reader = Source(), Reader()
    subscription = reader.subscribe(
        from_iterable(source).pipe(flow_control(7), batch(3, 60))
    )

    for written in range(0, 90, 3):
        assert source.taken <= written + 7
        assert reader.events >= written + 6
        reader.let_go()
    subscription.dispose()


def test_a_batch_larger_than_the_window_does_not_stop_it() -> None:
    source = Source(20)
    sizes: list[int] = []
    from_iterable(source).pipe(flow_control(8), batch(50, 60)).subscribe(
        lambda frame: sizes.append(frame.events)
    )

    assert sizes == [8, 8, 4]


@pytest.mark.parametrize("unpaced", [False, True])
def test_a_million_events_do_not_recurse(unpaced: bool) -> None:
    n, seen = 1_000_000, 0

    def count(frame: Any) -> None:
        nonlocal seen
        seen += 1

    operators: list[Any] = [] if unpaced else [flow_control(3)]
    limit, depth = sys.getrecursionlimit(), len(list(frames()))
    sys.setrecursionlimit(depth + 60)
    try:
        from_iterable(lambda: itertools.repeat(EVENT, n)).pipe(*operators).subscribe(
            count
        )
    finally:
        sys.setrecursionlimit(limit)

    assert seen == n


def frames() -> Iterator[Any]:
    frame: Any = sys._getframe()
    while frame is not None:
        yield frame
        frame = frame.f_back


def test_credit_that_comes_home_inside_on_next_of_a_held_frame_does_not_recurse() -> (
    None
):
    held: list[Permit] = []
    seen = 0

    def late(frame: Frame) -> None:
        nonlocal seen
        seen += 1
        held.append(frame.permit.hold())
        while len(held) > 1:
            held.pop(0).release()

    limit, depth = sys.getrecursionlimit(), len(list(frames()))
    sys.setrecursionlimit(depth + 60)
    try:
        from_iterable(Source(50_000)).pipe(flow_control(2)).subscribe(late)
    finally:
        sys.setrecursionlimit(limit)

    assert seen == 50_000


def test_it_goes_on_in_whichever_thread_brings_the_credit_home() -> None:
    source, reader = Source(3), Reader()
    reader.subscribe(from_iterable(source).pipe(flow_control(1)))

    for _ in range(3):
        in_thread(reader.let_go).result(SOON)

    assert reader.events == 3
    assert reader.ended == [None]


def test_many_threads_that_bring_credit_home_lose_no_event_and_double_none() -> None:
    reader = Reader()
    watcher = Watcher()
    n = 5000
    with watching(watcher):
        reader.subscribe(from_iterable(Source(n)).pipe(flow_control(10)))

    def bring() -> None:
        while not reader.ended:
            try:
                permit = reader.permits.pop()
            except IndexError:
                continue
            permit.release()

    threads = [in_thread(bring) for _ in range(4)]
    for thread in threads:
        thread.result(SOON)

    assert reader.events == n
    for permit in reader.permits:
        permit.release()
    assert watcher.credit.in_flight == 0


def test_an_iterable_of_a_thread_is_never_pulled_on_the_readers_loop() -> None:
    loop = asyncio.new_event_loop()
    reader_thread = threading.Thread(target=loop.run_forever, daemon=True)
    reader_thread.start()
    pulled_in: set[threading.Thread] = set()

    def blocking() -> Iterator[Any]:  # as one that reads from a socket
        for _ in range(200):
            pulled_in.add(threading.current_thread())
            yield EVENT

    async def write(data: bytes) -> None:
        await asyncio.sleep(0)

    writer = SSEWriter(write, loop=loop)
    from_iterable(blocking).pipe(flow_control(5), batch(2, 60)).subscribe(writer)
    writer.done.result(SOON)
    loop.call_soon_threadsafe(loop.stop)
    reader_thread.join(SOON)
    loop.close()

    assert reader_thread not in pulled_in


# -- from_iterable: the end -------------------------------------------------------------


def test_an_infinite_iterable_ends_when_enough_was_taken() -> None:
    paced: list[Any] = [flow_control(5)]
    bare: list[Any] = []
    for operators in (paced, bare):
        source = Source()
        seen: list[Any] = []
        ended: list[str] = []
        operators.append(ops.take(3))
        from_iterable(source).pipe(*operators).subscribe(
            seen.append,
            on_completed=lambda ended=ended: ended.append("end"),
        )

        assert (len(seen), ended) == (3, ["end"])
        assert (source.taken, source.closed) == (3, 1)


def test_a_generator_is_closed_when_disposed_of_inside_on_next() -> None:
    source, seen = Source(), 0
    subscription: list[DisposableBase] = []
    permits: list[Permit] = []

    def listen(frame: Any) -> None:
        nonlocal seen
        seen += 1
        if subscription:
            subscription[0].dispose()
        else:
            permits.append(frame.permit.hold())

    subscription.append(from_iterable(source).pipe(flow_control(2)).subscribe(listen))
    permits.pop().release()

    assert (source.taken, seen) == (3, 3)
    assert source.closed == 1


def test_a_generator_is_closed_when_disposed_of_from_another_thread() -> None:
    source, reader = Source(), Reader()
    subscription = reader.subscribe(from_iterable(source).pipe(flow_control(3)))

    in_thread(subscription.dispose).result(SOON)

    assert (source.taken, source.closed) == (3, 1)


def test_a_generator_that_is_busy_is_closed_when_it_comes_back() -> None:
    inside, go_on = threading.Event(), threading.Event()
    closed: list[int] = []
    seen: list[Any] = []

    def slow() -> Iterator[Any]:
        try:
            yield EVENT
            inside.set()
            go_on.wait(SOON)
            yield EVENT
            raise AssertionError("pulled after disposal")
        finally:
            closed.append(threading.get_ident())

    subscription: Future[DisposableBase] = Future()
    reader = Reader()

    def subscribe() -> None:
        subscription.set_result(
            reader.subscribe(
                from_iterable(slow).pipe(flow_control(1), ops.do_action(seen.append))
            )
        )

    in_thread(subscribe).result(SOON)
    pulls = in_thread(reader.let_go)
    assert inside.wait(SOON)
    subscription.result(SOON).dispose()
    assert not closed
    go_on.set()

    pulls.result(SOON)
    assert len(closed) == 1
    assert len(seen) == 1


def test_a_generator_may_dispose_of_its_own_stream() -> None:
    subscription: list[DisposableBase] = []
    source, reader = Source(), Reader()

    def suicidal() -> Iterator[Any]:
        for taken, each in enumerate(source()):
            if taken == 2:
                subscription[0].dispose()
            yield each

    subscription.append(reader.subscribe(from_iterable(suicidal).pipe(flow_control(2))))
    assert reader.events == 2
    reader.let_go()

    assert reader.events == 2
    assert source.taken == 3
    until(lambda: source.closed)


def test_a_generator_that_is_stopped_while_its_walker_leaves_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stop: list[Callable[[], None]] = []

    class Lock:
        """Somebody disposes at the last moment the token is still held."""

        def __init__(self) -> None:
            self.lock = threading.Lock()

        def acquire(self, blocking: bool = True) -> bool:
            return self.lock.acquire(blocking)

        def release(self) -> None:
            while stop:
                stop.pop()()
            self.lock.release()

    monkeypatch.setattr(_paced, "Lock", Lock)
    source, reader = Source(), Reader()
    generator = source()  # we keep it too, so that it is not closed by being forgotten
    subscription = reader.subscribe(from_iterable(generator).pipe(flow_control(2)))
    stop.append(subscription.dispose)
    reader.let_go()

    assert source.closed == 1


def test_what_an_iterable_raises_ends_the_stream_behind_its_events() -> None:
    def failing() -> Iterator[Any]:
        yield EVENT
        yield EVENT
        raise KeyError("agent")

    reader, watcher = Reader(), Watcher()
    with watching(watcher):
        reader.subscribe(from_iterable(failing).pipe(flow_control(9), batch(9, 60)))

    assert reader.events == 2
    assert [type(error) for error in reader.ended] == [KeyError]
    reader.let_go()
    assert watcher.credit.in_flight == 0


def test_an_iterator_may_end_with_a_bare_stop() -> None:
    class Three:
        n = 0

        def __iter__(self) -> Three:
            return self

        def __next__(self) -> Any:
            self.n += 1
            if self.n > 3:
                raise StopIteration
            return EVENT

    reader = Reader()
    reader.subscribe(from_iterable(Three()).pipe(flow_control(9)))
    assert (reader.events, reader.ended) == (3, [None])


def test_a_stop_inside_a_generator_is_an_error_and_no_end() -> None:
    def bad() -> Iterator[Any]:
        yield EVENT
        next(iter(()))

    reader = Reader()
    reader.subscribe(from_iterable(bad).pipe(flow_control(9)))
    assert [type(error) for error in reader.ended] == [RuntimeError]


def test_a_factory_serves_every_subscriber_from_the_beginning() -> None:
    source = Source(3)
    stream = from_iterable(source).pipe(flow_control(1), unbatch())
    heard: list[list[Any]] = [[], []]

    for each in heard:
        stream.subscribe(each.append)

    assert heard == [[EVENT] * 3] * 2


def test_a_factory_that_fails_is_an_error_of_the_stream() -> None:
    def broken() -> Iterator[Any]:
        raise KeyError("no agent")

    reader = Reader()
    reader.subscribe(from_iterable(lambda: broken()).pipe(flow_control(1)))
    reader.subscribe(from_iterable(lambda: 7).pipe(flow_control(1)))  # type: ignore[arg-type, return-value]
    assert [type(error) for error in reader.ended] == [KeyError, TypeError]


def test_what_cannot_be_encoded_costs_no_credit() -> None:
    reader, watcher = Reader(), Watcher()
    told: list[StreamError] = []
    bad: list[Any] = [EVENT, object(), None, EVENT, 3]
    with watching(watcher):
        reader.subscribe(from_iterable(bad).pipe(flow_control(2, errors=told.append)))

    assert (reader.events, len(told)) == (2, 1 if len(told) == 1 else 2)
    reader.let_go(2)
    assert [type(error) for error in told] == [ValidationError] * 3
    assert reader.ended == [None]
    assert watcher.credit.in_flight == 0


def test_a_write_that_fails_closes_the_generator() -> None:
    source, reader, watcher = Source(), Reader(), Watcher()
    with watching(watcher):
        reader.subscribe(from_iterable(source).pipe(flow_control(3)))

    reader.permits.pop().release(OSError("gone"))

    assert [str(error) for error in reader.ended] == ["gone"]
    assert source.closed == 1
    reader.let_go(2)
    assert watcher.credit.in_flight == 0


# -- on a loop --------------------------------------------------------------------------------


class Ticker:
    """Counts how often a loop comes round, and the longest it was kept by one task."""

    def __init__(self) -> None:
        self.ticks = 0
        self.longest = 0.0  # seconds of this thread's own time, so others do not count

    async def __aenter__(self) -> Ticker:
        self._task = asyncio.create_task(self._tick())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()

    async def _tick(self) -> None:
        before = time.thread_time()
        while True:
            await asyncio.sleep(0)
            now = time.thread_time()
            self.ticks += 1
            self.longest = max(self.longest, now - before)
            before = now


@pytest.mark.parametrize("window", [None, 10, 5000])
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_source_lets_others_run_on_its_loop(kind: str, window: int | None) -> None:
    n, seen = 100_000, 0

    def count(frame: Any) -> None:
        nonlocal seen
        seen += 1

    async def main() -> None:
        done = asyncio.Event()
        operators = [] if window is None else [flow_control(window)]
        source = Source(n)
        stream = (
            from_iterable(source)
            if kind == "sync"
            else from_async_iterable(source.arun)
        )
        async with Ticker() as ticker:
            stream.pipe(*operators).subscribe(count, on_completed=done.set)
            await done.wait()
        assert seen == n
        assert ticker.ticks > 10
        assert ticker.longest < 0.05

    run(main())


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_source_of_nothing_but_errors_lets_others_run(kind: str) -> None:
    told = 0

    def tell(error: StreamError) -> None:
        nonlocal told
        told += 1

    async def arun() -> AsyncIterator[Any]:
        while True:
            yield None

    unencodable: Any = object()

    async def main() -> None:
        stream = (
            from_iterable(lambda: itertools.repeat(unencodable))
            if kind == "sync"
            else from_async_iterable(arun)
        )
        async with Ticker() as ticker:
            subscription = stream.pipe(flow_control(errors=tell)).subscribe()
            await auntil(lambda: told > 1000 and ticker.ticks > 5)
            subscription.dispose()

    run(main())


# -- from_async_iterable ------------------------------------------------------------------------


def test_an_agent_is_never_more_than_the_window_ahead_of_the_reader() -> None:
    async def main() -> None:
        source, reader = Source(), Reader()
        subscription = reader.subscribe(
            from_async_iterable(source.arun).pipe(flow_control(4))
        )
        for written in range(50):
            await auntil(lambda written=written: source.taken == written + 4)  # type: ignore[misc]
            for _ in range(3):
                await asyncio.sleep(0)
            assert source.taken == written + 4
            reader.let_go()
        subscription.dispose()
        await auntil(lambda: source.closed)

    run(main())


@pytest.mark.parametrize("where", ["waits", "advances", "on_next", "take", "thread"])
def test_an_agent_that_is_disposed_of_cleans_up_in_its_own_task(where: str) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    seen: list[Any] = []
    left: list[Any] = []
    subscription: list[DisposableBase] = []

    class Resource:
        async def __aenter__(self) -> None:
            variable.set("agent")
            self.task = asyncio.current_task()

        async def __aexit__(self, kind: Any, *_: object) -> None:
            await asyncio.sleep(0)
            await asyncio.sleep(0.001)
            left.append((variable.get(), asyncio.current_task() is self.task, kind))

    async def agent() -> AsyncIterator[Any]:
        async with Resource():
            for n in itertools.count():
                if n == 3 and where == "advances":
                    await asyncio.sleep(3600)
                yield EVENT
                assert variable.get() == "agent"

    def listen(frame: Any) -> None:
        seen.append(frame)
        if where in ("waits", "advances", "thread"):
            frame.permit.hold()
        elif where == "on_next" and len(seen) == 3:
            subscription[0].dispose()

    async def main() -> None:
        window = 3 if where in ("waits", "thread") else 10
        operators: list[Any] = [flow_control(window)]
        if where == "take":
            operators.append(ops.take(3))
        subscription.append(
            from_async_iterable(agent).pipe(*operators).subscribe(listen)
        )
        await auntil(lambda: len(seen) == 3)
        for _ in range(3):
            await asyncio.sleep(0)
        if where == "thread":
            await asyncio.to_thread(subscription[0].dispose)
        elif where in ("waits", "advances"):
            subscription[0].dispose()
        await auntil(lambda: left)

    run(main())
    assert len(seen) == 3
    # Whoever waits for the agent is cancelled; an agent that waits for us is closed.
    expected = asyncio.CancelledError if where == "advances" else GeneratorExit
    assert left == [("agent", True, expected)]


def test_an_agent_that_disposes_of_itself_and_waits_for_ever_is_cancelled() -> None:
    subscription: list[DisposableBase] = []
    cleaned: list[str] = []

    async def agent() -> AsyncIterator[Any]:
        try:
            yield EVENT
            await asyncio.sleep(0)
            subscription[0].dispose()
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0)
            cleaned.append("cleaned")

    async def main() -> None:
        subscription.append(from_async_iterable(agent).pipe(flow_control()).subscribe())
        await auntil(lambda: cleaned)

    run(main())


def test_an_agent_that_is_disposed_of_before_it_began_never_begins() -> None:
    async def main() -> None:
        source = Source()
        from_async_iterable(source.arun).pipe(flow_control()).subscribe().dispose()
        for _ in range(3):
            await asyncio.sleep(0)
        assert source.taken == 0

    run(main())


def test_what_an_agent_raises_ends_the_stream_behind_its_events() -> None:
    async def agent() -> AsyncIterator[Any]:
        yield EVENT
        yield EVENT
        raise KeyError("agent")

    async def main() -> None:
        reader, watcher = Reader(), Watcher()
        with watching(watcher):
            reader.subscribe(
                from_async_iterable(agent).pipe(flow_control(9), batch(9, 60))
            )
        await auntil(lambda: reader.ended)
        assert reader.events == 2
        assert [type(error) for error in reader.ended] == [KeyError]
        reader.let_go()
        assert watcher.credit.in_flight == 0

    run(main())


def test_what_an_agent_says_that_is_no_event_is_refused_even_nothing() -> None:
    told: list[StreamError] = []

    async def agent() -> AsyncIterator[Any]:
        for each in (EVENT, None, object(), EVENT):
            yield each

    async def main() -> None:
        reader = Reader()
        reader.subscribe(
            from_async_iterable(agent).pipe(flow_control(9, errors=told.append))
        )
        await auntil(lambda: reader.ended)
        assert reader.events == 2
        assert reader.ended == [None]
        assert [type(error) for error in told] == [ValidationError] * 2

    run(main())


def test_an_agent_that_raises_one_of_our_own_errors_has_failed() -> None:
    async def agent() -> AsyncIterator[Any]:
        yield EVENT
        raise ValidationError(None, "the agent's own")

    async def main() -> None:
        reader = Reader()
        told: list[StreamError] = []
        reader.subscribe(
            from_async_iterable(agent).pipe(flow_control(9, errors=told.append))
        )
        await auntil(lambda: reader.ended)
        assert [type(error) for error in reader.ended] == [ValidationError]
        assert not told

    run(main())


def test_a_write_that_fails_closes_the_agent_and_nobody_complains() -> None:
    async def main() -> None:
        for foreign in (False, True):
            source, reader, watcher = Source(), Reader(), Watcher()
            with watching(watcher):
                reader.subscribe(from_async_iterable(source.arun).pipe(flow_control(3)))
            await auntil(lambda reader=reader: reader.events == 3)  # type: ignore[misc]
            permit = reader.permits.pop()
            gone = OSError("gone")
            if foreign:
                await asyncio.to_thread(permit.release, gone)
            else:
                permit.release(gone)
            await auntil(lambda source=source: source.closed == 1)  # type: ignore[misc]
            assert reader.ended == [gone]
            reader.let_go(2)
            assert watcher.credit.in_flight == 0

    run(main())


def test_an_agent_runs_on_the_loop_it_was_given() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        source, reader = Source(5), Reader()
        loops: list[Any] = []

        async def agent() -> AsyncIterator[Any]:
            loops.append(asyncio.get_running_loop())
            async for each in source.arun():
                yield each

        stream = from_async_iterable(agent, loop=loop).pipe(flow_control(2))
        await asyncio.to_thread(reader.subscribe, stream)
        for _ in range(5):
            await auntil(lambda: reader.permits)
            await asyncio.to_thread(reader.let_go)
        await auntil(lambda: reader.ended)

        assert reader.events == 5
        assert loops == [loop]

        endless = Source()
        stream = from_async_iterable(endless.arun, loop=loop).pipe(flow_control(2))
        subscription = await asyncio.to_thread(reader.subscribe, stream)
        await auntil(lambda: endless.taken == 2)
        await asyncio.to_thread(subscription.dispose)
        await auntil(lambda: endless.closed)

    run(main())


@pytest.mark.parametrize("operators", [[], [flow_control()]], ids=["bare", "paced"])
def test_without_a_loop_an_agent_cannot_run_and_the_stream_says_so(
    operators: list[Any],
) -> None:
    told: list[Exception] = []
    from_async_iterable(Source().arun).pipe(*operators).subscribe(on_error=told.append)

    assert [type(error) for error in told] == [ConfigError]
    assert "loop" in str(told[0])


def test_what_is_no_async_iterable_is_an_error_of_the_stream() -> None:
    async def main() -> None:
        reader = Reader()
        reader.subscribe(from_async_iterable(lambda: 7).pipe(flow_control()))  # type: ignore[arg-type, return-value]
        await auntil(lambda: reader.ended)
        assert [type(error) for error in reader.ended] == [TypeError]

    run(main())


def test_an_agent_serves_every_subscriber_from_the_beginning() -> None:
    async def main() -> None:
        stream = from_async_iterable(Source(3).arun).pipe(flow_control(1), unbatch())
        heard: list[list[Any]] = [[], []]
        for each in heard:
            stream.subscribe(each.append)
        await auntil(lambda: heard == [[EVENT] * 3] * 2)

    run(main())
