"""What was accepted is written, one write at a time, and whoever waits is told."""

from __future__ import annotations

import asyncio
import functools
import random
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import Any

import pytest
import reactivex as rx
from reactivex.abc import DisposableBase
from reactivex.subject import Subject

from rx_agui import (
    Credit,
    Frame,
    Gate,
    Permit,
    SSEWriter,
    StreamChunk,
    StreamClosedError,
    StreamError,
    ValidationError,
    batch,
    chunk,
    compress,
    flow_control,
    from_async_iterable,
    from_iterable,
    pipeline,
    sequence,
)
from rx_agui.agui.encoding import encode
from rx_agui.engine import Stage
from rx_agui.errors import ConfigError
from rx_agui.probe import (
    OperatorCounters,
    PayloadTrace,
    Probe,
    StreamObservation,
    watching,
)
from rx_agui.sse import Parser
from rx_agui.testing import simulated_run
from tests.support.patience import SOON, auntil, in_thread


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run `main`, not longer than a test may take, and see that it leaves no task."""

    async def alone() -> None:
        async with asyncio.timeout(3 * SOON):
            await main
        await auntil(lambda: len(asyncio.all_tasks()) == 1)

    asyncio.run(alone())


@pytest.fixture
def elsewhere() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that runs in another thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield loop
    if not loop.is_closed():
        loop.call_soon_threadsafe(loop.stop)
        thread.join(SOON)
        loop.close()


def event(value: Any = 0) -> dict[str, Any]:
    return {"type": "CUSTOM", "name": "n", "value": value}


def line(value: Any = 0) -> bytes:
    return b"data: " + encode(event(value)) + b"\n\n"


def frame(value: Any, credit: Credit) -> Frame:
    assert credit.acquire()
    return Frame(encode(event(value)), Permit(credit))


def ignore(data: bytes) -> None:
    """A write that writes nowhere."""


def push(writer: SSEWriter, value: Any, credit: Credit) -> None:
    """What flow_control does."""
    each = frame(value, credit)
    writer.on_next(each)
    each.permit.release()


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


class Door:
    """An async write that is open or shut, and counts who is inside."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.begun = 0
        self.inside = 0
        self.most = 0
        self.open = asyncio.Event()

    async def __call__(self, data: bytes) -> None:
        self.begun += 1
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await self.open.wait()
            await asyncio.sleep(0)
            self.written.append(data)
        finally:
            self.inside -= 1


# -- kinds of write ----------------------------------------------------------------------


def kinds(written: list[bytes]) -> dict[str, Callable[[bytes], Any]]:
    async def coroutine(data: bytes) -> None:
        await asyncio.sleep(0)
        written.append(data)

    async def to(where: list[bytes], data: bytes) -> None:
        where.append(data)

    class Socket:
        async def __call__(self, data: bytes) -> None:
            written.append(data)

        async def send(self, data: bytes) -> None:
            written.append(data)

    def returns_awaitable(data: bytes) -> Awaitable[None]:
        return coroutine(data)

    def returns_future(data: bytes) -> Awaitable[None]:
        return asyncio.ensure_future(coroutine(data))

    def sometimes(data: bytes) -> Awaitable[None] | None:
        if len(written) % 2:
            return coroutine(data)
        written.append(data)
        return None

    return {
        "sync": written.append,
        "async": coroutine,
        "partial": functools.partial(to, written),
        "partial of partial": functools.partial(functools.partial(to, written)),
        "object": Socket(),
        "partial of object": functools.partial(Socket()),
        "method": Socket().send,
        "returns an awaitable": returns_awaitable,
        "returns a future": returns_future,
        "awaitable or not": sometimes,
    }


@pytest.mark.parametrize("kind", list(kinds([])))
def test_any_kind_of_write_writes_everything_in_order(kind: str) -> None:
    written: list[bytes] = []
    watcher = Watcher()

    async def main() -> None:
        writer = SSEWriter(kinds(written)[kind])
        events = [event(n) for n in range(50)]
        with watching(watcher):
            from_iterable(events).pipe(flow_control(7)).subscribe(writer)
        await writer.done

    run(main())
    assert b"".join(written) == b"".join(map(line, range(50)))
    assert watcher.credit.in_flight == 0


