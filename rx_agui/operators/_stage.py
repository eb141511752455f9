"""What every operator shares: one subscriber's worth of work, kept honest.

    source ──▶ Stage ──▶ Stage ──▶ Stage ──▶ observer
               └──────── Line ────────┘

An operator is a public function and a private Stage. The function checks its
settings and describes itself; the Stage says what to do with a frame. Operators
that follow each other directly are one Line: subscribed in one step, disposed of
in one step, with one clock. This file keeps the promises Rx makes, so that no
operator has to:

* what enters is encoded, once, and refused if it cannot be;
* signals go down one at a time, from whatever thread or timer they come, and no
  lock is held while they do (see flow._turn);
* nothing follows a terminal signal; what was accepted goes before it;
* disposal stops timers and source, and gives back every permit;
* a sink that raises ends the stream, loudly, instead of leaving half of it alive.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock, get_ident
from typing import Any, ClassVar

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import Disposable

from rx_agui import probe
from rx_agui.clock import Timer, clock_for
from rx_agui.codec import encode
from rx_agui.errors import StreamError, ValidationError
from rx_agui.flow import Credit, Link, Paced, Permit
from rx_agui.flow._turn import Turn
from rx_agui.frame import Frame, StreamChunk

__all__ = ["Errors", "Line", "Stage", "lift"]

#: Told of each error that costs one event and not the stream.
Errors = ObserverBase[StreamError] | Callable[[StreamError], object] | None

Operator = Callable[[Observable[Any]], Observable[Any]]


class Line(DisposableBase):
    """One subscription of operators that follow each other directly."""

    def __init__(self, scheduler: SchedulerBase | None) -> None:
        self.scheduler = scheduler
        self.clock = clock_for(scheduler)
        self.disposed = False
        #: The terminal signal has left at the bottom: what is still in flight was
        #: accepted, and a disposal that follows must not take it back.
        self.finished = False
        self.upstream: DisposableBase = Disposable()
        self.probes = tuple(probe.listeners)
        self._stages: list[Stage] = []
        self._mutex = Lock()

    def join(self, stage: Stage) -> None:
        """A stage begins to work, above those that have joined already."""
        self._stages.insert(0, stage)
        if (link := stage.as_link()) is not None:
            link.credit.owners += [s.turn.is_owned_by for s in self._stages]
        for listener in self.probes:
            listener.joined(stage)

    def connect(self, upstream: DisposableBase) -> None:
        """What brings the events; disposed of with the line."""
        with self._mutex:
            if not self.disposed:
                self.upstream = upstream
                return
        upstream.dispose()  # disposed of while it was being subscribed

    def dispose(self) -> None:
        """End everything, from the source down. May be called from anywhere, twice."""
        with self._mutex:
            if self.disposed:
                return
            self.disposed = True
            upstream, self.upstream = self.upstream, Disposable()
            stages, self._stages = self._stages, []
        for stage in stages:
            stage.leave()  # credit first, so that a producer who waits wakes
        upstream.dispose()

    def dispose_upstream(self) -> None:
        """Stop the source; what it sent before goes on down."""
        with self._mutex:
            upstream, self.upstream = self.upstream, Disposable()
        upstream.dispose()


class Stage(probe.Tally):
    """One operator at work for one subscriber.

    A subclass says what to do with a frame (`next`), with the end (`finish`), and
    with what it holds when nobody wants it any more (`drop`). All three run in turn.

    Attributes:
        emit: Sends a frame down.
        takes_turns: Whether anything but the stage above may set it to work, such
            as a timer. If not, and the stage above is ours, which hands on one at
            a time, the turn above is turn enough.
    """

    __slots__ = (
        "_down_end",
        "_ended",
        "_errors",
        "emit",
        "line",
        "takes_turns",
        "turn",
    )

    #: What comes out: Frame, StreamChunk or object (events).
    emits: ClassVar[type] = Frame
    word: ClassVar[str]

    def __init__(
        self, line: Line, errors: Errors = None, *, takes_turns: bool = False
    ) -> None:
        super().__init__(self.word)
        self.line = line
        self.turn = Turn()
        self.takes_turns = takes_turns
        self.emit: Callable[[Any], object] = _ignore
        self._down_end: Callable[[Exception | None], object] = _ignore
        self._ended = False
        self._errors: Callable[[StreamError], object] | None = (
            errors.on_next if isinstance(errors, ObserverBase) else errors
        )

    # -- what an operator says ----------------------------------------------

    def next(self, frame: Frame) -> None:
        """A frame came."""
        raise NotImplementedError

    def finish(self, error: Exception | None) -> None:
        """No more will come. Send what is held, then `end`, now or later."""
        self.end(error)

    def drop(self) -> None:
        """Nobody listens any more: stop timers, release and count what is held."""

    def as_link(self) -> Link | None:
        """The stage itself, if it is the one that has the credit."""
        return None

    # -- what it may do ------------------------------------------------------

    def end(self, error: Exception | None) -> None:
        """Send the terminal signal down: completed, or `error`."""
        self._down_end(error)

    def refuse(self, error: StreamError) -> None:
        """One event failed: tell `errors`, or else end the stream behind the others."""
        if self._errors is not None:
            self._errors(error)
        else:
            self.post(self._fail, error)

    def post(self, action: Callable[[Any], object], value: Any = None) -> None:
        """Do `action(value)` in turn: now, or when who has the turn gets to it."""
        try:
            self.turn.do(action, value)
        except BaseException:
            self.line.dispose()  # what raised was a sink: no half of us may live on
            raise

    def at_home(self, action: Callable[[Any], object], value: Any = None) -> None:
        """As `post`, where signals of this stream belong: on its loop if it has one."""
        if self.line.clock.is_here():
            self.post(action, value)
        else:
            self.line.clock.soon(lambda: self.post(action, value))

    def after(self, seconds: float, action: Callable[[Any], object]) -> Timer:
        """Do `action(None)` in turn, in `seconds`."""
        return self.line.clock.after(seconds, lambda: self.post(action))

    # -- what comes from above ----------------------------------------------

    def on_next(self, item: Any) -> None:
        """A signal from anybody's Observable, from any thread."""
        frame = self.enter(item)
        if frame is not None:
            self.on_frame(frame)

    def on_frame(self, frame: Frame) -> None:
        """A frame that is ours alone: from a stage above, or just made."""
        self.hand_in(frame, self._take)

    def hand_in(self, frame: Frame, take: Callable[[Frame], None]) -> None:
        """Do `take(frame)` in turn. If it has to wait, its permit waits with it."""
        turn = self.turn
        if turn._inbox or not turn._token.acquire(blocking=False):
            frame.permit.hold()
            self.post(self._take_held, (frame, take))
            return
        try:
            turn.owner = get_ident()
            take(frame)
        except BaseException:
            turn.owner = 0
            turn._token.release()
            self.line.dispose()
            raise
        turn.owner = 0
        turn._token.release()
        if turn._inbox:
            self.post(_ignore)

    def on_error(self, error: Exception) -> None:
        """The stream ends with `error`."""
        self.post(self._end, error)

    def on_completed(self) -> None:
        """The stream ends."""
        self.post(self._end, None)

    def enter(self, item: Any) -> Frame | None:
        """What came as a frame of our own; None if it was refused."""
        try:
            return item.copy() if type(item) is Frame else as_frame(item)
        except StreamError as error:
            self.post(self._count_refused)
            self.refuse(error)
            return None

    # -- the ends --------------------------------------------------------------

    def connect(self, down: Stage | ObserverBase[Any]) -> None:
        """Say where frames go."""
        if isinstance(down, Stage):
            direct = self.emits is Frame and not down.takes_turns
            if direct:
                self.emit = down.next
            else:
                self.emit = down.on_frame if self.emits is Frame else down.on_next
            self._down_end = down._end if direct else down.on_end
        else:
            self.emit = down.on_next
            self._down_end = _Last(self.line, down)

    def on_end(self, error: Exception | None) -> None:
        """The terminal signal from a stage above."""
        self.post(self._end, error)

    def leave(self) -> None:
        """Disposed of. Whoever has the turn gives back what the stage holds."""
        self.post(self._drop)

    # -- in turn ---------------------------------------------------------------

    def _take(self, frame: Frame) -> None:
        if not self._ended:
            self.next(frame)

    def _take_held(self, waiting: tuple[Frame, Callable[[Frame], None]]) -> None:
        frame, take = waiting
        try:
            take(frame)
        finally:
            frame.permit.release()

    def _end(self, error: Exception | None) -> None:
        if not self._ended:
            self._ended = True
            self.finish(error)

    def _fail(self, error: Exception) -> None:
        self._end(error)
        self.line.dispose_upstream()

    def _drop(self, _: object) -> None:
        self._ended = True
        self.emit = self._down_end = _ignore  # keep nothing of who listened
        self.drop()
        for listener in self.line.probes:
            listener.left(self)

    def _count_refused(self, _: object) -> None:
        self.received += 1
        self.count_drop("invalid", 1)


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
    frame = Frame(item.data, item.permit, item.events, numbers=item.numbers)
    if item.event_id:
        frame.first = item.sequence_num
        last = item.sequence_num + item.events - 1
        frame.last = item.numbers[-1] if item.numbers else last
    frame.encoding = item.encoding
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

    def _subscribe_core(
        self, observer: ObserverBase[Any], scheduler: SchedulerBase | None = None
    ) -> DisposableBase:
        line = Line(self._scheduler or scheduler)
        self._attach(line, observer, None)
        return line

    def _attach(
        self, line: Line, down: Stage | ObserverBase[Any], flow: Link | None
    ) -> None:
        stage = self._make(line, *self._args)
        stage.connect(down)
        line.join(stage)
        flow = stage.as_link() or flow
        source = self._source
        if type(source) is Lifted and source._scheduler is self._scheduler:
            source._attach(line, stage, flow)
        elif isinstance(source, Paced):
            line.connect(source.pace(stage.as_link() or _StageLink(stage, flow)))
        else:
            line.connect(
                source.subscribe(
                    stage.on_next,
                    stage.on_error,
                    stage.on_completed,
                    scheduler=line.scheduler,
                )
            )


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
        if error is None:
            self._observer.on_completed()
        else:
            self._observer.on_error(error)


