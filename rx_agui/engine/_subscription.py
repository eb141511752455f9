"""One subscription of operators that follow each other directly.

    connect, dispose ────▶ ┌─ Subscription ────────────────┐
                           │ one clock · one executor      │
    execute, deliver ────▶ │ stage ──▶ stage ──▶ stage ────┼──▶ observer
                           └───────────────────────────────┘

Its stages are subscribed in one step and disposed of in one step. Actions run one at a
time, from whatever thread they come, and no lock is held while they do (see
rx_agui.serial). An observer that raises ends the stream here.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile
from threading import Lock
from typing import Any, Final

from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import Disposable

from rx_agui import probe
from rx_agui.clock import Clock, clock_for
from rx_agui.engine._protocols import AnyHead, AnyStage
from rx_agui.flow import NO_PERMIT, Permit
from rx_agui.flow._downstream import asking, window_here
from rx_agui.flow._permit import TransitPermit
from rx_agui.frame import Frame, StreamChunk
from rx_agui.serial import SerialExecutor

__all__ = ["Subscription", "TerminalSignal", "TracedOutput"]

#: The source of a subscription that has none yet, or none any more.
_NONE: Final = Disposable()


class Subscription(DisposableBase):
    """One subscription of operators that follow each other directly.

    Attributes:
        clock: The time of this subscription.
        executor: Runs the stages' actions one at a time.
        disposed: `dispose` was called.
        finished: The terminal signal has left at the bottom. What is still in flight was
            accepted, and a disposal that follows must not take it back.
        error: The error that ended the stream; None if none did.
        watch: The observation of the stream by its probes; None if there are none.
        is_bottom: The stream ends here: no subscription of ours is further down.
        head: Where events come in; None until a stage or `lift` has made it.
    """

    __slots__ = (
        "_mutex",
        "_stages",
        "_upstream",
        "below",
        "clock",
        "disposed",
        "error",
        "executor",
        "finished",
        "head",
        "is_bottom",
        "scheduler",
        "watch",
    )

    def __init__(self, scheduler: SchedulerBase | None) -> None:
        self.scheduler = scheduler
        self.clock: Clock = clock_for(scheduler)
        self.executor = SerialExecutor()
        self.disposed = False
        self.finished = False
        self.error: BaseException | None = None
        self.watch = probe.watch_here()
        self.is_bottom = self.watch is not None and self.watch.part_started()
        self.head: AnyHead | None = None
        #: The window further down, behind operators of others, if there is one.
        self.below = window_here()
        self._upstream: DisposableBase = _NONE
        self._stages: list[AnyStage] = []  # from the source down
        self._mutex = Lock()

    # -- making it --------------------------------------------------------------

    def join(self, stage: AnyStage, down: AnyStage | ObserverBase[Any]) -> None:
        """Put a stage above those that have joined already."""
        stage.connect(down)
        self._stages.insert(0, stage)
        if self.watch is not None:
            self.watch.joined(stage)

    def next_opaque(
        self, stage: AnyStage
    ) -> tuple[AnyStage | None, tuple[AnyStage, ...]]:
        """Return the next stage below that is not transparent, and those between."""
        below = self._stages[self._stages.index(stage) + 1 :]
        passing = tuple(takewhile(lambda stage: stage.is_transparent, below))
        rest = below[len(passing) :]
        return (rest[0] if rest else None), passing

    def above(self, stage: AnyStage) -> list[AnyStage]:
        """Return the stages above `stage`, from the top down."""
        return self._stages[: self._stages.index(stage)]

    @property
    def stages(self) -> tuple[AnyStage, ...]:
        """The stages, from the source down; none once disposed of."""
        return tuple(self._stages)

    @property
    def top(self) -> AnyStage:
        """The stage that the head lets frames in to."""
        return self._stages[0]

    def connect(self, upstream: DisposableBase) -> None:
        """Keep the source's subscription, to be disposed of with this one."""
        with self._mutex:
            if not self.disposed:
                self._upstream = upstream
                return
        upstream.dispose()  # disposed of while it was being subscribed

    # -- one at a time ------------------------------------------------------------

    def execute(self, action: Callable[[Any], object], value: Any = None) -> None:
        """Run `action(value)` on the executor: now, or behind the action that runs."""
        try:
            self.executor.run(action, value)
        except BaseException as error:
            self.break_off(error)
            raise

    def try_execute(self, action: Callable[[Any], object], value: Any) -> bool:
        """Run `action(value)` on the executor if it is free; else return False."""
        try:
            return self.executor.try_run(action, value)
        except BaseException as error:
            self.break_off(error)
            raise

    def deliver(self, take: Callable[[Any], object], frame: Any) -> None:
        """Run `take(frame)` on the executor; hold the frame's permit if it must wait."""
        if self.try_execute(take, frame):
            return
        try:
            if isinstance(frame, Frame | StreamChunk):
                held = take, frame, frame.permit.hold()
                self.executor.enqueue(_take_held, held)
            else:
                self.executor.enqueue(take, frame)
        except BaseException as error:
            self.break_off(error)
            raise

    def on_own_loop(self, action: Callable[[Any], object], value: Any = None) -> None:
        """As `execute`, on the event loop of this stream if it has one."""
        if self.clock.is_here():
            self.execute(action, value)
        else:
            self.clock.soon(lambda: self.execute(action, value))

    # -- ending it ------------------------------------------------------------------

    def dispose(self) -> None:
        """End everything, from the source down. From any thread, any number of times."""
        with self._mutex:
            if self.disposed:
                return
            self.disposed = True
            upstream, self._upstream = self._upstream, _NONE
        if self.head is not None:
            self.head.close()  # first, so that a sender that waits for credit wakes
        self.execute(self._drop)
        upstream.dispose()

    def break_off(self, error: BaseException) -> None:
        """Dispose of everything because an observer raised `error`."""
        self.error = self.error or error
        self.dispose()

    def dispose_upstream(self) -> None:
        """Stop the source; what it sent before goes on down."""
        with self._mutex:
            upstream, self._upstream = self._upstream, _NONE
        upstream.dispose()

    def fail(self, stage: AnyStage, error: Exception) -> None:
        """End with an error of `stage`: behind what it let through, before what is above."""
        self.dispose_upstream()
        if stage not in self._stages:  # disposed of meanwhile
            return
        if stage is self.top and self.head is not None:
            self.head.on_error(error)  # events that wait there came before
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
            watch.part_ended()
        elif self.error is not None:
            watch.part_ended("error", self.error, at_once=not self.finished)
        elif self.finished:
            watch.part_ended("completed")
        else:
            watch.part_ended("client_disconnect", at_once=True)


