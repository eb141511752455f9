"""A reader that pulls says what it could not write, and no other is given half a payload."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from reactivex import operators as ops

from rx_agui import EventStream, NotSentError, StreamConfig, write_sse_chunk
from rx_agui.stream._chunks import Chunks

LARGE = {"type": "CUSTOM", "name": "n", "value": "x" * 500}
SMALL = {"type": "CUSTOM", "name": "n", "value": 1}


def stream_of(*events: dict[str, Any], **settings: Any) -> EventStream:
    stream = EventStream(StreamConfig(batch_enabled=False, **settings))
    stream.start()
    for event in events:
        stream.send(event)
    return stream


def counts(stream: EventStream) -> tuple[int, int]:
    metrics = stream.metrics()
    assert metrics is not None
    return metrics.events_processed, metrics.events_dropped


def pieces(chunks: Chunks, of: EventStream) -> list[tuple[int, int]]:
    of.complete()
    return [(chunk.sequence_num, chunk.chunk_index) for chunk in chunks]


def down(data: bytes) -> None:
    raise OSError("down")


def test_what_write_sse_chunk_could_not_write_is_dropped() -> None:
    stream = stream_of(SMALL, SMALL, SMALL)
    chunks = stream.receive_chunks()
    chunk = next(chunks)
    with pytest.raises(OSError, match="down"):
        write_sse_chunk(down, chunk)
    chunks.close()

    assert [number for number, _ in pieces(stream.receive_chunks(), stream)] == [2, 3]
    assert counts(stream) == (2, 1)


def test_so_is_what_an_async_write_could_not() -> None:
    stream = stream_of(SMALL, SMALL)
    stream.complete()

    async def fails(data: bytes) -> None:
        raise OSError("down")

    async def main() -> None:
        async for chunk in stream.receive_chunks():
            with pytest.raises(OSError, match="down"):
                await write_sse_chunk(fails, chunk)

    asyncio.run(main())
    assert counts(stream) == (0, 2)


def test_what_a_reader_says_has_failed_is_dropped_once() -> None:
    stream = stream_of(SMALL, SMALL)
    stream.complete()
    chunks = stream.receive_chunks()
    for chunk in chunks:
        if chunk.sequence_num == 1:
            chunks.fail(OSError("down"))
            chunks.fail(OSError("down"))

    assert counts(stream) == (1, 1)


def cut(*events: dict[str, Any]) -> EventStream:
    return stream_of(*events, compression_enabled=False, max_chunk_size=100)


def test_behind_a_piece_that_failed_the_rest_of_its_payload_is_dropped() -> None:
    stream = cut(LARGE, SMALL)
    chunks = stream.receive_chunks()
    next(chunks)
    chunks.fail(OSError("down"))

    assert pieces(chunks, stream) == [(2, 0)]
    assert counts(stream) == (1, 1)


def test_the_tail_of_a_payload_goes_to_no_other_reader() -> None:
    stream = cut(LARGE, SMALL)
    chunks = stream.receive_chunks()
    next(chunks)
    chunks.close()

    assert pieces(stream.receive_chunks(), stream) == [(2, 0)]
    assert counts(stream) == (1, 1)


def test_nor_that_of_a_reader_that_is_pushed_to() -> None:
    stream = cut(LARGE, SMALL)
    stream.receive_chunks().pipe(ops.take(1)).subscribe()

    assert pieces(stream.receive_chunks(), stream) == [(2, 0)]
    assert counts(stream) == (1, 1)


def test_a_stream_whose_last_payload_was_begun_ends_with_its_next_reader() -> None:
    stream = cut(LARGE)
    chunks = stream.receive_chunks()
    next(chunks)
    chunks.close()

    assert pieces(stream.receive_chunks(), stream) == []
    assert counts(stream) == (0, 1)
    assert stream._outbox.done.done()
    stream.close()


def test_a_reader_that_leaves_between_payloads_takes_nothing_along() -> None:
    stream = cut(LARGE, SMALL)
    chunks = stream.receive_chunks()
    for chunk in chunks:  # the stream goes on
        if chunk.chunk_index == chunk.total_chunks - 1:
            break
    chunks.close()

    assert pieces(stream.receive_chunks(), stream) == [(2, 0)]
    assert counts(stream) == (2, 0)


def test_behind_a_breaker_what_was_not_sent_is_sent_again() -> None:
    stream = stream_of(SMALL, circuit_breaker_enabled=True)
    chunks = stream.receive_chunks()
    first = next(chunks)
    chunks.fail(NotSentError())
    stream.complete()
    again = next(chunks)
    assert again.data == first.data
    assert list(chunks) == []
    assert counts(stream) == (1, 0)
