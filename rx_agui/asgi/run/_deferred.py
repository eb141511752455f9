"""A source that is connected when its first item says to what.

first item    a bare event                     a Frame, a StreamChunk
goes through  flow_control, sequence, batch    nothing: it has been through operators
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable, Iterable
from typing import Any

from reactivex import Observable, compose
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import CompositeDisposable, Disposable
from reactivex.subject import Subject

from rx_agui.asgi._settings import SSESettings
from rx_agui.asgi.run._terminal import RunState, TerminalStage, ending
from rx_agui.clock import Clock, clock_for
from rx_agui.engine import NamedPipeline, connect
from rx_agui.errors import StreamError
from rx_agui.flow import (
    NO_PERMIT,
    Credit,
    Demand,
    Permit,
    PullSource,
)
from rx_agui.flow._async_iterable import AsyncPull
from rx_agui.flow._downstream import DownstreamWindow, asking, window_here
from rx_agui.flow._threaded import FromBlockingIterable
from rx_agui.frame import Frame, StreamChunk
from rx_agui.operators import decompress, reassemble
from rx_agui.probe import Probe, named
from rx_agui.types import Operator

__all__ = ["ByFirst", "PipelineSpec", "connect_by_first"]

#: Payloads on their way at once, of those that went through operators of the user's.
_READY_WINDOW = 4


class PipelineSpec:
    """The operators between a run's source and its last observer.

    Bare events go through `gathering`, the end and `outgoing`; payloads, which have been
    through operators of the user's, through `ready` and the end.

    Args:
        settings: The name for telemetry, and the operators, which were made once.
        state: Of the run, which gets its end here.
        probe: Observes this stream alone.
        goes_out: Whether the payloads are for one reader, and not for a log.
    """

    __slots__ = ("_goes_out", "_probe", "_settings", "_state")

    def __init__(
        self,
        settings: SSESettings,
        state: RunState,
        probe: Probe,
        *,
        goes_out: bool,
    ) -> None:
        self._settings = settings
        self._state = state
        self._probe = probe
        self._goes_out = goes_out

    def on(self, source: Observable[Any], *, is_bare: bool) -> Observable[Any]:
        """Return the source, piped through the operators."""
        settings, end = self._settings, ending(self._state)
        steps: tuple[Operator[Any, Any], ...]
        if not is_bare:
            steps = (end,) if self._goes_out else (reassemble(), decompress(), end)
        elif self._goes_out:
            steps = (*settings.gathering, end, *settings.outgoing)
        else:
            steps = (*settings.gathering, end)
        if isinstance(source, NamedPipeline):  # named already, and is one stream
            inner = compose(*steps)(source._inner)
            return NamedPipeline(inner, source._name, (*source._probes, self._probe))
        return NamedPipeline(compose(*steps)(source), settings.name, (self._probe,))

    def connect(
        self, source: PullSource, observer: ObserverBase[Any], *, is_bare: bool
    ) -> DisposableBase:
        """Subscribe the operators to a source of ours.

        For bare events, which nearly every agent yields, no Observable is made.
        """
        if not is_bare:
            return self.on(source, is_bare=False).subscribe(observer)
        settings = self._settings
        stages = (*settings.gathering_stages, (TerminalStage, (self._state,)))
        if self._goes_out:
            stages += settings.outgoing_stages
        with named(settings.name, (self._probe,)):
            return connect(source, stages, observer)


def _is_payload(item: Any) -> bool:
    """Whether it has been through operators already."""
    return isinstance(item, Frame | StreamChunk)


def connect_by_first(
    events: AsyncIterable[Any] | Iterable[Any],
    chain: PipelineSpec,
    observer: ObserverBase[Any],
    done: Callable[[], object],
) -> DisposableBase:
    """Pull events; what they go through is connected when the first has come.

    Args:
        done: Called when the iterable has been closed, in its own task.
    """
    clock = clock_for(None)
    link = _LateLink(chain, observer, clock)
    if not isinstance(events, AsyncIterable):  # in threads, since it may block
        return CompositeDisposable(
            link, FromBlockingIterable(events, done).attach(link)
        )
    pull = AsyncPull(events, link, asyncio.get_running_loop())
    pull.start(done)
    return CompositeDisposable(link, Disposable(pull.stop))


class _LateLink(DisposableBase):
    """The link to a chain that is made with the first item.

    Payloads are counted here: they have passed the window of the operators that made them, if there
    was one, and must not pile up behind it.
    """

    timeout = None
    waits = True
    logs_failures = True  # with the run's name; see RunState.fails

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

    def admit_now(self, event: Any) -> bool:
        return False

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
        self._subscription = self._chain.connect(
            handle, self._observer, is_bare=is_bare
        )
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
