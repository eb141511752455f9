"""Standard input and output, and who waits for them.

    main thread    waits for the end, or for Ctrl-C; draws the progress
    a thread       read ──▶ operators ──▶ write
    timers         a batch that is due leaves while `read` waits for more

Both ends are used below Python's buffers. A buffer has a lock, and a thread that
waits in there for a silent pipe would abort the interpreter when Ctrl-C ends it;
and what a buffer still holds when its reader has gone, it moans about at exit.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, InvalidStateError, wait
from contextlib import suppress
from threading import Thread
from typing import Any, Final, TextIO

import orjson

from rx_agui.cli._progress import progress

__all__ = [
    "Pipes",
    "UsageError",
    "json_line",
    "lines",
    "run",
    "shown",
    "unbuffered",
    "write_all",
]

#: Bytes to ask for at a time. What has come is returned at once, even if it is less.
_PIECE = 65536


#: Controls that a terminal obeys. JSON escapes those below U+0020, but neither DEL nor
#: C1, among which U+009B begins the same commands as ESC [.
_CONTROL: Final = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f]")
_CONTROL_IN_JSON: Final = re.compile(rb"\x7f|\xc2[\x80-\x9f]")


def shown(text: str) -> str:
    r"""Make text from a server harmless for a terminal: its controls are shown.

    >>> shown("\x1b[31mred")
    '\\x1b[31mred'
    """
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def json_line(event: object) -> bytes:
    """Encode an event as a line of JSON without any control that a terminal obeys."""
    line = orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE)
    return _CONTROL_IN_JSON.sub(lambda found: b"\\u%04x" % found[0][-1], line)


class UsageError(Exception):
    """What was typed makes no sense together."""


class Pipes:
    """Both ends, and what has passed.

    Attributes:
        events: Counted by the command.
        bytes_in, bytes_out: Counted here.
    """

    def __init__(self) -> None:
        self.events = self.bytes_in = self.bytes_out = 0
        self._stdin = unbuffered(sys.stdin, "standard input")
        self._stdout = unbuffered(sys.stdout, "standard output")

    def pieces(self) -> Iterator[bytes]:
        """Yield the input as it comes, in pieces of any size."""
        if sys.stdin.isatty() and sys.stderr is not None:
            print("reading what you type; Ctrl-D ends it", file=sys.stderr)
        while piece := _done(self._stdin.read(_PIECE)):
            self.bytes_in += len(piece)
            yield piece

    def write(self, data: bytes) -> None:
        """Write all of `data`: when this returns, the reader can see it."""
        write_all(self._stdout, data)
        self.bytes_out += len(data)


def write_all(stdout: Any, data: bytes) -> None:
    """Write all of `data`: when this returns, the reader can see it."""
    left = memoryview(data)
    while left:
        left = left[_done(stdout.write(left)) :]


def lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    r"""Yield the lines of input that comes in pieces; the last need not end.

    >>> list(lines([b"a\nb", b"", b"c\n\nd"]))
    [b'a', b'bc', b'', b'd']
    """
    rest: list[bytes] = []
    for piece in pieces:
        *ended, tail = piece.split(b"\n")
        for end in ended:
            yield b"".join((*rest, end))
            rest.clear()
        rest.append(tail)
    if last := b"".join(rest):
        yield last


def run(subscribe: Callable[[], object], done: Future[None], pipes: Pipes) -> None:
    """Subscribe in a thread of its own, and wait here until `done`.

    Raises:
        KeyboardInterrupt: Ctrl-C, which only the main thread hears.
        Exception: What `done` carries, or `subscribe` raised.
    """

    def work() -> None:
        try:
            subscribe()
        except BaseException as error:
            with suppress(InvalidStateError):
                done.set_exception(error)

    # A daemon: it may wait for ever in `read`, and must not keep us from ending.
    Thread(target=work, name="rx_agui-stdin", daemon=True).start()
    with progress(pipes) as draw:
        while not wait([done], timeout=0.25).done:
            draw()
    done.result()


def unbuffered(stream: TextIO | None, name: str) -> Any:
    """Return a standard stream below Python's buffer."""
    if stream is None:  # `<&-`
        raise OSError(errno.EBADF, f"{name} is closed")
    return getattr(stream.buffer, "raw", stream.buffer)


def _done(result: Any) -> Any:
    """Check what a read or write returned: None is "not now", not the end."""
    if result is None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return result