class _StageLink:
    """The link from a paced source to a stage that stands before `flow_control`.

    The credit is flow_control's; what the stage drops on the way gives it back.
    """

    def __init__(self, stage: Stage, flow: Link | None) -> None:
        self._stage = stage
        self._flow = flow
        self.credit = Credit(None) if flow is None else flow.credit
        self.clock = stage.line.clock
        self.timeout = None if flow is None else flow.timeout
        self.waits = flow is None or flow.waits
        self.credit.owners.append(stage.turn.is_owned_by)

    def prepare(self, event: Any) -> Frame:
        return as_frame(event)

    def admit(self, prepared: Frame) -> None:
        if self._flow is None:
            self._stage.on_frame(prepared)
            return
        prepared.permit = permit = Permit(self.credit)
        try:
            self._stage.on_frame(prepared)
        finally:
            permit.release()

    def offer(self, prepared: Frame) -> None:
        self._stage.on_frame(prepared)

    def refuse(self, error: StreamError) -> None:
        self._stage.refuse(error)

    def complete(self) -> None:
        self._stage.on_completed()

    def fail(self, error: Exception) -> None:
        self._stage.on_error(error)

    def abandon(self) -> int:
        if self._flow is not None:
            return self._flow.abandon()
        lost = self._stage.held
        self._stage.line.dispose()
        return lost


def _ignore(_: object) -> None:
    """Where signals go when nobody listens."""
