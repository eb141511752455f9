"""The chunk profile of a log's reader: `compress` and `chunk`, called as a function."""

from __future__ import annotations

import asyncio
from typing import Any

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import Disposable

from rx_agui import probe
from rx_agui.frame import Frame, StreamChunk
from rx_agui.operators import chunk, compress
from rx_agui.probe import StreamObservation
from rx_agui.sink import formatted

__all__ = ["CompressAndCut"]


class CompressAndCut:
    """Makes the bytes of one payload after another, in the chunk profile.

    Args:
        watch: The observed stream that the operators are a part of.
    """

    def __init__(self, watch: StreamObservation | None) -> None:
        source = _Entry()
        self._pieces: list[StreamChunk] = []
        self._changed: asyncio.Future[None] | None = None
        self._error: Exception | None = None
        with probe.subscribing(watch, lambda thread: False):
            self._subscription = source.pipe(compress(), chunk()).subscribe(
                self._on_piece, self._on_error
            )
        self._push = source.observer.on_next

    async def __call__(self, frame: Frame, stem: str) -> tuple[bytes, int]:
        """Return the payload's bytes, and in how many pieces they are.

        A large payload is compressed on another thread, and is waited for.
        """
        self._push(frame)
        while not self._is_whole():
            self._changed = asyncio.get_running_loop().create_future()
            await self._changed
        pieces, self._pieces = self._pieces, []
        return b"".join([formatted(piece, stem) for piece in pieces]), len(pieces)

    def close(self) -> None:
        """Drop what is at work."""
        self._subscription.dispose()

    def _is_whole(self) -> bool:
        if self._error is not None:
            raise self._error
        if not self._pieces:
            return False
        last = self._pieces[-1]
        return last.chunk_index == last.total_chunks - 1

    def _on_piece(self, piece: StreamChunk) -> None:
        self._pieces.append(piece)
        self._wake()

    def _on_error(self, error: Exception) -> None:
        self._error = error
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, None
        if changed is not None and not changed.done():
            changed.set_result(None)


class _Entry(Observable[Any]):
    """A source that is pushed by hand."""

    observer: ObserverBase[Any]

    def _subscribe_core(
        self, observer: ObserverBase[Any], scheduler: SchedulerBase | None = None
    ) -> DisposableBase:
        self.observer = observer
        return Disposable()
