"""Errors that cost an event and not the stream, as an Observable.

    errors.subscribe(print)         from now on, without what was before

Nothing is kept for later, and a slow listener is not waited for: it misses some, and
hears how many.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import Final

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import Disposable

from rx_agui.errors import StreamError

__all__ = ["ErrorSubject"]

_log = logging.getLogger("rx_agui")

#: Errors that may wait for a listener.
_PATIENCE: Final = 1000


class ErrorSubject(Observable[StreamError]):
    """A hot Observable of errors, for any number of listeners. Completes with the stream.

    Attributes:
        missed: Errors that came while so many waited for a listener that was busy.
    """

    def __init__(self) -> None:
        super().__init__()
        self.missed = 0
        self._listeners: tuple[ObserverBase[StreamError], ...] = ()
        self._waiting: deque[StreamError] = deque()
        self._is_over = False
        self._mutex = threading.Lock()
        self._token = threading.Lock()

    def tell(self, error: StreamError) -> None:
        """Something went wrong. On any thread; listeners hear of it one at a time."""
        if not self._listeners:
            return
        with self._mutex:
            if len(self._waiting) >= _PATIENCE:
                self.missed += 1
                return
            self._waiting.append(error)
        self._go_on()

    def complete(self) -> None:
        """There will be no more."""
        self._is_over = True
        self._go_on()

    def _go_on(self) -> None:
        # Look again after giving the token back: something may have come meanwhile.
        while self._has_news and self._token.acquire(blocking=False):
            try:
                while self._waiting:
                    self._send(self._waiting.popleft())
                if self._is_over:
                    with self._mutex:
                        listeners, self._listeners = self._listeners, ()
                    for listener in listeners:
                        listener.on_completed()
            finally:
                self._token.release()

    @property
    def _has_news(self) -> bool:
        return bool(self._waiting) or (self._is_over and bool(self._listeners))

    def _send(self, error: StreamError) -> None:
        for listener in self._listeners:
            try:
                listener.on_next(error)
            except Exception:  # it harms only itself
                _log.exception("a listener of errors failed, and hears no more")
                self._leave(listener)

    def _leave(self, listener: ObserverBase[StreamError]) -> None:
        with self._mutex:
            self._listeners = tuple(x for x in self._listeners if x is not listener)

    def _subscribe_core(
        self,
        observer: ObserverBase[StreamError],
        scheduler: SchedulerBase | None = None,
    ) -> DisposableBase:
        with self._mutex:
            over = self._is_over
            if not over:
                self._listeners = (*self._listeners, observer)
        if over:
            observer.on_completed()
        return Disposable(lambda: self._leave(observer))
