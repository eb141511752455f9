"""Closing loses nothing that was accepted, from wherever it is done, and ends in time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from rx_agui import (
    AlreadyStartedError,
    DrainTimeoutError,
    EventStream,
    NotStartedError,
    SSEWriter,
    StreamChunk,
    StreamClosedError,
    StreamConfig,
)
from rx_agui.clock import ThreadClock
from rx_agui.probe import Probe, StreamObservation, watching
from rx_agui.workers import CALLBACK_POOL, COMPUTE
from tests.support.patience import SOON, in_thread, until
from tests.support.readers import Reading, event, values

#: Some of each, and small enough that all stages hold something when it closes.
LOADED = StreamConfig(
    event_buffer_size=50,
    max_concurrent_events=40,
    batch_size=8,
    batch_timeout=0.003,
    min_compression_size=1,
    worker_count=2,
    chunk_buffer_size=3,
    max_chunk_size=300,
    drain_timeout=SOON,
)


class Load:
    """Two threads that send until they are refused, and count what was accepted."""

    def __init__(self, stream: EventStream) -> None:
        self.sent: list[list[int]] = [[], []]
        self._stream = stream
        self.threads = [
            threading.Thread(target=self._send, args=(i,), daemon=True) for i in (0, 1)
        ]
        for thread in self.threads:
            thread.start()

    def _send(self, which: int) -> None:
        mine = self.sent[which]
        with suppress(StreamClosedError):
            for n in range(which, 1_000_000, 2):
                self._stream.send(event(n, text="a" * (n % 90)))
                mine.append(n)

    def all(self) -> list[list[int]]:
        for thread in self.threads:
            thread.join(SOON)
            assert not thread.is_alive()
        return self.sent


def assert_all_came(load: Load, chunks: list[StreamChunk]) -> None:
    came = values(chunks)
    for which, sent in enumerate(load.all()):
        assert [n for n in came if n % 2 == which] == sent


def from_a_thread(stream: EventStream, reading: Reading) -> None:
    stream.close()


def twice(stream: EventStream, reading: Reading) -> None:
    other = threading.Thread(target=stream.close)
    other.start()
    stream.close()
    other.join(SOON)
    stream.close()


def from_a_loop(stream: EventStream, reading: Reading) -> None:
    async def main() -> None:
        await asyncio.gather(stream.aclose(), stream.aclose())

    asyncio.run(main())


def inside_a_callback(stream: EventStream, reading: ReadingAndClosing) -> None:
    """The thread that reads closes what it reads: it must not wait for itself."""
    closed = threading.Event()

    def close() -> None:
        if not closed.is_set():
            stream.close()
            closed.set()

    reading.close_with = close
    assert closed.wait(SOON)


class ReadingAndClosing(Reading):
    close_with: Callable[[], object] | None = None

    def __init__(self, stream: EventStream) -> None:
        super().__init__(stream, self._close)

    def _close(self) -> None:
        if self.close_with is not None:
            self.close_with()


@pytest.mark.parametrize(
    "close", [from_a_thread, twice, from_a_loop, inside_a_callback]
)
def test_what_was_accepted_is_delivered_when_it_closes_under_load_a_hundred_times(
    close: Callable[[EventStream, ReadingAndClosing], None],
) -> None:
    for round_ in range(100):
        begun = time.monotonic()
        stream = EventStream(LOADED)
        stream.start()
        reading = ReadingAndClosing(stream)
        load = Load(stream)
        until(partial(reading.has_read, round_ % 7))

        close(stream, reading)

        reading.join(SOON)
        assert_all_came(load, reading.chunks)
        assert reading.error is None
        assert time.monotonic() - begun < SOON
    assert_no_thread_is_left()


def test_the_same_on_a_loop_and_no_task_is_left() -> None:
    async def main() -> None:
        for round_ in range(100):
            stream = EventStream(LOADED)
            chunks: list[StreamChunk] = []
            sent: list[int] = []
            close_inside = round_ % 2 == 0

            async def read(
                stream: EventStream = stream,
                chunks: list[StreamChunk] = chunks,
                close_inside: bool = close_inside,
            ) -> None:
                async for chunk in stream.receive_chunks():
                    chunks.append(chunk)
                    if close_inside and len(chunks) == 5:
                        await stream.aclose()

            async def send(
                stream: EventStream = stream, sent: list[int] = sent
            ) -> None:
                with suppress(StreamClosedError):
                    for n in range(1_000_000):
                        await stream.asend(event(n, text="a" * (n % 90)))
                        sent.append(n)

            stream.start()
            tasks = [asyncio.create_task(read()), asyncio.create_task(send())]
            if not close_inside:
                while len(chunks) < round_ % 9:  # noqa: ASYNC110  # every turn is a moment
                    await asyncio.sleep(0)
                if round_ % 4 == 1:
                    stream.close()  # begins, and does not wait: this is the loop
                await stream.aclose()
            await asyncio.wait_for(asyncio.gather(*tasks), SOON)
            assert values(chunks) == sent
            await stream.aclose()
            assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())
    assert_no_thread_is_left()


def assert_no_thread_is_left() -> None:
    until(lambda: CALLBACK_POOL.threads == COMPUTE.threads == 0)
    until(lambda: ThreadClock.shared._thread is None)
    assert [t for t in threading.enumerate() if t.name.startswith("rx_agui")] == []


def test_closing_inside_on_next_does_not_wait_for_itself() -> None:
    heard: list[StreamChunk] = []
    stream = EventStream(LOADED)
    stream.start()

    def on_next(chunk: StreamChunk) -> None:
        heard.append(chunk)
        stream.close()

    done = threading.Event()
    for n in range(20):
        stream.send(event(n))
    stream.receive_chunks().subscribe(on_next, on_completed=done.set)

    assert done.wait(SOON)
    assert values(heard) == list(range(20))


# -- the deadline -----------------------------------------------------------------------


@pytest.fixture(params=[True, False], ids=["batched", "single"])
def impatient(request: pytest.FixtureRequest) -> StreamConfig:
    return StreamConfig(
        drain_timeout=0.05,
        batch_enabled=request.param,
        batch_size=4,
        event_buffer_size=10,
        max_concurrent_events=10,
        chunk_buffer_size=2,
    )


def test_at_the_deadline_what_is_left_is_counted_and_reported(
    impatient: StreamConfig,
) -> None:
    """Nobody reads: all that was accepted is lost, and whoever comes is told too."""
    stream = EventStream(impatient)
    stream.start()
    while stream.try_send(event(0)):
        pass
    accepted = stream._accepted

    with pytest.raises(DrainTimeoutError) as late:
        stream.close()

    assert late.value.lost == accepted >= 20
    with pytest.raises(DrainTimeoutError):
        list(stream.receive_chunks())
    stream.close()  # it was said once


def test_who_is_woken_as_the_deadline_passes_is_told_what_was_lost() -> None:
    class Stream(EventStream):
        def _dropped(self) -> int:
            """A reader is done with what it has, while what is lost is counted."""
            while in_hand:
                in_hand.pop().release()
            return super()._dropped()

    stream = Stream(StreamConfig(batch_enabled=False))
    stream.start()
    for n in range(3):
        stream.send(event(n))
    chunk = stream._outbox.take()
    assert chunk is not None
    in_hand = [chunk.permit]
    told: list[DrainTimeoutError | None] = []
    stream._outbox.done.add_done_callback(lambda _: told.append(stream._late))
    stream.complete()
    stream._give_up(stream._lateness)

    assert [late and late.lost for late in told] == [2]


def test_what_a_reader_took_before_the_deadline_is_not_lost(
    impatient: StreamConfig,
) -> None:
    stream = EventStream(impatient)
    stream.start()
    while stream.try_send(event(0)):
        pass
    accepted = stream._accepted
    chunks = stream.receive_chunks()
    taken = len(values([next(chunks), next(chunks)]))

    elsewhere: list[DrainTimeoutError] = []

    def close() -> None:
        try:
            stream.close()
        except DrainTimeoutError as late:
            elsewhere.append(late)

    closing = threading.Thread(target=close)
    closing.start()
    closing.join(SOON)

    assert [late.lost for late in elsewhere] == [accepted - taken]


def test_on_a_loop_the_deadline_holds_though_nobody_waits(
    impatient: StreamConfig,
) -> None:
    async def main() -> None:
        stream = EventStream(impatient)
        stream.start()
        await stream.asend(event(1))
        stream.close()
        with pytest.raises(DrainTimeoutError, match="1 event accepted"):
            await stream.aclose()

    asyncio.run(main())


def test_closing_without_draining_tells_the_reader_and_waits_for_nobody() -> None:
    stream = EventStream(StreamConfig(batch_enabled=False))
    stream.start()
    for n in range(3):
        stream.send(event(n))
    chunks = stream.receive_chunks()
    next(chunks)
    stream.close(drain=False)

    with pytest.raises(StreamClosedError, match="before all was read"):
        next(chunks)


def test_a_writer_that_is_stuck_is_given_up_at_the_deadline() -> None:
    stuck, inside = threading.Event(), threading.Event()

    def write(data: bytes) -> None:
        inside.set()
        stuck.wait(SOON)

    stream = EventStream(StreamConfig(drain_timeout=0.05, batch_enabled=False))
    stream.start()
    stream.receive_chunks().subscribe(SSEWriter(write))
    sender = threading.Thread(target=stream.send, args=(event(0),), daemon=True)
    sender.start()
    assert inside.wait(SOON)
    for n in range(1, 6):
        stream.send(event(n))
    begun = time.monotonic()
    with pytest.raises(DrainTimeoutError):
        stream.close()
    assert time.monotonic() - begun < SOON
    stuck.set()
    sender.join(SOON)


def test_a_reader_that_left_with_a_chunk_in_its_hands_holds_nobody_up() -> None:
    stream = EventStream(StreamConfig(batch_enabled=False, drain_timeout=SOON))
    stream.start()
    stream.send(event(1))
    for _chunk in stream.receive_chunks():
        break
    begun = time.monotonic()
    stream.close()

    assert time.monotonic() - begun < SOON / 2


# -- the beginning, and the wrong order ----------------------------------------------------


def test_start_twice_send_before_start_and_after_close_say_so() -> None:
    stream = EventStream()
    for send in (stream.send, stream.send_event, stream.try_send):
        with pytest.raises(NotStartedError, match="call start"):
            send(event(1))
    stream.start()
    with pytest.raises(AlreadyStartedError, match="begins once"):
        stream.start()
    stream.close()
    for send in (stream.send, stream.send_event, stream.try_send):
        with pytest.raises(StreamClosedError, match="the stream was closed"):
            send(event(1))
    assert stream.is_closed


def test_a_stream_that_is_closed_before_it_began_never_begins() -> None:
    stream = EventStream()
    stream.close()
    with pytest.raises(StreamClosedError, match="before it began"):
        stream.start()
    assert list(stream.receive_chunks()) == []


def test_the_same_with_await() -> None:
    async def main() -> None:
        stream = EventStream()
        with pytest.raises(NotStartedError):
            await stream.asend(event(1))
        async with stream:
            await stream.asend(event(1))
            stream.complete()
            assert values([chunk async for chunk in stream.receive_chunks()]) == [1]
        with pytest.raises(StreamClosedError, match="the stream was closed"):
            await stream.asend(event(2))

    asyncio.run(main())


def test_leaving_the_block_by_an_exception_waits_only_for_somebody_who_reads() -> None:
    def leave(stream: EventStream) -> None:
        with stream:
            stream.send(event(1))
            raise ZeroDivisionError

    unread, read = EventStream(), EventStream()
    with pytest.raises(ZeroDivisionError):
        leave(unread)  # half a minute would bring nobody
    with pytest.raises(StreamClosedError):
        next(unread.receive_chunks())

    reading = Reading(read)
    until(lambda: read._outbox.is_read)
    with pytest.raises(ZeroDivisionError):
        leave(read)
    assert reading.all() == [1]


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    yield
    until(lambda: not any(isinstance(t, Reading) for t in threading.enumerate()))


class Ended(Probe):
    """Streams that began, and those that have ended."""

    def __init__(self) -> None:
        self.begun: list[StreamObservation] = []
        self.over: list[StreamObservation] = []

    def started(self, watch: StreamObservation) -> None:
        self.begun.append(watch)

    def ended(self, watch: StreamObservation) -> None:
        self.over.append(watch)


@pytest.mark.parametrize("drain", [True, False])
def test_one_that_is_closed_while_it_is_being_started_ends_all_the_same(
    drain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = Ended()
    with watching(ended):
        stream = EventStream(LOADED)
        subscribe = stream._pipeline.subscribe

        def late(*args: Any, **more: Any) -> Any:
            in_thread(lambda: stream.close(drain))
            until(lambda: stream.is_closed and (drain or stream._outbox.done.done()))
            return subscribe(*args, **more)

        monkeypatch.setattr(stream._pipeline, "subscribe", late)
        stream.start()

    until(stream._outbox.done.done)
    assert list(stream.receive_chunks()) == []
    assert ended.over == ended.begun
