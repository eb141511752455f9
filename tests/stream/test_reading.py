"""Who reads, how, one at a time; and what a reader who is slow, or not there, does."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections import deque
from functools import partial
from typing import Any

import pytest
from reactivex import operators as ops

from rx_agui import (
    AlreadySubscribedError,
    BackpressureTimeoutError,
    EventStream,
    SSEWriter,
    StreamChunk,
    StreamClosedError,
    StreamConfig,
    StreamError,
    WouldBlockError,
    batch,
)
from rx_agui.stream._outbox import ChunkBuffer
from tests.support.patience import SOON, in_thread, until
from tests.support.readers import Reading, event, values

SINGLE = StreamConfig(batch_enabled=False)

#: One event of each kind fits, wherever it may wait.
NARROW = StreamConfig(
    batch_enabled=False,
    event_buffer_size=1,
    max_concurrent_events=1,
    chunk_buffer_size=1,
    backpressure_timeout=0.02,
)


# -- three ways to read -------------------------------------------------------------------


def test_the_same_chunks_come_by_any_of_three_ways() -> None:
    def fill(stream: EventStream) -> EventStream:
        stream.start()
        for n in range(10):
            stream.send(event(n))
        stream.complete()
        return stream

    async def awaited() -> list[StreamChunk]:
        return [chunk async for chunk in fill(EventStream()).receive_chunks()]

    pushed: list[StreamChunk] = []
    fill(EventStream()).receive_chunks().subscribe(pushed.append)
    iterated = list(fill(EventStream()).receive_chunks())

    expected = list(range(10))
    assert (
        values(iterated) == values(pushed) == values(asyncio.run(awaited())) == expected
    )


def test_it_is_an_observable_with_all_that_rxpy_has() -> None:
    with EventStream(SINGLE) as stream:
        for n in range(3):
            stream.send(event(n))
        stream.complete()
        read = stream.receive_chunks().pipe(ops.skip(1), ops.to_list()).run()
        assert [chunk.event_id for chunk in read] == ["2", "3"]


def test_an_sse_writer_reads_and_is_waited_for() -> None:
    async def main() -> list[bytes]:
        written: list[bytes] = []

        async def write(data: bytes) -> None:
            await asyncio.sleep(0)
            written.append(data)

        async with EventStream(SINGLE) as stream:
            writer = SSEWriter(write)
            stream.receive_chunks().subscribe(writer)
            await stream.asend({"type": "A"})
            await stream.asend({"type": "B"})
        assert writer.done.done()
        return written

    assert b"".join(asyncio.run(main())) == (
        b'id: 1\ndata: {"type":"A"}\n\nid: 2\ndata: {"type":"B"}\n\n'
    )


def test_a_thread_waits_for_what_comes_from_a_loop_and_the_other_way_round() -> None:
    async def send(stream: EventStream) -> None:
        stream.start()
        for n in range(5):
            await stream.asend(event(n))
        await stream.aclose()

    async def read(stream: EventStream) -> list[int]:
        return values([chunk async for chunk in stream.receive_chunks()])

    first, second = EventStream(SINGLE), EventStream(SINGLE)
    reading = Reading(first)
    asyncio.run(send(first))
    second.start()

    def send_five() -> None:
        for n in range(5):
            second.send(event(n))
        second.complete()

    threading.Thread(target=send_five).start()

    assert reading.all() == asyncio.run(read(second)) == [0, 1, 2, 3, 4]


# -- one at a time --------------------------------------------------------------------------


def test_a_second_reader_at_the_same_time_gets_a_typed_error() -> None:
    async def second_async(stream: EventStream) -> None:
        with pytest.raises(AlreadySubscribedError):
            await anext(stream.receive_chunks())

    with EventStream(SINGLE) as stream:
        stream.send(event(1))
        first = stream.receive_chunks()
        next(first)
        with pytest.raises(AlreadySubscribedError, match="Hub"):
            next(stream.receive_chunks())
        failed: list[Exception] = []
        stream.receive_chunks().subscribe(on_error=failed.append)
        assert [type(error) for error in failed] == [AlreadySubscribedError]
        asyncio.run(second_async(stream))
        first.close()


def test_one_who_leaves_has_had_what_it_took_and_the_next_goes_on_behind_that() -> None:
    with EventStream(SINGLE) as stream:
        for n in range(9):
            stream.send(event(n))
        stream.complete()

        broke_off = []
        for chunk in stream.receive_chunks():
            broke_off.append(chunk)
            if len(broke_off) == 2:
                break
        took: list[StreamChunk] = []
        stream.receive_chunks().pipe(ops.take(3)).subscribe(took.append)
        with stream.receive_chunks().pipe(ops.first()).subscribe(took.append):
            pass
        rest = list(stream.receive_chunks())

    assert [values(part) for part in (broke_off, took, rest)] == [
        [0, 1],
        [2, 3, 4, 5],
        [6, 7, 8],
    ]


def test_a_reader_that_was_forgotten_in_a_cycle_makes_way_too() -> None:
    with EventStream(SINGLE) as stream:
        stream.send(event(1))
        stream.send(event(2))
        cycle: dict[str, Any] = {"chunks": stream.receive_chunks()}
        cycle["self"] = cycle
        next(cycle["chunks"])
        del cycle
        gc.collect()

        assert values([next(stream.receive_chunks())]) == [2]


def test_a_coroutine_that_was_cancelled_while_it_read_can_be_followed() -> None:
    async def main() -> None:
        async with EventStream(SINGLE) as stream:
            chunks = stream.receive_chunks()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await anext(chunks)
            await stream.asend(event(1))
            assert values([await anext(chunks)]) == [1]
            chunks.close()

    asyncio.run(main())


# -- slow, or not there ------------------------------------------------------------------------


def fill(stream: EventStream) -> int:
    """Send until there is no room. How many went in."""
    n = 0
    while stream.try_send(event(n)):
        n += 1
    return n


def test_without_a_reader_events_wait_and_nothing_is_lost() -> None:
    with EventStream(NARROW) as stream:
        went_in = fill(stream)
        with pytest.raises(BackpressureTimeoutError):
            stream.send(event(99))
        stream.complete()
        assert values(stream.receive_chunks()) == list(range(went_in))


def test_what_fits_is_the_event_buffer_and_what_is_in_flight() -> None:
    for waiting, in_flight in ((1, 1), (1000, 100), (7, 30)):
        config = StreamConfig(
            batch_enabled=False,
            event_buffer_size=waiting,
            max_concurrent_events=in_flight,
        )
        stream = EventStream(config)
        stream.start()
        assert fill(stream) == waiting + in_flight
        stream.close(drain=False)


def test_a_sender_goes_on_as_the_reader_does() -> None:
    sent: list[int] = []
    config = StreamConfig(
        batch_enabled=False,
        event_buffer_size=2,
        max_concurrent_events=3,
        chunk_buffer_size=1,
        backpressure_timeout=SOON,
    )

    def has(n: int) -> bool:
        return len(sent) >= n

    with EventStream(config) as stream:

        def send() -> None:
            for n in range(100):
                stream.send(event(n))
                sent.append(n)

        sender = threading.Thread(target=send)
        sender.start()
        until(lambda: len(sent) == 5)
        read: list[int] = []
        chunks = stream.receive_chunks()
        for n in range(1, 97):
            read += values([next(chunks)])
            # The one in the reader's hands, and four behind it.
            until(partial(has, n + 4))
            assert len(sent) == n + 4
        sender.join(SOON)
        stream.complete()
        read += values(chunks)

    assert read == list(range(100))


def test_no_more_chunks_are_ready_than_may_be_and_the_rest_waits_in_one_piece() -> None:
    config = StreamConfig(
        batch_enabled=False,
        chunk_buffer_size=5,
        max_chunk_size=100,
        compression_enabled=False,
    )
    with EventStream(config) as stream:
        for n in range(20):
            stream.send(event(n, text="a" * 250))  # three pieces
        buffers = stream.metrics().buffers  # type: ignore[union-attr]
        # 3 are not yet 5, so another payload goes in, with all its pieces.
        assert buffers["chunk_buffer"].chunks == 6
        assert buffers["chunk_buffer"].max_chunks == 5
        assert buffers["reserve"].events == 18
        stream.complete()
        assert values(stream.receive_chunks()) == list(range(20))


def test_chunks_are_bounded_in_bytes_as_well() -> None:
    config = StreamConfig(
        batch_enabled=False, compression_enabled=False, chunk_buffer_bytes=1000
    )
    with EventStream(config) as stream:
        for n in range(20):
            stream.send(event(n, text="a" * 450))  # some 500 bytes
        buffers = stream.metrics().buffers  # type: ignore[union-attr]
        assert buffers["chunk_buffer"].chunks == 3
        stream.complete()
        assert values(stream.receive_chunks()) == list(range(20))


def test_events_are_bounded_in_bytes_and_a_large_one_passes_alone() -> None:
    config = StreamConfig(event_buffer_bytes=110_000, compression_enabled=False)
    stream = EventStream(config)
    stream.start()
    large = "a" * 20_000
    held = 0
    while stream.try_send(event(held, text=large)):
        held += 1
    assert 5 <= held <= 7, "110 kB hold five or six of 20 kB, and one more"
    reading = Reading(stream)
    stream.send(event(held, text="a" * 500_000))
    stream.close()
    assert reading.all() == list(range(held + 1))


def test_to_send_while_one_reads_oneself_is_refused_at_once() -> None:
    """It could only wait for itself."""

    async def main() -> None:
        async with EventStream(NARROW) as stream:
            fill(stream)
            async for _ in stream.receive_chunks():
                fill(stream)
                with pytest.raises(WouldBlockError, match="reads the stream"):
                    await stream.asend(event(1))
                with pytest.raises(WouldBlockError, match="await asend"):
                    stream.send(event(1))
                break
            await stream.aclose(drain=False)

    asyncio.run(main())
    with EventStream(NARROW) as stream:
        fill(stream)
        for _ in stream.receive_chunks():
            fill(stream)
            with pytest.raises(WouldBlockError):
                stream.send(event(1), timeout=SOON)
            break
        stream.close(drain=False)


def test_a_push_reader_may_send_from_inside_on_next() -> None:
    heard: list[int] = []
    with EventStream(SINGLE) as stream:

        def on_next(chunk: StreamChunk) -> None:
            heard.extend(values([chunk]))
            if heard[-1] < 5:
                assert stream.try_send(event(heard[-1] + 1))

        stream.receive_chunks().subscribe(on_next)
        stream.send(event(0))

    assert heard == [0, 1, 2, 3, 4, 5]


def test_the_last_chunk_that_comes_as_a_reader_finds_nothing_goes_before_the_end() -> (
    None
):
    class Waiting(deque[StreamChunk]):
        """The last one comes, and the end, just after somebody has looked."""

        def __bool__(self) -> bool:
            found = len(self) > 0
            if coming and not outbox._mutex.locked():
                outbox.on_next(coming.pop())
                outbox.on_completed()
            return found

    coming = [StreamChunk(data=b"{}")]
    outbox = ChunkBuffer(10, 1000)
    outbox._chunks = Waiting()
    outbox.on_room = lambda: None

    assert outbox.take() is None
    assert outbox.ending is None
    assert outbox.take() is not None


# -- readers that fail -----------------------------------------------------------------------


def test_a_reader_that_raises_ends_the_stream_and_senders_hear_why() -> None:
    def on_next(chunk: StreamChunk) -> None:
        raise OSError("the reader has left")

    stream = EventStream(SINGLE)
    stream.start()
    stream.receive_chunks().subscribe(on_next, on_error=lambda _: None)
    stream.send(event(1))
    with pytest.raises(StreamError, match="the reader has left"):
        stream.send(event(2))
    stream.close()


def test_a_write_that_fails_ends_the_stream_and_senders_get_a_typed_error() -> None:
    def write(data: bytes) -> None:
        raise OSError("broken pipe")

    stream = EventStream(SINGLE)
    stream.start()
    writer = SSEWriter(write)
    stream.receive_chunks().subscribe(writer)
    stream.send(event(1))
    with pytest.raises(StreamClosedError, match="broken pipe") as refused:
        stream.send(event(2))
    assert isinstance(refused.value.__cause__, OSError)
    stream.close()
    with pytest.raises(OSError, match="broken pipe"):
        writer.done.result(SOON)


# -- two streams -------------------------------------------------------------------------------


def test_a_stream_whose_reader_is_stuck_does_not_hold_up_another() -> None:
    stuck, inside = threading.Event(), threading.Event()

    def hang(chunk: StreamChunk) -> None:
        inside.set()
        stuck.wait(SOON)

    config = StreamConfig(batch_size=2, min_compression_size=1, worker_count=4)
    first, second = EventStream(config), EventStream(config)
    first.start()
    second.start()
    first.receive_chunks().subscribe(hang)

    def send_first() -> None:  # may come to hang itself
        for n in range(20):
            first.try_send(event(n, text="a" * 100))

    sender = threading.Thread(target=send_first)
    sender.start()
    assert inside.wait(SOON)
    reading = Reading(second)
    for n in range(2000):
        second.send(event(n, text="a" * 100))
    second.close()

    assert reading.all() == list(range(2000))
    stuck.set()
    sender.join(SOON)
    first.close()


def test_its_operators_are_anybodys() -> None:
    """A stream's chunks can be piped on, like any Observable."""
    with EventStream(StreamConfig(batch_enabled=False)) as stream:
        stream.send(event(1))
        stream.complete()
        frames = stream.receive_chunks().pipe(batch(10), ops.to_list()).run()
        assert [frame.events for frame in frames] == [1]


