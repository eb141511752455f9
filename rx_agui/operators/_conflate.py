"""Fewer events, and the reader ends with the same messages and the same state.

    in    X--------|     X = a1 a2 b1 a3     deltas of two messages
          conflate()
    out   Y--------|     Y = a b             a = a1 a2 a3,  b = b1

What a token costs is not its bytes: the stock client copies all messages for each event
it applies. 8,000 tokens in a conversation of 1,000 messages keep it busy for seconds,
in 160 events they do not. Nothing is waited for here: `batch` gathers, and a payload is
conflated as it passes. Which events merge, and why a reader cannot tell, is in
agui/merge.py; marbles/conflate.marble draws it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import time_ns
from typing import Final, cast, get_args
from warnings import warn

from rx_agui.agui.known_state import KnownState
from rx_agui.agui.merge import (
    MAX_EVENT_SIZE,
    PATCHES,
    RAW_EVENTS,
    Group,
    Merger,
)
from rx_agui.agui.priority import lighten
from rx_agui.engine import Errors, Stage, Subscription, lift, operator
from rx_agui.errors import require_one_of, require_positive, require_whole
from rx_agui.flow import NO_PERMIT
from rx_agui.flow._permit import joint_permit
from rx_agui.frame import IDENTITY, Frame
from rx_agui.probe import PayloadTrace
from rx_agui.types import Item, Operator, Patches, Raw, RawEvent

__all__ = ["MergingQueue", "conflate", "conflate_frame", "conflate_lines"]

#: The choices for `raw`.
RAWS: Final = get_args(Raw)


@operator
def conflate(
    *,
    raw: Raw = "strip",
    patches: Patches = "proven",
    max_event_size: int = MAX_EVENT_SIZE,
    errors: Errors = None,
    raw_event: RawEvent | None = None,
) -> Operator[Item, Frame]:
    """Merge the events of each payload that a reader need not get one by one.

    >>> from rx_agui import batch, from_iterable, unbatch
    >>> events = [
    ...     {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m1", "delta": delta}
    ...     for delta in ("Fewer ", "events, ", "same text")
    ... ]
    >>> _ = from_iterable(events).pipe(batch(), conflate(), unbatch()).subscribe(print)
    {'type': 'TEXT_MESSAGE_CONTENT', 'messageId': 'm1', 'delta': 'Fewer events, same text'}

    It stands behind `batch`, and before `compress`: a payload that is compressed passes
    as it is. Before `sequence`, or without it, deltas of one message merge across those
    of others, and across RAW. Behind `sequence` only neighbours do, and what is merged carries the last
    number it covers, so that a reader who was cut off resumes exactly there. Merging
    while a reader is slow, instead of always, is `flow_control(overflow="conflate")`.

    What begins, ends or answers something is never merged, moved or lost; nor is
    anything that is not known to be safe to merge. What a reader can tell: it is called
    back less often, and sees fewer of the states in between.

    Args:
        raw: What becomes of RAW events and of `rawEvent`, the provider's own event.
            Deltas merge across RAW that has no number yet; the order of RAW is kept.
            "strip": an event that others were merged into has no `rawEvent`; all else
            passes. "keep": it has the last one. "drop": no RAW event and no `rawEvent`
            passes at all: a LangGraph stream is a tenth of its size then.
            "strip" is the default, since LangGraph and others put one on every delta:
            the last one alone would pass for the origin of a text that it is a part of.
            No client builds messages or state of either.
        patches: Which patches of the state, or of an activity, merge. A client applies
            a patch whole or, when one operation fails, not at all, so that two in one
            could fail together. "proven": those that are known to succeed, since a
            snapshot told what the state is, and every patch since then what became of
            it, as long as nothing but the stream changes it; and those that set or
            append to the same places, which succeed or fail together whatever it is. Of
            values set twice the last goes on. "all": every patch without a `test`; for a
            producer whose patches never fail.
        max_event_size: Bytes beyond which no event is merged, so that what `split` has
            cut stays cut: a stock client refuses an event of more than 10 MiB. Of a
            state that is larger it is not kept in mind what it is.
        errors: Told of events that cannot be encoded, if this operator is the first.
        raw_event: The older name: "strip", "keep_last" (now raw="keep"), or "barrier",
            where an event that has a `rawEvent` merges with none.

    Raises:
        ConfigError: A setting makes no sense.
    """
    require_one_of(RAWS, raw=raw)
    if raw_event is None:
        raw_event = "keep_last" if raw == "keep" else "strip"
    else:
        warn("conflate: raw_event= is raw= now", DeprecationWarning, stacklevel=2)
    require_one_of(RAW_EVENTS, raw_event=raw_event)
    require_one_of(PATCHES, patches=patches)
    require_positive(max_event_size=max_event_size)
    require_whole(max_event_size=max_event_size)
    return lift(_Conflate, raw == "drop", raw_event, patches, max_event_size, errors)


def conflate_lines(
    lines: Sequence[bytes],
    numbers: Sequence[int] = (),
    *,
    raw_event: RawEvent = "strip",
    patches: Patches = "proven",
    max_event_size: int = MAX_EVENT_SIZE,
    known: KnownState | None = None,
) -> tuple[list[bytes], list[int]]:
    """`conflate` as a function: events, one a line, and the last number each covers.

    >>> lines = [b'{"type":"STATE_SNAPSHOT","snapshot":%d}' % n for n in range(3)]
    >>> conflate_lines(lines, [7, 8, 9])
    ([b'{"type":"STATE_SNAPSHOT","snapshot":2}'], [9])

    Args:
        numbers: As many as lines; none if they have no numbers yet.
        raw_event, patches, max_event_size: As of `conflate`.
        known: What is known of the state before these events; it then is what is known
            behind them. One goes with each stream, and is shown every line of it.
    """
    merger = Merger(raw_event, patches, max_event_size, known)
    if numbers:
        for line, number in zip(lines, numbers, strict=True):
            merger.add(line, number)
    else:
        for line in lines:
            merger.add(line)
    if len(merger) == len(lines):
        return list(lines), list(numbers)
    merged = [group.data() for group in merger]
    return merged, [group.number for group in merger] if numbers else []


def conflate_frame(
    frame: Frame,
    *,
    raw_event: RawEvent = "strip",
    patches: Patches = "proven",
    max_event_size: int = MAX_EVENT_SIZE,
    known: KnownState | None = None,
) -> None:
    """Merge the events of a payload in place; see `conflate_lines`."""
    lines = frame.lines()
    numbers = frame.line_numbers() if frame.last else ()
    if len(lines) != frame.events or (numbers and len(numbers) != len(lines)):
        if known is not None:
            known.forget()
        return  # its reader will report that it contradicts itself
    merged, covered = conflate_lines(
        lines,
        numbers,
        raw_event=raw_event,
        patches=patches,
        max_event_size=max_event_size,
        known=known,
    )
    if len(merged) == len(lines):
        return
    frame.data = b"\n".join(merged)
    frame.events = len(merged)
    frame.crc32 = None
    if covered:
        frame.numbers = tuple(covered)


class _Conflate(Stage):
    __slots__ = ("_drops_raw", "_known", "_rests", "_rules")
    word = "conflate"

    def __init__(
        self,
        subscription: Subscription,
        drops_raw: bool,
        raw_event: RawEvent,
        patches: Patches,
        max_event_size: int,
        errors: Errors,
    ) -> None:
        super().__init__(subscription, errors)
        self._drops_raw = drops_raw
        self._rules = raw_event, patches, max_event_size
        self._known = KnownState(max_event_size) if patches == "proven" else None
        self._rests = False

    def ease(self, step: str, taken: bool) -> None:
        """Merge only while `degrade` says so, where it is there to say so."""
        if step == "conflate":
            self._rests = not taken

    def next(self, frame: Frame) -> None:
        if self._drops_raw:
            dropped, size = lighten(frame)
            if size:
                self.count("conflate.raw.size", size)
            if dropped:
                self.taken += dropped
                self.count_drop("raw", dropped)
                if not frame.events:
                    return
        before = frame.events
        if before == 1 or frame.encoding != IDENTITY or self._rests:
            self._show(frame)
            self.passed += before
            self.emit(frame)
            return
        watched = self.subscription.watch is not None
        begun = time_ns() if watched else 0
        self._merge(frame)
        if watched:
            ended = time_ns()
            self.count("operator.time", ended - begun)
            if isinstance(frame.trace, PayloadTrace):
                merged = before - frame.events
                frame.trace.step(self.word, begun, ended, merged=merged)
        self.taken += before
        self.merged += before - frame.events
        self.sent += frame.events
        self.emit(frame)

    def _show(self, frame: Frame) -> None:
        """Read the state from a payload that passes unchanged."""
        if self._known is not None:
            if frame.encoding == IDENTITY:
                self._known.tell(frame.data)
            else:
                self._known.forget()

    def _merge(self, frame: Frame) -> None:
        raw_event, patches, max_event_size = self._rules
        conflate_frame(
            frame,
            raw_event=raw_event,
            patches=patches,
            max_event_size=max_event_size,
            known=self._known,
        )


class MergingQueue:
    """Frames that wait; the later become part of those before them where they can.

    It is what `flow_control(overflow="conflate")` queues in. A frame of several events
    waits as it is.
    """

    def __init__(self) -> None:
        self._merger = Merger()

    def __len__(self) -> int:
        return len(self._merger)

    def __iter__(self) -> Iterator[Frame]:
        return (waiting.frame for waiting in self._all())

    @property
    def size(self) -> int:
        """Bytes of what waits, as they came."""
        return sum([group.size for group in tuple(self._merger)])

    def append(self, frame: Frame, *, room: bool) -> int | None:
        """Keep the frame, and hold its permit.

        Args:
            room: Whether there may be one frame more.

        Returns:
            How many events there are now less than came; None if there is no room for
            the frame and it merges with nothing.
        """
        is_one = frame.events == 1 and frame.encoding == IDENTITY
        group = self._merger.add(frame.data if is_one else b"", frame.last, room=room)
        if group is None:
            return None
        frame.permit.hold()
        waiting: _Waiting | None = group.extra
        if waiting is not None:
            waiting.absorb(frame)
            return 1
        group.extra = waiting = _Waiting(frame)
        for obsolete in self._merger.replaced:
            waiting.replaces(obsolete.extra)
        return len(self._merger.replaced)

    def popleft(self) -> Frame:
        """Return the first frame; nothing joins it any more."""
        group = self._merger.pop()
        return cast(_Waiting, group.extra).leave(group)

    def clear(self) -> None:
        """Forget everything."""
        self._merger.clear()

    def _all(self) -> list[_Waiting]:
        return [group.extra for group in tuple(self._merger)]


class _Waiting:
    """A frame that waits, and what became part of it."""

    __slots__ = ("first", "frame", "permits")

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self.first = frame.first
        self.permits = [] if frame.permit is NO_PERMIT else [frame.permit]

    def absorb(self, frame: Frame) -> None:
        """Merge a later frame into this one."""
        if frame.permit is not NO_PERMIT:
            self.permits.append(frame.permit)
        _trace_both(self.frame, frame)

    def replaces(self, obsolete: _Waiting) -> None:
        """Drop an earlier frame that this one supersedes."""
        self.first = min(self.first, obsolete.first)
        self.permits += obsolete.permits
        _trace_both(self.frame, obsolete.frame)

    def leave(self, group: Group) -> Frame:
        """Return the frame as it goes on, with one permit for all of it."""
        frame = self.frame
        if frame.events != 1 or frame.encoding != IDENTITY:
            return frame
        frame.data = group.data()
        if group.number:
            frame.first, frame.last = self.first, group.number
            if frame.first != frame.last:
                frame.numbers = (frame.last,)
        if self.permits:
            frame.permit = joint_permit(self.permits)
        return frame


def _trace_both(frame: Frame, other: Frame) -> None:
    if isinstance(frame.trace, PayloadTrace) and isinstance(other.trace, PayloadTrace):
        frame.trace.absorb(other.trace)
