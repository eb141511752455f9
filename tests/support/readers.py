"""Readers of chunks, and what they made of them: events and numbers again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

import reactivex as rx

from rx_agui import (
    EventStream,
    StreamChunk,
    StreamError,
    decompress,
    reassemble,
    unbatch,
)
from tests.support.patience import SOON


def event(n: int, **more: Any) -> dict[str, Any]:
    return {"type": "CUSTOM", "name": "n", "value": n, **more}


def value(event: Any) -> int:
    return int(event["value"])


def values(chunks: Iterable[StreamChunk]) -> list[int]:
    """What the events of these chunks were, as a client of ours would read them."""
    found: list[int] = []
    rx.from_iterable(list(chunks)).pipe(
        reassemble(), decompress(), unbatch()
    ).subscribe(lambda event: found.append(value(event)))
    return found


class Reading(threading.Thread):
    """A thread that iterates, and keeps what it gets."""

    def __init__(
        self, stream: EventStream, after_each: Callable[[], object] = lambda: None
    ) -> None:
        super().__init__(daemon=True)
        self.chunks: list[StreamChunk] = []
        self.error: Exception | None = None
        self._stream = stream
        self._after_each = after_each
        self.start()

    def run(self) -> None:
        try:
            for chunk in self._stream.receive_chunks():
                self.chunks.append(chunk)
                self._after_each()
        except StreamError as error:
            self.error = error

    def has_read(self, chunks: int) -> bool:
        return len(self.chunks) >= chunks

    def all(self) -> list[int]:
        """The values of all that came, once the stream has ended."""
        self.join(SOON)
        assert not self.is_alive(), "the stream never ended"
        return values(self.chunks)
