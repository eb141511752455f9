"""rx-agui decode: streams that are whole, cut, doubled, shuffled or not ours."""

from __future__ import annotations

from random import Random

import orjson
import pytest

from tests.support.terminal import Event, jsonl, noise, parsed, rx_agui
from tests.support.uninstalled import uninstall

EVENTS = noise(20)

#: As the events are told apart: four payloads of five, each of several pieces.
TYPED = "encode --batch 5 --batch-timeout 60 --min-size 0 --max-chunk-size 400"


def blocks(stream: bytes) -> list[bytes]:
    return [block + b"\n\n" for block in stream.split(b"\n\n") if block]


def payloads() -> list[list[bytes]]:
    """EVENTS in profile chunk: the pieces of each payload."""
    grouped: dict[int, list[bytes]] = {}
    for block in blocks(rx_agui(TYPED, jsonl(EVENTS)).out):
        number = orjson.loads(block.partition(b"data: ")[2])["sequenceNum"]
        grouped.setdefault(number, []).append(block)
    assert [len(pieces) > 2 for pieces in grouped.values()] == [True] * 4
    return list(grouped.values())


def join(pieces: list[list[bytes]]) -> bytes:
    return b"".join(b"".join(p) for p in pieces)


def test_pieces_may_come_twice_and_shuffled_inside_a_payload() -> None:
    chance = Random(1)
    shuffled = [chance.sample(pieces * 2, 2 * len(pieces)) for pieces in payloads()]

    answer = rx_agui("decode", join(shuffled))

    assert (answer.status, answer.events, answer.err) == (0, EVENTS, "")


def test_both_profiles_may_be_mixed() -> None:
    plain = rx_agui("encode --profile agui", jsonl(EVENTS[5:10])).out
    one, _, *others = payloads()

    answer = rx_agui("decode", join([one]) + plain + join(others))

    assert (answer.status, answer.events, answer.err) == (0, EVENTS, "")


@pytest.mark.parametrize("missing", [0, 1, -1])
def test_a_payload_that_lacks_a_piece_is_an_error_behind_all_that_came_whole(
    missing: int,
) -> None:
    pieces = payloads()
    del pieces[1][missing]

    answer = rx_agui("decode", join(pieces))

    came, total = len(pieces[1]), len(pieces[1]) + 1
    assert answer.status == 2
    assert answer.events == EVENTS[:5] + EVENTS[10:]
    assert (
        answer.err == f"rx-agui decode: payload 6: {came} of {total} pieces arrived\n"
    )


@pytest.mark.parametrize("profile", ["agui", "chunk"])
def test_wherever_a_stream_is_cut_what_came_whole_is_written_and_the_rest_is_told(
    profile: str,
) -> None:
    events = noise(2, of=30)
    typed = f"encode --batch 1 --profile {profile}"
    if profile == "chunk":
        typed += " --max-chunk-size 50"
    stream = rx_agui(typed, jsonl(events))
    ends = {0, len(stream.out)} | {
        # Where the first event ends; in profile chunk behind the last of its pieces.
        stream.out.index(b"\n\n", stream.out.index(b"id: 1\n")) + 2
    }

    for cut in range(len(stream.out) + 1):
        answer = rx_agui("decode", stream.out[:cut])

        whole = sum(0 < end <= cut for end in ends)
        assert answer.events == events[:whole], f"cut at {cut}"
        assert answer.status == (0 if cut in ends else 2), f"cut at {cut}"


