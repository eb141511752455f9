"""A source that is connected when its first item says to what.

first item    a bare event                     a Frame, a StreamChunk
goes through  flow_control, sequence, batch    nothing: it has been through operators
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from reactivex import Observable, compose
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import CompositeDisposable, Disposable
from reactivex.subject import Subject

from rx_agui.clock import Clock, clock_for
from rx_agui.engine import NamedPipeline, Operator
from rx_agui.errors import StreamError
from rx_agui.flow import (
    NO_PERMIT,
    Credit,
    Demand,
    Permit,
    PullSource,
    from_async_iterable,
)
from rx_agui.flow._downstream import DownstreamWindow, asking, window_here
from rx_agui.frame import Frame, StreamChunk
from rx_agui.probe import Probe

__all__ = ["ByFirst", "DeferredSource", "PipelineSpec"]

#: Payloads on their way at once, of those that went through operators of the user's.
_READY_WINDOW = 4


class PipelineSpec(NamedTuple):
    """What a source is piped through, and what telemetry calls that."""

    name: str
    probe: Probe
    bare: tuple[Operator, ...]  # for events that went through nothing yet
    ending: Operator  # for all
    outgoing: tuple[Operator, ...] = ()  # for those that were bare
    ready: tuple[Operator, ...] = ()  # for payloads

    def on(self, source: Observable[Any], *, is_bare: bool) -> Observable[Any]:
        """The source, and what it goes through."""
        whole = (*self.bare, self.ending, *self.outgoing)
        steps = whole if is_bare else (*self.ready, self.ending)
        if isinstance(source, NamedPipeline):  # named already, and is one stream
            inner = compose(*steps)(source._inner)
            return NamedPipeline(inner, source._name, (*source._probes, self.probe))
        return NamedPipeline(compose(*steps)(source), self.name, (self.probe,))


def _is_payload(item: Any) -> bool:
    """Whether it has been through operators already."""
    return isinstance(item, Frame | StreamChunk)


class DeferredSource(Observable[Any]):
    """A pulled source that is connected when its first item says to what."""

    def __init__(self, events: AsyncIterator[Any], chain: PipelineSpec) -> None:
        super().__init__()
        self._events = events
        self._chain = chain

    def _subscribe_core(
        self, observer: ObserverBase[Any], scheduler: SchedulerBase | None = None
    ) -> DisposableBase:
        link = _LateLink(self._chain, observer, clock_for(scheduler))
        pulled = from_async_iterable(self._events)
        assert isinstance(pulled, PullSource)
        return CompositeDisposable(link, pulled.attach(link))


class _LateLink(DisposableBase):
    """The link to a chain that is made with the first item.

    Payloads are counted here: they have passed the window of whoever made them, if there
    was one, and must not pile up behind it.
    """

    timeout = None
    waits = True

    def __init__(
        self, chain: PipelineSpec, observer: ObserverBase[Any], clock: Clock
    ) -> None:
        self.clock = clock
        self._chain = chain
        self._observer = observer
        # One credit, for the first item: a source that has looked at it finds no more
        # there, and asks again who gives credit now.
        self._credit = Credit(1)
        self._counts = False
        self._real: Demand | None = None
        self._subscription: DisposableBase = Disposable()

    @property
    def credit(self) -> Credit:
        return self._credit

    def prepare(self, event: Any) -> Any:
        if self._real is None:
            self._connect(is_bare=not _is_payload(event))
            self._credit.acquire()  # for the item that is here
        prepared = self._link.prepare(event)
        if self._counts:
            outer = prepared.permit
            parts = () if outer is NO_PERMIT else (outer.hold(),)
            prepared.permit = Permit(self._credit, 1, parts)
        return prepared

    def admit(self, prepared: Any) -> None:
        if not self._counts:
            self._link.admit(prepared)
            return
        permit = prepared.permit
        try:
            self._link.admit(prepared)
        finally:
            permit.release()

    def offer(self, prepared: Any) -> bool:
        self.admit(prepared)
        return True

    def admit_many(self, events: list[Any]) -> int:
        return 0  # each as it comes: the first of them decides on the chain

    def refuse(self, error: StreamError) -> None:
        self._link.refuse(error)

    def lose(self, error: StreamError) -> None:
        self._link.lose(error)

    def complete(self) -> None:
        self._link.complete()

    def fail(self, error: Exception) -> None:
        self._link.fail(error)

    def abandon(self) -> int:
        return self._link.abandon()

    def dispose(self) -> None:
        self._credit.close(abandon=True)
        self._subscription.dispose()

    @property
    def _link(self) -> Demand:
        if self._real is None:  # it ends before its first item
            self._connect(is_bare=True)
        assert self._real is not None
        return self._real

    def _connect(self, *, is_bare: bool) -> None:
        handle = _Handle()
        chained = self._chain.on(handle, is_bare=is_bare)
        self._subscription = chained.subscribe(self._observer)
        self._real = handle.link
        self._counts = not is_bare
        self._credit = handle.link.credit if is_bare else Credit(_READY_WINDOW)


class _Handle(PullSource):
    """A source that says what it was linked to."""

    link: Demand

    def attach(self, link: Demand) -> DisposableBase:
        self.link = link
        return Disposable()


class ByFirst(Observable[Any]):
    """A pushed source that is connected when its first item says to what."""

    def __init__(self, source: Observable[Any], chain: PipelineSpec) -> None:
        super().__init__()
        self._source = source
        self._chain = chain

    def _subscribe_core(
        self, observer: ObserverBase[Any], scheduler: SchedulerBase | None = None
    ) -> DisposableBase:
        below = DownstreamWindow()  # until there is a chain, the source may go on
        below.stands_in = True
        inner = _Joint(below)
        both = CompositeDisposable()
        connected = False

        def connect(*, is_bare: bool) -> None:
            nonlocal connected
            if not connected:
                connected = True
                chained = self._chain.on(inner, is_bare=is_bare)
                with asking(None):  # an event of the source is on its way up here
                    both.add(chained.subscribe(observer, scheduler=scheduler))

        def on_next(item: Any) -> None:
            connect(is_bare=not _is_payload(item))
            inner.on_next(item)

        def on_error(error: Exception) -> None:
            connect(is_bare=True)
            inner.on_error(error)

        def on_completed() -> None:
            connect(is_bare=True)
            inner.on_completed()

        with asking(below, self._source):
            both.add(
                self._source.subscribe(
                    on_next, on_error, on_completed, scheduler=scheduler
                )
            )
        return both


class _Joint(Subject[Any]):
    """Where the chain begins: it says what window the source asks from now on."""

    def __init__(self, below: DownstreamWindow) -> None:
        super().__init__()
        self._below = below

    def _subscribe_core(
        self, observer: ObserverBase[Any], scheduler: SchedulerBase | None = None
    ) -> DisposableBase:
        window = window_here()
        if window is not None:
            self._below.continues_in(window)
        return super()._subscribe_core(observer, scheduler)