@pytest.mark.parametrize(
    "kind",
    ["async", "partial", "object", "partial of object", "method", "partial of partial"],
)
def test_an_async_write_without_a_loop_is_refused_where_it_is_made(kind: str) -> None:
    with pytest.raises(ConfigError, match="loop must be given, or a loop must run"):
        SSEWriter(kinds([])[kind])


def test_a_write_that_turns_out_to_be_async_without_a_loop_ends_the_stream() -> None:
    written: list[bytes] = []
    writer = SSEWriter(kinds(written)["returns an awaitable"])
    gate = Gate()
    gate.pipe(flow_control()).subscribe(writer)

    gate.send(event())

    assert isinstance(writer.done.exception(SOON), ConfigError)
    with pytest.raises(ConfigError):
        gate.send(event())


def test_it_takes_chunks_and_frames_and_bare_events() -> None:
    written: list[bytes] = []
    writer = SSEWriter(written.append)
    squeezed = StreamChunk(data=b"xyz", event_type="chunk", encoding="gzip")
    packed = Frame(b"xyz", events=3, first=4, last=6)
    packed.encoding = "gzip"

    for each in (event(1), Frame(encode(event(2)), first=7, last=7), squeezed, packed):
        writer.on_next(each)
    writer.on_completed()

    assert written[:2] == [line(1), b"id: 7\n" + line(2)]
    messages = Parser().feed(b"".join(written[2:]))
    assert [m.event for m in messages] == ["chunk", "chunk"]
    assert messages[1].id == "6"
    assert writer.done.result(SOON) is None


@pytest.mark.parametrize("interval", [-1, float("nan")])
def test_an_interval_that_makes_no_sense_is_refused(interval: float) -> None:
    with pytest.raises(ConfigError, match="flush_interval"):
        SSEWriter(ignore, flush_interval=interval)


# -- one write at a time --------------------------------------------------------------------


def test_what_comes_during_a_write_goes_out_together_in_the_next() -> None:
    async def main() -> None:
        door, credit = Door(), Credit(10)
        writer = SSEWriter(door)
        push(writer, 0, credit)
        await auntil(lambda: door.begun)
        for n in range(1, 6):
            push(writer, n, credit)
        assert credit.in_flight == 6
        door.open.set()
        writer.on_completed()
        await writer.done

        assert door.written == [line(0), b"".join(map(line, range(1, 6)))]
        assert door.most == 1
        assert credit.in_flight == 0

    run(main())


def test_it_writes_at_once_when_idle() -> None:
    written: list[bytes] = []
    writer, credit = SSEWriter(written.append), Credit(1)
    for n in range(3):
        push(writer, n, credit)
        assert len(written) == n + 1
        assert credit.free == 1


def test_from_many_threads_there_are_never_two_writes_at_a_time() -> None:
    inside, most, size = 0, 0, 0
    mutex = threading.Lock()

    def write(data: bytes) -> None:
        nonlocal inside, most, size
        with mutex:
            inside += 1
            most = max(most, inside)
        size += data.count(b"\n\n")
        with mutex:
            inside -= 1

    writer = SSEWriter(write)
    threads = [
        in_thread(lambda: [writer.on_next(event(n)) for n in range(2000)])  # type: ignore[func-returns-value]
        for _ in range(4)
    ]
    for thread in threads:
        thread.result(SOON)
    writer.on_completed()

    writer.done.result(SOON)
    assert (most, size) == (1, 8000)


def test_an_event_that_comes_just_as_the_writer_falls_idle_is_written_once() -> None:
    class Mutex:
        """Lets another thread in as the writer falls idle."""

        def __enter__(self) -> None:
            self.was_busy = writer._is_busy

        def __exit__(self, *_: object) -> None:
            if self.was_busy and not writer._is_busy and coming:
                writer.on_next(coming.pop())

    written: list[bytes] = []
    coming = [event(2)]
    writer = SSEWriter(written.append)
    writer._mutex = Mutex()  # type: ignore[assignment]
    writer.on_next(event(1))

    assert written == [line(1), line(2)]


