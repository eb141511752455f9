"""An operator at work for one subscriber.

                     ┌────────── Subscription ──────────┐
    source ──▶ head ──▶ Stage ──▶ Stage ──▶ Stage ──▶ observer
                 ▲                ▲
                 └── credit       └── timer, worker: one at a time

An operator is a public function and a private Stage. The function checks its settings;
the Stage says what to do with a frame. Operators that follow each other directly are
one Subscription, with one clock, one head and one executor. So a stage calls the next
one directly, and the engine keeps the promises of Rx, so that no operator has to:

* what enters is encoded, once, and refused if it cannot be;
* signals go down one at a time, from whatever thread or timer they come, and no
  lock is held while they do (see rx_agui.serial);
* nothing follows a terminal signal; what was accepted goes before it;
* disposal stops timers and source, and gives back every permit;
* an observer that raises ends the stream, loudly, instead of leaving half of it alive.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any, ClassVar

from reactivex.abc import ObserverBase

from rx_agui import probe
from rx_agui.agui.encoding import encode
from rx_agui.agui.priority import is_left_out
from rx_agui.clock import Timer
from rx_agui.engine._protocols import AnyStage, BatchSink
from rx_agui.engine._subscription import (
    InTransit,
    Subscription,
    TerminalSignal,
    TracedOutput,
)
from rx_agui.errors import StreamError, ValidationError, safe_repr
from rx_agui.frame import Frame, StreamChunk

__all__ = ["FUSION", "Errors", "Stage", "as_frame"]

_log = logging.getLogger("rx_agui")

#: Told of each error that costs one event and not the stream.
Errors = ObserverBase[StreamError] | Callable[[StreamError], object] | None

#: Whether stages that only count and number are done once per batch. The tests do
#: everything both ways; RX_AGUI_FUSION=0 tells a doubt about it from another.
FUSION = os.environ.get("RX_AGUI_FUSION", "1") != "0"


class Stage(AnyStage):
    """One operator at work for one subscriber.

    A subclass says what to do with a frame (`next`), with the end (`finish`), and with
    what it holds when the subscription is disposed of (`drop`). All three run one at a
    time.

    Attributes:
        emit: Sends a frame down.
        tell: Told of an error that costs one event; None without `errors`.
        fused_into: The stage further down that does our work for a whole batch.
    """

    __slots__ = ("_down", "_ended", "_failure", "emit", "subscription", "tell")

    #: What comes out: Frame, StreamChunk or object (events).
    emits: ClassVar[type] = Frame
    #: Whether it makes one payload of several.
    gathers: ClassVar[bool] = False
    #: Whether every frame is passed on at once, and `on_batch` can do it for many.
    is_transparent: ClassVar[bool] = False
    word: ClassVar[str]

    def __init__(self, subscription: Subscription, errors: Errors = None) -> None:
        super().__init__(self.word)
        self.subscription = subscription
        self.emit: Callable[[Any], object] = _ignore
        self.tell: Callable[[StreamError], object] | None = (
            errors.on_next if isinstance(errors, ObserverBase) else errors
        )
        self._down: AnyStage | TerminalSignal | None = None
        self._ended = False
        #: The first error that `errors` was not there for: how the stream has to end.
        self._failure: Exception | None = None
        self.fused_into: AnyStage | None = None

    # -- what an operator defines -------------------------------------------------

    def next(self, frame: Any) -> None:
        """Take a frame."""
        raise NotImplementedError

    def finish(self, error: Exception | None) -> None:
        """Send what is held, then `end`, now or later: no more will come."""
        self.end(error)

    def drop(self) -> None:
        """Stop timers, release and count what is held: the subscription was disposed of."""

    def request_fusion(self, above: tuple[AnyStage, ...]) -> BatchSink | None:
        """Return a sink that takes events as bytes, past the stages above; None: it can't.

        The stages above are transparent; the sink calls their `on_batch` for each batch.
        """
        return None

    def on_batch(self, payload: Frame) -> None:
        """Do what `next` would have done for each event of the payload."""
        self.passed += payload.events

    # -- what it counts -------------------------------------------------------------

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

    def trace_step(self, send: probe.PayloadTrace, now: int) -> None:
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
            error.add_note(f"refused before that: {safe_repr(refusal)}")
        down, self._down = self._down, None
        self.emit = _ignore
        if down is not None:
            down.on_end(error)

    def refuse(self, error: StreamError) -> None:
        """Report that one event failed: to `errors`, or else end the stream behind the others."""
        self.subscription.execute(self.count_error, type(error).__qualname__)
        self.answer(error)

    def answer(self, error: StreamError) -> None:
        """As `refuse`, for an error that is counted elsewhere."""
        if self.tell is not None:
            self.tell(error)
        elif (
            isinstance(error, ValidationError)
            and error.reason.startswith("not JSON")
            and is_left_out(error.event)
        ):
            _log.warning("an event is left out, and the stream goes on: %s", error)
        else:
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """End the stream with `error`, behind what this stage let through.

        Noted at once: a completion that is on its way must not overtake the error.
        """
        self._failure = self._failure or error
        self.subscription.execute(self._fail, error)

    def after(self, seconds: float, action: Callable[[Any], object]) -> Timer:
        """Run `action(None)` on the executor, in `seconds`."""
        subscription = self.subscription
        return subscription.clock.after(seconds, lambda: subscription.execute(action))

    # -- what comes from above --------------------------------------------------------

    def accept(self, item: Any) -> None:
        """Take an item that may not be a frame yet, from a stage above."""
        frame = self.enter(item)
        if frame is not None:
            self.next(frame)

    def take(self, frame: Any) -> None:
        """Take a frame that came through the head."""
        if not self._ended:
            self.next(frame)

    def on_end(self, error: Exception | None) -> None:
        """Receive the terminal signal from above."""
        if not self._ended:
            self._ended = True
            self.finish(error)

    def cut(self) -> None:
        """Drop what is held; nothing goes down any more."""
        self._ended = True
        self._failure = None
        self.emit, self._down = _ignore, None  # keep no reference to the observer
        self.drop()

    # -- at the edges -----------------------------------------------------------------

    def encode(self, event: Any) -> bytes:
        """Return the event's JSON. On any thread.

        Raises:
            ValidationError: It cannot be encoded.
        """
        return encode(event)

    def frame_of(self, item: Any) -> Any:
        """Return the item as a frame of our own. On any thread.

        Raises:
            ValidationError: An event cannot be encoded.
        """
        if type(item) is dict:
            return Frame(encode(item))
        return item.copy() if type(item) is Frame else as_frame(item)

    def enter(self, item: Any) -> Any:
        """As `frame_of`, but refuse what cannot be encoded, and return None."""
        try:
            return self.frame_of(item)
        except StreamError as error:
            self.subscription.execute(self.count_refused)
            self.refuse(error)
            return None

    def connect(self, down: AnyStage | ObserverBase[Any]) -> None:
        """Set the receiver of our frames."""
        if isinstance(down, Stage):
            self.emit = down.next if self.emits is Frame else down.accept
            self._down = down
        elif isinstance(down, ObserverBase):
            self.emit = (
                TracedOutput(down) if self.subscription.is_bottom else down.on_next
            )
            below = self.subscription.below
            if below is not None and below.delays:
                self.emit = InTransit(self.subscription, self.emit)
            self._down = TerminalSignal(self.subscription, down)

    def count_error(self, kind: str) -> None:
        """Count an error of this kind. On the executor."""
        self.count("errors", 1, kind)

    def count_refused(self, _: object = None) -> None:
        """Count an event that could not be encoded. On the executor."""
        self.taken += 1
        self.count_drop("invalid", 1)

    def _fail(self, error: Exception) -> None:
        self.subscription.fail(self, error)


def as_frame(item: Any) -> Frame:
    """Return an event encoded, or a payload that needs no reassembly, as a frame.

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


def _ignore(_: object) -> None:
    """Drop a signal: there is no receiver."""
