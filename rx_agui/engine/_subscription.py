"""One subscription of operators that follow each other directly.

    connect, dispose ──▶ ┌─ Line ────────────────────────┐
                         │ one clock · one turn          │
    post, hand_in ─────▶ │ stage ──▶ stage ──▶ stage ────┼──▶ observer
                         └───────────────────────────────┘

They are subscribed in one step and disposed of in one step. What runs in turn runs
here, from whatever thread it comes, and no lock is held while it does (see
rx_agui.serial); and this is where a sink that raises ends the stream.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile
from threading import Lock, get_ident
from typing import TYPE_CHECKING, Any, Final, Protocol

from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import Disposable

from rx_agui import probe
from rx_agui.clock import Clock, clock_for
from rx_agui.flow import Credit, Permit
from rx_agui.frame import Frame, StreamChunk
from rx_agui.serial import SerialExecutor

if TYPE_CHECKING:
    from rx_agui.engine._head import HeadSubscriber
    from rx_agui.engine._stage import Stage

__all__ = ["BatchSink", "Subscription", "TerminalSignal", "TracedOutput"]


class BatchSink(Protocol):
    """A stage that takes events as they were encoded, before they are frames."""

    def gather(self, line: bytes, credit: Credit) -> None:
        """An event came, for which a credit was taken."""

    def gather_many(self, lines: list[bytes], size: int, credit: Credit) -> None:
        """Several came together, of `size` bytes, each with a credit."""

    def next(self, frame: Frame) -> None:
        """A frame came after all."""


#: The source of a line that has none yet, or none any more.
_NONE: Final = Disposable()


class Subscription(DisposableBase):
    """One subscription of operators that follow each other directly."""

    __slots__ = (
        "_mutex",
        "_stages",
        "_upstream",
        "clock",
        "disposed",
        "entrance",
        "error",
        "finished",
        "is_bottom",
        "scheduler",
        "turn",
        "watch",
    )

    def __init__(self, scheduler: SchedulerBase | None) -> None:
        self.scheduler = scheduler
        self.clock: Clock = clock_for(scheduler)
        self.turn = SerialExecutor()
        self.disposed = False
        #: The terminal signal has left at the bottom: what is still in flight was
        #: accepted, and a disposal that follows must not take it back.
        self.finished = False
        self.error: BaseException | None = None
        self.watch = probe.watch_here()
        #: Whether what leaves here leaves the stream: no line of ours is further down.
        self.is_bottom = self.watch is not None and self.watch.begins()
        self.entrance: HeadSubscriber | None = None
        self._upstream: DisposableBase = _NONE
        self._stages: list[Stage] = []  # from the source down
        self._mutex = Lock()

    # -- making it --------------------------------------------------------------

    def join(self, stage: Stage, down: Stage | ObserverBase[Any]) -> None:
        """A stage begins to work, above those that have joined already."""
        stage.connect(down)
        self._stages.insert(0, stage)
        if self.watch is not None:
            self.watch.joined(stage)

    def fold(self) -> tuple[Stage, BatchSink | None]:
        """The first stage that has to see each event by itself; and if it takes bytes."""
        passing = tuple(takewhile(lambda stage: stage.is_transparent, self._stages))
        stages = self._stages[len(passing) :]
        batch_sink = stages[0].batch_sink(passing) if stages else None
        if batch_sink is None:
            return self.top, None
        for stage in passing:
            stage.fused_into = stages[0]
        return stages[0], batch_sink

    def gathering_below(self, stage: Stage) -> tuple[Stage | None, tuple[Stage, ...]]:
        """The next stage below that does not pass all, and those between, which do."""
        below = self._stages[self._stages.index(stage) + 1 :]
        passing = tuple(takewhile(lambda stage: stage.is_transparent, below))
        rest = below[len(passing) :]
        return (rest[0] if rest else None), passing

    def above(self, stage: Stage) -> list[Stage]:
        """The stages from the top down to this one, without it."""
        return self._stages[: self._stages.index(stage)]

    @property
    def top(self) -> Stage:
        """The stage that the entrance lets frames in to."""
        return self._stages[0]

    def connect(self, upstream: DisposableBase) -> None:
        """What brings the events; disposed of with the line."""
        with self._mutex:
            if not self.disposed:
                self._upstream = upstream
                return
        upstream.dispose()  # disposed of while it was being subscribed

    # -- in turn ------------------------------------------------------------------

    def post(self, action: Callable[[Any], object], value: Any = None) -> None:
        """Do `action(value)` in turn: now, or when who has the turn gets to it."""
        try:
            self.turn.do(action, value)
        except BaseException as error:
            self.break_off(error)
            raise

    def hand_in(self, take: Callable[[Any], object], frame: Any) -> None:
        """Do `take(frame)` in turn. If it has to wait, its permit waits with it."""
        turn = self.turn
        try:
            if not turn.inbox:  # turn.do, written out: this is done for every event
                try:
                    turn.token.pop()
                except IndexError:
                    pass
                else:
                    try:
                        turn.owner = get_ident()
                        take(frame)
                    finally:
                        turn.owner = 0
                        turn.token.append(None)
                    if turn.inbox:
                        turn.go_on()
                    return
            if isinstance(frame, Frame | StreamChunk):
                turn.leave(_take_held, (take, frame, frame.permit.hold()))
            else:
                turn.leave(take, frame)
        except BaseException as error:
            self.break_off(error)
            raise

    def at_home(self, action: Callable[[Any], object], value: Any = None) -> None:
        """As `post`, where signals of this stream belong: on its loop if it has one."""
        if self.clock.is_here():
            self.post(action, value)
        else:
            self.clock.soon(lambda: self.post(action, value))

    # -- ending it ------------------------------------------------------------------

    def dispose(self) -> None:
        """End everything, from the source down. May be called from anywhere, twice."""
        with self._mutex:
            if self.disposed:
                return
            self.disposed = True
            upstream, self._upstream = self._upstream, _NONE
        if self.entrance is not None:
            self.entrance.close()  # first, so that a producer who waits for credit wakes
        self.post(self._drop)
        upstream.dispose()

    def break_off(self, error: BaseException) -> None:
        """What raised was a sink: no half of us may live on."""
        self.error = self.error or error
        self.dispose()

    def dispose_upstream(self) -> None:
        """Stop the source; what it sent before goes on down."""
        with self._mutex:
            upstream, self._upstream = self._upstream, _NONE
        upstream.dispose()

    def fail(self, stage: Stage, error: Exception) -> None:
        """End with an error of `stage`: behind what it let through, before what is above."""
        self.dispose_upstream()
        if stage not in self._stages:  # disposed of meanwhile
            return
        if stage is self.top and self.entrance is not None:
            self.entrance.on_error(error)  # those who wait there came before
            return
        for above in self.above(stage):
            above.cut()
        stage.on_end(error)

    def _drop(self, _: object) -> None:
        stages, self._stages = self._stages, []
        watch, self.watch = self.watch, None
        for stage in stages:
            stage.cut()
        if watch is None:
            return
        if not self.is_bottom:
            watch.ends()
        elif self.error is not None:
            watch.ends("error", self.error, at_once=not self.finished)
        elif self.finished:
            watch.ends("completed")
        else:
            watch.ends("client_disconnect", at_once=True)


class TerminalSignal:
    """The terminal signal as it leaves the line."""

    __slots__ = ("_observer", "_subscription")

    def __init__(self, subscription: Subscription, observer: ObserverBase[Any]) -> None:
        self._subscription = subscription
        self._observer = observer

    def on_end(self, error: Exception | None) -> None:
        """Completed, or `error`."""
        self._subscription.finished = True
        self._subscription.error = error
        if error is None:
            self._observer.on_completed()
        else:
            self._observer.on_error(error)


class TracedOutput:
    """Where payloads leave a line that is watched.

    Who keeps one to write it says when that is done; for anybody else it is done
    when `on_next` returns.
    """

    __slots__ = ("_observer",)

    def __init__(self, observer: ObserverBase[Any]) -> None:
        self._observer = observer

    def __call__(self, item: Any) -> None:
        send = getattr(item, "trace", None)
        if not isinstance(send, probe.PayloadTrace):
            self._observer.on_next(item)
            return
        if not send.last:
            send.first, send.last = _numbers(item)
        try:
            self._observer.on_next(item)
        except BaseException as error:
            send.done(error)
            raise
        if not send.claimed and _is_last(item):
            send.done()


def _is_last(item: Frame | StreamChunk) -> bool:
    return isinstance(item, Frame) or item.chunk_index == item.total_chunks - 1


def _numbers(item: Frame | StreamChunk) -> tuple[int, int]:
    """The first and last number of a payload; zeros if it has none."""
    if isinstance(item, Frame):
        return item.first, item.last
    return (item.sequence_num, int(item.event_id)) if item.event_id else (0, 0)


def _take_held(waiting: tuple[Callable[[Any], object], Any, Permit]) -> None:
    take, frame, held = waiting  # the frame may have another permit afterwards
    try:
        take(frame)
    finally:
        held.release()
