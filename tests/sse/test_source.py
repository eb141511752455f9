"""from_sse: encoded frames as a source of events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reactivex import operators as ops

from rx_agui import ConfigError, PayloadTooLargeError, ProcessingError, from_sse
from rx_agui.asgi import SSEResponse
from rx_agui.sse import FrameReader
from tests.support.by_hand import FINISHED, STARTED, get, run_of, step

FRAMES = [
    f"data: {orjson.dumps(event).decode()}\n\n" for event in run_of("é", "b", "c")
]


async def pieces_of(pieces: Iterable[Any]) -> AsyncIterator[Any]:
    for piece in pieces:
        await asyncio.sleep(0)
        yield piece


def events(source: Any) -> list[Any]:
    async def read() -> list[Any]:
        taken: list[Any] = await from_sse(source).pipe(ops.to_list())
        return [orjson.loads(event) for event in taken]

    return asyncio.run(read())


@pytest.mark.parametrize(
    "source",
    [
        FRAMES,
        pieces_of(FRAMES),
        lambda: pieces_of(FRAMES),
        lambda: FRAMES,
        [": ping\n\n", "retry: 5\n", *FRAMES],
        [frame.encode() for frame in FRAMES],
    ],
    ids=["list", "async", "function", "function of a list", "comments", "bytes"],
)
def test_frames_become_their_events(source: Any) -> None:
    assert events(source) == run_of("é", "b", "c")


@given(st.lists(st.integers(0, 400), max_size=20), st.booleans())
def test_frames_may_be_cut_anywhere(cuts: list[int], crlf: bool) -> None:
    whole = "".join(FRAMES).encode()
    whole = whole.replace(b"\n", b"\r\n") if crlf else whole
    places = [0, *sorted(cut % len(whole) for cut in cuts), len(whole)]
    pieces = [whole[a:b] for a, b in pairwise(places)]

    assert events(pieces) == run_of("é", "b", "c")


def test_it_is_a_source_of_a_response() -> None:
    answer = asyncio.run(get(SSEResponse(lambda: from_sse(pieces_of(FRAMES)))))

    assert answer.events == [STARTED, step("é"), step("b"), step("c"), FINISHED]


@pytest.mark.parametrize(
    ("pieces", "error"),
    [
        (["event: error\ndata: the model is gone\n\n"], ProcessingError),
        (["data: " + "x" * 300], PayloadTooLargeError),
    ],
)
def test_what_is_no_event_is_told(pieces: list[str], error: type[Exception]) -> None:
    with pytest.raises(error):
        from_sse(pieces, max_size=200).pipe(ops.to_list()).run()


@pytest.mark.parametrize("source", ["data: {}\n\n", b"data: {}\n\n", 5])
def test_what_is_no_source_is_refused(source: Any) -> None:
    with pytest.raises(ConfigError, match="source"):
        from_sse(source)


def test_the_frames_are_closed_when_the_reader_leaves() -> None:
    closed: list[str] = []

    async def frames() -> AsyncIterator[str]:
        try:
            for frame in FRAMES:
                yield frame
        finally:
            closed.append("closed")

    make: Callable[[], AsyncIterator[str]] = frames
    taken = asyncio.run(_first(make))

    assert len(taken) == 1
    assert closed == ["closed"]


async def _first(make: Callable[[], AsyncIterator[str]]) -> list[Any]:
    taken: list[Any] = await from_sse(make).pipe(ops.take(1), ops.to_list())
    return taken


def test_a_carriage_return_in_a_frame_ends_its_line() -> None:
    """As a browser reads it, also where the frame looks whole."""
    cut = b'data: {"type":"RAW",\rdata: "event":1}\n\n'

    assert events([cut]) == [{"type": "RAW", "event": 1}]


def test_what_came_before_a_failure_in_one_piece_is_kept() -> None:
    taken: list[bytes] = []
    failures: list[Exception] = []
    piece = "".join(FRAMES[:2]) + "event: error\ndata: gone\n\n"

    from_sse([piece]).subscribe(taken.append, failures.append)

    assert [orjson.loads(event) for event in taken] == run_of("é", "b", "c")[:2]
    assert [type(error) for error in failures] == [ProcessingError]


@given(
    st.lists(st.sampled_from([*FRAMES, ": ping\n\n", "id: 4\n", "data: {}\r\n\r\n"]))
)
def test_several_pieces_are_read_as_one_by_one(pieces: list[str]) -> None:
    encoded = [piece.encode() for piece in pieces]
    one_by_one = FrameReader()

    assert list(FrameReader().read_many(encoded)) == [
        event for piece in encoded for event in one_by_one.read(piece)
    ]
