"""Leave a failing sink alone for a while, then test it with a few calls.

               failures, or slowness, reach their share
    ┌────────┐ ─────────────────────────────────────────▶ ┌────────┐
    │ closed │                                            │  open  │
    └────────┘ ◀──────┐              ┌──────────────────▶ └────────┘
                 well │              │ badly                   │ the wait is over
                      └─ ┌───────────┐ ◀───────────────────────┘
                         │ half_open │  a few calls are let through
                         └───────────┘

A call is one payload: handed on to the sink, and over when its permit comes home,
released (it went well) or released with an error (it failed). The error goes no
further up, so the stream survives the write that failed. What happens to what:

    a payload whose write failed            lost, told as LostError: never sent twice
    one that failed with NotSentError       tried again, in its place, up to `attempts`
    admitted earlier, while it is open      waits here, within the credit it holds
    sent meanwhile                          refused (CircuitOpenError), or waits for credit
    the same, with a fallback               goes to the fallback
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from time import time_ns
from typing import Any, Final, cast, get_args

from reactivex.abc import ObserverBase, SchedulerBase

from rx_agui.backoff import Backoff, as_backoff
from rx_agui.clock import Timer
from rx_agui.engine import Errors, Stage, Subscription, lift, operator
from rx_agui.errors import (
    CircuitOpenError,
    ConfigError,
    IncompleteError,
    LostError,
    NotSentError,
    ProcessingError,
    StreamError,
    as_exception,
    require_one_of,
    require_positive,
    require_whole,
    stops_process,
)
from rx_agui.flow import AckPermit, AdmissionBlock, Credit, Permit
from rx_agui.frame import Frame, StreamChunk
from rx_agui.operators._chunk import Carried
from rx_agui.operators._circuit import CLOSED, OPEN, STATES, Circuit, Rules
from rx_agui.probe import PayloadTrace
from rx_agui.types import Item, Operator, SlidingWindow, WhenOpen

__all__ = ["circuit_breaker"]

_log = logging.getLogger("rx_agui")

#: A sink that restarts is back within a second or so; one that is gone for longer is
#: asked once a minute.
WAIT_IN_OPEN: Final = Backoff(1.0, most=60.0)
BETWEEN_ATTEMPTS: Final = Backoff(0.1, most=5.0)

#: Errors which say that nothing of a payload has gone out.
_NOT_SENT: Final = (NotSentError, ConnectionRefusedError)

Fallback = ObserverBase[Any] | Callable[[Any], object] | None


@operator
def circuit_breaker(
    *,
    failure_rate_threshold: float = 0.5,
    slow_call_rate_threshold: float = 1.0,
    slow_call_duration: float = 60.0,
    sliding_window: SlidingWindow = "count",
    sliding_window_size: int = 20,
    minimum_number_of_calls: int = 5,
    wait_in_open: float | Backoff = WAIT_IN_OPEN,
    permitted_calls_in_half_open: int = 3,
    when_open: WhenOpen = "refuse",
    fallback: Fallback = None,
    attempts: int = 3,
    backoff: float | Backoff = BETWEEN_ATTEMPTS,
    ignore: tuple[type[Exception], ...] = (),
    buffer_size: int = 1000,
    name: str = "sink",
    errors: Errors = None,
    scheduler: SchedulerBase | None = None,
) -> Operator[Item | StreamChunk, Frame | StreamChunk]:
    """Stand last, before the sink, and keep the stream alive while the sink fails.

    >>> from rx_agui import Gate, SSEWriter, flow_control
    >>> def write(data):
    ...     raise OSError("the reader has left")
    >>> gate = Gate()
    >>> _ = gate.pipe(
    ...     flow_control(), circuit_breaker(minimum_number_of_calls=2, errors=print)
    ... ).subscribe(SSEWriter(write))
    >>> gate.send({"type": "RAW", "event": 1})
    1 event was lost: OSError('the reader has left')
    >>> gate.send({"type": "RAW", "event": 2})
    1 event was lost: OSError('the reader has left')
    >>> gate.send({"type": "RAW", "event": 3})
    Traceback (most recent call last):
    ...
    rx_agui.errors.CircuitOpenError: sink keeps failing: try again in ... s
    >>> gate.close()

    The sink is one that holds permits, as SSEWriter does. One that raises out of
    `on_next` is broken, and ends the stream as everywhere. The end of the stream is
    passed on when every payload has been delivered or given up, so a sink that is
    gone for good is left by `dispose`, or by the deadline of a Gate's `close`.

    Args:
        failure_rate_threshold: The share of failed calls that opens the breaker.
        slow_call_rate_threshold: The share of slow calls that opens it.
        slow_call_duration: Seconds from which a call is slow.
        sliding_window: What the shares are of: the last so many calls ("count"), or
            the calls of the last so many seconds ("time").
        sliding_window_size: How many. 20 payloads are a second of typed text.
        minimum_number_of_calls: Calls before which there are no shares yet. Each may
            cost a payload: with 5 a sink that dies takes a quarter of a second of text.
        wait_in_open: Seconds to leave the sink alone; a Backoff waits longer each time
            in a row, a number always the same.
        permitted_calls_in_half_open: Calls by which the sink shows that it is well.
        when_open: What producers see: "refuse": `Gate.send` raises CircuitOpenError; or "wait", until there is credit. Sources that are pulled always wait.
        fallback: What gets the payloads instead, while open: an observer's `on_next`,
            or a function. Then no sender waits and none is refused.
        attempts: How often a payload is tried that the sink says was not sent: by
            NotSentError or ConnectionRefusedError. After any other error it is unknown
            whether the reader has the bytes, and an event that comes twice is text that is
            wrong; so there is no second attempt.
        backoff: Seconds between such attempts. What comes behind waits as well.
        ignore: Errors that count neither way: the payload's fault, not the sink's.
        buffer_size: Payloads that may wait here. Credit bounds them before that, where
            there is a `flow_control`; where not, the newest is dropped.
        name: What telemetry and CircuitOpenError call it.
        errors: Told of each `LostError` payload, of CircuitOpenError for one that found no place
            here, of ProcessingError if the fallback raises. Without it the log is told,
            and the stream goes on: not as with other operators, since to survive these
            is what this one is for.
        scheduler: Whose time to use. The default is the subscription's.

    Raises:
        ConfigError: A setting makes no sense.

    The rules and their names are resilience4j's; smaller numbers, since a stream has
    fewer payloads than a service has requests. Chosen over a token bucket, which would
    go on asking: a broken sink needs silence.
    """
    counts = {
        "sliding_window_size": sliding_window_size,
        "minimum_number_of_calls": minimum_number_of_calls,
        "permitted_calls_in_half_open": permitted_calls_in_half_open,
        "attempts": attempts,
        "buffer_size": buffer_size,
    }
    shares = {
        "failure_rate_threshold": failure_rate_threshold,
        "slow_call_rate_threshold": slow_call_rate_threshold,
    }
    require_positive(**counts, **shares, slow_call_duration=slow_call_duration)
    require_whole(**counts)
    for setting, share in shares.items():
        if share > 1:
            raise ConfigError(setting, share, must="a share, from 0 to 1")
    require_one_of(get_args(SlidingWindow), sliding_window=sliding_window)
    require_one_of(get_args(WhenOpen), when_open=when_open)
    rules = Rules(
        failure_rate_threshold,
        slow_call_rate_threshold,
        slow_call_duration,
        sliding_window,
        sliding_window_size,
        # More than the window holds would never be reached: resilience4j does so too.
        min(minimum_number_of_calls, sliding_window_size)
        if sliding_window == "count"
        else minimum_number_of_calls,
        as_backoff("wait_in_open", wait_in_open),
        permitted_calls_in_half_open,
    )
    return lift(
        _CircuitBreaker,
        rules,
        when_open == "refuse",
        fallback.on_next if isinstance(fallback, ObserverBase) else fallback,
        attempts,
        as_backoff("backoff", backoff),
        ignore,
        buffer_size,
        name,
        errors,
        scheduler=scheduler,
    )


class _Call:
    """One call: a payload, in its pieces, on its way to the sink."""

    __slots__ = ("begun", "came", "era", "items", "order", "permit", "tries")

    def __init__(self, items: list[Frame], permit: Permit, order: int) -> None:
        self.items = items
        self.permit = permit
        self.order = order
        self.tries = 0
        self.era = 0
        self.begun = 0.0
        self.came = time_ns()

    @property
    def events(self) -> int:
        return self.items[-1].events

    @property
    def numbers(self) -> tuple[int, int]:
        """The first and last number it covers; zeros if it has none."""
        last = self.items[-1]
        if not isinstance(last, Carried):
            return last.first, last.last
        piece = last.piece
        return (piece.sequence_num, int(piece.event_id)) if piece.event_id else (0, 0)

    @property
    def send(self) -> PayloadTrace | None:
        """The payload's trace, if the stream is observed."""
        last = self.items[-1]
        trace = last.piece.trace if isinstance(last, Carried) else last.trace
        return trace if isinstance(trace, PayloadTrace) else None

    @property
    def size(self) -> int:
        return sum([len(item.data) for item in self.items])

    def done(self, error: Exception) -> None:
        """Complete its trace with the error."""
        send = self.send
        if send is not None:
            send.done(error)


