"""Sources that are pulled: they go no further than the reader has credit for.

    agent     async def run(): yield ...          advanced only with a credit
                 │
    from_async_iterable(run) ──▶ flow_control(100) ──▶ ... ──▶ writer
                 ▲                                                │
                 └────────────────── credit ──────────────────────┘

There is no timeout: a reader may pause as long as policy lets it, and the agent
pauses with it. Without `flow_control` behind it, a source runs at its own speed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase

from rx_agui.clock import Clock, clock_for
from rx_agui.errors import StreamError, as_exception, safe_repr, stops_process
from rx_agui.flow._credit import Credit
from rx_agui.flow._downstream import DownstreamWindow, asking, window_here
from rx_agui.serial import SerialExecutor

__all__ = ["Demand", "PullSource", "T", "admit_all", "end_by"]

_log = logging.getLogger("rx_agui.flow")

T = TypeVar("T")

#: Seconds a source may keep an event loop busy before it lets others run.
SLICE = 0.001


class Demand(Protocol):
    """The way into a stream that a source is handed at subscribe, with its credit."""

    @property
    def credit(self) -> Credit:
        """The window. Who has taken a credit from it may `admit` one event."""

    @property
    def clock(self) -> Clock:
        """The time of this subscription."""

    @property
    def timeout(self) -> float | None:
        """Seconds a sender waits for credit, unless it says otherwise."""

    @property
    def waits(self) -> bool:
        """True if senders wait for credit. If not, they `offer`."""

    def prepare(self, event: Any) -> Any:
        """Encode the event: what to `admit`. Raises ValidationError."""

    @property
    def admit_now(self) -> Callable[[Any], bool]:
        """Encodes an event and lets it in, with a credit, if nothing is in its way.

        Returns False if something is, and has done nothing then. Raises ValidationError.
        """

    def admit(self, prepared: Any) -> None:
        """Let one event in, for which a credit was taken."""

    def admit_many(self, events: list[Any]) -> int:
        """Encode and let in several, for each of which a credit was taken: how many.

        The first so many. 0: they must be encoded one by one.
        """

    def offer(self, prepared: Any) -> bool:
        """Let one event in if there is room; if not, the policy decides.

        False: it says that this one has to wait for a credit after all.
        """

    def refuse(self, error: StreamError) -> None:
        """Tell that one event could not be prepared."""

    def lose(self, error: StreamError) -> None:
        """Count an event that was not admitted; its sender is told."""

    def complete(self) -> None:
        """No more events will come."""

    def fail(self, error: Exception) -> None:
        """No more events will come, because of `error`."""

    def abandon(self) -> int:
        """Dispose of the stream. How many accepted events that loses."""


class Stoppable(Protocol):
    """A walk through a source, which its subscriber may stop at any time."""

    stopped: bool


def admit_all(link: Demand, events: list[Any], walk: Stoppable) -> int:
    """Let in events, for each of which a credit was taken, together as far as possible.

    Returns:
        How many were let in together; the others went one by one.
    """
    together = link.admit_many(events)
    for n, event in enumerate(events[together:], together):
        if walk.stopped:
            link.credit.release(len(events) - n)
            break
        try:
            prepared = link.prepare(event)
        except StreamError as error:
            link.credit.release(1)
            link.refuse(error)
        else:
            link.admit(prepared)
    return together


class PullSource(Observable[Any]):
    """A source that takes its credit from the `flow_control` behind it."""

    def attach(self, link: Demand) -> DisposableBase:
        """Begin to send through `link`. What is returned ends it."""
        raise NotImplementedError(f"{type(self).__name__} must say how it is paced")

    def _subscribe_core(
        self, observer: ObserverBase[Any], scheduler: SchedulerBase | None = None
    ) -> DisposableBase:
        return self.attach(_Unpaced(observer, clock_for(scheduler), window_here()))


class _Unpaced:
    """The link to an observer that knows no credit: everything is let in at once."""

    timeout = None
    waits = True

    def __init__(
        self,
        observer: ObserverBase[Any],
        clock: Clock,
        below: DownstreamWindow | None,
    ) -> None:
        self.credit = Credit() if below is None else below.credit_for(clock)
        self._below = below
        self.clock = clock
        self._observer = observer
        self._executor = SerialExecutor()
        self.credit.is_inside = self._executor.is_owned_by

    def admit_now(self, event: Any) -> bool:
        return False

    def prepare(self, event: Any) -> Any:
        return event

    def admit(self, prepared: Any) -> None:
        if self._below is None:
            self._executor.run(self._observer.on_next, prepared)
            return
        with asking(self._below):  # for sources that `flat_map` subscribes in between
            self._executor.run(self._observer.on_next, prepared)

    def admit_many(self, events: list[Any]) -> int:
        return 0

    def offer(self, prepared: Any) -> bool:
        self.admit(prepared)
        return True

    def refuse(self, error: StreamError) -> None:
        self.fail(error)

    def lose(self, error: StreamError) -> None: ...

    def complete(self) -> None:
        with asking(self._below):  # for the next of `concat`, or the next try
            self._executor.run(lambda _: self._observer.on_completed())

    def fail(self, error: Exception) -> None:
        with asking(self._below):
            self._executor.run(self._observer.on_error, error)

    def abandon(self) -> int:
        return 0


def end_by(link: Demand, error: BaseException) -> None:
    """End the stream by what its source raised, whatever that is.

    Only an error that stops the process has to go on from here, once this is done.
    """
    is_logged = getattr(link, "logs_failures", False)
    if not (is_logged or isinstance(error, Exception) or stops_process(error)):
        _log.error("the source broke off: %s", safe_repr(error), exc_info=error)
    link.fail(as_exception(error, "the source"))