def test_a_writer_that_is_disposed_of_as_a_watched_write_ends_harms_nobody() -> None:
    class Writer(SSEWriter):
        """Somebody disposes of it as it looks who watches what it wrote."""

        is_disposed = False

        @property
        def _watch(self) -> StreamObservation | None:
            watch: StreamObservation | None = self.__dict__.get("watch")
            if written and not self.is_disposed:
                self.is_disposed = True
                self.disposed()
            return watch

        @_watch.setter
        def _watch(self, watch: StreamObservation | None) -> None:
            self.__dict__["watch"] = watch

    written: list[bytes] = []
    watcher = Watcher()
    gate, writer = Gate(), Writer(written.append)
    with watching(watcher):
        gate.pipe(flow_control()).subscribe(writer)
    gate.send(event())

    assert written == [line()]
    assert watcher.credit.in_flight == 0


def test_two_threads_that_bring_the_first_event_make_a_writer_one_part() -> None:
    class Writer(SSEWriter):
        """Another event comes as it looks who watches it."""

        @property
        def _watch(self) -> StreamObservation | None:
            watch: StreamObservation | None = self.__dict__.get("watch")
            if coming:
                self.on_next(coming.pop())
            return watch

        @_watch.setter
        def _watch(self, watch: StreamObservation | None) -> None:
            self.__dict__["watch"] = watch

    coming: list[Frame] = []
    writer = Writer(lambda data: None)
    watch = StreamObservation("chat", ())
    frames = [Frame(encode(event(n))) for n in range(2)]
    for each in frames:
        each.trace = PayloadTrace(watch, 0, 1)
    coming.append(frames[0])
    writer.on_next(frames[1])

    assert watch.operators == [writer._tally]


def test_an_event_from_inside_write_goes_next() -> None:
    written: list[bytes] = []

    def write(data: bytes) -> None:
        written.append(data)
        if len(written) == 1:
            writer.on_next(event("echo"))
            assert len(written) == 1

    writer = SSEWriter(write)
    writer.on_next(event(1))

    assert written == [line(1), line("echo")]


def test_an_async_write_from_foreign_threads_happens_on_the_given_loop(
    elsewhere: asyncio.AbstractEventLoop,
) -> None:
    written: list[bytes] = []
    loops: set[Any] = set()
    inside = most = 0

    async def write(data: bytes) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0)
        loops.add(asyncio.get_running_loop())
        written.append(data)
        inside -= 1

    writer = SSEWriter(write, loop=elsewhere)
    gate = Gate()
    gate.pipe(flow_control(20)).subscribe(writer)
    threads = [
        in_thread(lambda: [gate.send(event(n)) for n in range(500)])  # type: ignore[func-returns-value]
        for _ in range(3)
    ]
    for thread in threads:
        thread.result(SOON)
    gate.close(SOON)

    writer.done.result(SOON)
    assert b"".join(written).count(b"\n\n") == 1500
    assert loops == {elsewhere}
    assert most == 1


def test_a_write_that_never_waits_lets_others_run() -> None:
    async def write(data: bytes) -> None: ...

    async def main() -> None:
        ticks, longest, before = 0, 0.0, time.thread_time()
        writer = SSEWriter(write)
        endless = iter(lambda: event(), None)
        subscription = (
            from_iterable(endless).pipe(flow_control(10), batch(5)).subscribe(writer)
        )
        while ticks < 50:
            await asyncio.sleep(0)
            now = time.thread_time()
            longest = max(longest, now - before)
            before = now
            ticks += 1
        subscription.dispose()
        assert longest < 0.1

    run(main())


# -- flush_interval ----------------------------------------------------------------------------


def test_bytes_wait_for_company_as_long_as_they_may() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        written: list[tuple[float, bytes]] = []
        writer = SSEWriter(
            lambda data: written.append((loop.time(), data)), flush_interval=0.02
        )
        credit = Credit(10)
        start = loop.time()
        for n in range(3):
            push(writer, n, credit)
        assert credit.in_flight == 3
        await auntil(lambda: written)
        push(writer, 3, credit)
        writer.on_completed()  # waits for nothing
        await writer.done

        assert [data for _, data in written] == [line(0) + line(1) + line(2), line(3)]
        assert written[0][0] - start >= 0.019
        assert credit.in_flight == 0

    run(main())


