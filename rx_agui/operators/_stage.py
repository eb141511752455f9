"""What every operator shares: one subscriber's worth of work, kept honest.

                      ┌──────────── Line ────────────┐
    source ──▶ Entrance ──▶ Stage ──▶ Stage ──▶ Stage ──▶ observer
                      ▲                ▲
                      └── credit       └── timer, worker: in turn

An operator is a public function and a private Stage. The function checks its
settings and describes itself; the Stage says what to do with a frame. Operators
that follow each other directly are one Line: subscribed in one step, disposed of
in one step, with one clock, one entrance and one turn. So a stage calls the next
one directly, and this file keeps the promises Rx makes, so that no operator has to:

* what enters is encoded, once, and refused if it cannot be;
* signals go down one at a time, from whatever thread or timer they come, and no
  lock is held while they do (see flow._turn);
* nothing follows a terminal signal; what was accepted goes before it;
* disposal stops timers and source, and gives back every permit;
* a sink that raises ends the stream, loudly, instead of leaving half of it alive.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import takewhile
from threading import Lock, get_ident
from time import time_ns
from typing import Any, ClassVar

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import CompositeDisposable, Disposable

from rx_agui import probe
from rx_agui.clock import Clock, Timer, clock_for
from rx_agui.codec import encode
from rx_agui.errors import StreamError, ValidationError
from rx_agui.flow import NO_PERMIT, Credit, Paced, Permit
from rx_agui.flow._credit import Passage
from rx_agui.flow._turn import Turn
from rx_agui.frame import Frame, StreamChunk

__all__ = [
    "Entrance",
    "Errors",
    "Line",
    "Operator",
    "Sink",
    "Stage",
    "as_frame",
    "lift",
]

#: Told of each error that costs one event and not the stream.
Errors = ObserverBase[StreamError] | Callable[[StreamError], object] | None

Operator = Callable[[Observable[Any]], Observable[Any]]

#: Whether stages that only count and number are done once per batch. The tests do
#: everything both ways; RX_AGUI_FUSION=0 tells a doubt about it from another.
FUSION = os.environ.get("RX_AGUI_FUSION", "1") != "0"


class Line(DisposableBase):
    """One subscription of operators that follow each other directly."""

    def __init__(self, scheduler: SchedulerBase | None) -> None:
        self.scheduler = scheduler
        self.clock: Clock = clock_for(scheduler)
        self.turn = Turn()
        self.disposed = False
        #: The terminal signal has left at the bottom: what is still in flight was
        #: accepted, and a disposal that follows must not take it back.
        self.finished = False
        self.error: BaseException | None = None
        self.watch = probe.watch_here()
        #: Whether what leaves here leaves the stream: no line of ours is further down.
        self.is_bottom = self.watch is not None and self.watch.begins()
        self.entrance: Entrance | None = None
        self._upstream: DisposableBase = Disposable()
        self._stages: list[Stage] = []  # from the source down
        self._mutex = Lock()

    # -- making it --------------------------------------------------------------

    def join(self, stage: Stage, down: Stage | ObserverBase[Any]) -> None:
        """A stage begins to work, above those that have joined already."""
        stage.connect(down)
        self._stages.insert(0, stage)
        if self.watch is not None:
            self.watch.joined(stage)

    def fold(self) -> tuple[Stage, Callable[[bytes, Credit], None] | None]:
        """The first stage that has to see each event by itself; how to give it bytes."""
        passing = tuple(takewhile(lambda stage: stage.passes_all, self._stages))
        stages = self._stages[len(passing) :]
        gather = stages[0].fold(passing) if FUSION and stages else None
        if gather is None:
            return self.top, None
        for stage in passing:
            stage.folded_into = stages[0]
        return stages[0], gather

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
            # turn.do, written out and without the inbox: this is done for every event.
            if not turn._inbox and turn._token.acquire(False):
                try:
                    turn.owner = get_ident()
                    take(frame)
                finally:
                    turn.owner = 0
                    turn._token.release()
                if turn._inbox:
                    turn.go_on()
            else:
                if type(frame) is bytes:
                    frame = Frame(frame)
                turn.do(_take_held, (take, frame, frame.permit.hold()))
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
            upstream, self._upstream = self._upstream, Disposable()
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
            upstream, self._upstream = self._upstream, Disposable()
        upstream.dispose()

    def fail(self, stage: Stage, error: Exception) -> None:
        """End with an error of `stage`: behind what it let through, before what is above."""
        self.dispose_upstream()
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


class Stage(probe.Tally):
    """One operator at work for one subscriber.

    A subclass says what to do with a frame (`next`), with the end (`finish`), and
    with what it holds when nobody wants it any more (`drop`). All three run in turn.

    Attributes:
        emit: Sends a frame down.
        tell: Told of an error that costs one event; None if nobody is.
        folded_into: The stage further down that does our work for a whole batch.
    """

    __slots__ = ("_down_end", "_ended", "emit", "folded_into", "line", "tell")

    #: What comes out: Frame, StreamChunk or object (events).
    emits: ClassVar[type] = Frame
    #: Whether it makes one payload of several.
    gathers: ClassVar[bool] = False
    #: Whether every frame is passed on at once, and `pass_many` can do it for many.
    passes_all: ClassVar[bool] = False
    word: ClassVar[str]

    def __init__(self, line: Line, errors: Errors = None) -> None:
        super().__init__(self.word)
        self.line = line
        self.emit: Callable[[Any], object] = _ignore
        self.tell: Callable[[StreamError], object] | None = (
            errors.on_next if isinstance(errors, ObserverBase) else errors
        )
        self._down_end: Callable[[Exception | None], object] = _ignore
        self._ended = False
        self.folded_into: Stage | None = None

    # -- what an operator says ----------------------------------------------------

    def next(self, frame: Any) -> None:
        """A frame came."""
        raise NotImplementedError

    def finish(self, error: Exception | None) -> None:
        """No more will come. Send what is held, then `end`, now or later."""
        self.end(error)

    def drop(self) -> None:
        """Nobody listens any more: stop timers, release and count what is held."""

    def fold(self, above: tuple[Stage, ...]) -> Callable[[bytes, Credit], None] | None:
        """Take events as bytes, past the stages above, which pass all; if it can."""
        return None

    def pass_many(self, payload: Frame) -> None:
        """What `next` would have done for each event of the payload."""
        self.passed += payload.events

    # -- what it tells --------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Events that wait here and are counted when they leave."""
        return 0

    @property
    def received(self) -> int:
        return self.passed + self.taken + self.waiting + self._ahead

    @property
    def emitted(self) -> int:
        return self.passed + self.sent + self._ahead

    @property
    def _ahead(self) -> int:
        """Events that have passed us, and will be counted with their batch."""
        return 0 if self.folded_into is None else self.folded_into.waiting

    def tell_step(self, send: probe.Send, now: int) -> None:
        """Add our step to a payload whose first event goes by now."""
        send.step(self.word, now, now)

    # -- what it may do -------------------------------------------------------------

    def end(self, error: Exception | None) -> None:
        """Send the terminal signal down: completed, or `error`."""
        down_end, self._down_end = self._down_end, _ignore
        self.emit = _ignore
        down_end(error)

    def refuse(self, error: StreamError) -> None:
        """One event failed: tell `errors`, or else end the stream behind the others."""
        self.line.post(self._count_error, type(error).__qualname__)
        self.answer(error)

    def answer(self, error: StreamError) -> None:
        """The same for an error that is counted elsewhere."""
        if self.tell is not None:
            self.tell(error)
        else:
            self.line.post(self._fail, error)

    def after(self, seconds: float, action: Callable[[Any], object]) -> Timer:
        """Do `action(None)` in turn, in `seconds`."""
        line = self.line
        return line.clock.after(seconds, lambda: line.post(action))

    # -- what comes from above, in turn -----------------------------------------------

    def accept(self, item: Any) -> None:
        """Something that may not be a frame yet came from a stage above."""
        frame = self.enter(item)
        if frame is not None:
            self.next(frame)

    def take(self, frame: Any) -> None:
        """A frame came through the entrance."""
        if not self._ended:
            self.next(frame)

    def on_end(self, error: Exception | None) -> None:
        """The terminal signal from above."""
        if not self._ended:
            self._ended = True
            self.finish(error)

    def cut(self) -> None:
        """Nothing that is still held here goes any further."""
        self._ended = True
        self.emit = self._down_end = _ignore  # keep nothing of who listened
        self.drop()

    # -- at the edges -----------------------------------------------------------------

    def frame_of(self, item: Any) -> Any:
        """What came, as a frame of our own. On any thread.

        Raises:
            ValidationError: An event cannot be encoded.
        """
        if type(item) is dict:
            return Frame(encode(item))
        return item.copy() if type(item) is Frame else as_frame(item)

    def enter(self, item: Any) -> Any:
        """The same, but None if it was refused."""
        try:
            return self.frame_of(item)
        except StreamError as error:
            self.line.post(self._count_refused)
            self.refuse(error)
            return None

    def connect(self, down: Stage | ObserverBase[Any]) -> None:
        """Say where frames go."""
        if isinstance(down, Stage):
            self.emit = down.next if self.emits is Frame else down.accept
            self._down_end = down.on_end
        else:
            self.emit = _Exit(down) if self.line.is_bottom else down.on_next
            self._down_end = _Last(self.line, down)

    def _count_error(self, kind: str) -> None:
        self.count("errors", 1, kind)

    def _fail(self, error: Exception) -> None:
        self.line.fail(self, error)

    def _count_refused(self, _: object) -> None:
        self.taken += 1
        self.count_drop("invalid", 1)