@pytest.mark.parametrize(
    "stream",
    [
        b'data:{"n":1}\r\n\r\ndata:{"n":2}\r\n\r\n',
        b'data: {"n":1}\r\rdata: {"n":2}\r\r',
        b'\xef\xbb\xbf: hello\n\ndata: {"n":1}\n\n: ping\n\ndata: {"n":2}\n\n: bye\n\n',
        b'data: {\ndata: "n":\ndata: 1}\n\ndata: { "n" : 2 }\n\n',
        b'id: run/3\ndata: {"n":1}\n\nretry: 10\nid: run/9\ndata: {"n":2}\n\n',
        b'event: message\ndata: {"n":1}\n\nevent: x\ndata: {"n":2}\n\n',
    ],
    ids=["CRLF", "CR", "comments", "several lines", "ids with a hole", "names"],
)
def test_streams_that_others_write_are_read_too(stream: bytes) -> None:
    assert rx_agui("decode", stream) == (0, b'{"n":1}\n{"n":2}\n', "")


def test_nothing_becomes_nothing() -> None:
    assert rx_agui("decode") == (0, b"", "")


def changed(block: bytes, **fields: object) -> bytes:
    head, _, data = block.partition(b"data: ")
    return head + b"data: " + orjson.dumps(orjson.loads(data) | fields) + b"\n\n"


def compressed(events: list[Event], algorithm: str = "gzip") -> bytes:
    return rx_agui(f"encode --min-size 0 --compress {algorithm}", jsonl(events)).out


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (b"data: hello\n\n", "not JSON"),
        (b"data: [1]\n\n", "not a JSON object"),
        (b'data: {"a":\ndata: }\n\n', "not JSON"),
        (b"event: chunk\ndata: {}\n\n", "not a chunk"),
        (b"event: chunk\ndata: hello\n\n", "not a chunk"),
        (changed(compressed(EVENTS), crc32=1), "crc32 is"),
        (changed(compressed(EVENTS), data="eJw="), "do not decompress as gzip"),
        (changed(compressed(EVENTS), encoding="br"), "encoding 'br' is not one of"),
        (changed(compressed(EVENTS), events=19), "20 events came, 19 were sent"),
    ],
)
def test_what_cannot_become_events_ends_it_behind_what_came_before(
    bad: bytes, why: str
) -> None:
    before, after = b'data: {"n":1}\n\n', b'data: {"n":2}\n\n'

    answer = rx_agui("decode", before + bad + after)

    assert (answer.status, answer.out) == (2, b'{"n":1}\n')
    assert answer.err.startswith("rx-agui decode: ")
    assert why in answer.err
    assert answer.err.count("\n") == 1


def test_an_event_without_an_end_meets_a_limit() -> None:
    answer = rx_agui("decode", b'data: {"n":1}\n\ndata: ' + b"x" * 17_000_000)

    assert (answer.status, answer.out) == (2, b'{"n":1}\n')
    assert "larger than max_size=16777216 bytes" in answer.err


def test_a_bomb_meets_a_limit() -> None:
    event = {"type": "CUSTOM", "value": "x" * 17_000_000}

    answer = rx_agui("decode", compressed([event]))

    assert (answer.status, answer.out) == (2, b"")
    assert "larger than max_size=16777216 bytes" in answer.err


def test_a_missing_extra_answers_with_what_to_type(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = compressed(parsed(b'{"delta":"%b"}' % (b"x" * 100)), "zstd")
    uninstall(monkeypatch, "zstandard")

    answer = rx_agui("decode", stream)

    why = 'rx-agui decode: zstd needs zstandard: pip install "rx-agui[fast]"\n'
    assert answer == (2, b"", why)


@pytest.mark.parametrize("text", [b"hi\n", b"<html>\n<p>404</p>", b'{"type": "RAW"}\n'])
def test_what_is_no_stream_of_events_is_an_error(text: bytes) -> None:
    answer = rx_agui("decode", text)

    assert (answer.status, answer.out) == (2, b"")
    assert answer.err.startswith("rx-agui decode: not Server-Sent Events: ")


@pytest.mark.parametrize("text", [b"", b"\n\n", b": keep-alive\n", b"retry: 5\n\n"])
def test_a_stream_without_events_is_one(text: bytes) -> None:
    answer = rx_agui("decode", text)

    assert (answer.status, answer.out, answer.err) == (0, b"", "")
