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
from collections.abc import AsyncIterable, AsyncIterator, Collection, Iterable
from types import AsyncGeneratorType, FunctionType
from typing import Any

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase
from reactivex.disposable import Disposable

from rx_agui.asgi.run._deferred import ByFirst, PipelineSpec, connect_by_first
from rx_agui.engine import Lifted, NamedPipeline
from rx_agui.errors import ConfigError
from rx_agui.flow import PullSource
from rx_agui.flow._async_iterable import FromAsyncLists
from rx_agui.frame import Frame, StreamChunk

__all__ = ["Source", "called", "checked", "is_source", "must_be_awaited"]


#: What nearly every source is; to ask in general takes a microsecond.
_USUAL = (FunctionType, AsyncGeneratorType)


def is_source(source: Any) -> bool:
    """Whether it is a source, or may become one when it is called or awaited."""
    if type(source) in _USUAL:
        return True
    return _is_made(source) or callable(source) or inspect.isawaitable(source)


def _is_made(source: Any) -> bool:
    if isinstance(source, type | str | bytes | bytearray | dict):
        return False
    kinds = isinstance(source, Observable | AsyncIterable | Iterable)
    return kinds or hasattr(source, "receive_chunks")


def called(source: Any) -> Any:
    """Return the result of a factory, which may have to be awaited; anything else as it is."""
    return source() if not _is_made(source) and callable(source) else source


def must_be_awaited(made: Any) -> bool:
    """Whether what was called makes its source when it is awaited."""
    return not _is_made(made) and inspect.isawaitable(made)


def checked(made: Any) -> Any:
    """Return the source itself.

    Raises:
        ConfigError: It is no source.
    """
    if not _is_made(made):
        must = (
            "events: an (async) iterable, an Observable, or a function that makes one"
        )
        raise ConfigError("source", made, must)
    return made


class Source:
    """One source and what it goes through.

    Attributes:
        closed: When an async source has been closed, in its own task: until then it may
            use what belongs to the request.
    """

    def __init__(self, source: Any, chain: PipelineSpec) -> None:
        self.closed = asyncio.Event()
        self._source = source
        self._chain = chain
        self._subscription: DisposableBase = Disposable()

    def subscribe(self, observer: ObserverBase[Any]) -> None:
        """Begin."""
        source, chain = self._source, self._chain
        if hasattr(source, "receive_chunks"):
            source = source.receive_chunks()
        if isinstance(source, FromAsyncLists):
            self.closed = source.closed
            self._subscription = chain.connect(source, observer, is_bare=True)
            return
        if isinstance(source, Observable):
            self.closed.set()
            if isinstance(source, PullSource):
                payloads = chain.on(source, is_bare=True)
            elif _makes_payloads(source):
                payloads = chain.on(source, is_bare=False)
            else:
                payloads = ByFirst(source, chain)
            self._subscription = payloads.subscribe(observer)
            return
        if isinstance(source, Collection):
            source = _asynchronous(source)
        self._subscription = connect_by_first(source, chain, observer, self.closed.set)

    def dispose(self) -> None:
        """Cancel the source; what it says from now on is not wanted."""
        self._subscription.dispose()


async def _asynchronous(source: Collection[Any]) -> AsyncIterator[Any]:
    """Yield the items of a collection, one by one."""
    for event in source:
        yield event


def _makes_payloads(source: Observable[Any]) -> bool:
    """Whether operators of ours stand last, and make payloads."""
    if isinstance(source, NamedPipeline):
        source = source._inner
    return isinstance(source, Lifted) and source._make.emits in (Frame, StreamChunk)  # type: ignore[attr-defined]