class TerminalSignal:
    """Passes the terminal signal on to the observer, and records it."""

    __slots__ = ("_observer", "_subscription")

    def __init__(self, subscription: Subscription, observer: ObserverBase[Any]) -> None:
        self._subscription = subscription
        self._observer = observer

    def on_end(self, error: Exception | None) -> None:
        """Complete the observer, or end it with `error`."""
        self._subscription.finished = True
        self._subscription.error = error
        with asking(
            self._subscription.below
        ):  # for what `concat` or `retry` subscribes
            if error is None:
                self._observer.on_completed()
            else:
                self._observer.on_error(error)


class InTransit:
    """Hands on to operators of others that keep things: their permits are held meanwhile."""

    __slots__ = ("_emit", "_subscription")

    def __init__(
        self, subscription: Subscription, emit: Callable[[Any], object]
    ) -> None:
        self._subscription = subscription
        self._emit = emit

    def __call__(self, item: Any) -> None:
        permit = getattr(item, "permit", NO_PERMIT)
        head = self._subscription.head
        if permit is not NO_PERMIT and head is not None:
            item.permit = TransitPermit(head.credit, permit)
        self._emit(item)


class TracedOutput:
    """Passes payloads to the observer, and closes their traces.

    An observer that claims a trace, such as a writer, closes it when the payload is
    written; otherwise it is closed when `on_next` returns.
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
        if not send.is_claimed and _is_last(item):
            send.done()


def _is_last(item: Frame | StreamChunk) -> bool:
    return isinstance(item, Frame) or item.chunk_index == item.total_chunks - 1


def _numbers(item: Frame | StreamChunk) -> tuple[int, int]:
    """Return the first and last number of a payload; zeros if it has none."""
    if isinstance(item, Frame):
        return item.first, item.last
    return (item.sequence_num, int(item.event_id)) if item.event_id else (0, 0)


def _take_held(waiting: tuple[Callable[[Any], object], Any, Permit]) -> None:
    take, frame, held = waiting  # the frame may have another permit afterwards
    try:
        take(frame)
    finally:
        held.release()