class Sink(ObserverBase[Any]):
    """An observer that keeps what it gets, and so must know when nobody wants it."""

    def disposed(self) -> None:
        """The subscription was disposed of. After its end this says nothing new."""


class Entrance:
    """Where a line begins, if no flow_control stands in it: everybody is let in.

    It is the observer of a foreign source, and the Link of one of ours.
    """

    timeout: float | None = None
    waits = True

    def __init__(self, line: Line, top: Stage, credit: Credit) -> None:
        self.line = line
        self.credit = credit
        self.clock = line.clock
        self.top = top
        credit.is_inside = line.turn.is_owned_by

    def begin(self, top: Stage) -> None:
        """The line is complete: this is the stage at its top."""
        self.top = top
        self._gathers = any(stage.gathers for stage in self.line._stages)
        self._take: Callable[[Any], object] = top.take
        if self.line.watch is not None:
            self.prepare = self._prepare_watched  # type: ignore[method-assign]
            self._take = self._take_watched

    # -- from an Observable that knows nothing of credit --------------------------------

    def on_next(self, item: Any) -> None:
        """A signal from anybody's Observable, from any thread."""
        frame = self.top.enter(item)
        if frame is not None:
            self.mark(frame)
            if frame.permit is not NO_PERMIT:
                frame.permit = Passage(self.credit, frame.permit)
            self.offer(frame)

    def mark(self, frame: Any) -> None:
        """Note on a frame where it comes from, if the stream is watched."""
        watch = self.line.watch
        if watch is None or type(frame) is not Frame:
            return
        came = frame.trace
        if isinstance(came, probe.Send) and came.watch is watch:
            return  # from a line further up, with RxPY's operators between
        origin = None if watch.origin is None else watch.origin()
        if self._gathers:
            frame.trace = origin
            return
        frame.trace = send = probe.Send(watch, time_ns(), frame.events)
        if origin is not None:
            send.comes_from(origin, frame.events)

    def sets_out(self, frame: Any) -> None:
        """A frame that is not gathered goes past the stages that pass all."""
        send = frame.trace
        if self._gathers or not isinstance(send, probe.Send):
            return
        now = time_ns()
        for stage in takewhile(lambda stage: stage.passes_all, self.line._stages):
            stage.tell_step(send, now)
        if self.line.is_bottom and not send.trigger:
            send.watch.sending(send)

    def _prepare_watched(self, event: Any) -> Any:
        frame = self.top.frame_of(event)
        self.mark(frame)
        return frame

    def _take_watched(self, frame: Any) -> None:
        if type(frame) is Frame:
            self.sets_out(frame)
        self.top.take(frame)

    def on_error(self, error: Exception) -> None:
        """The source has failed."""
        self.line.post(self.top.on_end, error)

    def on_completed(self) -> None:
        """The source has ended."""
        self.line.post(self.top.on_end)

    # -- from a source of ours, which has taken a credit -----------------------------------

    def prepare(self, event: Any) -> Any:
        """Encode the event. Raises ValidationError."""
        return self.top.frame_of(event)

    def admit(self, prepared: Any) -> None:
        """Let one event in, for which a credit was taken."""
        self.line.hand_in(self._take, prepared)

    def offer(self, prepared: Any) -> None:
        """Let one event in if there is room; if not, the policy decides."""
        self.line.hand_in(self._take, prepared)

    def refuse(self, error: StreamError) -> None:
        """Tell that one event could not be prepared."""
        self.line.post(self.top._count_refused)
        self.top.refuse(error)

    def complete(self) -> None:
        """No more events will come."""
        self.on_completed()

    def fail(self, error: Exception) -> None:
        """No more events will come, because of `error`."""
        self.on_error(error)

    def abandon(self) -> int:
        """Dispose of the stream. How many accepted events that loses."""
        lost = sum(stage.held for stage in self.line._stages)
        self.line.dispose()
        return lost

    def close(self) -> None:
        """The line is being disposed of."""
        self.credit.close(abandon=not self.line.finished)


