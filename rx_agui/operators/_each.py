"""A function of your own sees every event, anywhere in the chain.

    in    a-b-c|
          each(fn)            fn(a) = A, fn(b) = None, fn(c) = [C, D]
    out   A---CD|

Behind our first operator items are frames, which RxPY's `map` and `filter` hand to
their function as they are. `each` goes through the events of a frame instead, so what
a frame carries stays: numbers, credit and the place in a batch.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from rx_agui.agui.encoding import decode, encode
from rx_agui.engine import Errors, Subscription, lift, operator
from rx_agui.errors import (
    ConfigError,
    ProcessingError,
    StreamError,
    WireError,
    stops_process,
)
from rx_agui.frame import IDENTITY, Frame
from rx_agui.operators._rewrite import RewritingStage
from rx_agui.types import Event, Item, Operator

__all__ = ["each"]

#: What a function returns that makes several events of one. A model is iterable too.
_SEVERAL: Final = list | tuple | Iterator

EachFunction = Callable[[dict[str, Any]], Event | Iterable[Event] | None]


@operator
def each(fn: EachFunction, *, errors: Errors = None) -> Operator[Item, Frame]:
    """Map, filter or expand events with `fn`, wherever in the chain this stands.

    >>> from rx_agui import batch, from_iterable, sequence, unbatch
    >>> def shout(event):
    ...     return {**event, "delta": event["delta"].upper()} if "delta" in event else None
    >>> events = [{"type": "A", "delta": "hi"}, {"type": "B"}]
    >>> _ = from_iterable(events).pipe(sequence(), batch(), each(shout), unbatch()).subscribe(print)
    {'type': 'A', 'delta': 'HI'}

    Behind `sequence` numbers stay as they are, so a reader can resume: an event that is
    dropped leaves its number to the next one, and of several made of one the last has
    its number, so that a resume never lands among them. A credit is for the event that
    came, and comes home when the last made of it is written. Between `flow_control` and
    `batch` no frame is made for it.

    An event is decoded for `fn` and encoded again, about 2 µs. In front of `validate`,
    `fn` has to return events of AG-UI.

    Args:
        fn: Called with each event as a mapping of its own, which it may change. Returns
            an event, None to drop it, or a list, tuple or iterator of events. A plain
            function: to await something per event, do it in the agent.
        errors: Told of an event for which `fn` raised (ProcessingError), or returned what
            cannot be encoded (ValidationError); the stream goes on without it. Without
            it that ends the stream, behind the events before it.

    Raises:
        ConfigError: `fn` is not callable, or a coroutine function.
    """
    if not callable(fn) or inspect.iscoroutinefunction(fn):
        raise ConfigError("fn", fn, must="a plain function of one event")
    return lift(_Each, fn, errors)


class _Each(RewritingStage):
    __slots__ = ("_fn", "_uncovered")
    word = "each"

    def __init__(
        self, subscription: Subscription, fn: EachFunction, errors: Errors
    ) -> None:
        super().__init__(subscription, errors)
        self._fn = fn
        self._uncovered = 0  # the first number whose event was dropped

    def keeps(self, line: bytes) -> bool:
        return False

    def rewrite(self, line: bytes) -> list[bytes]:
        try:
            event = decode(line)
        except StreamError as error:
            self._lose(error)
            return []
        try:
            made = self._fn(event)
            several = list(made) if isinstance(made, _SEVERAL) else [made]
        except BaseException as error:
            self._lose(ProcessingError("each", event, error))
            if stops_process(error):
                raise
            return []
        try:
            lines = [encode(one) for one in several if one is not None]
        except StreamError as error:
            self._lose(error)
            return []
        if not lines:
            self._count_lost("filtered")
        return lines

    def _lose(self, error: StreamError) -> None:
        self._count_lost("invalid")
        self.refuse(error)

    def _count_lost(self, reason: str) -> None:
        self.taken += 1
        self.count_drop(reason, 1)

    def send_pieces(self, frame: Frame, pieces: list[bytes]) -> None:
        self._send(frame.copy(b"\n".join(pieces)), len(pieces), 1)

    def next(self, frame: Frame) -> None:
        if frame.encoding != IDENTITY:
            self.taken += frame.events
            self.count_drop("invalid", frame.events)
            why = f"a {frame.encoding} payload: each() must go before compress()"
            self.refuse(WireError(why))
            return
        lines: list[bytes] = []
        numbers: list[int] = []
        came = 0
        for line, number in zip(frame.lines(), frame.line_numbers(), strict=True):
            made = self.rewrite(line)
            came += bool(made)
            lines += made
            numbers += [number] * len(made)
        if not lines:
            self._uncovered = self._uncovered or frame.first
            return
        made_frame = frame.copy(b"\n".join(lines))
        if frame.last:
            self._number(made_frame, numbers, len(lines) == frame.events == came)
        self._send(made_frame, len(lines), came)

    def _number(self, frame: Frame, numbers: list[int], is_same: bool) -> None:
        """Say what the lines cover, with the numbers of those that are gone."""
        first, self._uncovered = self._uncovered or frame.first, 0
        if is_same and first == frame.first:
            return
        # What was dropped behind the last line is covered by it.
        covered = [n if n != numbers[-1] else frame.last for n in numbers]
        frame.first, frame.numbers = first, tuple(covered)

    def _send(self, frame: Frame, lines: int, came: int) -> None:
        frame.crc32 = None
        frame.events = lines
        self.count_passed(came)
        self.count_created(lines - came)
        self.emit(frame)
