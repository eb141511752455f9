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

from collections import Counter, deque
from collections.abc import Callable
from threading import Lock, get_ident
from typing import Any, Final, cast, get_args

from reactivex.abc import SchedulerBase

from rx_agui.agui.encoding import encode, encode_many
from rx_agui.engine import (
    AnyStage,
    BatchSink,
    Errors,
    HeadSubscriber,
    QueuedSink,
    Stage,
    Subscription,
    lift,
    operator,
)
from rx_agui.errors import (
    BackpressureTimeoutError,
    BufferOverflowError,
    CircuitOpenError,
    OverloadedError,
    StreamError,
    require_one_of,
    require_positive,
    require_whole,
)
from rx_agui.flow import NO_PERMIT, Credit, Permit
from rx_agui.flow._credit import Waiter
from rx_agui.flow._downstream import (
    DownstreamWindow,
    is_handed_on_later,
    is_lost_if_raised,
    permit_here,
)
from rx_agui.flow._permit import SPENT_PERMIT
from rx_agui.frame import Frame, StreamChunk
from rx_agui.operators._conflate import MergingQueue
from rx_agui.probe import PayloadTrace
from rx_agui.types import Item, Operator, Overflow

__all__ = ["REASONS", "WindowedHead", "flow_control"]

#: What to do with an event for which there is neither credit nor a place to wait.
OVERFLOWS: Final = get_args(Overflow)

#: Why an event is dropped whose sender is told so.
REASONS: Final[dict[type, str]] = {
    BackpressureTimeoutError: "backpressure_timeout",
    CircuitOpenError: "circuit_open",
    OverloadedError: "overloaded",
}