class _CircuitBreaker(Stage):
    __slots__ = (
        "_attempts",
        "_backoff",
        "_bar",
        "_barred",
        "_buffer_size",
        "_circuit",
        "_credits",
        "_delivered",
        "_ending",
        "_fallback",
        "_ignore",
        "_is_cut",
        "_name",
        "_order",
        "_pieces",
        "_queue",
        "_resting",
        "_returned",
        "_timer",
        "_under_way",
    )
    word = "circuit_breaker"
    emits = object  # as it came: frames, or the pieces of one

    def __init__(
        self,
        subscription: Subscription,
        rules: Rules,
        refuses: bool,
        fallback: Callable[[Any], object] | None,
        attempts: int,
        backoff: Backoff,
        ignore: tuple[type[Exception], ...],
        buffer_size: int,
        name: str,
        errors: Errors,
    ) -> None:
        super().__init__(subscription, errors)
        self._circuit = Circuit(rules, self._changed)
        self._bar = (
            AdmissionBlock(self._refusal) if refuses and fallback is None else None
        )
        self._fallback = fallback
        self._attempts = attempts
        self._backoff = backoff
        self._ignore = ignore
        self._buffer_size = buffer_size
        self._name = name
        self._pieces: list[Frame] = []  # of a payload whose last has not come
        self._queue: deque[_Call] = deque()
        self._under_way: dict[int, _Call] = {}
        self._returned: list[_Call] = []  # to go again, once nothing is under way
        self._resting = False  # between two attempts
        self._order = 0
        self._delivered = 0  # the last in order that arrived, or may have
        self._credits: dict[Credit, None] = {}  # windows that payloads came from
        self._barred: list[Credit] = []
        self._timer: Timer | None = None
        self._ending: tuple[Exception | None] | None = None
        self._is_cut = False

    # -- what comes -----------------------------------------------------------------

    def frame_of(self, item: Any) -> Any:
        return Carried(item) if type(item) is StreamChunk else super().frame_of(item)

    def next(self, frame: Frame) -> None:
        items = [frame]
        if isinstance(frame, Carried) and not frame.piece.is_whole:
            self._pieces.append(frame)
            if frame.piece.chunk_index < frame.piece.total_chunks - 1:
                return
            # The others were stored on purpose, and gave their credit back: behind a
            # window that is smaller than the payload the last would never come.
            items, self._pieces = self._pieces, []
        frame.permit.hold()
        self._order += 1
        call = _Call(items, frame.permit, self._order)
        self.taken += call.events
        credit = call.permit.credit
        if credit is not None:
            self._credits[credit] = None
        self._queue.append(call)
        self._go_on()

    def _go_on(self) -> None:
        """Send, divert or drop queued payloads; end the stream when none is left."""
        circuit = self._circuit
        while self._queue and not self._must_wait:
            if circuit.lets_through:
                self._hand_on(self._queue.popleft())
            elif self._fallback is not None:
                self._divert(self._queue.popleft())
            else:
                break
        while len(self._queue) > self._buffer_size:
            self._turn_away(self._queue.pop())
        if self._ending is not None and not self.held:
            (error,), self._ending = self._ending, None
            self._stop()
            self.end(error)

    @property
    def _must_wait(self) -> bool:
        """True if the next payload could overtake one that is to be retried."""
        if self._returned or self._resting:
            return True
        return any(call.tries > 1 for call in self._under_way.values())

    def _hand_on(self, call: _Call) -> None:
        call.tries += 1
        call.begun = self.subscription.clock.now()
        call.era = self._circuit.begins()
        self._under_way[call.order] = call
        send = call.send
        if call.tries == 1 and send is not None:
            send.step(self.word, call.came, time_ns(), state=self._circuit.state)
        receipt = AckPermit(call.permit, partial(self._released, call), answers=True)
        try:
            for item in call.items:
                if receipt.has_failed:  # the rest would bring its number to the reader
                    break
                self.emit(_with_permit(item, receipt))
        finally:
            receipt.release()

    # -- what came of it ---------------------------------------------------------------

    def _released(self, call: _Call, error: Exception | None) -> None:
        """Handle the release of a call's permit. Called on any thread."""
        self.subscription.on_own_loop(self._settle, (call, error))

    def _settle(self, what: tuple[_Call, Exception | None]) -> None:
        call, error = what
        if self._is_cut or self._under_way.pop(call.order, None) is None:
            return
        now = self.subscription.clock.now()
        came_back = isinstance(error, NotSentError) and not error.tried
        if came_back or isinstance(error, self._ignore):
            self._circuit.ignore(call.era)
            call.tries -= came_back
        else:
            failed = error is not None
            self._circuit.ended(call.era, now, failed, now - call.begun)
        if error is None:
            self._delivered = max(self._delivered, call.order)
            self.sent += call.events
            call.permit.release()
        elif isinstance(error, _NOT_SENT) and (
            call.tries < self._attempts or self._fallback is not None
        ):
            self._returned.append(call)
        else:
            self._delivered = max(self._delivered, call.order)  # it may have arrived
            self._give_up(call, error)
        if self._returned and not self._under_way:
            self._take_back()
        self._go_on()

    def _take_back(self) -> None:
        """Queue payloads that were not sent again, before later ones."""
        returned, self._returned = sorted(self._returned, key=_order), []
        for call in reversed(returned):
            if call.order < self._delivered:
                # Its place has gone: a reader would apply it in the wrong order.
                self._give_up(call, NotSentError("it was overtaken"))
            elif call.tries < self._attempts:
                self._queue.appendleft(call)
            else:
                self._divert(call)
        tries = max([call.tries for call in returned])
        if self._queue and tries and self._circuit.state != OPEN:
            self._resting = True
            self.after(self._backoff.delay(tries), self._rested)

    def _rested(self, _: object) -> None:
        self._resting = False
        if not self._is_cut:
            self._go_on()

    def _give_up(self, call: _Call, cause: Exception) -> None:
        self.count_drop("write_failed", call.events)
        call.done(cause)
        call.permit.release()
        self._complain(LostError(call.events, *call.numbers, cause))

    def _turn_away(self, call: _Call) -> None:
        """Drop a payload for which the queue has no room."""
        self.count_drop("circuit_open", call.events)
        error = self._refusal()
        call.done(error)
        call.permit.release()
        self._complain(error)

    def _divert(self, call: _Call) -> None:
        """Hand a payload to the fallback instead of the sink."""
        fallback = self._fallback
        assert fallback is not None
        try:
            for item in call.items:
                fallback(_with_permit(item, call.permit))
        except BaseException as error:
            self.count_drop("write_failed", call.events)
            call.done(as_exception(error, "the fallback"))
            self._complain(ProcessingError("the fallback", call.items[-1], error))
            if stops_process(error):
                raise
        else:
            self.count("circuit_breaker.fallback", call.events)
            self.sent += call.events
        finally:
            call.permit.release()

    def _complain(self, error: StreamError) -> None:
        self.count("errors", 1, type(error).__qualname__)
        if self.tell is not None:
            self.tell(error)
        else:
            _log.warning("%s: %s", self._name, error)

    # -- the circuit ---------------------------------------------------------------------

    def _changed(self, before: str, after: str) -> None:
        level = logging.INFO if after == CLOSED else logging.WARNING
        _log.log(level, "circuit breaker %s: %s, was %s", self._name, after, before)
        if self.subscription.watch is not None:
            self.subscription.watch.transitioned(self._name, before, after)
        if after == OPEN:
            wait = self._circuit.retry_in(self.subscription.clock.now())
            self._timer = self.after(wait, self._waited)
            self._keep_out()
        else:
            self._let_in()

    def _waited(self, _: object) -> None:
        self._timer = None
        if not self._is_cut:
            self._circuit.waited()
            self._go_on()

    def _refusal(self) -> CircuitOpenError:
        return CircuitOpenError(
            self._circuit.retry_in(self.subscription.clock.now()), self._name
        )

    def _keep_out(self) -> None:
        """Block admission: refuse all senders from now on."""
        if self._bar is not None:
            for credit in self._credits:
                credit.block(self._bar)
                self._barred.append(credit)

    def _let_in(self) -> None:
        barred, self._barred = self._barred, []
        for credit in barred:
            if self._bar is not None:
                credit.unblock(self._bar)

    # -- what it tells -------------------------------------------------------------------

    @property
    def states(self) -> dict[tuple[str, str], int]:
        now = self._circuit.state
        return {(self._name, state): int(state == now) for state in STATES}

    @property
    def levels(self) -> dict[str, int]:
        waiting = [call.size for call in tuple(self._queue)]
        return {"operator.buffer.usage": sum(waiting)}

    # -- the end -------------------------------------------------------------------------

    def finish(self, error: Exception | None) -> None:
        if self._pieces:
            piece, received = cast(Carried, self._pieces[0]).piece, len(self._pieces)
            self._pieces = []
            self._complain(
                IncompleteError(piece.sequence_num, received, piece.total_chunks)
            )
        self._ending = (error,)
        self._go_on()

    def drop(self) -> None:
        self._is_cut = True
        self._ending = None
        self._stop()
        for call in self._under_way.values():
            self.sent += call.events  # it is the sink's now
            call.permit.release()
        for call in (*self._queue, *self._returned):
            self.count_drop("cancelled", call.events)
            call.permit.release()
        self._pieces, self._returned = [], []
        self._under_way.clear()
        self._queue.clear()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._let_in()
        self._credits.clear()


def _order(call: _Call) -> int:
    return call.order


def _with_permit(item: Frame, permit: Permit) -> Frame | StreamChunk:
    """Return a copy for this attempt: the receiver may change it, and a retry may follow."""
    if isinstance(item, Carried):
        return replace(item.piece, permit=permit)
    return item.copy(permit=permit)
