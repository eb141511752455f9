"""The parser reads a stream as the WHATWG says, wherever the network cuts it.

Each stream is fed whole, by one byte and by two, with LF, CRLF and CR as line end.
"""

import dataclasses
import json
import sys
from base64 import b64encode
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rx_agui.errors import ConfigError, PayloadTooLargeError, WireError
from rx_agui.frame import StreamChunk
from rx_agui.sse import Message, Parser, format_sse_chunk, read_chunk

Read = Callable[[str | bytes], list[Message]]


def pieces(stream: bytes, size: int) -> list[bytes]:
    return [stream[at : at + size] for at in range(0, len(stream), size)]


def feed(parser: Parser, *parts: bytes) -> list[Message]:
    return [message for part in parts for message in parser.feed(part)]


@pytest.fixture(params=["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def line_end(request: pytest.FixtureRequest) -> bytes:
    return str(request.param).encode()


@pytest.fixture(params=[1, 2, 10_000])
def slice_size(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def parser() -> Parser:
    return Parser()


@pytest.fixture
def read(parser: Parser, line_end: bytes, slice_size: int) -> Read:
    """Reads a stream that is written with LF: with each line end, in slices."""

    def read(stream: str | bytes) -> list[Message]:
        data = stream.encode() if isinstance(stream, str) else stream
        return feed(parser, *pieces(data.replace(b"\n", line_end), slice_size))

    return read


# -- data ----------------------------------------------------------------------


def test_a_message_ends_at_an_empty_line(read: Read) -> None:
    assert read("data: Hi\n\n") == [Message(b"Hi")]


def test_messages_come_one_after_the_other(read: Read) -> None:
    assert read("data: a\n\ndata: b\n\n") == [Message(b"a"), Message(b"b")]


def test_more_empty_lines_are_no_more_messages(read: Read) -> None:
    assert read("\n\n\ndata: a\n\n\n\n\ndata: b\n\n") == [Message(b"a"), Message(b"b")]


def test_several_data_lines_are_joined_by_lf(read: Read) -> None:
    assert read("data: a\ndata: b\ndata:\ndata: c\n\n") == [Message(b"a\nb\n\nc")]


@pytest.mark.parametrize("line", ["data", "data:", "data: "])
def test_empty_data_is_a_message(read: Read, line: str) -> None:
    assert read(f"{line}\n\n") == [Message(b"")]


def test_two_empty_data_lines_are_one_line_end(read: Read) -> None:
    assert read("data\ndata\n\n") == [Message(b"\n")]


@pytest.mark.parametrize(
    ("line", "data"),
    [
        ("data:x", b"x"),
        ("data: x", b"x"),
        ("data:  x", b" x"),
        ("data:\tx", b"\tx"),
        ("data: x ", b"x "),
        ("data::x", b":x"),
        ("data: a:b: c", b"a:b: c"),
    ],
)
def test_one_space_after_the_colon_is_not_data(
    read: Read, line: str, data: bytes
) -> None:
    assert read(f"{line}\n\n") == [Message(data)]


@pytest.mark.parametrize(
    "text",
    ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\0", "\ufeff", "\ufffd"],
    ids=ascii,
)
def test_only_lf_and_cr_end_a_line(read: Read, text: str) -> None:
    assert read(f"data: a{text}b\n\n") == [Message(f"a{text}b".encode())]


def test_characters_may_be_cut_anywhere(read: Read) -> None:
    text = "é水👩\u200d👧 e\u0301 مرحبا"

    assert read(f"id: {text}\nevent: {text}\ndata: {text}\n\n") == [
        Message(text.encode(), text, text, own_id=True)
    ]


def test_bytes_that_are_not_utf_8_are_replaced_in_names_and_left_in_data(
    read: Read,
) -> None:
    stream = b"event: a\xffb\ndata: a\xffb\n\n"

    assert read(stream) == [Message(b"a\xffb", "a\ufffdb")]


# -- other fields --------------------------------------------------------------


def test_an_event_has_a_name_for_one_message(read: Read) -> None:
    stream = "event: greet\ndata: a\n\ndata: b\n\n"

    assert read(stream) == [Message(b"a", "greet"), Message(b"b")]


@pytest.mark.parametrize("line", ["event", "event:", "event: "])
def test_the_last_name_counts_also_an_empty_one(read: Read, line: str) -> None:
    assert read(f"event: a\n{line}\ndata: x\n\n") == [Message(b"x", "")]
    assert read(f"{line}\nevent: b\ndata: x\n\n") == [Message(b"x", "b")]


def test_a_name_without_data_is_forgotten(read: Read) -> None:
    assert read("event: a\n\ndata: x\n\n") == [Message(b"x")]


def test_fields_may_stand_in_any_order(read: Read) -> None:
    stream = "data: a\nretry: 5\nevent: e\nid: 1\ndata: b\n\n"

    assert read(stream) == [Message(b"a\nb", "e", "1", own_id=True, retry=5)]


@pytest.mark.parametrize(
    "line",
    [
        "unknown",
        "unknown: x",
        "Data: x",
        "DATA: x",
        " data: x",
        "data : x",
        "dat: x",
        "data\0: x",
        "\ufeffdata: x",
    ],
)
def test_an_unknown_field_is_ignored(read: Read, line: str) -> None:
    assert read(f"data: a\n{line}\ndata: b\n\n") == [Message(b"a\nb")]


@pytest.mark.parametrize("comment", [":", ": keep-alive", ":data: x", "::", ":\0"])
def test_a_comment_is_ignored_and_ends_nothing(read: Read, comment: str) -> None:
    stream = f"{comment}\n\ndata: a\n{comment}\ndata: b\n\n{comment}\n\n"

    assert read(stream) == [Message(b"a\nb")]


def test_retry_is_for_this_message_and_remembered(read: Read, parser: Parser) -> None:
    assert read("retry: 1500\ndata: a\n\ndata: b\n\n") == [
        Message(b"a", retry=1500),
        Message(b"b"),
    ]
    assert parser.retry == 1500


def test_retry_needs_no_data(read: Read, parser: Parser) -> None:
    assert read("retry: 0\n\n") == []
    assert parser.retry == 0


@pytest.mark.parametrize(
    "value", ["", "-5", "+5", "5s", "5.0", "0x5", "5 ", " 5", "1_000", "٣", "9" * 5000]
)
def test_retry_is_digits_only(read: Read, parser: Parser, value: str) -> None:
    assert read(f"retry: {value}\ndata: a\n\n") == [Message(b"a")]
    assert parser.retry is None


# -- ids -----------------------------------------------------------------------


def test_an_id_persists_until_the_next(read: Read, parser: Parser) -> None:
    stream = "id: 1\ndata: a\n\ndata: b\n\nid: 2\ndata: c\n\n"

    assert read(stream) == [
        Message(b"a", id="1", own_id=True),
        Message(b"b", id="1"),
        Message(b"c", id="2", own_id=True),
    ]
    assert parser.last_event_id == "2"


@pytest.mark.parametrize("line", ["id", "id:", "id: "])
def test_an_empty_id_resets_it(read: Read, parser: Parser, line: str) -> None:
    assert read(f"id: 1\ndata: a\n\n{line}\ndata: b\n\ndata: c\n\n") == [
        Message(b"a", id="1", own_id=True),
        Message(b"b", id="", own_id=True),
        Message(b"c", id=""),
    ]
    assert parser.last_event_id == ""


@pytest.mark.parametrize("value", ["\0", "2\0", "\x002", "2\x003"])
def test_an_id_with_nul_is_ignored_and_its_message_is_not(
    read: Read, parser: Parser, value: str
) -> None:
    assert read(f"id: 1\ndata: a\n\nid: {value}\ndata: b\n\n") == [
        Message(b"a", id="1", own_id=True),
        Message(b"b", id="1"),
    ]
    assert parser.last_event_id == "1"


def test_an_id_counts_without_data(read: Read, parser: Parser) -> None:
    assert read("id: 7\n\ndata: a\n\n") == [Message(b"a", id="7")]
    assert parser.last_event_id == "7"


def test_the_last_id_of_a_block_counts(read: Read) -> None:
    assert read("id: 1\ndata: a\nid: 2\n\n") == [Message(b"a", id="2", own_id=True)]


# -- the end -------------------------------------------------------------------


@pytest.mark.parametrize(
    "tail", ["d", "data: b", "data: b\n", "id: 9\n", "event: e\n", "id: 9\ndata: b\n"]
)
def test_a_block_without_an_end_is_never_a_message_and_its_id_never_counts(
    read: Read, parser: Parser, tail: str
) -> None:
    assert read(f"id: 1\ndata: a\n\n{tail}") == [Message(b"a", id="1", own_id=True)]
    assert parser.last_event_id == "1"
    assert not parser.is_between_messages


@pytest.mark.parametrize(
    "stream", ["", "\n", "data: a\n\n", ": comment\n", "data: a\n\n: comment\n\n\n"]
)
def test_a_stream_may_end_between_messages(
    read: Read, parser: Parser, stream: str
) -> None:
    read(stream)

    assert parser.is_between_messages


def test_a_message_is_handed_out_as_soon_as_it_is_complete() -> None:
    """Not only when the LF that may follow its last CR has come."""
    assert Parser().feed(b"data: a\r\r") == [Message(b"a")]


def test_the_lf_of_a_crlf_may_come_late() -> None:
    parser = Parser()

    assert feed(parser, b"data: a\r", b"", b"\n", b"data: b\r", b"\n\r") == [
        Message(b"a\nb")
    ]
    assert feed(parser, b"\ndata: c\r\n\n") == [Message(b"c")]


def test_line_ends_may_be_mixed(slice_size: int) -> None:
    stream = b"data: a\rdata: b\r\ndata: c\n\r\ndata: d\n\rdata: e\r\r"

    assert feed(Parser(), *pieces(stream, slice_size)) == [
        Message(b"a\nb\nc"),
        Message(b"d"),
        Message(b"e"),
    ]


# -- the byte order mark -------------------------------------------------------

BOM = b"\xef\xbb\xbf"


def test_a_bom_at_the_start_is_skipped(read: Read) -> None:
    assert read(BOM + b"data: a\n\n") == [Message(b"a")]


def test_a_bom_may_come_in_three_pieces() -> None:
    assert feed(Parser(), b"\xef", b"\xbb", b"\xbfdata: a\n\n") == [Message(b"a")]


def test_only_one_bom_is_skipped(read: Read) -> None:
    assert read(BOM + BOM + b"data: a\ndata: b\n\n") == [Message(b"b")]


@pytest.mark.parametrize("start", ["\n", "data: a\n\n", ": comment\n"])
def test_a_bom_later_on_is_part_of_a_name(read: Read, start: str) -> None:
    read(start)

    assert read(BOM + b"data: b\ndata: c\n\n") == [Message(b"c")]


def test_a_bom_before_an_empty_line_is_no_message(read: Read) -> None:
    assert read(BOM + b"\n\ndata: a\n\n") == [Message(b"a")]


def test_half_a_bom_is_part_of_a_name(read: Read) -> None:
    assert read(BOM[:2] + b"data: a\ndata: b\n\n") == [Message(b"b")]


# -- laws ----------------------------------------------------------------------

STREAMS = st.lists(
    st.sampled_from(
        [
            *(b"data", b"id", b"event", b"retry", b":", b" ", b"\n", b"\r", b"\r\n"),
            *(b"\0", BOM, b"\xef", "é👩".encode(), b"7", b"\xff", b"data: x\n\n"),
        ]
    ),
    max_size=30,
).map(b"".join)


@st.composite
def cut(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """A stream, and the same in pieces, of which some may be empty."""
    stream = draw(STREAMS)
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    ends = [*cuts, len(stream)]
    return stream, [stream[a:b] for a, b in zip([0, *cuts], ends, strict=True)]


@settings(deadline=None, max_examples=300)
@given(cut())
@example((b"data: a\r\n\r\n", [b"data: a\r", b"\n\r", b"\n"]))
def test_where_a_stream_is_cut_does_not_matter(case: tuple[bytes, list[bytes]]) -> None:
    stream, parts = case
    whole, cut_up = Parser(), Parser()

    assert feed(whole, stream) == feed(cut_up, *parts)
    assert whole.last_event_id == cut_up.last_event_id
    assert whole.retry == cut_up.retry
    assert whole.is_between_messages == cut_up.is_between_messages


@settings(deadline=None, max_examples=300)
@given(STREAMS)
def test_a_stream_is_read_as_the_standard_words_it(stream: bytes) -> None:
    assert feed(Parser(), stream) == by_the_letter(stream)


def by_the_letter(stream: bytes) -> list[Message]:
    """HTML, 9.2.6, one sentence after the other, and no faster than it reads."""
    stream = stream.removeprefix(BOM)
    lines = stream.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")[:-1]
    messages: list[Message] = []
    data, event, last_id, retry, own_id = b"", b"", b"", None, False
    for line in lines:
        if line == b"":
            if data != b"":
                text = data.removesuffix(b"\n")
                name, number = (s.decode("utf-8", "replace") for s in (event, last_id))
                messages.append(Message(text, name, number, own_id, retry))
            data, event, retry, own_id = b"", b"", None, False
            continue
        if line.startswith(b":"):
            continue
        if b":" in line:
            field, value = line.split(b":", 1)
            if value.startswith(b" "):
                value = value[1:]
        else:
            field, value = line, b""
        if field == b"event":
            event = value
        elif field == b"data":
            data += value + b"\n"
        elif field == b"id" and b"\0" not in value:
            last_id, own_id = value, True
        elif field == b"retry" and value and not value.strip(b"0123456789"):
            retry = int(value)
    return messages


# -- limits --------------------------------------------------------------------


@pytest.mark.parametrize(
    "stream",
    [
        b"data: 1234567890\n\n",
        b"data: 12\ndata: 34\n\n",
        b"data: 12\n: 34567890\n\n",
        b"id: 1234567890123\n\n",
        b": 123456789012345\n\n",
        b"data: 1234567890",
        b"unknown_and_endless",
        b"data: 12\ndata: 34",
    ],
)
def test_a_block_over_max_size_is_refused_wherever_it_is_cut(
    stream: bytes, slice_size: int
) -> None:
    parser = Parser(max_size=15)

    with pytest.raises(PayloadTooLargeError, match="larger than max_size=15 bytes"):
        feed(parser, *pieces(stream, slice_size))


@pytest.mark.parametrize(
    "stream",
    [
        b"data: 123456789\n\n",
        b"data: 1\ndata: 2\n\n",
        b"data: 123456789\n\n" * 3,
        b": 3456789012345\n" * 3,
    ],
)
def test_a_block_of_max_size_passes_wherever_it_is_cut(
    stream: bytes, slice_size: int
) -> None:
    parser = Parser(max_size=15)

    assert feed(parser, *pieces(stream, slice_size)) == feed(Parser(), stream)


@settings(deadline=None, max_examples=300)
@given(cut(), st.integers(1, 30))
def test_where_a_block_becomes_too_large_does_not_depend_on_the_cut(
    case: tuple[bytes, list[bytes]], max_size: int
) -> None:
    def read(*parts: bytes) -> tuple[list[Message], bool]:
        parser = Parser(max_size=max_size)
        messages: list[Message] = []
        try:
            for part in [*parts, b""]:
                messages += parser.feed(part)
        except PayloadTooLargeError:
            return messages, True
        return messages, False

    stream, parts = case
    if BOM not in stream[:3]:  # its three bytes count only until they are skipped
        assert read(stream) == read(*parts)


def test_what_came_before_a_block_that_is_too_large_is_handed_out_first() -> None:
    parser = Parser(max_size=15)

    assert parser.feed(b"id: 1\ndata: a\n\ndata: 1234567890\n\n") == [
        Message(b"a", id="1", own_id=True)
    ]
    with pytest.raises(PayloadTooLargeError):
        parser.feed(b"")
    with pytest.raises(PayloadTooLargeError):
        parser.feed(b"data: b\n\n")
    assert not parser.is_between_messages


def test_a_limit_that_makes_no_sense_is_refused_where_it_is_written() -> None:
    with pytest.raises(ConfigError, match="max_size must be positive, got 0"):
        Parser(max_size=0)


def work_of(size: int, line_end: bytes) -> int:
    """Bytes looked at to read one message of `size` bytes from 1,360-byte pieces."""
    looked_at = 0

    def look(frame: FrameType, what: str, called: Any) -> None:
        nonlocal looked_at
        owner = getattr(called, "__self__", None)
        if what == "c_call" and isinstance(owner, bytes):
            looked_at += len(owner)

    parts = pieces(b"data: " + b"x" * size + line_end * 2, 1360)
    parser = Parser()
    before = sys.getprofile()
    sys.setprofile(look)
    try:
        messages = feed(parser, *parts)
    finally:
        sys.setprofile(before)
    assert messages == [Message(b"x" * size)]
    return looked_at


def test_no_byte_is_looked_at_again_for_every_piece(line_end: bytes) -> None:
    megabyte = 1024 * 1024
    work = work_of(megabyte, line_end)

    assert work < 10 * megabyte
    assert work_of(2 * megabyte, line_end) < 2.1 * work


# -- chunks --------------------------------------------------------------------


def through_the_wire(chunk: StreamChunk) -> StreamChunk:
    (message,) = Parser().feed(format_sse_chunk(chunk))
    return read_chunk(message)


def facts(chunk: StreamChunk) -> dict[str, Any]:
    """What a chunk says on the wire: all but the time and who holds it."""
    unsaid = {"timestamp", "permit", "trace"}
    return {
        field.name: getattr(chunk, field.name)
        for field in dataclasses.fields(chunk)
        if field.name not in unsaid
    }


NUMBERS = st.integers(0, 2**63 - 1)
IDS = st.builds(
    "{}{}".format, st.sampled_from(["", "run-7/", "a/b/", "läuft/"]), st.integers(1)
)


@st.composite
def envelopes(draw: st.DrawFn) -> StreamChunk:
    """Pieces of payloads, and payloads that are compressed."""
    total = draw(st.integers(1, 2**31))
    numbers = draw(st.none() | st.lists(NUMBERS, min_size=1, max_size=5).map(tuple))
    encodings = st.sampled_from(["gzip", "deflate", "lz4", "zstd", 'q"\\\n', "é", ""])
    return StreamChunk(
        data=draw(st.binary()),
        event_type="chunk",
        event_id=draw(st.just("") | IDS),
        encoding=draw(encodings if total == 1 else encodings | st.just("identity")),
        sequence_num=draw(NUMBERS),
        events=draw(st.integers(1, 2**31)) if numbers is None else len(numbers),
        numbers=numbers,
        chunk_index=draw(st.integers(0, total - 1)),
        total_chunks=total,
        crc32=draw(st.none() | st.integers(0, 2**32 - 1)),
        retry=draw(st.none() | NUMBERS),
    )


@settings(deadline=None)
@given(envelopes())
def test_a_piece_that_was_written_is_read_back(chunk: StreamChunk) -> None:
    assert facts(through_the_wire(chunk)) == facts(chunk)


@settings(deadline=None)
@given(st.integers(1, 10**18), st.sampled_from(["", "run-7/"]), st.none() | NUMBERS)
def test_a_plain_event_that_was_written_is_read_back(
    number: int, stream: str, retry: int | None
) -> None:
    chunk = StreamChunk(
        data='{"type":"CUSTOM","value":"é\u2027"}'.encode(),
        event_id=f"{stream}{number}",
        sequence_num=number,
        retry=retry,
    )

    assert facts(through_the_wire(chunk)) == facts(chunk)


def test_a_plain_event_without_a_number_has_none() -> None:
    chunk = through_the_wire(StreamChunk(data=b"{}", sequence_num=3))

    assert (chunk.event_id, chunk.sequence_num) == ("", 0)


def test_an_id_that_persists_is_not_the_number_of_the_next_event() -> None:
    first, second = Parser().feed(b"id: 7\ndata: {}\n\ndata: {}\n\n")

    assert read_chunk(first).sequence_num == 7
    assert read_chunk(second).sequence_num == 0


def test_an_id_that_persists_is_not_the_id_of_the_next_piece() -> None:
    data = enveloped().data

    assert read_chunk(Message(data, "chunk", "7", own_id=True)).event_id == "7"
    assert read_chunk(Message(data, "chunk", "7")).event_id == ""


@pytest.mark.parametrize(
    ("id", "number"),
    [
        ("7", 7),
        ("run-7/41", 41),
        ("a/b/9", 9),
        ("007", 7),
        ("", 0),
        ("run-7", 0),
        ("run/", 0),
        ("41/run", 0),
        ("-1", 0),
        ("1.5", 0),
        ("٣", 0),
        ("²", 0),
        ("9" * 5000, 0),
    ],
)
def test_the_number_is_the_digits_at_the_end_of_an_id(id: str, number: int) -> None:
    chunk = read_chunk(Message(b"{}", id=id, own_id=True))

    assert chunk.sequence_num == number
    assert chunk.event_id == (id if number else "")


def test_an_event_under_another_name_is_read_as_a_plain_one() -> None:
    assert read_chunk(Message(b"{}", "ping")).event_type == "ping"


def test_json_over_several_data_lines_is_one_event_on_one_line() -> None:
    (message,) = Parser().feed(
        b'data: {"a":\ndata:  18446744073709551616,\ndata: "b":1}\n\n'
    )

    assert read_chunk(message).data == b'{"a": 18446744073709551616,"b":1}'


def test_a_string_that_is_cut_over_two_data_lines_is_refused() -> None:
    (message,) = Parser().feed(b'data: {"a":"x\ndata: y"}\n\n')

    with pytest.raises(WireError, match=r"not JSON .*control character"):
        read_chunk(message)


WHOLE = {
    "sequenceNum": 41,
    "events": 2,
    "chunkIndex": 1,
    "totalChunks": 3,
    "encoding": "gzip",
    "crc32": 7,
    "data": b64encode(b"abcd").decode(),
    "numbers": [41, 43],
}


def enveloped(**fields: Any) -> Message:
    return Message(json.dumps(WHOLE | fields).encode(), "chunk")


def test_an_envelope_is_read() -> None:
    chunk = read_chunk(enveloped())

    assert chunk.data == b"abcd"
    assert chunk.numbers == (41, 43)
    assert chunk.crc32 == 7


@pytest.mark.parametrize("missing", ["crc32", "numbers"])
def test_a_field_may_be_missing_or_null(missing: str) -> None:
    fields = {name: value for name, value in WHOLE.items() if name != missing}
    without = Message(json.dumps(fields).encode(), "chunk")

    assert getattr(read_chunk(without), missing) is None
    assert getattr(read_chunk(enveloped(**{missing: None})), missing) is None


def test_a_field_from_the_future_is_ignored() -> None:
    assert facts(read_chunk(enveloped(colour="red"))) == facts(read_chunk(enveloped()))


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"data": None}, "data must be str, got None"),
        ({"data": 5}, "data must be str, got 5"),
        ({"data": "YWJjZA"}, "data must be base64: Incorrect padding"),
        ({"data": "YWJj ZA=="}, "data must be base64: Only base64 data is allowed"),
        ({"data": "YWJjZA==YWJj"}, "data must be base64: Excess data after padding"),
        ({"data": "=YWJj"}, "data must be base64"),
        ({"data": "YWJjé"}, "data must be base64: .*ASCII"),
        ({"chunkIndex": "1"}, "chunkIndex must be int, got '1'"),
        ({"chunkIndex": 1.0}, "chunkIndex must be int, got 1.0"),
        ({"chunkIndex": True}, "chunkIndex must be int, got True"),
        ({"chunkIndex": -1}, "chunkIndex must be at least 0, got -1"),
        ({"chunkIndex": 3}, "chunkIndex 3 of totalChunks 3"),
        ({"totalChunks": None}, "totalChunks must be int, got None"),
        ({"totalChunks": 0}, "totalChunks must be at least 1, got 0"),
        ({"totalChunks": 10**30}, "totalChunks must be int, got 1e"),
        ({"events": 0}, "events must be at least 1, got 0"),
        ({"events": [1]}, "events must be int"),
        ({"sequenceNum": -1}, "sequenceNum must be at least 0, got -1"),
        ({"sequenceNum": None}, "sequenceNum must be int, got None"),
        ({"encoding": None}, "encoding must be str, got None"),
        ({"encoding": 1}, "encoding must be str, got 1"),
        ({"crc32": "7"}, "crc32 must be int, got '7'"),
        ({"crc32": -7}, "crc32 must be at least 0, got -7"),
        ({"numbers": "41"}, "numbers must be list, got '41'"),
        ({"numbers": {"41": 1, "43": 1}}, "numbers must be list"),
        ({"numbers": [41, "43"]}, "numbers must be 0 or more, got '43'"),
        ({"numbers": [41, -1]}, "numbers must be 0 or more, got -1"),
        ({"numbers": [41]}, "1 numbers for 2 events"),
        ({"numbers": []}, "0 numbers for 2 events"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_malformed_envelope_is_refused_for_what_is_wrong_with_it(
    fields: dict[str, Any], why: str
) -> None:
    with pytest.raises(WireError, match=rf"^not a chunk \({why}"):
        read_chunk(enveloped(**fields))


@pytest.mark.parametrize("field", sorted(WHOLE.keys() - {"crc32", "numbers"}))
def test_an_envelope_without_a_field_is_refused(field: str) -> None:
    fields = {name: value for name, value in WHOLE.items() if name != field}

    with pytest.raises(WireError, match=f"{field} must be .*, got None"):
        read_chunk(Message(json.dumps(fields).encode(), "chunk"))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty"),
        (b"{", "unexpected end"),
        (b'{"data":"\xff"}', "UTF-8"),
        (b"[]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'"chunk"', "not a JSON object"),
        (b"x" * 1000, r"not a chunk \(.*\): b'x{80}'$"),
    ],
)
def test_an_envelope_that_is_not_a_json_object_is_refused(
    data: bytes, why: str
) -> None:
    with pytest.raises(WireError, match=why):
        read_chunk(Message(data, "chunk"))


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(sorted(WHOLE)),
        st.none() | st.integers(-1, 3) | st.text(max_size=4) | st.lists(st.integers()),
    )
)
def test_whatever_an_envelope_says_it_is_read_or_refused(
    fields: dict[str, Any],
) -> None:
    try:
        chunk = read_chunk(enveloped(**fields))
    except WireError:
        return
    assert 0 <= chunk.chunk_index < chunk.total_chunks
