"""An event loop whose time is virtual: it moves on when there is nothing else to do."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Selector(selectors.DefaultSelector):
    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0 if timeout is not None else None)
        if not ready and timeout:
            self.loop.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Waiting takes no time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers = 0
        selector = _Selector()
        super().__init__(selector)
        selector.loop = self

    def time(self) -> float:
        return self.now

    def call_at(  # type: ignore[override]
        self, when: float, *args: Any, **more: Any
    ) -> asyncio.TimerHandle:
        self.timers += 1
        return super().call_at(when, *args, **more)


def play(main: Coroutine[Any, Any, T]) -> T:
    """Run it in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def now() -> float:
    """Seconds since the beginning."""
    return round(asyncio.get_running_loop().time(), 3)