@pytest.mark.parametrize("how", ["sync", "async", "behind a batch", "off the loop"])
def test_a_window_too_small_to_fill_the_interval_does_not_stop_it(how: str) -> None:
    written: list[bytes] = []

    async def awrite(data: bytes) -> None:
        written.append(data)

    write = awrite if how == "async" else written.append
    operators: list[Any] = [flow_control(4)]
    if how == "behind a batch":
        operators.append(batch(3, 3600))
    events = [event(n) for n in range(20)]

    async def main() -> None:
        writer = SSEWriter(write, flush_interval=3600)
        from_iterable(events).pipe(*operators).subscribe(writer)
        await writer.done

    if how == "off the loop":
        writer = SSEWriter(write, flush_interval=3600)
        from_iterable(events).pipe(*operators).subscribe(writer)
        writer.done.result(SOON)
    else:
        run(main())

    assert b"".join(written) == b"".join(map(line, range(20)))
    if how != "behind a batch":
        assert len(written) == 5  # not one by one: it waited for a full window


def test_a_flush_in_a_timers_thread_wakes_who_waits_for_room() -> None:
    written: list[bytes] = []
    writer = SSEWriter(written.append, flush_interval=0.001)
    gate = Gate()
    gate.pipe(flow_control(5)).subscribe(writer)
    for n in range(53):
        gate.send(event(n))
    gate.close(SOON)

    assert b"".join(written) == b"".join(map(line, range(53)))


def test_a_stall_leaves_nobody_parked() -> None:
    watcher = Watcher()
    written: list[bytes] = []
    with watching(watcher):
        writer = SSEWriter(written.append, flush_interval=3600)
        events = [event(n) for n in range(200)]
        from_iterable(events).pipe(flow_control(3)).subscribe(writer)

    writer.done.result(SOON)
    assert watcher.credit._buffering == []
    assert writer.parked == 0


# -- a write that fails ----------------------------------------------------------------------


def test_a_task_that_is_cancelled_before_it_began_leaves_nobody_waiting() -> None:
    async def write(data: bytes) -> None: ...

    async def main() -> None:
        watcher = Watcher()
        gate, writer = Gate(), SSEWriter(write)
        with watching(watcher):
            gate.pipe(flow_control()).subscribe(writer)
        gate.send(event())
        assert writer._task is not None
        writer._task.cancel()
        with pytest.raises(StreamError, match="cancelled"):
            await asyncio.wait_for(writer.done, SOON)
        assert watcher.credit.in_flight == 0

    run(main())


@pytest.mark.parametrize("kind", ["sync", "async", "late"])
def test_a_write_that_fails_ends_the_stream_with_its_error(kind: str) -> None:
    gone = ConnectionResetError("gone")
    closed: list[str] = []
    calls = 0

    def agent() -> Iterator[Any]:
        try:
            while True:
                yield event()
        finally:
            closed.append("agent")

    def write(data: bytes) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise gone

    async def awrite(data: bytes) -> None:
        await asyncio.sleep(0)
        write(data)

    async def main() -> None:
        watcher = Watcher()
        chosen: Any = {"sync": write, "async": awrite, "late": lambda d: awrite(d)}
        writer = SSEWriter(chosen[kind])
        with watching(watcher):
            from_iterable(agent).pipe(
                flow_control(5), sequence(), batch(2, 3600), compress(), chunk()
            ).subscribe(writer)
        with pytest.raises(ConnectionResetError) as raised:
            await writer.done
        assert raised.value is gone
        await auntil(lambda: closed == ["agent"])
        await auntil(lambda: watcher.credit.in_flight == 0)
        assert calls == 3

    run(main())


def test_after_a_write_has_failed_nothing_is_written_whoever_races_with_it() -> None:
    credit, calls = Credit(3), 0

    def write(data: bytes) -> None:
        nonlocal calls
        calls += 1
        raise OSError("gone")

    writer = SSEWriter(write)

    class Slow(Permit):
        """Whoever brings this one is inside on_next while another's write fails."""

        def hold(self) -> Permit:
            push(writer, 1, credit)
            return super().hold()

    credit.acquire()
    slow = Frame(encode(event(2)), Slow(credit))
    writer.on_next(slow)
    slow.permit.release()

    assert calls == 1
    assert credit.in_flight == 0


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_without_permits_what_follows_a_failed_write_is_dropped(kind: str) -> None:
    calls = 0

    def write(data: bytes) -> None:
        nonlocal calls
        calls += 1
        raise OSError("gone")

    async def awrite(data: bytes) -> None:
        write(data)

    async def main() -> None:
        source: Subject[Any] = Subject()
        writer = SSEWriter(awrite if kind == "async" else write)
        source.subscribe(writer)
        for n in range(3):
            source.on_next(event(n))  # does not raise
            await asyncio.sleep(0)
        source.on_completed()
        with pytest.raises(OSError, match="gone"):
            await writer.done
        assert calls == 1

    run(main())