def as_frame(item: Any) -> Frame:
    """An event encoded, or a payload that needs no reassembly.

    Raises:
        ValidationError: The event cannot be encoded.
    """
    if type(item) is Frame:
        return item
    if type(item) is not StreamChunk:
        return Frame(encode(item))
    if not item.is_whole:
        raise ValidationError(item, "a piece of a payload: reassemble() must go first")
    frame = Frame(item.data, item.permit, item.events)
    if item.trace is not None:
        frame.trace = item.trace
    if item.event_id:
        frame.first = item.sequence_num
        last = item.sequence_num + item.events - 1
        frame.last = item.numbers[-1] if item.numbers else last
    if item.numbers is not None:
        frame.numbers = item.numbers
    if item.encoding != frame.encoding:
        frame.encoding = item.encoding
    if item.crc32 is not None:
        frame.crc32 = item.crc32
    return frame


class Lifted(Observable[Any]):
    """A Stage as an operator applied to a source."""

    def __init__(
        self,
        source: Observable[Any],
        make: Callable[..., Stage],
        args: tuple[Any, ...],
        scheduler: SchedulerBase | None,
    ) -> None:
        super().__init__()
        self._source = source
        self._make = make
        self._args = args
        self._scheduler = scheduler

    def subscribe(
        self,
        on_next: Any = None,
        on_error: Any = None,
        on_completed: Any = None,
        *,
        scheduler: SchedulerBase | None = None,
    ) -> DisposableBase:
        """As every Observable's. A Sink is told when the subscription is disposed of."""
        subscription = super().subscribe(
            on_next, on_error, on_completed, scheduler=scheduler
        )
        if isinstance(on_next, Sink):
            return CompositeDisposable(subscription, Disposable(on_next.disposed))
        return subscription

    def _subscribe_core(
        self, observer: ObserverBase[Any], scheduler: SchedulerBase | None = None
    ) -> DisposableBase:
        line = Line(self._scheduler or scheduler)
        source = self._join(line, observer)
        while type(source) is Lifted and source._follows(line, self):
            source = source._join(line, line.top)
        entrance = line.entrance
        if entrance is None:
            entrance = line.entrance = Entrance(line, line.top, Credit(None))
        entrance.begin(line.top)
        try:
            line.connect(self._open(source, line, entrance))
        except BaseException as error:
            line.break_off(error)
            raise
        return line

    def _open(
        self, source: Observable[Any], line: Line, entrance: Entrance
    ) -> DisposableBase:
        if isinstance(source, Paced):
            # An agent that subscribes streams of its own does so outside of this one.
            with probe.subscribing(None, line.turn.is_owned_by):
                return source.pace(entrance)
        with probe.subscribing(line.watch, line.turn.is_owned_by):
            return source.subscribe(
                entrance.on_next,
                entrance.on_error,
                entrance.on_completed,
                scheduler=line.scheduler,
            )

    def _join(self, line: Line, down: Stage | ObserverBase[Any]) -> Observable[Any]:
        """Put our stage at the top of the line; what it takes its frames from."""
        line.join(self._make(line, *self._args), down)
        return self._source

    def _follows(self, line: Line, bottom: Lifted) -> bool:
        """Whether our stage may stand in the same line: one clock, one entrance."""
        one_clock = self._scheduler is None or self._scheduler is bottom._scheduler
        brings_entrance = getattr(self._make, "brings_entrance", False)
        return one_clock and not (brings_entrance and line.entrance is not None)


def lift(
    make: Callable[..., Stage], *args: Any, scheduler: SchedulerBase | None = None
) -> Operator:
    """Make a Stage into an operator that `pipe` takes: `make(line, *args)`."""
    return lambda source: Lifted(source, make, args, scheduler)


class _Last:
    """The terminal signal as it leaves the line."""

    __slots__ = ("_line", "_observer")

    def __init__(self, line: Line, observer: ObserverBase[Any]) -> None:
        self._line = line
        self._observer = observer

    def __call__(self, error: Exception | None) -> None:
        self._line.finished = True
        self._line.error = error
        if error is None:
            self._observer.on_completed()
        else:
            self._observer.on_error(error)


class _Exit:
    """Where payloads leave a line that is watched.

    Who keeps one to write it says when that is done; for anybody else it is done
    when `on_next` returns.
    """

    __slots__ = ("_observer",)

    def __init__(self, observer: ObserverBase[Any]) -> None:
        self._observer = observer

    def __call__(self, item: Any) -> None:
        send = getattr(item, "trace", None)
        if not isinstance(send, probe.Send):
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


def _ignore(_: object) -> None:
    """Where signals go when nobody listens."""
