"""What is written is what every client survives, to the byte."""

import re
from collections.abc import Callable
from dataclasses import replace

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rx_agui.agui.encoding import encode
from rx_agui.errors import ConfigError
from rx_agui.frame import Frame, StreamChunk
from rx_agui.sse import (
    Message,
    Parser,
    comment,
    format_frame,
    format_sse_chunk,
    write_sse_chunk,
)

A, B, C = b'{"type":"A"}', b'{"type":"B"}', b'{"type":"C"}'


def frame(
    *lines: bytes, first: int = 0, numbers: tuple[int, ...] | None = None
) -> Frame:
    last = numbers[-1] if numbers else first + len(lines) - 1 if first else 0
    frame = Frame(b"\n".join(lines), events=len(lines), first=first, last=last)
    frame.numbers = numbers
    return frame


# -- profile agui --------------------------------------------------------------


def test_an_event_without_a_number_has_no_id() -> None:
    assert format_frame(frame(A)) == b'data: {"type":"A"}\n\n'


def test_an_event_with_a_number_has_it_as_its_id() -> None:
    assert format_frame(frame(A, first=41)) == b'id: 41\ndata: {"type":"A"}\n\n'


def test_a_batch_is_several_messages_in_one_write() -> None:
    assert format_frame(frame(A, B)) == b'data: {"type":"A"}\n\ndata: {"type":"B"}\n\n'


def test_every_event_of_a_batch_has_its_own_id() -> None:
    assert format_frame(frame(A, B, C, first=7)) == (
        b'id: 7\ndata: {"type":"A"}\n\n'
        b'id: 8\ndata: {"type":"B"}\n\n'
        b'id: 9\ndata: {"type":"C"}\n\n'
    )


def test_an_event_made_of_several_has_the_last_number_it_covers() -> None:
    assert format_frame(frame(A, B, first=1, numbers=(4, 9))) == (
        b'id: 4\ndata: {"type":"A"}\n\nid: 9\ndata: {"type":"B"}\n\n'
    )


def test_an_event_without_a_number_among_others_has_no_id() -> None:
    assert format_frame(frame(A, B, C, first=1, numbers=(0, 9, 0))) == (
        b'data: {"type":"A"}\n\nid: 9\ndata: {"type":"B"}\n\ndata: {"type":"C"}\n\n'
    )


def test_a_whole_chunk_is_written_like_a_frame() -> None:
    chunk = StreamChunk(data=A + b"\n" + B, event_id="8", sequence_num=7, events=2)

    assert format_sse_chunk(chunk) == format_frame(frame(A, B, first=7))


def test_a_whole_chunk_without_an_id_is_written_without_ids() -> None:
    chunk = StreamChunk(data=A + b"\n" + B, sequence_num=1, events=2)

    assert format_sse_chunk(chunk) == format_frame(frame(A, B))


def test_a_whole_chunk_lists_the_numbers_its_events_cover() -> None:
    chunk = StreamChunk(
        data=A + b"\n" + B, event_id="9", sequence_num=1, events=2, numbers=(4, 9)
    )

    assert format_sse_chunk(chunk) == (
        b'id: 4\ndata: {"type":"A"}\n\nid: 9\ndata: {"type":"B"}\n\n'
    )


def test_the_name_of_the_stream_is_in_every_id() -> None:
    chunk = StreamChunk(
        data=A + b"\n" + B, event_id="a/run-7/42", sequence_num=41, events=2
    )

    assert format_sse_chunk(chunk) == (
        b'id: a/run-7/41\ndata: {"type":"A"}\n\nid: a/run-7/42\ndata: {"type":"B"}\n\n'
    )


def test_retry_stands_before_the_first_message() -> None:
    chunk = StreamChunk(
        data=A + b"\n" + B, event_id="8", sequence_num=7, events=2, retry=1500
    )

    assert format_sse_chunk(chunk) == (
        b'retry: 1500\nid: 7\ndata: {"type":"A"}\n\nid: 8\ndata: {"type":"B"}\n\n'
    )


# -- profile chunk -------------------------------------------------------------


def test_a_piece_is_an_envelope_on_one_line() -> None:
    chunk = StreamChunk(
        data=b"\x00\xffpiece",
        event_type="chunk",
        sequence_num=41,
        events=50,
        chunk_index=0,
        total_chunks=2,
        crc32=3735928559,
    )

    assert format_sse_chunk(chunk) == (
        b"event: chunk\n"
        b'data: {"sequenceNum":41,"events":50,"chunkIndex":0,"totalChunks":2,'
        b'"encoding":"identity","crc32":3735928559,"data":"AP9waWVjZQ=="}\n\n'
    )


def test_the_last_piece_has_the_id() -> None:
    chunk = StreamChunk(
        data=b"piece",
        event_type="chunk",
        event_id="run-7/90",
        encoding="gzip",
        sequence_num=41,
        events=50,
        chunk_index=1,
        total_chunks=2,
        crc32=7,
        retry=0,
    )

    assert format_sse_chunk(chunk) == (
        b"retry: 0\n"
        b"event: chunk\n"
        b"id: run-7/90\n"
        b'data: {"sequenceNum":41,"events":50,"chunkIndex":1,"totalChunks":2,'
        b'"encoding":"gzip","crc32":7,"data":"cGllY2U="}\n\n'
    )


