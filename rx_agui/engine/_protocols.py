"""What the parts of the engine may ask of each other.

    HeadSubscriber ──▶ Stage ──▶ Subscription ──▶ these interfaces

A subscription holds its stages and its head, and they hold it. It knows them by these
interfaces only, so that no module of the engine imports back.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

from reactivex.abc import ObserverBase

from rx_agui.flow import Credit, Demand
from rx_agui.flow._downstream import DownstreamWindow
from rx_agui.frame import Frame
from rx_agui.probe import OperatorCounters, PayloadTrace

__all__ = ["AnyHead", "AnyStage", "BatchSink", "QueuedSink"]


class BatchSink(Protocol):
    """A stage that takes events as encoded bytes, before they are frames."""

    def gather(self, line: bytes, credit: Credit) -> None:
        """Take one event, for which one of `credit` was taken."""

    def gather_many(self, lines: list[bytes], size: int, credit: Credit) -> None:
        """Take several events of `size` bytes together, each with a credit."""

    def next(self, frame: Frame) -> None:
        """Take an event that is a frame already."""


class QueuedSink(BatchSink, Protocol):
    """A BatchSink that lets events wait in a queue until several can be taken at once.

    Attributes:
        pending: Events that were let in and not gathered yet. Any thread may append.
        room: Pending events at which the head has to `absorb` them: 1 if the first one
            opens a batch, else as many as fill the open batch.
        small: Bytes of an event that may wait; a larger one is gathered at once.
        is_over: The end has gone down: nothing more is gathered.
    """

    pending: list[Any]
    room: int
    small: float

    @property
    def is_over(self) -> bool: ...


class AnyStage(OperatorCounters):
    """A stage, as its subscription and its head see it; `Stage` implements it."""

    __slots__ = ("fused_into",)

    gathers: ClassVar[bool] = False
    is_transparent: ClassVar[bool] = False
    word: ClassVar[str]
    #: The stage further down that does our work for a whole batch.
    fused_into: AnyStage | None

    def next(self, frame: Any) -> None:
        """Receive a frame from the stage above."""
        raise NotImplementedError

    @property
    def waiting(self) -> int:
        """Events that wait here and are counted when they leave."""
        raise NotImplementedError

    def connect(self, down: AnyStage | ObserverBase[Any]) -> None:
        """Set the receiver of the stage's frames."""
        raise NotImplementedError

    def request_fusion(self, above: tuple[AnyStage, ...]) -> BatchSink | None:
        """Return a sink that also does the work of the stages `above`, or None."""
        raise NotImplementedError

    def on_batch(self, payload: Frame) -> None:
        """Count a payload as `next` would have counted each of its events."""
        raise NotImplementedError

    def trace_step(self, send: PayloadTrace, now: int) -> None:
        """Add this stage's step to the trace of a payload."""
        raise NotImplementedError

    def on_end(self, error: Exception | None) -> None:
        """Receive the terminal signal."""
        raise NotImplementedError

    def cut(self) -> None:
        """Drop what is held; nothing goes down any more."""
        raise NotImplementedError


class AnyHead(Demand, Protocol):
    """The head of a subscription: a source's observer, and where its credit is."""

    window: DownstreamWindow | None

    def begin(self, top: Any) -> None:
        """Take the stage at the top, now that the subscription is complete."""

    def on_next(self, item: Any) -> None:
        """Receive an event from an Observable that knows nothing of credit."""

    def on_error(self, error: Exception) -> None:
        """End with `error`, behind the events that wait at the head."""

    def on_completed(self) -> None:
        """End, behind the events that wait at the head."""

    def absorb(self, _: object = None) -> None:
        """Gather the events that are pending. On the executor."""

    def discard_pending(self) -> int:
        """Release the pending events; return how many there were. On the executor."""

    def close(self) -> None:
        """Refuse senders, and wake those that wait."""
