"""The traps of the format, against the client: whole, by one byte and by two; LF, CRLF, CR.

The parser's own tests have them too. Here is what comes out at the other end, as
events, and which id a reader would come back with. The cases of the public contract
tests for clients of Server-Sent Events are among them, in our words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest

from rx_agui import Frame
from rx_agui.client._response import Cursor, ResponseReader, split_id
from rx_agui.codecs.negotiation import decoder
from rx_agui.errors import CorruptError, PayloadTooLargeError, WireError
from rx_agui.operators import chunk, compress
from rx_agui.sse import format_sse_chunk

Answering = Callable[..., ResponseReader]

BOM = "\ufeff"


def data(value: Any = "a") -> str:
    event = {"type": "CUSTOM", "name": "n", "value": value}
    return "data: " + orjson.dumps(event).decode()


A, B, C = (data(letter) for letter in "abc")

#: Name, stream, the values of the events that come out, and the id to come back with.
TRAPS: list[tuple[str, str, list[Any], str]] = [
    # -- basic parsing
    ("one event", f"{A}\n\n", ["a"], ""),
    ("several events", f"{A}\n\n{B}\n\n{C}\n\n", ["a", "b", "c"], ""),
    ("several blank lines", f"\n\n\n{A}\n\n\n\n{B}\n\n", ["a", "b"], ""),
    ("a block without data", f"event: greeting\n\n{A}\n\n", ["a"], ""),
    ("no space behind the colon", f"{A.replace('data: ', 'data:')}\n\n", ["a"], ""),
    ("more than one space", f"{A.replace('data: ', 'data:   ')}\n\n", ["a"], ""),
    ("an event under a name", f"event: CUSTOM\n{A}\n\n", ["a"], ""),
    ("the name behind the data", f"{A}\nevent: x\n\n", ["a"], ""),
    ("an unknown field", f"color: red\n{A}\ncolour\n\n", ["a"], ""),
    ("a field with a capital", f"Data: 1\nID: r/9\n{A}\n\n", ["a"], ""),
    ("a field with a space before", f" data: 1\n{A}\n\n", ["a"], ""),
    ("an unfinished block at the end", f"{A}\n\nid: r/2\n{B}\n", ["a"], ""),
    ("an unfinished line at the end", f"id: r/1\n{A}\n\nid: r/2\n{B}", ["a"], "r/1"),
    # -- data
    ("several lines of JSON", 'data: {"type":"CUSTOM",\ndata: "name":"n",\n'
     'data: "value":"a"}\n\n', ["a"], ""),
    ("empty data", f"data:\n\ndata\n\ndata: \n\n{A}\n\n", ["a"], ""),
    ("characters of one to four bytes", f"{data('é水👩' + chr(0x2028))}\n\n",
     ["é水👩" + chr(0x2028)], ""),
    ("line separators that are none", f"{data(chr(0x85) + chr(0xB) + chr(0xC))}\n\n",
     [chr(0x85) + chr(0xB) + chr(0xC)], ""),
    ("a long event", f"{data('x' * 100_000)}\n\n", ["x" * 100_000], ""),
    # -- comments
    ("a comment", f": hello\n\n{A}\n\n", ["a"], ""),
    ("a comment inside a block", f"id: r/1\n: data: no\n{A}\n:\n\n", ["a"], "r/1"),
    ("empty comments", f":\n\n:\n:\n{A}\n\n", ["a"], ""),
    ("a comment alone at the end", f"{A}\n\n: bye", ["a"], ""),
    # -- byte order marks
    ("a mark at the beginning", f"{BOM}{A}\n\n", ["a"], ""),
    ("a mark is taken off once", f"{BOM}{BOM}{A}\n\n{B}\n\n", ["b"], ""),
    ("a mark further on is no field", f"{A}\n\n{BOM}{B}\n\n{C}\n\n", ["a", "c"], ""),
    # -- ids
    ("an id", f"id: r/7\n{A}\n\n", ["a"], "r/7"),
    ("the id behind the data", f"{A}\nid: r/7\n\n", ["a"], "r/7"),
    ("an id persists", f"id: r/7\n{A}\n\n{B}\n\n", ["a", "b"], "r/7"),
    ("the last of two ids in a block", f"id: r/6\nid: r/7\n{A}\n\n", ["a"], "r/7"),
    ("an id with NUL is none", f"id: r/\0007\n{A}\n\n", ["a"], ""),
    ("an id with slashes", f"id: a/b/7\n{A}\n\n", ["a"], "a/b/7"),
    ("an id that is not ASCII", f"id: läuft/7\n{A}\n\n", ["a"], "läuft/7"),
    ("a bare number", f"id: 7\n{A}\n\n", ["a"], ""),
    ("an id without an event is not taken", f"id: r/7\n{A}\n\nid: r/8\n\n", ["a"], "r/7"),
    ("an empty id does not send us back", f"id: r/7\n{A}\n\nid\n{B}\n\n", ["a", "b"], "r/7"),
    ("a number twice", f"id: r/7\n{A}\n\nid: r/7\n{B}\n\n", ["a"], "r/7"),
    ("a number that is lower", f"id: r/7\n{A}\n\nid: r/6\n{B}\n\n", ["a"], "r/7"),
    ("numbers with holes", f"id: r/7\n{A}\n\nid: r/70\n{B}\n\n", ["a", "b"], "r/70"),
    # -- retry
    ("a retry alone", f"retry: 500\n\n{A}\n\n", ["a"], ""),
    ("a retry that is no number", f"retry: 5x\nretry: -1\nretry\n{A}\n\n", ["a"], ""),
    # -- what is for others
    ("a named ping", f"event: ping\ndata: {{}}\n\n{A}\n\n", ["a"], ""),
    ("a ping with a time", f'event: ping\ndata: {{"t": 1}}\n\n{A}\n\n', ["a"], ""),
]  # fmt: skip


@pytest.fixture(params=["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def line_end(request: pytest.FixtureRequest) -> bytes:
    return str(request.param).encode()


@pytest.fixture(params=[1, 2, 10_000_000])
def slice_size(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def answering() -> Iterator[Answering]:
    """Makes answers, and closes them: a timer waits for pieces that are missing."""
    answers: list[ResponseReader] = []

    def answering(
        cursor: Cursor, max_size: int = 1 << 20, **settings: Any
    ) -> ResponseReader:
        answers.append(ResponseReader(cursor, decoder(""), max_size, **settings))
        return answers[-1]

    yield answering
    for answer in answers:
        answer.close()


def read(answer: ResponseReader, cursor: Cursor, stream: bytes, size: int) -> list[Any]:
    values = []
    for at in range(0, len(stream), size):
        for taken in answer.read(stream[at : at + size]):
            cursor.move_to(taken)
            values.append(taken.event["value"])
    return values


@pytest.mark.parametrize(
    ("stream", "values", "cursor"), [t[1:] for t in TRAPS], ids=[t[0] for t in TRAPS]
)
def test_a_trap_of_the_format(
    answering: Answering,
    stream: str,
    values: list[Any],
    cursor: str,
    line_end: bytes,
    slice_size: int,
) -> None:
    if len(stream) > 1000 and slice_size < 10:
        slice_size *= 500  # what is long is cut too, but not for minutes
    state = Cursor()
    answer = answering(state)

    got = read(answer, state, stream.encode().replace(b"\n", line_end), slice_size)

    assert got == values
    assert state.id == cursor


def test_the_last_retry_counts_even_alone(answering: Answering) -> None:
    cursor = Cursor()
    answer = answering(cursor)

    assert list(answer.read(b"retry: 500\n\nretry: 7000\n\nretry: x\n\n")) == []
    assert cursor.retry_ms == 7000


def enveloped(
    first: int,
    values: list[str],
    *,
    name: str = "r",
    cut: int = 50,
    numbers: tuple[int, ...] | None = None,
) -> bytes:
    """A payload in the chunk profile: compressed, and cut into pieces."""
    from reactivex import of

    lines = [
        orjson.dumps({"type": "CUSTOM", "name": "n", "value": value})
        for value in values
    ]
    last = first + len(lines) - 1 if first else 0
    pieces: list[bytes] = []

    def write(piece: Any) -> None:
        if piece.event_id:
            piece.event_id = f"{name}/{piece.event_id}"
        pieces.append(format_sse_chunk(piece))

    frame = Frame(b"\n".join(lines), events=len(lines), first=first, last=last)
    frame.numbers = numbers
    of(frame).pipe(compress(min_size=1), chunk(cut)).subscribe(write)
    return b"".join(pieces)


def test_a_payload_is_read_wherever_it_is_cut(
    answering: Answering, slice_size: int
) -> None:
    cursor = Cursor()
    answer = answering(cursor)
    stream = enveloped(1, ["a" * 100, "b" * 100]) + f"id: r/3\n{C}\n\n".encode()

    assert read(answer, cursor, stream, slice_size) == ["a" * 100, "b" * 100, "c"]
    assert cursor.id == "r/3"


def test_each_event_of_a_payload_moves_the_cursor(answering: Answering) -> None:
    cursor = Cursor()
    ids = []
    for taken in answering(cursor).read(enveloped(41, ["a"] * 3)):
        cursor.move_to(taken)
        ids.append(cursor.id)

    assert ids == ["r/41", "r/42", "r/43"]


def test_of_a_payload_only_what_is_new_is_handed_on(answering: Answering) -> None:
    cursor = Cursor("r/2")
    answer = answering(cursor)

    assert read(answer, cursor, enveloped(1, ["a", "b", "c", "d"]), 10_000) == [
        "c",
        "d",
    ]
    assert cursor.id == "r/4"


def test_pieces_that_are_missing_are_nothing_when_the_line_was_cut(
    answering: Answering,
) -> None:
    cursor = Cursor()
    answer = answering(cursor)
    whole = enveloped(1, ["a" * 100, "b" * 100])
    half = whole[: whole.rindex(b"event: chunk")]

    assert read(answer, cursor, half, 10_000) == []
    answer.close()
    assert cursor.id == ""
    again = answering(cursor)
    assert read(again, cursor, whole, 10_000) == ["a" * 100, "b" * 100]


def test_a_payload_without_numbers_is_read_and_moves_nothing(
    answering: Answering,
) -> None:
    cursor = Cursor()

    stream = enveloped(0, ["a", "b"])
    assert read(answering(cursor), cursor, stream, 10_000) == [
        "a",
        "b",
    ]
    assert (cursor.id, cursor.begun) == ("", True)


@pytest.mark.parametrize(
    ("event_id", "parts"),
    [
        ("run-7/41", ("run-7", 41)),
        ("a%2Fb/1", ("a%2Fb", 1)),
        ("a/b/1", ("a/b", 1)),
        ("41", ("", 0)),
        ("/41", ("", 0)),
        ("run/", ("", 0)),
        ("run/x", ("", 0)),
        ("run/-1", ("", 0)),
        ("run/²", ("", 0)),
        ("", ("", 0)),
    ],
)
def test_who_may_come_back_has_an_id_of_a_stream_and_a_number(
    event_id: str, parts: tuple[str, int]
) -> None:
    assert split_id(event_id) == parts


def test_a_prelude_without_an_end_meets_a_limit(answering: Answering) -> None:
    answer = answering(Cursor(), 1000, holds_back=True)

    with pytest.raises(
        PayloadTooLargeError, match="a prelude is larger than max_size=1000"
    ):
        list(answer.read(f"{A}\n\n".encode() * 30))


def test_a_prelude_in_one_payload_is_as_large_as_its_events(
    answering: Answering,
) -> None:
    cursor = Cursor()
    answer = answering(cursor, 40_000, holds_back=True)
    numbers = (0,) * 499 + (500,)
    prelude = enveloped(500, ["a"] * 500, cut=10_000, numbers=numbers)

    assert read(answer, cursor, prelude, 10_000) == ["a"] * 500


def test_a_bomb_in_a_payload_meets_a_limit(answering: Answering) -> None:
    answer = answering(Cursor(), 10_000)

    with pytest.raises(PayloadTooLargeError):
        list(answer.read(enveloped(1, ["a" * 100_000])))


def test_a_payload_that_is_not_what_was_sent_is_corrupt(answering: Answering) -> None:
    whole = enveloped(1, ["a" * 100], cut=10_000)
    spoilt = whole.replace(b'"crc32":', b'"crc32":1')

    with pytest.raises((CorruptError, WireError)):
        list(answering(Cursor()).read(spoilt))