def test_a_payload_that_is_compressed_and_not_cut_is_an_envelope_too() -> None:
    chunk = StreamChunk(data=b"", encoding="gzip", sequence_num=1, numbers=(3,))

    assert format_sse_chunk(chunk) == (
        b"event: chunk\n"
        b'data: {"sequenceNum":1,"events":1,"chunkIndex":0,"totalChunks":1,'
        b'"encoding":"gzip","crc32":null,"numbers":[3],"data":""}\n\n'
    )


def test_a_long_piece_stays_on_one_line() -> None:
    """Base64 as e-mail writes it has a line end every 76 characters."""
    chunk = StreamChunk(data=b"x" * 10_000, encoding="gzip")

    assert format_sse_chunk(chunk).count(b"\n") == 3


# -- both ----------------------------------------------------------------------


@pytest.mark.parametrize("id", ["7\ndata: {}", "7\r", "7\n\n", "\0", "run\n/7"])
@pytest.mark.parametrize("total", [1, 2])
def test_an_id_that_would_leave_its_line_is_refused(id: str, total: int) -> None:
    chunk = StreamChunk(data=A, event_id=id, sequence_num=7, total_chunks=total)

    with pytest.raises(ConfigError, match="event_id must be on one line"):
        format_sse_chunk(chunk)


STRANGE = "\u00a0 \u2027 \ufeff é Å 水 👩\u200d👧 e\u0301"


def test_what_is_no_line_end_is_left_alone() -> None:
    line = encode({"type": "CUSTOM", "value": STRANGE})

    assert STRANGE.encode() in format_frame(frame(line))
    assert STRANGE.encode() in format_sse_chunk(StreamChunk(data=line))
    assert STRANGE.encode() in comment(STRANGE)


@pytest.mark.parametrize("character", ["\x85", "\u2028", "\u2029"])
@pytest.mark.parametrize("around", ["", STRANGE, "\u2027\u2028\u202a\x84\x85\x86"])
def test_what_splitlines_takes_for_a_line_end_is_escaped(
    character: str, around: str
) -> None:
    event = {"type": "CUSTOM", "value": f"a{around}{character}{character}b"}
    line = encode(event)

    for written in (
        format_frame(frame(line, line, first=7)),
        format_sse_chunk(StreamChunk(data=line)),
    ):
        read = [m.data for m in Parser().feed(written)]
        assert [orjson.loads(data) for data in read] == [event] * len(read)
        assert [*written.decode().splitlines()] == written.decode().split("\n")[:-1]


EVENTS = st.lists(st.dictionaries(st.text(), st.text(), max_size=2), min_size=1)


@settings(deadline=None)
@given(EVENTS, st.integers(0, 2**53), st.booleans())
def test_a_stream_has_only_what_every_client_survives(
    events: list[dict[str, str]], first: int, is_piece: bool
) -> None:
    data = b"\n".join(map(encode, events))
    last = first + len(events) - 1
    chunk = StreamChunk(
        data=data,
        event_type="chunk" if is_piece else "",
        event_id=str(last) if first else "",
        sequence_num=first,
        events=len(events),
        total_chunks=2 if is_piece else 1,
    )

    stream = format_sse_chunk(chunk)

    assert b"\r" not in stream
    assert stream.endswith(b"\n\n")
    for block in stream.removesuffix(b"\n\n").split(b"\n\n"):
        assert re.fullmatch(
            rb"(event: chunk\n)?(id: \d+\n)?data: \{[^\n]*\}", block, re.DOTALL
        )
        assert block.startswith(b"event:") == is_piece


@settings(deadline=None)
@given(EVENTS, st.integers(0, 2**53))
def test_a_frame_is_read_back_event_by_event(
    events: list[dict[str, str]], first: int
) -> None:
    lines = list(map(encode, events))

    read = Parser().feed(format_frame(frame(*lines, first=first)))

    assert [replace(m, data=encode(orjson.loads(m.data))) for m in read] == [
        Message(line, id=str(number) if first else "", own_id=bool(first))
        for number, line in enumerate(lines, first)
    ]


# -- comments ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", b":\n"),
        ("keep-alive", b": keep-alive\n"),
        ("two\nlines", b": two\n: lines\n"),
        ("two\r\nlines", b": two\n:\n: lines\n"),
        ("two\rlines", b": two\n: lines\n"),
        ("a\n\n\ndata: {}\n\n", b": a\n:\n:\n: data: {}\n:\n:\n"),
        ("水", ": 水\n".encode()),
    ],
)
def test_a_comment_is_written_without_an_empty_line_inside(
    text: str, line: bytes
) -> None:
    assert comment(text) == line


@settings(deadline=None)
@given(st.text() | st.text("\r\n: data"))
def test_no_client_hears_a_comment(text: str) -> None:
    written = comment(text)
    parser = Parser()

    assert parser.feed(written) == []
    assert parser.is_between_messages
    assert b"\n\n" not in written  # it would be a block of its own


# -- writing -------------------------------------------------------------------


@pytest.mark.parametrize("write", [bytes, len, lambda data: None])
def test_what_write_returns_is_handed_back(write: Callable[[bytes], object]) -> None:
    chunk = StreamChunk(data=A)

    assert write_sse_chunk(write, chunk) == write(format_sse_chunk(chunk))
