"""Payloads as a log stores them and cuts them for its readers."""

from __future__ import annotations

from bisect import bisect_right

from rx_agui.errors import ReplayError
from rx_agui.frame import IDENTITY, Frame

__all__ = ["slice_after", "to_stored"]


def to_stored(stream: str, frame: Frame, last: int) -> Frame:
    """Check a payload for a log, and return a copy with nothing but bytes and numbers.

    It has no permit, since a log stores on purpose and its readers have a pace of their
    own; and no trace, which belongs to the sender.

    >>> to_stored("run-7", Frame(b'{"a":1}', first=3, last=3), 2)
    Frame(1 events, 7 bytes, 3..3, identity)

    Args:
        stream: The name, for the error.
        last: The last number that the stream has; 0 for none.

    Raises:
        ReplayError: It is compressed, has no number, or does not follow on `last`.
    """
    if frame.encoding != IDENTITY:
        why = f"a {frame.encoding} payload cannot be cut: keep it before compress()"
    elif not frame.last:
        why = "it has no number: keep it behind sequence()"
    elif last and frame.first != last + 1:
        why = f"number {frame.first} does not follow on {last}"
    else:
        return slice_after(frame, 0)
    raise ReplayError(f"stream {stream!r} cannot keep {frame!r}: {why}")


def slice_after(frame: Frame, after: int) -> Frame:
    r"""Return the part of a payload behind number `after`, as a frame of its own.

    >>> slice_after(Frame(b'{"a":1}\n{"a":2}\n{"a":3}', events=3, first=7, last=9), 7)
    Frame(2 events, 15 bytes, 8..9, identity)
    """
    if frame.first > after:
        same = Frame(
            frame.data, events=frame.events, first=frame.first, last=frame.last
        )
        if frame.numbers is not None:
            same.numbers = frame.numbers
        return same
    numbers = frame.line_numbers()
    seen = bisect_right(numbers, after)
    lines = frame.data.split(b"\n", seen)
    rest = Frame(
        lines[-1], events=frame.events - seen, first=after + 1, last=frame.last
    )
    if frame.numbers is not None:
        rest.numbers = frame.numbers[seen:]
    return rest