@operator
def flow_control(
    max_concurrent_events: int = 100,
    *,
    buffer_size: int = 1000,
    timeout: float | None = 5.0,
    overflow: Overflow = "wait",
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
            nothing may wait refuse with Overflow once the queue is full. "error":
            never wait; refuse once the queue is full. "drop_oldest" and
            "drop_newest": never wait; drop from the full queue's head, or what
            comes. "latest": keep only the newest that waits. Dropping deltas makes
            text wrong without a trace: choose it for streams of snapshots. "conflate":
            never wait; what queues is merged, as `conflate()` does it, so that a slow
            reader gets fewer and larger events, and nothing is lost. Only when the queue
            is full of what cannot merge: as "wait".
        errors: Told of events that could not be encoded or let in; the stream goes
            on without them. Without it, a ValidationError or Overflow ends the
            stream behind what was let in, and BackpressureTimeoutError, CircuitOpenError and
            Overloaded are raised out of `on_next` at whoever sends, who may send again.
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
    return lift(
        _FlowControl,
        max_concurrent_events,
        buffer_size,
        timeout,
        overflow,
        errors,
        scheduler=scheduler,
    )


#: The queue of those who never needed one.
_NOTHING: Final[deque[Frame]] = deque(maxlen=0)


class _FlowControl(Stage):
    """Where the credit is: the stage passes on what the line's entrance let in."""

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
        overflow: str,
        errors: Errors,
    ) -> None:
        super().__init__(subscription, errors)
        subscription.head = WindowedHead(
            subscription, self, size, buffer_size, timeout, overflow
        )

    @property
    def credit(self) -> Credit:
        """The window of this subscription."""
        return cast(HeadSubscriber, self.subscription.head).credit

    def trace_step(self, send: PayloadTrace, now: int) -> None:
        begun, ended, wait = self.credit.take_waits()
        send.step(self.word, begun or now, ended or now, wait=wait)

    @property
    def waiting(self) -> int:
        window = cast(WindowedHead, self.subscription.head)
        with window._mutex:
            return sum([frame.events for frame in window._queue])

    @property
    def levels(self) -> dict[str, int]:
        window = cast(WindowedHead, self.subscription.head)
        return {
            "operator.buffer.usage": window.queued_bytes(),
            "flow_control.inflight": window.credit.in_flight,
            "flow_control.limit": window.credit.size or 0,
            "flow_control.queue.size": len(window._queue),
            "flow_control.queue.capacity": window._limit,
            "flow_control.wait.longest": window.credit.longest_wait,
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


class WindowedHead(HeadSubscriber):
    """The entrance of a line with flow_control: nobody gets in without a credit.

    It stands above the stages that are piped before flow_control, since whoever waits
    for credit must wait outside: the turn belongs to those who bring it home.
    """

    __slots__ = (
        "_asked",
        "_bell",
        "_conflates",
        "_encode",
        "_ending",
        "_errors",
        "_first",
        "_gather",
        "_gatherer",
        "_is_watched",
        "_judges",
        "_limit",
        "_lost",
        "_merged",
        "_mixed",
        "_mutex",
        "_origin",
        "_overflow",
        "_queue",
        "_sink",
        "_stage",
        "_waiter",
        "timeout",
        "waits",
    )

    def __init__(
        self,
        subscription: Subscription,
        stage: _FlowControl,
        size: int,
        buffer_size: int,
        timeout: float | None,
        overflow: str,
    ) -> None:
        super().__init__(subscription, stage, Credit(size))
        self.credit.on_failure = self._write_failed
        self.window = self._asked = DownstreamWindow(self.credit)
        self.timeout = timeout
        self.waits = overflow == "wait"
        self._stage = stage
        self._overflow = overflow
        self._limit = 1 if overflow == "latest" else buffer_size
        self._mutex = Lock()  # of the queue: senders fill it, the turn empties it
        self._conflates = overflow == "conflate"
        self._queue: deque[Frame] | MergingQueue = (
            MergingQueue() if self._conflates else _NOTHING
        )
        self._merged = 0  # into others that wait, and not yet counted in turn
        self._lost: Counter[str] | None = None  # dropped, and not yet counted in turn
        self._errors: Counter[str] | None = None
        #: Taken by who asks to be served, until they are: to ask once is enough.
        self._bell = [None]
        self._waiter: Waiter | None = None
        self._ending: tuple[Exception | None] | None = None

    # -- the ways in ---------------------------------------------------------------

    def on_next(self, item: Any) -> None:
        try:
            self._receive(item)
        finally:
            self._asked.note_arrival()  # its credit is taken: a source may ask again

    def _receive(self, item: Any) -> None:
        frame = self.top.enter(item)
        if frame is None or self.credit.closed:
            return
        if frame._permit is NO_PERMIT:
            frame.permit = permit_here()
        self.attach_trace(frame)
        try:
            if not self._takes(frame):
                return
        except (BackpressureTimeoutError, CircuitOpenError, OverloadedError) as error:
            self._lose(REASONS[type(error)], frame, error)
            if self._stage.tell is not None:
                self._stage.tell(error)
            elif is_lost_if_raised():
                self.subscription.execute(self._end_behind_queue, error)
            else:
                raise
        except BufferOverflowError as error:
            self._lose("refused", frame, error)
            if self._stage.tell is not None:
                self._stage.tell(error)
            else:
                self.subscription.execute(self._end_behind_queue, error)
        except Exception:
            if not self.credit.closed:
                raise  # else it came too late, and whoever ended the stream said why
        else:
            self.admit(frame)

    def _takes(self, frame: Frame) -> bool:
        """Whether there is a credit for it now, if need be by waiting for one."""
        if self.waits and not self._queue and not self._may_not_wait():
            if self.credit.acquire():
                return True
            if not is_handed_on_later():
                self.credit.wait(self.timeout, frame)
                return True
        try:
            return self._has_room_for(frame)
        except BufferOverflowError:
            if not self._conflates or self._may_not_wait():
                raise
            self.credit.wait(self.timeout, frame)
            return True

    def begin(self, top: Stage) -> None:
        super().begin(top)
        self._first: AnyStage | BatchSink
        self._first, self._gatherer = self.fuse()
        self._mixed = False  # frames are pending too, or were
        has_queue = hasattr(self._gatherer, "pending") and not self._conflates
        self._sink = cast(QueuedSink, self._gatherer) if has_queue else None
        # Called for every event, so by way of nothing where it is the codec's own.
        self._judges = type(top).encode is not Stage.encode
        self._encode: Callable[[Any], bytes] = top.encode if self._judges else encode
        watch = self.subscription.watch
        self._is_watched = watch is not None
        self._origin: Callable[[], Any] | None = None
        # Both are called for every event, so no more than what is needed is.
        if watch is not None:
            self.credit.on_wait = watch.waited
        if self._gatherer is not None:
            self._gather = self._gatherer.gather
            self.prepare = self._prepare_bytes
            if watch is not None and watch.origin is not None:
                self._origin = watch.origin
                self.prepare = self._prepare_linked
        elif watch is None:
            self.prepare = top.frame_of

    def reroute(self, batch_sink: BatchSink) -> None:
        """Let what comes go there, where stages are folded. In turn."""
        self.absorb()  # what came before goes the old way
        self._first = self._gatherer = batch_sink
        self._gather = batch_sink.gather

    def admit(self, prepared: Any) -> None:
        sink = self._sink
        if sink is not None:
            pending = sink.pending
            if type(prepared) is not bytes:
                self._mixed = True
                prepared.permit.hold()
                pending.append(prepared)
            else:
                pending.append(prepared)
                if (
                    len(pending) < sink.room
                    and self.credit.tokens
                    and len(prepared) < sink.small
                ):
                    return
            self.subscription.execute(self.absorb)
            return
        if self._conflates:
            self._admit_behind(prepared)
            return
        self.subscription.deliver(self._let_in, prepared)

    def admit_many(self, events: list[Any]) -> int:
        if self._gatherer is None or self._judges or self._conflates:
            return 0
        if self._origin is not None and self._origin() is not None:
            return 0
        lines, size = encode_many(events)
        n = len(lines)
        if not n:
            return 0
        if self._sink is None:
            self.subscription.deliver(self._let_in_many, (lines, size))
        elif self._sink.pending or not self.subscription.try_execute(
            self._let_in_many, (lines, size)
        ):
            self._sink.pending.extend(lines)
            self.subscription.execute(self.absorb)
        return n

    def absorb(self, _: object = None) -> None:
        sink = self._sink
        if sink is None:
            return
        pending = sink.pending
        popleft = pending.popleft
        while pending:
            if sink.is_over:
                self.discard_pending()
                return
            items = [popleft() for _ in range(len(pending))]
            if self._mixed:
                self._let_in_mixed(items)
            elif len(items) == 1:
                self._gather(items[0], self.credit)
            else:
                gather_many = cast(BatchSink, self._gatherer).gather_many
                gather_many(items, sum(map(len, items)), self.credit)
            if len(pending) < sink.room:
                return

    def _let_in_mixed(self, items: list[Any]) -> None:
        """Let in events of which some are frames."""
        for item in items:
            held = NO_PERMIT if type(item) is bytes else item.permit
            try:
                self._send_down(item)
            finally:
                held.release()

    def discard_pending(self) -> int:
        n = 0
        while self._sink is not None and self._sink.pending:
            item = self._sink.pending.popleft()
            n += 1
            if type(item) is not bytes:
                item.permit.release()
        self.credit.release(n)
        return n

    def _prepare_bytes(self, event: Any) -> Any:
        if type(event) is dict:
            return self._encode(event)
        if isinstance(event, Frame | StreamChunk):
            return self.top.frame_of(event)
        return self._encode(event)

    def _prepare_linked(self, event: Any) -> Any:
        """Do the same, and keep the producer's span beside the event."""
        origin = self._origin and self._origin()
        if origin is None:
            return (
                self._encode(event)
                if type(event) is dict
                else self._prepare_bytes(event)
            )
        frame = self.top.frame_of(event)
        frame.trace = origin
        return frame

    def offer(self, prepared: Any) -> bool:
        """Let a frame in, or keep it waiting, or drop one.

        Returns:
            False: there is no room, and the policy is to wait for a credit.

        Raises:
            Overflow: The queue is full and the policy is to refuse.
        """
        try:
            has_room = self._has_room_for(prepared)
        except BufferOverflowError:
            if self._conflates:
                return False
            raise
        if has_room:
            self.subscription.deliver(self._let_in, prepared)
        return True

    def _admit_behind(self, prepared: Any) -> None:
        """Let a frame in, for which a credit was taken, behind those that wait."""
        if not self._queue:
            self.subscription.deliver(self._let_in, prepared)
            return
        frame = Frame(prepared) if type(prepared) is bytes else prepared
        with self._mutex:
            self._merged += (
                cast(MergingQueue, self._queue).append(frame, room=True) or 0
            )
        self.credit.release(1)  # the first of those who wait goes with it
        self._wake()

    def _has_room_for(self, prepared: Any) -> bool:
        """Take a credit for it; or else keep it waiting, or drop one."""
        if not self._queue and self.credit.acquire():
            return True
        self._enqueue(Frame(prepared) if type(prepared) is bytes else prepared)
        return False

    def _may_not_wait(self) -> bool:
        thread = get_ident()
        return self.clock.must_not_wait() or self.credit.is_inside(thread)

    # -- the queue of those who may not wait -----------------------------------------

    @property
    def in_flight(self) -> int:
        """Events let in and not yet written."""
        return self.credit.in_flight

    @property
    def queued(self) -> float:
        """The share of the queue that is full."""
        return len(self._queue) / self._limit

    def _enqueue(self, frame: Frame) -> None:
        dropped: Frame | None = None
        with self._mutex:
            queue, is_full = self._queue, len(self._queue) >= self._limit
            if isinstance(queue, MergingQueue):
                merged = queue.append(frame, room=not is_full)
                if merged is None:
                    raise BufferOverflowError(self._limit)
                self._merged += merged
            else:
                if is_full:
                    if self._overflow in ("wait", "error"):
                        raise BufferOverflowError(self._limit)
                    drops_newest = self._overflow == "drop_newest"
                    dropped = frame if drops_newest else queue.popleft()
                if dropped is not frame:
                    self._keep(frame)
                    frame.permit.hold()  # of a window further up
        if dropped is frame:
            self._lose("overflow_newest", frame)
        elif dropped is not None:
            dropped.permit.release()
            self._lose("overflow_oldest", dropped)
        self._wake()

    def _keep(self, frame: Frame) -> None:
        """Let a frame wait in the queue, of which most have none. Under the mutex."""
        if self._queue is _NOTHING:
            self._queue = deque()
        cast("deque[Frame]", self._queue).append(frame)

    def _wake(self) -> None:
        try:  # a sink may be stuck, and its turn be long
            self._bell.pop()
        except IndexError:
            return
        self.subscription.on_own_loop(self._serve)

    def _serve(self, _: object) -> None:
        self._bell.append(None)  # first, so that whoever comes from now on asks again
        self._let_in_queue()

    def _let_in_queue(self) -> None:
        """Let in from the queue as many as there is credit for."""
        self.absorb()
        self._count_lost()
        while self._queue:
            # Who found the queue empty, and took a credit while we had the turn, came
            # before those who are in it now.
            if self.subscription.executor.inbox:
                self._wake()
                return
            if not self._has_credit():
                break
            with self._mutex:
                frame = self._queue.popleft()
            outer = frame.permit
            try:
                self._let_in(frame)
            finally:
                outer.release()
        if self._ending is not None and not self._queue:
            (error,), self._ending = self._ending, None
            self.top.on_end(error)

    def _has_credit(self) -> bool:
        if self._waiter is None:
            try:
                self._waiter = self.credit.acquire_or(self._wake, accepted=True)
            except Exception:  # disposed of; what came to the queue since goes as well
                self._lose_queue("cancelled")
                return False
            if self._waiter is None:
                return True
        if self._waiter.granted:
            self._waiter = None
            return True
        return False

    # -- in turn -----------------------------------------------------------------------

    def _let_in(self, frame: Any) -> None:
        """Send down what a credit was taken for, unless the end has gone down."""
        if self.top._ended:
            self.credit.release(1)
        else:
            self._send_down(frame)

    def _send_down(self, frame: Any) -> None:
        credit = self.credit
        if type(frame) is bytes:
            self._gather(frame, credit)
            return
        if self._is_watched:
            self.begin_trace(frame)
        outer = frame._permit
        if outer is NO_PERMIT:
            frame._permit = credit  # on loan: most frames are never held on their own
        else:
            frame._permit = Permit(credit, 1, (frame.permit.hold(),))
        try:
            self._first.next(frame)
        finally:
            permit = frame._permit
            if permit is credit:  # nothing held it: it was consumed
                frame._permit = SPENT_PERMIT
                credit.release(1)
            elif permit is not NO_PERMIT:
                frame.permit.release()

    def _let_in_many(self, encoded: tuple[list[bytes], int]) -> None:
        lines, size = encoded
        self.absorb()
        if self.top._ended or self._gatherer is None:
            self.credit.release(len(lines))
        else:
            self._gatherer.gather_many(lines, size, self.credit)

    def on_completed(self) -> None:
        self.subscription.execute(self._finish, None)

    def on_error(self, error: Exception) -> None:
        self.subscription.execute(self._finish, error)

    def _finish(self, error: Exception | None) -> None:
        if self._queue:
            self._ending = self._ending or (error,)  # they were accepted, and go first
            self._let_in_queue()
        elif self._ending is None:
            self.top.on_end(error)

    def _end_behind_queue(self, error: Exception) -> None:
        """End with `error`, behind what was accepted, wherever flow_control stands."""
        self.subscription.dispose_upstream()
        self._finish(error)

    def _write_failed(self, error: Exception) -> None:
        self.subscription.on_own_loop(self._stop, error)

    def _stop(self, error: Exception) -> None:
        self.credit.close(error)
        self._lose_queue("write_failed")
        self.subscription.dispose_upstream()
        self.top.on_end(error)

    # -- the end -----------------------------------------------------------------------

    def queued_bytes(self) -> int:
        """Bytes of what waits for credit."""
        with self._mutex:
            if isinstance(self._queue, MergingQueue):
                return self._queue.size
            return sum([len(frame.data) for frame in self._queue])

    def abandon(self) -> int:
        lost = self.credit.in_flight + len(self._queue)
        self.credit.give_up()
        self.subscription.dispose()
        return lost

    def close(self) -> None:
        super().close()
        self.subscription.execute(self._forget)

    def _forget(self, _: object) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            self.credit.leave(waiter)
        self._lose_queue("cancelled")

    def _lose_queue(self, reason: str) -> int:
        """Nobody will see what waits, nor the end that waits behind it. How many."""
        self._ending = None
        lost: list[Frame] = []
        with self._mutex:
            while self._queue:
                lost.append(self._queue.popleft())
        for frame in lost:
            frame.permit.release()
            self._lose(reason, frame)
        self._count_lost()
        return len(lost)

    def lose(self, error: StreamError) -> None:
        self._lose(REASONS.get(type(error), "invalid"), Frame(b""), error)

    def _lose(
        self, reason: str, frame: Frame, error: StreamError | None = None
    ) -> None:
        """Nobody will see the frame. On any thread; it is counted in turn."""
        with self._mutex:
            self._lost = self._lost or Counter()
            self._lost[reason] += frame.events
            if error is not None:
                self._errors = self._errors or Counter()
                self._errors[type(error).__qualname__] += 1
        self._wake()

    def _count_lost(self) -> None:
        if not (self._lost or self._errors or self._merged):
            return
        with self._mutex:
            lost, self._lost = self._lost, None
            errors, self._errors = self._errors, None
            merged, self._merged = self._merged, 0
        self._stage.taken += merged
        self._stage.merged += merged
        for kind, n in (errors or {}).items():
            self._stage.count("errors", n, kind)
        for reason, events in (lost or {}).items():
            self._stage.taken += events
            self._stage.count_drop(reason, events)
