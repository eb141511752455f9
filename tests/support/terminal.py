"""A terminal to type at: `rx_agui` in this process, `started` in one of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO, TextIOWrapper
from random import Random
from subprocess import PIPE, Popen
from threading import Timer
from typing import Any, NamedTuple
from unittest.mock import patch

import orjson

from rx_agui.cli import main

Event = dict[str, Any]

#: As the entry point does it; but a shell may have us ignore Ctrl-C.
_START = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from rx_agui.cli import main
sys.exit(main())
"""


class Answer(NamedTuple):
    status: int
    out: bytes
    err: str

    @property
    def events(self) -> list[Event]:
        return parsed(self.out)


def rx_agui(
    typed: str = "", stdin: bytes | BytesIO = b"", stdout: BytesIO | None = None
) -> Answer:
    """What `rx-agui {typed}` answers. `stdin` and `stdout` may be pipes that behave oddly."""
    return in_terminal(main, typed, stdin, stdout)


def in_terminal(
    command: Callable[[list[str]], int],
    typed: str,
    stdin: bytes | BytesIO = b"",
    stdout: BytesIO | None = None,
) -> Answer:
    """Run a command's `main` with standard streams of its own."""
    stdin = BytesIO(stdin) if isinstance(stdin, bytes) else stdin
    stdout, stderr = stdout or BytesIO(), BytesIO()
    # Held here: a wrapper that is collected closes what it wraps.
    terminal: dict[str, Any] = {
        "stdin": TextIOWrapper(stdin),
        "stdout": TextIOWrapper(stdout, "utf-8", write_through=True),
        "stderr": TextIOWrapper(stderr, "utf-8", write_through=True),
    }
    with patch.multiple(sys, **terminal):
        try:
            status = command(typed.split())
        except SystemExit as end:
            status = int(end.code or 0)
    return Answer(status, stdout.getvalue(), stderr.getvalue().decode())


@contextmanager
def started(
    typed: str, stdin: Any = PIPE, stdout: Any = PIPE, stderr: Any = PIPE
) -> Iterator[Popen[bytes]]:
    """A process of its own, which does not outlive the test, nor 20 seconds."""
    command = [sys.executable, "-c", _START, *typed.split()]
    with Popen(
        command, bufsize=0, stdin=stdin, stdout=stdout, stderr=stderr
    ) as process:
        timer = Timer(20, process.kill)
        timer.start()
        try:
            yield process
        finally:
            process.kill()
            timer.cancel()


def read_until(fd: int, end: bytes) -> bytes:
    """What comes until `end` has come; all of it, if it never comes."""
    data = b""
    while end not in data:
        try:
            piece = os.read(fd, 65536)
        except OSError:  # a terminal whose other side was closed
            piece = b""
        if not piece:
            return data
        data += piece
    return data


def jsonl(events: Iterable[Event]) -> bytes:
    return b"".join(orjson.dumps(event) + b"\n" for event in events)


def parsed(lines: bytes) -> list[Event]:
    return [orjson.loads(line) for line in lines.split(b"\n") if line]


def noise(events: int, *, of: int = 300) -> list[Event]:
    """Events that no algorithm makes much smaller."""
    chance = Random(events)
    return [
        {"type": "CUSTOM", "name": "noise", "value": chance.randbytes(of).hex()}
        for _ in range(events)
    ]
