"""Payloads as a log keeps and gives them."""

from __future__ import annotations

from bisect import bisect_right

from rx_agui.errors import ReplayError
from rx_agui.frame import IDENTITY, Frame

__all__ = ["slice_after", "to_stored"]


def to_stored(stream: str, frame: Frame, last: int) -> Frame:
    """What a log keeps of a payload: the bytes themselves, and their numbers.

    Not the permit, since a log stores on purpose and its readers have a pace of their
    own; and not the trace, which belongs to the one who sent it.

    Raises:
        ReplayError: It could not be found, cut or folded, or follows not on `last`.
    """
    if frame.encoding != IDENTITY:
        why = f"a {frame.encoding} payload cannot be cut: keep it before compress()"
    elif not frame.last:
        why = "it has no number: keep it behind sequence()"
    elif last and frame.first != last + 1:
        why = f"number {frame.first} does not follow on {last}"
    else:
        return bare(frame)
    raise ReplayError(f"stream {stream!r} cannot keep {frame!r}: {why}")


def bare(frame: Frame) -> Frame:
    """The same payload for somebody else: nobody's permit, the same bytes."""
    same = Frame(frame.data, events=frame.events, first=frame.first, last=frame.last)
    if frame.numbers is not None:
        same.numbers = frame.numbers
    return same


def slice_after(frame: Frame, after: int) -> Frame:
    r"""What of a payload lies behind number `after`.

    >>> slice_after(Frame(b'{"a":1}\n{"a":2}\n{"a":3}', events=3, first=7, last=9), 7)
    Frame(2 events, 15 bytes, 8..9, identity)
    """
    if frame.first > after:
        return bare(frame)
    numbers = frame.line_numbers()
    seen = bisect_right(numbers, after)
    lines = frame.data.split(b"\n", seen)
    rest = Frame(
        lines[-1], events=frame.events - seen, first=after + 1, last=frame.last
    )
    if frame.numbers is not None:
        rest.numbers = frame.numbers[seen:]
    return rest
