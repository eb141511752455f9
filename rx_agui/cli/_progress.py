"""A line on the terminal that says how far it is, and leaves no trace.

12,345 events, 3.4 MB in, 412.0 kB out, ratio 0.12
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

__all__ = ["progress"]

_CLEAR = "\r\x1b[K"


class Counts(Protocol):
    """What has passed so far."""

    events: int
    bytes_in: int
    bytes_out: int


@contextmanager
def progress(counts: Counts) -> Iterator[Callable[[], None]]:
    """Yield a function to call a few times a second; it clears its line at the end.

    It stays silent unless standard error is a terminal and standard output is not:
    where both are, the line would stand in the middle of the events.
    """
    if not _is_wanted():
        yield lambda: None
        return

    def draw() -> None:
        width = shutil.get_terminal_size().columns - 1  # in the last one it would wrap
        print(_CLEAR + _line(counts)[:width], end="", file=sys.stderr, flush=True)

    try:
        yield draw
    finally:
        print(_CLEAR, end="", file=sys.stderr, flush=True)


def _is_wanted() -> bool:
    return sys.stderr is not None and sys.stderr.isatty() and not sys.stdout.isatty()


def _line(counts: Counts) -> str:
    ratio = counts.bytes_out / counts.bytes_in if counts.bytes_in else 0.0
    s = "" if counts.events == 1 else "s"
    return (
        f"{counts.events:,} event{s}, {_size(counts.bytes_in)} in, "
        f"{_size(counts.bytes_out)} out, ratio {ratio:.2f}"
    )


def _size(n: float) -> str:
    r"""Return a number of bytes as one reads it.

    >>> _size(999), _size(3_400_000)
    ('999 B', '3.4 MB')
    """
    if n < 1000:
        return f"{n} B"
    for unit in ("kB", "MB", "GB"):
        n /= 1000
        if n < 1000:
            return f"{n:.1f} {unit}"
    return f"{n / 1000:.1f} TB"
