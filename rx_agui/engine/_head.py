"""Where a line begins.

    anybody's Observable  ── on_next ────────▶ ┌──────────┐
                                               │ Entrance │──▶ first stage, in turn
    a source of ours      ── prepare, admit ─▶ └──────────┘
                          ◀─ credit ──────────

What enters is encoded, once, and refused if it cannot be; if the stream is watched,
it is noted where it came from. `flow_control` brings an entrance of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile
from time import time_ns
from typing import TYPE_CHECKING, Any

from rx_agui import probe
from rx_agui.errors import StreamError
from rx_agui.flow import NO_PERMIT, Credit
from rx_agui.flow._credit import ForwardedPermit
from rx_agui.frame import Frame, StreamChunk

if TYPE_CHECKING:
    from rx_agui.engine._stage import Stage
    from rx_agui.engine._subscription import Subscription

__all__ = ["HeadSubscriber"]


class HeadSubscriber:
    """Where a line begins, if no flow_control stands in it: everybody is let in.

    It is the observer of a foreign source, and the Link of one of ours.
    """

    __slots__ = (
        "_gathers",
        "_in_pieces",
        "_take",
        "clock",
        "credit",
        "prepare",
        "subscription",
        "top",
    )

    timeout: float | None = None
    waits = True
    #: Encodes an event: what to `admit`. Raises ValidationError.
    prepare: Callable[[Any], Any]

    def __init__(self, subscription: Subscription, top: Stage, credit: Credit) -> None:
        self.subscription = subscription
        self.credit = credit
        self.clock = subscription.clock
        self.top = top
        self._in_pieces: probe.PayloadTrace | None = None  # whose pieces come
        credit.is_inside = subscription.turn.is_owned_by

    def begin(self, top: Stage) -> None:
        """The line is complete: this is the stage at its top."""
        self.top = top
        self._gathers = any(stage.gathers for stage in self.subscription._stages)
        self._take: Callable[[Any], object] = top.take
        self.prepare = top.frame_of
        if self.subscription.watch is not None:
            self.prepare = self._prepare_watched
            self._take = self._take_watched

    # -- from an Observable that knows nothing of credit --------------------------------

    def on_next(self, item: Any) -> None:
        """A signal from anybody's Observable, from any thread."""
        frame = self.top.enter(item)
        if frame is not None:
            self.mark(frame)
            if frame.permit is not NO_PERMIT:
                frame.permit = ForwardedPermit(self.credit, frame.permit)
            self.offer(frame)

    def mark(self, frame: Any) -> None:
        """Note on a frame where it comes from, if the stream is watched."""
        watch = self.subscription.watch
        if watch is not None and type(frame) is StreamChunk:
            self._mark_piece(frame, watch)
        if watch is None or type(frame) is not Frame:
            return
        came = frame.trace
        if isinstance(came, probe.PayloadTrace) and came.watch is watch:
            return  # from a line further up, with RxPY's operators between
        origin = None if watch.origin is None else watch.origin()
        if self._gathers:
            frame.trace = origin
            return
        frame.trace = send = probe.PayloadTrace(watch, time_ns(), frame.events)
        if origin is not None:
            send.comes_from(origin, frame.events)

    def _mark_piece(self, piece: StreamChunk, watch: probe.StreamObservation) -> None:
        """A piece from a stream that has ended is of ours now: nobody listens there."""
        came = piece.trace
        if not isinstance(came, probe.PayloadTrace) or not came.watch.is_over:
            return
        if self._in_pieces is None or not piece.chunk_index:
            self._in_pieces = probe.PayloadTrace(watch, time_ns(), piece.events)
        piece.trace = self._in_pieces

    def sets_out(self, frame: Any) -> None:
        """A frame that is not gathered goes past the stages that pass all."""
        send = frame.trace
        if self._gathers or not isinstance(send, probe.PayloadTrace):
            return
        now = time_ns()
        for stage in takewhile(
            lambda stage: stage.is_transparent, self.subscription._stages
        ):
            stage.tell_step(send, now)
        if self.subscription.is_bottom and not send.trigger:
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
        self.subscription.post(self.top.on_end, error)

    def on_completed(self) -> None:
        """The source has ended."""
        self.subscription.post(self.top.on_end)

    # -- from a source of ours, which has taken a credit -----------------------------------

    def admit(self, prepared: Any) -> None:
        """Let one event in, for which a credit was taken."""
        self.subscription.hand_in(self._take, prepared)

    def admit_many(self, events: list[Any]) -> int:
        """Encode and let in the first of several together: how many; 0 is none."""
        return 0

    def offer(self, prepared: Any) -> bool:
        """Let one event in if there is room; if not, the policy decides."""
        self.subscription.hand_in(self._take, prepared)
        return True

    def refuse(self, error: StreamError) -> None:
        """Tell that one event could not be prepared."""
        self.subscription.post(self.top._count_refused)
        self.top.refuse(error)

    def lose(self, error: StreamError) -> None:
        """Count an event that was not let in; whoever sent it is told."""
        self.subscription.post(self.top._count_refused)
        self.subscription.post(self.top._count_error, type(error).__qualname__)

    def complete(self) -> None:
        """No more events will come."""
        self.on_completed()

    def fail(self, error: Exception) -> None:
        """No more events will come, because of `error`."""
        self.on_error(error)

    def abandon(self) -> int:
        """Dispose of the stream. How many accepted events that loses."""
        lost = sum(stage.held for stage in self.subscription._stages)
        self.subscription.dispose()
        return lost

    def close(self) -> None:
        """The line is being disposed of."""
        self.credit.close(abandon=not self.subscription.finished)