def test_what_is_no_event_ends_the_stream_behind_what_came_before() -> None:
    async def main() -> None:
        door, credit = Door(), Credit(9)
        told: list[Exception] = []
        credit.on_failure = told.append
        writer = SSEWriter(door)
        for n in range(3):
            push(writer, n, credit)
        assert credit.acquire()
        bad = Frame(b"{}\n{}", Permit(credit), events=2, first=1, last=2)
        bad.numbers = (1,)
        writer.on_next(bad)
        writer.on_next(object())
        bad.permit.release()
        push(writer, 4, credit)  # comes too late
        door.open.set()
        error = await asyncio.wait_for(asyncio.shield(outcome(writer)), SOON)

        assert b"".join(door.written) == b"".join(map(line, range(3)))
        assert isinstance(error, Exception)
        assert told == [error]
        assert credit.in_flight == 0

    run(main())


async def outcome(writer: SSEWriter) -> BaseException | None:
    try:
        await writer.done
    except Exception as error:
        return error
    return None


def test_a_bare_object_is_refused_without_raising() -> None:
    writer = SSEWriter(ignore)
    writer.on_next(object())
    assert isinstance(writer.done.exception(SOON), ValidationError)


def test_a_task_of_the_writer_that_is_cancelled_ends_the_stream() -> None:
    credit = Credit(3)

    async def main() -> None:
        door = Door()
        writer = SSEWriter(door)
        for n in range(3):
            push(writer, n, credit)
        await auntil(lambda: door.begun)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            if "_pump" in repr(task):
                task.cancel()
        with pytest.raises(StreamError, match="cancelled"):
            await writer.done
        assert credit.in_flight == 0

    run(main())


def test_a_loop_that_ends_in_the_middle_of_a_write_ends_the_stream() -> None:
    credit = Credit(3)
    writers: list[SSEWriter] = []

    async def main() -> None:
        door = Door()
        writers.append(SSEWriter(door))
        push(writers[0], 1, credit)
        await auntil(lambda: door.begun)

    asyncio.run(main())

    assert isinstance(writers[0].done.exception(SOON), StreamError)
    assert credit.in_flight == 0
    push(writers[0], 2, credit)
    assert credit.in_flight == 0


