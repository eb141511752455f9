"""What every operator shares: one subscriber's worth of work, kept honest.

                      ┌──────────── Line ────────────┐
    source ──▶ Entrance ──▶ Stage ──▶ Stage ──▶ Stage ──▶ observer
                      ▲                ▲
                      └── credit       └── timer, worker: in turn

An operator is a public function and a private Stage. The function checks its
settings and describes itself; the Stage says what to do with a frame. Operators
that follow each other directly are one Line: subscribed in one step, disposed of
in one step, with one clock, one entrance and one turn. So a stage calls the next
one directly, and the promises Rx makes are kept in four rooms (_lift, _line, _entrance
and this one), so that no operator has to keep them:

* what enters is encoded, once, and refused if it cannot be;
* signals go down one at a time, from whatever thread or timer they come, and no
  lock is held while they do (see rx_agui.serial);
* nothing follows a terminal signal; what was accepted goes before it;
* disposal stops timers and source, and gives back every permit;
* a sink that raises ends the stream, loudly, instead of leaving half of it alive.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, ClassVar

from reactivex.abc import ObserverBase

from rx_agui import probe
from rx_agui.agui.encoding import encode
from rx_agui.clock import Timer
from rx_agui.engine._subscription import (
    BatchSink,
    Subscription,
    TerminalSignal,
    TracedOutput,
)
from rx_agui.errors import StreamError, ValidationError
from rx_agui.frame import Frame, StreamChunk

__all__ = ["Errors", "Stage", "as_frame"]

#: Told of each error that costs one event and not the stream.
Errors = ObserverBase[StreamError] | Callable[[StreamError], object] | None

#: Whether stages that only count and number are done once per batch. The tests do
#: everything both ways; RX_AGUI_FUSION=0 tells a doubt about it from another.
FUSION = os.environ.get("RX_AGUI_FUSION", "1") != "0"


class Stage(probe.OperatorCounters):
    """One operator at work for one subscriber.

    A subclass says what to do with a frame (`next`), with the end (`finish`), and
    with what it holds when nobody wants it any more (`drop`). All three run in turn.

    Attributes:
        emit: Sends a frame down.
        tell: Told of an error that costs one event; None if nobody is.
        folded_into: The stage further down that does our work for a whole batch.
    """

    __slots__ = (
        "_down",
        "_ended",
        "_failure",
        "emit",
        "fused_into",
        "subscription",
        "tell",
    )

    #: What comes out: Frame, StreamChunk or object (events).
    emits: ClassVar[type] = Frame
    #: Whether it makes one payload of several.
    gathers: ClassVar[bool] = False
    #: Whether every frame is passed on at once, and `pass_many` can do it for many.
    is_transparent: ClassVar[bool] = False
    word: ClassVar[str]

    def __init__(self, subscription: Subscription, errors: Errors = None) -> None:
        super().__init__(self.word)
        self.subscription = subscription
        self.emit: Callable[[Any], object] = _ignore
        self.tell: Callable[[StreamError], object] | None = (
            None if errors is None else _teller(errors)
        )
        self._down: Stage | TerminalSignal | None = None
        self._ended = False
        #: The first error that `errors` was not there for: how the stream has to end.
        self._failure: Exception | None = None
        self.fused_into: Stage | None = None

    # -- what an operator says ----------------------------------------------------

    def next(self, frame: Any) -> None:
        """A frame came."""
        raise NotImplementedError

    def finish(self, error: Exception | None) -> None:
        """No more will come. Send what is held, then `end`, now or later."""
        self.end(error)

    def drop(self) -> None:
        """Nobody listens any more: stop timers, release and count what is held."""

    def fold(self, above: tuple[Stage, ...]) -> BatchSink | None:
        """Take events as bytes, past the stages above, which pass all; if it can."""
        return None

    def batch_sink(self, above: tuple[Stage, ...]) -> BatchSink | None:
        """The same, unless fusion is switched off."""
        return self.fold(above) if FUSION else None

    def on_batch(self, payload: Frame) -> None:
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
        return 0 if self.fused_into is None else self.fused_into.waiting

    def tell_step(self, send: probe.PayloadTrace, now: int) -> None:
        """Add our step to a payload whose first event goes by now."""
        send.step(self.word, now, now)

    # -- what it may do -------------------------------------------------------------

    def end(self, error: Exception | None) -> None:
        """Send the terminal signal down: completed, or `error`.

        A refusal of this stage comes first: where the stream would have completed, the
        refusal is how it ends; an error that ends it anyway carries it as a note.
        """
        refusal, self._failure = self._failure, None
        if error is None:
            error = refusal
        elif refusal is not None and refusal is not error:
            error.add_note(f"refused before that: {refusal!r}")
        down, self._down = self._down, None
        self.emit = _ignore
        if down is not None:
            down.on_end(error)

    def refuse(self, error: StreamError) -> None:
        """One event failed: tell `errors`, or else end the stream behind the others."""
        self.subscription.post(self._count_error, type(error).__qualname__)
        self.answer(error)

    def answer(self, error: StreamError) -> None:
        """The same for an error that is counted elsewhere."""
        if self.tell is not None:
            self.tell(error)
        else:
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """End the stream with `error`, behind what this stage let through.

        Noted at once: a completion that is on its way must not overtake the error.
        """
        self._failure = self._failure or error
        self.subscription.post(self._fail, error)

    def after(self, seconds: float, action: Callable[[Any], object]) -> Timer:
        """Do `action(None)` in turn, in `seconds`."""
        subscription = self.subscription
        return subscription.clock.after(seconds, lambda: subscription.post(action))

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
        self._failure = None
        self.emit, self._down = _ignore, None  # keep nothing of who listened
        self.drop()

    # -- at the edges -----------------------------------------------------------------

    def encode(self, event: Any) -> bytes:
        """The event's JSON. On any thread.

        Raises:
            ValidationError: It cannot be encoded.
        """
        return encode(event)

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
            self.subscription.post(self._count_refused)
            self.refuse(error)
            return None

    def connect(self, down: Stage | ObserverBase[Any]) -> None:
        """Say where frames go."""
        if isinstance(down, Stage):
            self.emit = down.next if self.emits is Frame else down.accept
            self._down = down
        else:
            self.emit = (
                TracedOutput(down) if self.subscription.is_bottom else down.on_next
            )
            self._down = TerminalSignal(self.subscription, down)

    def _count_error(self, kind: str) -> None:
        self.count("errors", 1, kind)

    def _fail(self, error: Exception) -> None:
        self.subscription.fail(self, error)

    def _count_refused(self, _: object) -> None:
        self.taken += 1
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


def _teller(
    errors: ObserverBase[StreamError] | Callable[[StreamError], object],
) -> Callable[[StreamError], object]:
    return errors.on_next if isinstance(errors, ObserverBase) else errors


def _ignore(_: object) -> None:
    """Where signals go when nobody listens."""
