"""rx-agui encode: what goes in, what comes out, and what is refused."""

from __future__ import annotations

from io import BytesIO

import pytest

from rx_agui.sse import Parser
from tests.support.terminal import jsonl, noise, parsed, rx_agui
from tests.support.uninstalled import uninstall

A, B, C = b'{"type":"A"}\n', b'{"type":"B"}\n', b'{"type":"C"}\n'


class Slices(BytesIO):
    """A pipe that hands out a few bytes at a time."""

    def __init__(self, data: bytes, size: int) -> None:
        super().__init__(data)
        self.size = size

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(self.size)


class Grudging(BytesIO):
    """A pipe that takes a few bytes at a time."""

    def write(self, data: object, /) -> int:
        return super().write(memoryview(data)[:7])  # type: ignore[arg-type]


def test_a_small_batch_is_plain_in_either_profile() -> None:
    plain = b'id: 1\ndata: {"type":"A"}\n\nid: 2\ndata: {"type":"B"}\n\n'

    assert rx_agui("encode", A + B) == (0, plain, "")
    assert rx_agui("encode --profile agui", A + B) == (0, plain, "")


def test_a_large_batch_is_compressed_and_cut() -> None:
    answer = rx_agui("encode --max-chunk-size 9000", jsonl(noise(50)))

    messages = Parser().feed(answer.out)
    assert len(messages) > 1
    assert {message.event for message in messages} == {"chunk"}
    assert [message.own_id for message in messages[:-1]] == [False] * (
        len(messages) - 1
    )
    assert messages[-1].id == "50"


@pytest.mark.parametrize("batch", [1, 7, 50])
def test_no_payload_has_more_events_than_batch_says(batch: int) -> None:
    typed = f"encode --batch {batch} --batch-timeout 60 --min-size 0"
    answer = rx_agui(typed, jsonl(noise(100)))

    payloads = [parsed(message.data)[0] for message in Parser().feed(answer.out)]
    events = [payload["events"] for payload in payloads]
    assert sum(events) == 100
    assert max(events) == batch


def test_a_batch_larger_than_the_usual_window_is_filled() -> None:
    answer = rx_agui("encode --batch 1000 --batch-timeout 60", A * 1000)

    (payload,) = Parser().feed(answer.out)
    assert parsed(payload.data)[0]["events"] == 1000


@pytest.mark.parametrize(
    "lines",
    [
        b"\n\n" + A + b"  \n\r\n\t\n" + B + b"\n",
        A.replace(b"\n", b"\r\n") + B,
        b"\xef\xbb\xbf" + A + B,
        A + B.rstrip(),
        b"  " + A + b"\t" + B,
    ],
    ids=["blank lines", "CRLF", "a byte order mark", "no last line end", "indented"],
)
def test_what_is_around_the_events_does_not_matter(lines: bytes) -> None:
    assert rx_agui("encode", lines) == rx_agui("encode", A + B)


def test_nothing_becomes_nothing() -> None:
    assert rx_agui("encode") == (0, b"", "")


@pytest.mark.parametrize("size", [1, 2, 10_000])
def test_lines_may_come_cut_anywhere(size: int) -> None:
    lines = '{"delta":"流水不腐 👩‍🚀"}\n'.encode() * 3

    assert rx_agui("encode", Slices(lines, size)) == rx_agui("encode", stdin=lines)


def test_a_pipe_that_takes_a_few_bytes_at_a_time_gets_all() -> None:
    assert rx_agui("encode", A + B, stdout=Grudging()) == rx_agui("encode", stdin=A + B)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b'{"type":', "line 4, column 9: not JSON, unexpected end of data"),
        (b'{"type":"B"} {}', "line 4, column 14: not JSON, unexpected content"),
        (b"data: {}", "line 4, column 1: not JSON"),
        (b'{"delta":"\xff"}', "line 4, column 1: not JSON, str is not valid UTF-8"),
        (b'["type","B"]', "line 4: an event must be a JSON object"),
        (b"null", "line 4: an event must be a JSON object"),
    ],
)
@pytest.mark.parametrize("settings", ["--profile agui", "--min-size 0 --batch 2"])
def test_a_bad_line_ends_it_behind_what_came_before(
    line: bytes, why: str, settings: str
) -> None:
    typed = f"encode {settings}"
    answer = rx_agui(typed, A + b"\n" + B + line + b"\n" + C)

    assert answer.status == 2
    assert answer.out == rx_agui(typed, A + B).out
    assert answer.err.startswith(f"rx-agui encode: {why}")
    assert answer.err.count("\n") == 1


def test_a_bad_line_is_shown_but_not_all_of_it() -> None:
    answer = rx_agui("encode", b'{"oops": ' + b"x" * 10_000)

    assert '{"oops": xxx' in answer.err
    assert answer.err.endswith("…\n")
    assert len(answer.err) < 200


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ("--batch 0", "--batch must be positive, got 0"),
        ("--batch-timeout nan", "--batch-timeout must be positive, got nan"),
        ("--level 10", "--level must be from 0 to 9 for gzip, got 10"),
        ("--compress lz4 --level 17", "--level must be from 0 to 16 for lz4, got 17"),
        ("--min-size -1", "--min-size must be at least 0, got -1"),
        ("--max-chunk-size 3", "--max-chunk-size must be at least 4, got 3"),
        (
            "--compress br",
            "--compress must be one of gzip, zstd, deflate, lz4, none, got 'br'",
        ),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_by_the_name_it_was_typed_by(
    typed: str, why: str
) -> None:
    answer = rx_agui(f"encode {typed}", A)

    assert answer == (2, b"", f"rx-agui encode: {why}\n")


@pytest.mark.parametrize(
    "option", ["--compress gzip", "--level 6", "--min-size 0", "--max-chunk-size 9"]
)
def test_profile_agui_refuses_what_only_profile_chunk_has(option: str) -> None:
    answer = rx_agui(f"encode --profile agui {option}", A)

    assert (answer.status, answer.out) == (2, b"")
    assert f"{option.split()[0]} means nothing in profile agui" in answer.err
    assert "--profile chunk" in answer.err


@pytest.mark.parametrize("option", ["--level 6", "--min-size 0"])
def test_no_compression_refuses_what_only_compression_has(option: str) -> None:
    answer = rx_agui(f"encode --compress none {option}", A)

    assert (answer.status, answer.out) == (2, b"")
    assert f"{option.split()[0]} means nothing with --compress none" in answer.err


def test_a_missing_extra_answers_with_what_to_type(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    uninstall(monkeypatch, "zstandard")

    answer = rx_agui("encode --compress zstd", A)

    why = 'rx-agui encode: zstd needs zstandard: pip install "rx-agui[fast]"\n'
    assert answer == (2, b"", why)