@pytest.mark.parametrize("seems_open", [False, True])
@pytest.mark.parametrize("kind", ["async", "returns an awaitable"])
def test_on_a_closed_loop_on_next_does_not_raise(
    kind: str, seems_open: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.new_event_loop()
    credit = Credit(3)
    writer = SSEWriter(kinds([])[kind], loop=loop)
    loop.close()
    if seems_open:  # as it was a moment ago
        monkeypatch.setattr(loop, "is_closed", lambda: False)

    push(writer, 1, credit)
    push(writer, 2, credit)

    with pytest.raises(RuntimeError, match="closed"):
        writer.done.result(SOON)
    assert credit.in_flight == 0


# -- done ---------------------------------------------------------------------------------------


def test_a_thread_waits_for_done_and_may_give_up() -> None:
    writer = SSEWriter(ignore)
    with pytest.raises(TimeoutError):
        writer.done.result(0.001)
    waits = in_thread(lambda: writer.done.result(SOON))

    writer.on_completed()

    assert waits.result(SOON) is None


def test_whoever_awaits_done_may_be_cancelled_and_the_writing_goes_on() -> None:
    async def main() -> None:
        door = Door()
        writer = SSEWriter(door)
        writer.on_next(event(1))
        waits = [asyncio.create_task(outcome(writer)) for _ in range(3)]
        await auntil(lambda: door.begun)
        waits[0].cancel()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await writer.done
        door.open.set()
        writer.on_completed()

        assert await asyncio.gather(*waits[1:]) == [None, None]
        assert waits[0].cancelled()
        assert door.written == [line(1)]
        await writer.done  # again, and late

    run(main())


def test_a_done_that_was_cancelled_itself_does_not_trouble_the_writer() -> None:
    written: list[bytes] = []
    writer = SSEWriter(written.append)
    writer.done.cancel()
    writer.on_next(event(1))
    writer.on_completed()
    assert written == [line(1)]


@pytest.mark.parametrize("error", [None, KeyError("agent")])
def test_the_end_comes_behind_the_writes_that_were_owed(
    error: Exception | None,
) -> None:
    async def main() -> None:
        door, credit = Door(), Credit(9)
        writer = SSEWriter(door)
        for n in range(5):
            push(writer, n, credit)
            await asyncio.sleep(0)
        if error is None:
            writer.on_completed()
        else:
            writer.on_error(error)
        writer.on_completed()  # the first end counts
        await asyncio.sleep(0)
        assert not writer.done.done()
        door.open.set()

        assert await outcome(writer) is error
        assert b"".join(door.written) == b"".join(map(line, range(5)))
        assert credit.in_flight == 0

    run(main())


def test_a_stream_of_nothing_is_done() -> None:
    async def main() -> None:
        for writer in (SSEWriter(ignore), SSEWriter(Door())):
            rx.empty().subscribe(writer)
            await writer.done

    run(main())


def test_thirty_events_that_were_accepted_are_written_before_the_error() -> None:
    written: list[bytes] = []

    async def write(data: bytes) -> None:
        await asyncio.sleep(0.001)
        written.append(data)

    async def agent() -> AsyncIterator[Any]:
        for n in range(30):
            yield event(n)
        raise KeyError("agent")

    async def main() -> None:
        watcher = Watcher()
        writer = SSEWriter(write)
        with watching(watcher):
            from_async_iterable(agent).pipe(
                flow_control(), sequence(), compress(workers=4, min_size=1), chunk()
            ).subscribe(writer)
        with pytest.raises(KeyError, match="agent"):
            await writer.done
        assert watcher.credit.in_flight == 0

    run(main())
    ids = [m.id for m in Parser().feed(b"".join(written)) if m.own_id]
    assert ids == [str(n) for n in range(1, 31)]


# -- disposal -------------------------------------------------------------------------------------


@pytest.mark.parametrize("interval", [0.0, 0.01])
@pytest.mark.parametrize("foreign", [False, True])
def test_after_disposal_no_write_begins(interval: float, foreign: bool) -> None:
    async def main() -> None:
        door, watcher = Door(), Watcher()
        writer = SSEWriter(door, flush_interval=interval)
        with watching(watcher):
            subscription = (
                from_iterable(iter(lambda: event(), None))
                .pipe(flow_control(20), batch(5, 3600), compress(workers=2, min_size=1))
                .subscribe(writer)
            )
        if not interval:
            await auntil(lambda: door.begun)
        begun = door.begun
        if foreign:
            await asyncio.to_thread(subscription.dispose)
        else:
            subscription.dispose()
        subscription.dispose()
        door.open.set()

        await auntil(lambda: watcher.credit.in_flight == 0)
        await auntil(lambda: door.inside == 0)
        assert door.begun == begun

    run(main())


def test_disposal_inside_write_leaves_the_rest_unwritten() -> None:
    written: list[bytes] = []
    subscription: list[DisposableBase] = []
    watcher = Watcher()

    async def write(data: bytes) -> None:
        written.append(data)
        subscription[0].dispose()
        await asyncio.sleep(0)

    async def main() -> None:
        with watching(watcher):
            subscription.append(
                from_iterable(iter(lambda: event(), None))
                .pipe(flow_control(20))
                .subscribe(SSEWriter(write))
            )
        await auntil(lambda: written)
        await auntil(lambda: watcher.credit.in_flight == 0)

    run(main())
    assert len(written) == 1


def test_disposal_behind_the_end_takes_nothing_back() -> None:
    async def main() -> None:
        door = Door()
        writer = SSEWriter(door)
        events = [event(n) for n in range(9)]
        subscription = from_iterable(events).pipe(flow_control()).subscribe(writer)
        await auntil(lambda: door.begun)
        subscription.dispose()
        door.open.set()
        await writer.done
        assert b"".join(door.written) == b"".join(map(line, range(9)))

    run(main())


# -- pace, and the loop --------------------------------------------------------------------------


def test_an_agent_is_never_more_than_window_and_batch_ahead_of_what_was_written() -> (
    None
):
    window, size, n = 40, 10, 3000
    said = written = ahead = 0

    async def agent() -> AsyncIterator[Any]:
        nonlocal said, ahead
        for number in range(n):
            said += 1
            ahead = max(ahead, said - written)
            yield event(number)

    async def write(data: bytes) -> None:
        nonlocal written
        await asyncio.sleep(0.001)
        written += data.count(b"\n\n")

    async def main() -> None:
        writer = SSEWriter(write)
        from_async_iterable(agent).pipe(
            flow_control(window), sequence(), batch(size, 0.01)
        ).subscribe(writer)
        await writer.done

    run(main())
    assert written == n
    assert size < ahead <= window + size


def test_the_loop_never_stands_still_for_payloads_of_a_megabyte() -> None:
    chance = random.Random(0)
    words = [str(chance.random()) for _ in range(1000)]
    text = " ".join(chance.choice(words) for _ in range(54_000))  # about 1 MB
    event = {"type": "STATE_SNAPSHOT", "snapshot": {"text": text}}
    size, stalls = 0, [0.0]

    async def agent() -> AsyncIterator[Any]:
        for _ in range(24):
            yield event

    async def write(data: bytes) -> None:
        nonlocal size
        size += len(data)
        await asyncio.sleep(0)

    async def tick() -> None:
        before = time.thread_time()
        while True:
            await asyncio.sleep(0)
            now = time.thread_time()  # this thread's: who else is busy does not count
            stalls.append(now - before)
            before = now

    async def main() -> None:
        ticker = asyncio.create_task(tick())
        writer = SSEWriter(write)
        from_async_iterable(agent).pipe(
            flow_control(8), sequence(), batch(4, 0.01), compress(level=1), chunk()
        ).subscribe(writer)
        await writer.done
        ticker.cancel()

    run(main())
    assert size > 1_000_000
    assert max(stalls) < 0.05
    assert lag(0.99, stalls) < 0.005


def lag(quantile: float, stalls: list[float]) -> float:
    """What a timer that is due at any moment is late by, in so many cases of all.

    One that is due within a stall is late by what is left of it.
    """
    rest = sum(stalls) * (1 - quantile)
    low, high = 0.0, max(stalls)
    for _ in range(40):
        middle = (low + high) / 2
        later = sum(stall - middle for stall in stalls if stall > middle)
        low, high = (middle, high) if later > rest else (low, middle)
    return high


def test_a_whole_run_comes_out_as_it_went_in() -> None:
    events = list(simulated_run(300))
    written: list[bytes] = []
    writer = SSEWriter(written.append)
    from_iterable(events).pipe(flow_control(50), sequence()).subscribe(writer)
    writer.done.result(SOON)

    messages = Parser().feed(b"".join(written))
    assert [m.data for m in messages] == [encode(each) for each in events]
    assert [m.id for m in messages] == [str(n + 1) for n in range(len(events))]


@pytest.mark.parametrize("name", ["", "chat"])
def test_whoever_waits_for_the_end_hears_that_the_subscription_was_disposed_of(
    name: str,
) -> None:
    operators = flow_control(), sequence()

    async def main() -> None:
        gate = Gate()
        writer = SSEWriter(lambda data: None)
        named = [pipeline(name, *operators)] if name else operators
        subscription = gate.pipe(*named).subscribe(writer)
        await gate.asend({"type": "A"})

        subscription.dispose()

        with pytest.raises(StreamClosedError, match="disposed of"):
            await asyncio.wait_for(writer.done, SOON)

    asyncio.run(main())


def test_disposal_behind_the_end_leaves_done_as_it_was() -> None:
    written: list[bytes] = []
    writer = SSEWriter(written.append)
    subscription = from_iterable([{"type": "A"}]).pipe(sequence()).subscribe(writer)

    subscription.dispose()

    writer.done.result(0)
    assert written == [b'id: 1\ndata: {"type":"A"}\n\n']


def test_a_write_that_ctrl_c_breaks_off_ends_the_stream_and_is_not_swallowed() -> None:
    def write(data: bytes) -> None:
        raise KeyboardInterrupt

    writer, gate = SSEWriter(write), Gate()
    gate.pipe(flow_control(2)).subscribe(writer)
    with pytest.raises(KeyboardInterrupt):
        gate.send({"type": "CUSTOM", "name": "n", "value": 0})

    with pytest.raises(StreamError, match="the write broke off: KeyboardInterrupt"):
        writer.done.result(SOON)
    assert gate.link is None or gate.link.credit.in_flight == 0
