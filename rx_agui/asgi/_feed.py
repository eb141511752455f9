"""Whatever can be given as a source, as one Observable of payloads.

    async def agent(): yield event ...      pulled, with credit
    [event, event], a generator             pulled, with credit
    events.pipe(ops.filter(...))            pushed; queues if it comes too fast
    events.pipe(sequence(), batch())        taken as it is
    EventStream                             its chunks, taken as they are
    a function that makes one of these

Which of them it is, its first item says: a bare event gets the default chain, a Frame or
a StreamChunk has been through operators already.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterable, AsyncIterator, Callable, Collection, Iterable
from typing import Any, NamedTuple

from reactivex import Observable, compose
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import CompositeDisposable, Disposable
from reactivex.subject import Subject

from rx_agui.asgi._failure import RunCancelled
from rx_agui.clock import Clock, clock_for
from rx_agui.errors import ConfigError, StreamError
from rx_agui.flow import NO_PERMIT, Credit, Link, Paced, Permit, from_async_iterable
from rx_agui.frame import Frame, StreamChunk
from rx_agui.operators._lift import Lifted
from rx_agui.operators._stage import Operator
from rx_agui.pipeline import _Named
from rx_agui.probe import Probe

__all__ = ["Chain", "Feed", "is_source", "resolved"]

#: Payloads on their way at once, of those that went through operators of the user's.
_READY_WINDOW = 4


def is_source(source: Any) -> bool:
    """Whether it is a source, or may become one when it is called or awaited."""
    return _is_made(source) or callable(source) or inspect.isawaitable(source)


def _is_made(source: Any) -> bool:
    if isinstance(source, type | str | bytes | bytearray | dict):
        return False
    kinds = isinstance(source, Observable | AsyncIterable | Iterable)
    return kinds or hasattr(source, "receive_chunks")


async def resolved(source: Any) -> Any:
    """What a factory makes; anything else as it is.

    Raises:
        ConfigError: It makes something that is no source.
    """
    made = source
    if not _is_made(made) and callable(made):
        made = made()
    if not _is_made(made) and inspect.isawaitable(made):
        made = await made
    if not _is_made(made):
        must = (
            "events: an (async) iterable, an Observable, or a function that makes one"
        )
        raise ConfigError("source", made, must)
    return made


class Chain(NamedTuple):
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
        if isinstance(source, _Named):  # it has a name of its own, and is one stream
            inner = compose(*steps)(source._inner)
            return _Named(inner, source._name, (*source._probes, self.probe))
        return _Named(compose(*steps)(source), self.name, (self.probe,))


class Feed:
    """One source and what it goes through.

    Attributes:
        closed: When an async source has been closed, in its own task: until then it may
            use what belongs to the request.
    """

    def __init__(self, source: Any, chain: Chain) -> None:
        self.closed = asyncio.Event()
        self._leaving = False
        self._chain = chain
        self._subscription: DisposableBase = Disposable()
        self._payloads = self._observable(source)

    def subscribe(self, observer: ObserverBase[Any]) -> None:
        """Begin."""
        self._subscription = self._payloads.subscribe(observer)

    def dispose(self) -> None:
        """Nobody wants the rest: the source is cancelled."""
        self._leaving = True
        self._subscription.dispose()

    def _observable(self, source: Any) -> Observable[Any]:
        if hasattr(source, "receive_chunks"):
            source = source.receive_chunks()
        if isinstance(source, Observable):
            self.closed.set()
            if isinstance(source, Paced):
                return self._chain.on(source, is_bare=True)
            if _makes_payloads(source):
                return self._chain.on(source, is_bare=False)
            return _ByFirst(source, self._chain)
        if not isinstance(source, AsyncIterable):
            source = _asynchronous(source)
        return _Late(self._attended(source), self._chain)

    async def _attended(self, source: AsyncIterable[Any]) -> AsyncIterator[Any]:
        """The same; but a cancellation from within is a failure like any other."""
        events = aiter(source)
        try:
            while True:
                try:
                    event = await anext(events)
                except StopAsyncIteration:
                    return
                except asyncio.CancelledError:
                    if self._leaving:
                        raise
                    raise RunCancelled("the agent was cancelled from within") from None
                yield event
        finally:
            try:
                if (close := getattr(events, "aclose", None)) is not None:
                    await close()
            finally:
                self.closed.set()


async def _asynchronous(source: Iterable[Any]) -> AsyncIterator[Any]:
    """An iterable, one by one. What may block, as a generator may, does so in a thread."""
    if isinstance(source, Collection):
        for event in source:
            yield event
        return
    events, end = iter(source), object()
    step: asyncio.Future[Any] | None = None
    try:
        while True:
            step = asyncio.ensure_future(asyncio.to_thread(next, events, end))
            event = await asyncio.shield(step)
            if event is end:
                return
            yield event
    finally:
        close: Callable[[], object] | None = getattr(events, "close", None)
        if close is not None:
            if step is None or step.done():
                close()
            else:  # a thread is in it, and cannot be called off
                step.add_done_callback(lambda done: (done.exception(), close()))


def _is_payload(item: Any) -> bool:
    """Whether it has been through operators already."""
    return isinstance(item, Frame | StreamChunk)


def _makes_payloads(source: Observable[Any]) -> bool:
    """Whether operators of ours stand last, and make payloads."""
    if isinstance(source, _Named):
        source = source._inner
    return isinstance(source, Lifted) and source._make.emits in (Frame, StreamChunk)  # type: ignore[attr-defined]


class _Late(Observable[Any]):
    """A pulled source that is connected when its first item says to what."""

    def __init__(self, events: AsyncIterator[Any], chain: Chain) -> None:
        super().__init__()
        self._events = events
        self._chain = chain

    def _subscribe_core(
        self, observer: ObserverBase[Any], scheduler: SchedulerBase | None = None
    ) -> DisposableBase:
        link = _LateLink(self._chain, observer, clock_for(scheduler))
        pulled = from_async_iterable(self._events)
        assert isinstance(pulled, Paced)
        return CompositeDisposable(link, pulled.pace(link))


class _LateLink(DisposableBase):
    """The link to a chain that is made with the first item.

    Payloads are counted here: they have passed the window of whoever made them, if there
    was one, and must not pile up behind it.
    """

    timeout = None
    waits = True

    def __init__(self, chain: Chain, observer: ObserverBase[Any], clock: Clock) -> None:
        self.clock = clock
        self._chain = chain
        self._observer = observer
        # One credit, for the first item: a source that has looked at it finds no more
        # there, and asks again who gives credit now.
        self._credit = Credit(1)
        self._counts = False
        self._real: Link | None = None
        self._subscription: DisposableBase = Disposable()

    @property
    def credit(self) -> Credit:
        return self._credit

    def prepare(self, event: Any) -> Any:
        if self._real is None:
            self._connect(is_bare=not _is_payload(event))
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
    def _link(self) -> Link:
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
        self._credit.acquire()  # for the item that is here


class _Handle(Paced):
    """A source that says what it was linked to."""

    link: Link

    def pace(self, link: Link) -> DisposableBase:
        self.link = link
        return Disposable()


class _ByFirst(Observable[Any]):
    """A pushed source that is connected when its first item says to what."""

    def __init__(self, source: Observable[Any], chain: Chain) -> None:
        super().__init__()
        self._source = source
        self._chain = chain

    def _subscribe_core(
        self, observer: ObserverBase[Any], scheduler: SchedulerBase | None = None
    ) -> DisposableBase:
        inner: Subject[Any] = Subject()
        both = CompositeDisposable()
        connected = False

        def connect(*, is_bare: bool) -> None:
            nonlocal connected
            if not connected:
                connected = True
                chained = self._chain.on(inner, is_bare=is_bare)
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

        both.add(
            self._source.subscribe(on_next, on_error, on_completed, scheduler=scheduler)
        )
        return both
