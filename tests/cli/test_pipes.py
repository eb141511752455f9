"""As a process among others: live, interrupted, left alone, on a terminal."""

from __future__ import annotations

import errno
import os
import pty
import select
import sys
from io import BytesIO
from pathlib import Path
from signal import SIGINT
from subprocess import PIPE, Popen
from typing import Any

import orjson
import pytest

from rx_agui.cli import main
from rx_agui.testing import simulated_deltas
from tests.support.serving import served
from tests.support.terminal import jsonl, read_until, rx_agui, started

A, B = b'{"type":"A"}\n', b'{"type":"B"}\n'
SSE_A, SSE_B = b'id: 1\ndata: {"type":"A"}\n\n', b'id: 2\ndata: {"type":"B"}\n\n'


@pytest.mark.parametrize("profile", ["agui", "chunk"])
def test_a_batch_that_is_due_leaves_while_standard_input_is_silent(
    profile: str,
) -> None:
    with started(f"encode --profile {profile}") as encode:
        assert encode.stdin is not None
        assert encode.stdout is not None
        for line, sse in ((A, SSE_A), (B, SSE_B)):
            encode.stdin.write(line)
            assert read_until(encode.stdout.fileno(), b"\n\n") == sse
        out, err = encode.communicate()

    assert (encode.returncode, out, err) == (0, b"", b"")


def test_a_batch_may_wait_for_ever_for_its_next_event() -> None:
    with started("encode --batch 2 --batch-timeout inf") as encode:
        assert encode.stdin is not None
        assert encode.stdout is not None
        encode.stdin.write(A)
        encode.stdin.write(B)
        assert read_until(encode.stdout.fileno(), SSE_B) == SSE_A + SSE_B
        encode.stdin.write(A)
        out, err = encode.communicate()

    assert (encode.returncode, out, err) == (0, SSE_A.replace(b"1", b"3"), b"")


def test_events_are_decoded_while_more_are_awaited() -> None:
    with started("decode") as decode:
        assert decode.stdin is not None
        assert decode.stdout is not None
        for line, sse in ((A, SSE_A), (B, SSE_B)):
            decode.stdin.write(sse)
            assert read_until(decode.stdout.fileno(), b"\n") == line
        out, err = decode.communicate()

    assert (decode.returncode, out, err) == (0, b"", b"")


def test_a_reader_who_is_slow_gets_everything_in_the_end(tmp_path: Path) -> None:
    """A timer finds the pipe full; when it has room, its thread goes on reading."""
    lines = tmp_path / "lines"
    lines.write_bytes(jsonl(simulated_deltas(20_000)))
    typed = "encode --batch 1000 --batch-timeout 0.001 --profile agui"
    reads, writes = os.pipe()
    with (
        lines.open("rb") as stdin,
        started(typed, stdin=stdin, stdout=writes) as encode,
    ):
        wait_until_full(writes, encode)
        out = read_until(reads, b"never")
        os.close(reads)
        _, err = encode.communicate()

    assert (encode.returncode, err) == (0, b"")
    assert rx_agui("decode", out).out == lines.read_bytes()


@pytest.mark.parametrize("command", ["encode", "decode"])
def test_who_reads_no_more_ends_it_quietly(command: str) -> None:
    one, two = (A, B) if command == "encode" else (SSE_A, SSE_B)
    with started(command) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(one)
        read_until(process.stdout.fileno(), b"\n")
        process.stdout.close()
        process.stdin.write(two)  # and standard input stays open

        assert process.wait() == 141
        assert process.stderr.read() == b""


@pytest.mark.parametrize("command", ["encode", "decode"])
def test_ctrl_c_ends_it_quietly(command: str) -> None:
    with started(command) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(A if command == "encode" else SSE_A)
        read_until(process.stdout.fileno(), b"\n")
        process.send_signal(SIGINT)

        assert process.wait() == 130
        assert process.stderr.read() == b""


