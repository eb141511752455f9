"""The head of a subscription with flow_control: no event comes in without a credit.

    a source of ours ── admit_now, or prepare, a credit, admit ─▶ ┐
    an Observable of others ── on_next: a credit, or the queue ─▶ ┴ sink, or first stage

It stands above the stages that are piped before flow_control, since a sender that waits
for credit must wait outside: the executor belongs to those who bring credit home.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from math import inf
from threading import get_ident
from typing import Any, cast

import orjson

from rx_agui.agui.encoding import CR, LF, OPTIONS, encode, encode_many, nested
from rx_agui.engine import (
    AnyStage,
    BatchSink,
    HeadSubscriber,
    QueuedSink,
    Stage,
    Subscription,
)
from rx_agui.errors import (
    BackpressureTimeoutError,
    BufferOverflowError,
    CircuitOpenError,
    OverloadedError,
    StreamError,
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
from rx_agui.operators._overflow import QUEUES, REASONS, events_of

__all__ = ["WindowedHead"]

#: The fast way in where there is none: each event goes step by step.
Quick = Callable[[Any], bool]


class WindowedHead(HeadSubscriber):
    """The head of a subscription with flow_control.

    Attributes:
        flights: The credit of events under way; with a sender's buffer, `credit` also
            counts the events that wait in it.
        queue: Events that wait for a flight where nothing may wait.
    """

    __slots__ = (
        "_asked",
        "_bell",
        "_encode",
        "_ending",
        "_first",
        "_gather",
        "_gatherer",
        "_is_watched",
        "_judges",
        "_mixed",
        "_origin",
        "_sink",
        "_stage",
        "_waiter",
        "flights",
        "queue",
        "timeout",
        "waits",
    )

    def __init__(
        self,
        subscription: Subscription,
        stage: Stage,
        credit: Credit,
        buffer_size: int,
        timeout: float | None,
        overflow: str,
    ) -> None:
        super().__init__(subscription, stage, credit)
        credit.on_failure = self._write_failed
        self.flights = credit
        self.window = self._asked = DownstreamWindow(credit)
        self.timeout = timeout
        self.waits = overflow == "wait"
        self.queue = QUEUES[overflow](buffer_size)
        self._stage = stage
        #: Taken by the caller that asks to be served, until it is: to ask once is enough.
        self._bell = [None]
        self._waiter: Waiter | None = None
        self._ending: tuple[Exception | None] | None = None

    def begin(self, top: Stage) -> None:
        super().begin(top)
        self._first: AnyStage | BatchSink
        self._first, self._gatherer = self.fuse()
        self._mixed = False  # frames are pending too, or were
        has_queue = hasattr(self._gatherer, "pending") and not self.queue.merges
        self._sink = cast(QueuedSink, self._gatherer) if has_queue else None
        # Called for every event, so by way of nothing where it is the codec's own.
        self._judges = type(top).encode is not Stage.encode
        self._encode: Callable[[Any], bytes] = top.encode if self._judges else encode
        watch = self.subscription.watch
        self._is_watched = watch is not None
        self._origin: Callable[[], Any] | None = None
        if watch is not None:
            self.credit.on_wait = watch.waited
        if self._gatherer is not None:
            self._gather = self._gatherer.gather
            self.prepare = self._prepare_bytes
            if watch is not None and watch.origin is not None:
                self._origin = watch.origin
                self.prepare = self._prepare_linked
            elif self._sink is not None and not self._judges:
                self.admit_now = self._first_now
        elif watch is None:
            self.prepare = top.frame_of

    # -- the fast way in -----------------------------------------------------------

    def _first_now(self, event: Any) -> bool:
        """Make the fast way in when it is first taken: a stream that waits holds none."""
        quick = self.admit_now = self._quick(cast(QueuedSink, self._sink))
        return quick(event)

    def _quick(self, sink: QueuedSink, largest: float = inf) -> Quick:
        """Return a function that encodes an event and lets it in if nothing is in its way.

        It is called for every event: so a closure, with nothing to look up.

        Args:
            largest: Bytes of an event at which it is let in step by step.
        """
        dumps, queue, execute = orjson.dumps, self.queue, self.subscription.execute
        append, pending = sink.pending.append, sink.pending
        take, free = self.credit.tokens.pop, self.flights.tokens
        fly = None if self.flights is self.credit else self.flights.tokens.pop
        wait = queue.frames.append  # where there is a sender's buffer

        def quick(event: Any) -> bool:
            kind = type(event)
            if kind is dict:
                try:
                    line = dumps(event, nested, OPTIONS)
                except TypeError:
                    return False
                if LF in line or CR in line:
                    return False
                line = b"%b" % line  # without the rest of orjson's buffer of 1 KB
            elif kind is Frame or kind is StreamChunk:
                return False
            else:
                line = encode(event)
            size = len(line)
            if fly is None:
                if queue.frames:
                    return False
                try:
                    take()
                except IndexError:
                    return False
            else:
                if size >= largest:
                    return False
                try:
                    take()
                except IndexError:
                    return False
                try:
                    if queue.frames:
                        raise IndexError
                    fly()
                except IndexError:
                    wait(line)
                    waiter = self._waiter  # looked at behind `wait`: a grant serves it
                    if waiter is None or waiter.granted:
                        self._wake()
                    return True
            append(line)
            if len(pending) >= sink.room or not free or size >= sink.small:
                execute(self.absorb)
            return True

        return quick

    # -- the ways in ---------------------------------------------------------------

    def on_next(self, item: Any) -> None:
        asked = self._asked
        try:
            if permit_here() is not NO_PERMIT or not self._let_in_now(item):
                self._receive(item)
        finally:  # its credit is taken: a source may ask again
            asked.arrived += 1
            if asked.wakes:
                asked.wake_all()

    def _let_in_now(self, item: Any) -> bool:
        try:
            return self.admit_now(item)
        except StreamError:
            return False  # `enter` refuses it

    def _receive(self, item: Any) -> None:
        frame = self._enter(item)
        if frame is None or self.credit.closed:
            return
        events = events_of(frame)
        try:
            if not self._takes(frame):
                return
        except (BackpressureTimeoutError, CircuitOpenError, OverloadedError) as error:
            self._lose(REASONS[type(error)], events, error)
            if self._stage.tell is not None:
                self._stage.tell(error)
            elif is_lost_if_raised():
                self.subscription.execute(self._end_behind_queue, error)
            else:
                raise
        except BufferOverflowError as error:
            self._lose("refused", events, error)
            if self._stage.tell is not None:
                self._stage.tell(error)
            else:
                self.subscription.execute(self._end_behind_queue, error)
        except Exception:
            if not self.credit.closed:
                raise  # else it came too late, and the error that ended the stream was told
        else:
            self.admit(frame)

    def _enter(self, item: Any) -> Any:
        """Prepare an item: an event alone stays bytes where a batch gathers bytes."""
        if self._sink is not None and permit_here() is NO_PERMIT and _is_event(item):
            try:
                frame = self.prepare(item)
            except StreamError:
                return self.top.enter(item)  # which refuses it
            if type(frame) is bytes:
                return frame
        else:
            frame = self.top.enter(item)
            if frame is None:
                return None
        if frame._permit is NO_PERMIT:
            frame.permit = permit_here()
        self.attach_trace(frame)
        return frame

    def _takes(self, frame: Frame | bytes) -> bool:
        """Return True once a credit is taken, if need be by waiting; False if it is queued."""
        if self.waits and not self.queue.frames and not self._may_not_wait():
            if self.credit.acquire():
                return True
            if not is_handed_on_later():
                self.credit.wait(self.timeout, frame)
                return True
        try:
            return self._has_room_for(frame)
        except BufferOverflowError:
            if not self.queue.merges or self._may_not_wait():
                raise
            self.credit.wait(self.timeout, frame)
            return True

    def reroute(self, batch_sink: BatchSink) -> None:
        """Let events go to `batch_sink` from now on. On the executor."""
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
        if self.queue.merges:
            self._admit_behind(prepared)
            return
        self.subscription.deliver(self._let_in, prepared)

    def admit_many(self, events: list[Any]) -> int:
        if self._gatherer is None or self._judges or self.queue.merges:
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
        while pending:
            if sink.is_over:
                self._drop_several(self._pop_pending())
                return
            items = self._pop_pending()
            if self._mixed:
                self._let_in_several(items)
            elif len(items) == 1:
                self._gather(items[0], self.credit)
            else:
                gather_many = cast(BatchSink, self._gatherer).gather_many
                gather_many(items, sum(map(len, items)), self.credit)
            if len(pending) < sink.room:
                return

    def discard_pending(self) -> int:
        items = self._pop_pending()
        for item in items:
            if type(item) is not bytes:
                item.permit.release()
        self.credit.release(len(items))
        return sum(map(events_of, items))

    def _pop_pending(self) -> list[Any]:
        if self._sink is None:
            return []
        pending = self._sink.pending
        items = pending[:]
        del pending[: len(items)]  # others may append meanwhile
        return items

    def _prepare_bytes(self, event: Any) -> Any:
        if type(event) is dict:
            return self._encode(event)
        if isinstance(event, Frame | StreamChunk):
            return self.top.frame_of(event)
        return self._encode(event)

    def _prepare_linked(self, event: Any) -> Any:
        """As `_prepare_bytes`, but an event that comes from a span keeps that beside it."""
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
            BufferOverflowError: The queue is full and the policy is to refuse.
        """
        try:
            has_room = self._has_room_for(prepared)
        except BufferOverflowError:
            if self.queue.merges:
                return False
            raise
        if has_room:
            self.subscription.deliver(self._let_in, prepared)
        return True

    def _admit_behind(self, prepared: Any) -> None:
        """Let a frame in, for which a credit was taken, behind those that wait."""
        if not self.queue.frames:
            self.subscription.deliver(self._let_in, prepared)
            return
        frame = Frame(prepared) if type(prepared) is bytes else prepared
        with self.queue.mutex:
            self.queue.append(frame)
        self.credit.release(1)  # the first of those who wait goes with it
        self._wake()

    def _has_room_for(self, prepared: Any) -> bool:
        """Take a credit, and return True; or else queue the event, or drop one."""
        if not self.queue.frames and self.credit.acquire():
            return True
        try:
            self.queue.put(Frame(prepared) if type(prepared) is bytes else prepared)
        finally:
            self._wake()
        return False

    def _may_not_wait(self) -> bool:
        thread = get_ident()
        return self.clock.must_not_wait() or self.credit.is_inside(thread)

    # -- the queue, where nothing may wait --------------------------------------------

    @property
    def in_flight(self) -> int:
        """Events let in and not yet written."""
        return self.flights.in_flight

    @property
    def queued(self) -> float:
        """The share of the queue that is full."""
        return len(self.queue.frames) / self.queue.limit

    def _wake(self) -> None:
        try:  # a sink may be stuck, and its action be long
            self._bell.pop()
        except IndexError:
            return
        self.subscription.on_own_loop(self._serve)

    def _serve(self, _: object) -> None:
        self._bell.append(None)  # first, so that events that come from now on ask again
        self._let_in_queue()

    def _let_in_queue(self) -> None:
        """Let in from the queue as many as there is credit for."""
        self.absorb()
        self.queue.settle(self._stage)
        while self.queue.frames:
            # An event that found the queue empty, and took a credit while we ran, came
            # before those that are queued now.
            if self.subscription.executor.inbox:
                self._wake()
                return
            n = self._take_flights(len(self.queue.frames))
            if not n:
                break
            items = [self.queue.pop() for _ in range(n)]
            (self._drop_several if self.top._ended else self._let_in_several)(items)
        if self._ending is not None and not self.queue.frames:
            (error,), self._ending = self._ending, None
            self.top.on_end(error)

    def _take_flights(self, most: int) -> int:
        """Take credits for queued events; 0: the queue waits for one, or is lost."""
        waiter = self._waiter
        try:
            if waiter is None:
                n = 0 if self.flights.closed else self.flights.acquire_many(most)
                if n:
                    return n
                self._waiter = waiter = self.flights.acquire_or(
                    self._wake, accepted=True
                )
        except Exception:  # disposed of; what came to the queue since goes as well
            self._drop_queue("cancelled")
            return 0
        if waiter is None:
            return 1
        if waiter.granted:
            self._waiter = None
            return 1
        return 0

    def _let_in_several(self, items: list[Any]) -> None:
        """Send down events, each with a credit and, if a frame, a hold of its own."""
        held = [item.permit for item in items if type(item) is not bytes]
        try:
            for kind, group in groupby(items, type):
                if kind is bytes and self._gatherer is not None:
                    lines = list(group)
                    self._gatherer.gather_many(lines, sum(map(len, lines)), self.credit)
                else:
                    for item in group:
                        self._send_down(item)
        finally:
            for permit in held:
                permit.release()

    def _drop_several(self, items: list[Any]) -> None:
        """Drop events that were accepted, behind the end."""
        self._drop_late(sum(map(events_of, items)), len(items))
        for item in items:
            if type(item) is not bytes:
                item.permit.release()

    # -- on the executor -----------------------------------------------------------------------

    def _let_in(self, frame: Any) -> None:
        """Send down what a credit was taken for, unless the end has gone down."""
        if self.top._ended:
            self._drop_late(events_of(frame), 1)
        else:
            self._send_down(frame)

    def _drop_late(self, events: int, tokens: int) -> None:
        """Release what came behind the end."""
        self.credit.release(tokens)

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
        if self.queue.frames:
            self._ending = self._ending or (error,)  # accepted events go first
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
        self._drop_queue("write_failed")
        self.subscription.dispose_upstream()
        self.top.on_end(error)

    # -- the end -----------------------------------------------------------------------

    def abandon(self) -> int:
        lost = self.flights.in_flight + len(self.queue.frames)
        self.credit.give_up()
        self.subscription.dispose()
        return lost

    def close(self) -> None:
        super().close()
        self.subscription.execute(self._forget)

    def _forget(self, _: object) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            self.flights.leave(waiter)
        self._drop_queue("cancelled")

    def _drop_queue(self, reason: str) -> int:
        """Drop what waits, and the end that waits behind it; return how many frames."""
        self._ending = None
        lost = self.queue.drop_all(reason)
        self.queue.settle(self._stage)
        return lost

    def lose(self, error: StreamError) -> None:
        self._lose(REASONS.get(type(error), "invalid"), 1, error)

    def _lose(self, reason: str, events: int, error: StreamError | None = None) -> None:
        """Note events that are not delivered. On any thread."""
        self.queue.note_loss(reason, events, error)
        self._wake()


def _is_event(item: object) -> bool:
    """Whether it is an event, and no frame or piece of one."""
    kind = type(item)
    return kind is dict or not (kind is Frame or kind is StreamChunk)
