"""No more events are under way than the reader can take.

    in    abcdef--|
          flow_control(max_concurrent_events=2)
    ack   ---!!!!!!             ! = the sink has written one
    out   ab-cdef|              c had to wait until a was written

An event is in flight from here until the sink has written the last byte that
carries it. At most `max_concurrent_events` are; the others wait where they come
from: an agent is not advanced, a thread blocks, a coroutine awaits. Only where
nothing may wait, on an event loop, do they queue here, and then `overflow` decides.
"""

from __future__ import annotations

from typing import Final, cast, get_args

from reactivex.abc import SchedulerBase

from rx_agui.engine import Errors, Stage, Subscription, lift, operator
from rx_agui.errors import ConfigError, require_one_of, require_positive, require_whole
from rx_agui.flow import Credit
from rx_agui.frame import Frame
from rx_agui.operators._sender_buffer import BufferedHead
from rx_agui.operators._window import WindowedHead
from rx_agui.probe import PayloadTrace
from rx_agui.types import Item, Operator, Overflow

__all__ = ["flow_control"]

#: What to do with an event for which there is neither credit nor a place to wait.
OVERFLOWS: Final = get_args(Overflow)


@operator
def flow_control(
    max_concurrent_events: int = 100,
    *,
    buffer_size: int = 1000,
    timeout: float | None = 5.0,
    overflow: Overflow = "wait",
    sender_buffer: int = 0,
    sender_bytes: int = 4 * 1024 * 1024,
    errors: Errors = None,
    scheduler: SchedulerBase | None = None,
) -> Operator[Item, Frame]:
    """Let in as many events as the reader has written, and no more.

    >>> from rx_agui import from_iterable, unbatch
    >>> events = [{"type": "STEP_STARTED", "stepName": name} for name in "ab"]
    >>> _ = from_iterable(events).pipe(flow_control(1), unbatch()).subscribe(print)
    {'type': 'STEP_STARTED', 'stepName': 'a'}
    {'type': 'STEP_STARTED', 'stepName': 'b'}

    Sources of ours (`Gate`, `from_iterable`, `from_async_iterable`) take their credit
    from here and go no further. Any other Observable waits in its own thread; on an
    event loop, on a scheduler's only thread, in virtual time and inside the stream's
    own `on_next`, where waiting would stop what is waited for, its events queue.

    Args:
        max_concurrent_events: Events in flight at most. A reader that is far away
            needs more: about its round trip times the rate.
        buffer_size: Events that may queue where nothing may wait.
        timeout: Seconds a thread waits for credit; None: as long as it takes.
        overflow: What happens without credit. "wait": wait as said, and where
            nothing may wait refuse with BufferOverflowError once the queue is full. "error":
            never wait; refuse once the queue is full. "drop_oldest" and
            "drop_newest": never wait; drop from the full queue's head, or what
            comes. "latest": keep only the newest that waits. Dropping deltas makes
            text wrong without a trace: choose it for streams of snapshots. "conflate":
            never wait; what queues is merged, as `conflate()` does it, so that a slow
            reader gets fewer and larger events, and nothing is lost. Only when the queue
            is full of what cannot merge: as "wait".
        sender_buffer: Events that may wait in front of those in flight before a sender
            waits: a burst is swallowed, a flood waits. 0: none, so that an agent goes no
            further than its reader. Only with overflow="wait"; it takes the place of
            `buffer_size`.
        sender_bytes: Bytes that may wait there. A large event takes the room of several
            small ones; one that is larger than all may pass alone.
        errors: Told of events that could not be encoded or let in; the stream goes
            on without them. Without it, a ValidationError or BufferOverflowError ends the
            stream behind what was let in, and BackpressureTimeoutError, CircuitOpenError and
            OverloadedError are raised out of `on_next` at the sender, which may send again.
        scheduler: Whose time to use. The default is the subscription's.

    Raises:
        ConfigError: A setting makes no sense.
    """
    counts = {
        "max_concurrent_events": max_concurrent_events,
        "buffer_size": buffer_size,
    }
    require_positive(**counts)
    require_whole(**counts)
    if timeout is not None:
        require_positive(timeout=timeout)
    require_one_of(OVERFLOWS, overflow=overflow)
    if sender_buffer:
        require_positive(sender_buffer=sender_buffer, sender_bytes=sender_bytes)
        require_whole(sender_buffer=sender_buffer, sender_bytes=sender_bytes)
        if overflow != "wait":
            must = "'wait' where there is a sender_buffer: its senders wait"
            raise ConfigError("overflow", overflow, must)
    return lift(
        _FlowControl,
        max_concurrent_events,
        buffer_size,
        timeout,
        overflow,
        sender_buffer,
        sender_bytes,
        errors,
        scheduler=scheduler,
    )


class _FlowControl(Stage):
    """Passes on what the head let in, and counts it."""

    __slots__ = ()
    word = "flow_control"
    is_transparent = True
    provides_head = True

    def __init__(
        self,
        subscription: Subscription,
        size: int,
        buffer_size: int,
        timeout: float | None,
        overflow: Overflow,
        sender_buffer: int,
        sender_bytes: int,
        errors: Errors,
    ) -> None:
        super().__init__(subscription, errors)
        subscription.head = (
            BufferedHead(subscription, self, size, sender_buffer, sender_bytes, timeout)
            if sender_buffer
            else WindowedHead(
                subscription, self, Credit(size), buffer_size, timeout, overflow
            )
        )

    @property
    def _head(self) -> WindowedHead:
        return cast(WindowedHead, self.subscription.head)

    @property
    def credit(self) -> Credit:
        """The window of this subscription."""
        return self._head.credit

    def trace_step(self, send: PayloadTrace, now: int) -> None:
        begun, ended, wait = self.credit.take_waits()
        send.step(self.word, begun or now, ended or now, wait=wait)

    @property
    def waiting(self) -> int:
        return self._head.queue.events

    @property
    def levels(self) -> dict[str, int]:
        head = self._head
        return {
            "operator.buffer.usage": head.queue.bytes,
            "flow_control.inflight": head.flights.in_flight,
            "flow_control.limit": head.flights.size or 0,
            "flow_control.queue.size": len(head.queue.frames),
            "flow_control.queue.capacity": head.queue.limit,
            "flow_control.wait.longest": head.credit.longest_wait,
        }

    @property
    def more(self) -> dict[tuple[str, str], int]:
        credit = self.credit
        waits = {
            ("flow_control.backpressure.activations", ""): credit.waits,
            ("flow_control.wait.time", ""): credit.waited,
        }
        return {**super().more, **{k: n for k, n in waits.items() if n}}

    def next(self, frame: Frame) -> None:
        self.passed += frame.events
        self.emit(frame)

    def finish(self, error: Exception | None) -> None:
        self.credit.close(error)
        self.end(error)
