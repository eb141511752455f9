"""Where events enter a subscription.

    an Observable of others ── on_next ────────▶ ┌────────────────┐
                                                 │ HeadSubscriber │──▶ first stage
    a source of ours        ── prepare, admit ─▶ └────────────────┘
                            ◀─ credit ──────────

Each event is encoded here, once, and refused if it cannot be; if the stream is watched,
its origin is noted. `flow_control` provides a head of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile
from time import time_ns
from typing import Any

from rx_agui import probe
from rx_agui.engine import _stage
from rx_agui.engine._protocols import AnyStage, BatchSink
from rx_agui.engine._stage import Stage
from rx_agui.engine._subscription import Subscription
from rx_agui.errors import StreamError
from rx_agui.flow import NO_PERMIT, Credit
from rx_agui.flow._downstream import permit_here
from rx_agui.flow._permit import ForwardedPermit
from rx_agui.frame import Frame, StreamChunk

__all__ = ["HeadSubscriber"]


class HeadSubscriber:
    """The head of a subscription without flow_control: every event is let in.

    It observes a source of others, and is the Demand of one of ours.
    """

    __slots__ = (
        "_gathers",
        "_in_pieces",
        "_take",
        "admit_now",
        "clock",
        "credit",
        "prepare",
        "subscription",
        "top",
        "window",
    )

    timeout: float | None = None
    waits = True
    #: Encodes an event, and returns what to `admit`. Raises ValidationError.
    prepare: Callable[[Any], Any]

    def __init__(self, subscription: Subscription, top: Stage, credit: Credit) -> None:
        self.subscription = subscription
        self.credit = credit
        self.clock = subscription.clock
        self.top = top
        #: Encodes an event and lets it in, if nothing is in its way; else returns False.
        self.admit_now: Callable[[Any], bool] = _not_now
        self._in_pieces: probe.PayloadTrace | None = (
            None  # of the payload whose pieces come
        )
        #: What sources behind operators of others ask for room.
        self.window = subscription.below
        credit.is_inside = subscription.executor.is_owned_by

    def begin(self, top: Stage) -> None:
        """Take the stage at the top, now that the subscription is complete."""
        self.top = top
        self._gathers = any(stage.gathers for stage in self.subscription.stages)
        self._take: Callable[[Any], object] = top.take
        self.prepare = top.frame_of
        if self.subscription.watch is not None:
            self.prepare = self._prepare_watched
            self._take = self._take_watched

    def fuse(self) -> tuple[AnyStage, BatchSink | None]:
        """Find the first stage that is not transparent, and whether it takes bytes.

        If it does, it does the work of the transparent stages above it once per batch.
        """
        stages = self.subscription.stages
        passing = tuple(takewhile(lambda stage: stage.is_transparent, stages))
        below = stages[len(passing) :] if _stage.FUSION else ()
        batch_sink = below[0].request_fusion(passing) if below else None
        if batch_sink is None:
            return self.top, None
        for stage in passing:
            stage.fused_into = below[0]
        return below[0], batch_sink

    # -- from an Observable that knows nothing of credit --------------------------------

    def on_next(self, item: Any) -> None:
        """Receive an event from an Observable that knows nothing of credit."""
        frame = self.top.enter(item)
        if frame is not None:
            self.attach_trace(frame)
            outer = frame.permit
            if outer is NO_PERMIT:
                outer = permit_here()
            if outer is not NO_PERMIT:
                frame.permit = ForwardedPermit(self.credit, outer)
            self.offer(frame)

    def attach_trace(self, frame: Any) -> None:
        """Note the origin of a frame, if the stream is watched."""
        watch = self.subscription.watch
        if watch is not None and type(frame) is StreamChunk:
            self._trace_piece(frame, watch)
        if watch is None or type(frame) is not Frame:
            return
        came = frame.trace
        if isinstance(came, probe.PayloadTrace) and came.watch is watch:
            return  # from a subscription further up, with RxPY's operators between
        origin = None if watch.origin is None else watch.origin()
        if self._gathers:
            frame.trace = origin
            return
        frame.trace = send = probe.PayloadTrace(watch, time_ns(), frame.events)
        if origin is not None:
            send.add_origin(origin, frame.events)

    def _trace_piece(self, piece: StreamChunk, watch: probe.StreamObservation) -> None:
        """Take over a piece of a stream that has ended: its trace is closed."""
        came = piece.trace
        if not isinstance(came, probe.PayloadTrace) or not came.watch.is_over:
            return
        if self._in_pieces is None or not piece.chunk_index:
            self._in_pieces = probe.PayloadTrace(watch, time_ns(), piece.events)
        piece.trace = self._in_pieces

    def begin_trace(self, frame: Any) -> None:
        """Add the steps of the transparent stages to a frame that is not gathered."""
        send = frame.trace
        if self._gathers or not isinstance(send, probe.PayloadTrace):
            return
        now = time_ns()
        for stage in takewhile(
            lambda stage: stage.is_transparent, self.subscription.stages
        ):
            stage.trace_step(send, now)
        if self.subscription.is_bottom and not send.trigger:
            send.watch.sending(send)

    def _prepare_watched(self, event: Any) -> Any:
        frame = self.top.frame_of(event)
        self.attach_trace(frame)
        return frame

    def _take_watched(self, frame: Any) -> None:
        if type(frame) is Frame:
            self.begin_trace(frame)
        self.top.take(frame)

    def on_error(self, error: Exception) -> None:
        """End with `error`."""
        self.subscription.execute(self.top.on_end, error)

    def on_completed(self) -> None:
        """End."""
        self.subscription.execute(self.top.on_end)

    # -- from a source of ours, which has taken a credit -----------------------------------

    def admit(self, prepared: Any) -> None:
        """Let one event in, for which a credit was taken."""
        self.subscription.deliver(self._take, prepared)

    def admit_many(self, events: list[Any]) -> int:
        """Encode and let in the first of several together; return how many."""
        return 0

    def offer(self, prepared: Any) -> bool:
        """Let one event in if there is room; else apply the overflow policy."""
        self.subscription.deliver(self._take, prepared)
        return True

    def refuse(self, error: StreamError) -> None:
        """Report that one event could not be prepared."""
        self.subscription.execute(self.top.count_refused)
        self.top.refuse(error)

    def lose(self, error: StreamError) -> None:
        """Count an event that was not let in; its sender is told."""
        self.subscription.execute(self.top.count_refused)
        self.subscription.execute(self.top.count_error, type(error).__qualname__)

    def complete(self) -> None:
        """End: no more events will come."""
        self.on_completed()

    def fail(self, error: Exception) -> None:
        """End with `error`: no more events will come."""
        self.on_error(error)

    def abandon(self) -> int:
        """Dispose of the stream; return how many accepted events that loses."""
        lost = sum(stage.held for stage in self.subscription.stages)
        self.subscription.dispose()
        return lost

    def absorb(self, _: object = None) -> None:
        """Gather the events that are pending: without flow_control there are none."""

    def discard_pending(self) -> int:
        """Release the pending events; return how many there were."""
        return 0

    def close(self) -> None:
        """Refuse senders, and wake those that wait: the subscription is disposed of."""
        self.credit.close(abandon=not self.subscription.finished)


def _not_now(_: object) -> bool:
    """Let no event in: each has to go step by step."""
    return False