def test_ctrl_c_ends_it_though_nobody_reads() -> None:
    reads, writes = os.pipe()
    with (
        Popen(["yes", A.decode().rstrip()], stdout=PIPE) as yes,
        started("encode", stdin=yes.stdout, stdout=writes) as encode,
    ):
        assert encode.stderr is not None
        wait_until_full(writes, encode)
        encode.send_signal(SIGINT)

        assert encode.wait() == 130
        assert encode.stderr.read() == b""
        yes.kill()
    os.close(reads)


def wait_until_full(pipe: int, process: Popen[bytes]) -> None:
    """Until `pipe`, the side that is written to, takes no more."""
    while select.select([], [pipe], [], 0)[1]:
        assert process.poll() is None
    os.close(pipe)


def test_a_terminal_is_told_how_far_it_is_and_left_clean() -> None:
    terminal, side = pty.openpty()
    with started("encode", stderr=side) as encode:
        os.close(side)
        assert encode.stdin is not None
        encode.stdin.write(A)
        seen = read_until(terminal, b"1 event, 13 B in, 26 B out, ratio 2.00")
        encode.stdin.write(B)
        seen += read_until(terminal, b"2 events, 26 B in, 52 B out, ratio 2.00")
        encode.communicate()
        seen += read_until(terminal, b"never")
        os.close(terminal)

    assert encode.returncode == 0
    assert seen.startswith(b"\r\x1b[K1 event")
    assert seen.endswith(b"\r\x1b[K")


def test_events_on_a_terminal_are_not_disturbed() -> None:
    terminal, side = pty.openpty()
    with started("encode", stdout=side, stderr=side) as encode:
        os.close(side)
        encode.communicate(A)
        seen = read_until(terminal, b"never")
        os.close(terminal)

    assert seen.replace(b"\r\n", b"\n") == SSE_A


def test_who_types_is_told_that_it_waits() -> None:
    terminal, side = pty.openpty()
    with started("encode", stdin=side) as encode:
        os.close(side)
        assert encode.stdout is not None
        os.write(terminal, A)
        assert read_until(encode.stdout.fileno(), b"\n\n") == SSE_A
        os.write(terminal, b"\x04")  # Ctrl-D
        _, err = encode.communicate()
        os.close(terminal)

    assert (encode.returncode, err) == (0, b"reading what you type; Ctrl-D ends it\n")


class Full(BytesIO):
    def write(self, _: object, /) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(("command", "stdin"), [("encode", A), ("decode", SSE_A)])
def test_a_full_disk_is_told(command: str, stdin: bytes) -> None:
    answer = rx_agui(command, stdin, Full())

    assert answer == (1, b"", f"rx-agui {command}: No space left on device\n")


@pytest.mark.parametrize("command", ["encode", "decode"])
def test_a_closed_standard_input_is_told(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", None)

    assert main([command]) == 1
    assert capsys.readouterr().err == f"rx-agui {command}: standard input is closed\n"


EVIL = "\x1b]0;title\x07\x1b[31m\x7f\x9b31m\x85"


def test_controls_of_a_server_are_shown_and_not_obeyed() -> None:
    event = {"type": "CUSTOM", "name": "n", "value": EVIL}

    answer = rx_agui("decode", b"data: " + orjson.dumps(event) + b"\n\n")

    assert answer.events == [event]
    assert not set(answer.out.decode()) & set("\x1b\x07\x7f\x9b\x85")


@pytest.mark.parametrize("command", ["tail", "lint", "doctor"])
def test_controls_in_a_refusal_are_shown_and_not_obeyed(command: str) -> None:
    async def refusing(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 403, "headers": []})
        await send({"type": "http.response.body", "body": EVIL.encode()})

    with served(refusing) as url:
        answer = rx_agui(f"{command} {url}/")

    assert answer.status == 1
    assert not set(answer.err) & set("\x1b\x07\x7f\x9b\x85")
    assert "403" in answer.err
