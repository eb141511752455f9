"""Gather many small events into one payload.

    in    a-b-c-d------|
          batch(batch_size=3, batch_timeout=4)
    out   ----X-----Y--|      X = a b c,  Y = d

A batch leaves when it is full, when its first event has waited `batch_timeout`
seconds, when nothing else can move, or when the stream ends. So order is kept,
nothing is lost, no event is held longer than `batch_timeout`, and a silent stream
stays silent. marbles/batch.marble draws every case, and the tests play it.

The contract is that of RxPY's `buffer_with_time_or_count`, with its faults mended:

                              buffer_with_time_or_count     batch
    timer                     a thread per window           one, when needed
    it is armed by            the boundary before           the first event
    nothing came              [] is emitted                 nothing is
    on_error                  drops what is held            delivers it first
    a sink that raises        ends it without a word        ends it, and raises
    behind a small window     waits for ever                leaves when stalled
"""

from __future__ import annotations

from typing import Any

from reactivex.abc import SchedulerBase

from rx_agui.agui.encoding import decode
from rx_agui.engine import (
    Errors,
    Stage,
    lift,
    operator,
)
from rx_agui.errors import (
    ConfigError,
    StreamError,
    WireError,
    require_positive,
    require_whole,
    warn_if_milliseconds,
)
from rx_agui.flow import NO_PERMIT
from rx_agui.flow._downstream import carrying
from rx_agui.frame import IDENTITY, Frame
from rx_agui.operators._batch_leading import LeadingBatchStage
from rx_agui.operators._batch_stage import BatchStage
from rx_agui.operators._rate import AdaptiveBatchStage
from rx_agui.types import Item, Operator

__all__ = ["batch", "unbatch"]


@operator
def batch(
    batch_size: int = 50,
    batch_timeout: float = 0.05,
    *,
    max_batch_size: int = 500,
    max_bytes: int | None = 1024 * 1024,
    adaptive: bool = False,
    leading: float | None = None,
    errors: Errors = None,
    scheduler: SchedulerBase | None = None,
) -> Operator[Item, Frame]:
    """Gather events into payloads of at most `batch_size` events.

    Large batches compress better and cost the reader less; a long wait fills them and
    keeps the reader waiting. With the defaults, text typed by a model looks live.

    >>> from rx_agui import from_iterable
    >>> events = [{"type": "STEP_STARTED", "stepName": name} for name in "abc"]
    >>> _ = from_iterable(events).pipe(batch(2)).subscribe(print)
    Frame(2 events, 77 bytes, identity)
    Frame(1 events, 38 bytes, identity)

    Behind a window of credit that is smaller than the batch, the events that would
    fill it cannot come. Then, and only then, it leaves early: when all that is in
    flight waits in batches (Nagle's rule). To leave whenever credit is zero would be
    TCP's silly window, one small acknowledgement, one small batch, for ever.

    Args:
        batch_size: Events in a full batch. 1 passes each event on by itself.
        batch_timeout: Seconds the first event of a batch may be held.
        max_batch_size: Events in a batch at most, where the size moves: with `adaptive`,
            or when `degrade` enlarges batches.
        max_bytes: Bytes a batch may have; only an event that is larger goes beyond,
            alone. 1 MiB is cut and encoded in a millisecond or so: without a bound
            (None) fifty snapshots of a megabyte would keep an event loop for twenty.
        adaptive: Let the size follow the rate and the sink, between 1 and
            `max_batch_size`: a lone event leaves at once, a flood fills batches.
            `batch_size` says nothing then.
        leading: Seconds from one payload to the next while the sink is idle, or None. An
            event that comes later leaves at once; events that come sooner leave together
            when these seconds are over. While a payload is at the sink, `batch_size` and
            `batch_timeout` decide, as without it. SSEResponse takes 16 ms, one picture of
            a screen: a lone event is not delayed, and a flood makes 60 payloads a second.
        errors: Told of events that cannot be encoded, if this operator is the first;
            the stream goes on without them. Without it they end the stream.
        scheduler: Whose time to use. The default is the subscription's.

    Raises:
        ConfigError: A setting makes no sense.
    """
    counts = {"batch_size": batch_size, "max_batch_size": max_batch_size}
    require_positive(batch_size=batch_size, batch_timeout=batch_timeout)
    require_positive(max_batch_size=max_batch_size)
    require_whole(**counts)
    warn_if_milliseconds(batch_timeout=batch_timeout)
    if max_bytes is not None:
        require_positive(max_bytes=max_bytes)
        require_whole(max_bytes=max_bytes)
    if leading is not None:
        require_positive(leading=leading)
        warn_if_milliseconds(leading=leading)
        if adaptive:
            raise ConfigError("leading", leading, must="None where the size adapts")
    settings = batch_size, batch_timeout, max_batch_size, max_bytes, errors
    if leading is not None:
        return lift(LeadingBatchStage, *settings, leading, scheduler=scheduler)
    stage = AdaptiveBatchStage if adaptive else BatchStage
    return lift(stage, *settings, scheduler=scheduler)


@operator
def unbatch(*, errors: Errors = None) -> Operator[Item, dict[str, Any]]:
    """Give back the events of each payload, in order, as mappings.

    The inverse of `batch`, for readers. Single events come through as well.

    >>> from rx_agui import from_iterable
    >>> events = [{"type": "A"}, {"type": "B"}]
    >>> _ = from_iterable(events).pipe(batch(2), unbatch()).subscribe(print)
    {'type': 'A'}
    {'type': 'B'}

    Args:
        errors: Told of lines that are not JSON objects; the others go on. Without it
            such a line ends the stream, behind the others of its payload.
    """
    return lift(_Unbatch, errors)


class _Unbatch(Stage):
    __slots__ = ()
    word = "unbatch"
    emits = object

    def next(self, frame: Frame) -> None:
        self.taken += frame.events
        if frame.encoding != IDENTITY:
            self.count_drop("invalid", frame.events)
            why = f"a {frame.encoding} payload: decompress() must go before unbatch()"
            self.refuse(WireError(why))
            return
        permit = frame._permit
        if permit is NO_PERMIT:
            self._send_lines(frame)
            return
        with carrying(frame.permit):
            self._send_lines(frame)

    def _send_lines(self, frame: Frame) -> None:
        """Send each event: with number and permit to a stage of ours, bare to others."""
        to_stage = isinstance(self._down, Stage)
        for line, number in zip(frame.lines(), frame.line_numbers(), strict=False):
            if self.subscription.disposed:
                self.count_drop("cancelled", 1)
                continue
            try:
                event = decode(line)
            except StreamError as error:
                self.count_drop("invalid", 1)
                self.refuse(error)
                continue
            self.sent += 1
            if to_stage:
                self.emit(Frame(line, frame.permit, 1, number, number))
            else:
                self.emit(event)