# -- who is told to read no more -----------------------------------------------------------


def test_a_thread_that_waits_for_a_chunk_hears_that_the_reading_was_closed() -> None:
    with EventStream(SINGLE) as stream:
        chunks = stream.receive_chunks()
        waits = in_thread(lambda: list(chunks))
        until(lambda: chunks._puller._waker)
        chunks.close()

        assert waits.result(SOON) == []
        stream.send(event(1))
        again = stream.receive_chunks()
        assert values([next(again)]) == [1]
        again.close()


def test_so_does_a_coroutine() -> None:
    async def main() -> None:
        async with EventStream(SINGLE) as stream:
            chunks = stream.receive_chunks()

            async def read() -> list[StreamChunk]:
                return [chunk async for chunk in chunks]

            waits = asyncio.create_task(read())
            await asyncio.sleep(0)
            assert chunks._puller._waker is not None
            await asyncio.to_thread(chunks.close)

            assert await asyncio.wait_for(waits, SOON) == []
            await stream.aclose(drain=False)

    asyncio.run(main())


def test_a_loop_that_is_closed_from_elsewhere_ends_with_its_chunk() -> None:
    with EventStream(SINGLE) as stream:
        for n in range(3):
            stream.send(event(n))
        chunks = stream.receive_chunks()
        read = []
        for chunk in chunks:
            read.append(chunk)
            in_thread(chunks.close).result(SOON)

        assert values(read) == [0]
        assert not stream._outbox.is_read
        rest = stream.receive_chunks()
        assert values([next(rest), next(rest)]) == [1, 2]
        rest.close()
