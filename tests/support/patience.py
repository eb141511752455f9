"""How tests wait: for something to be so, and never for a time of their own choosing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

__all__ = ["SOON", "auntil", "in_thread", "until"]

#: Seconds in which anything that is ever going to happen has happened.
SOON = 20.0


def until(condition: Callable[[], object]) -> None:
    """Wait until it holds."""
    tick, left = threading.Event(), SOON
    while not condition():
        assert left > 0, "it never came to be"
        tick.wait(0.001)
        left -= 0.001


async def auntil(condition: Callable[[], object]) -> None:
    """The same on a loop, where others go on meanwhile."""
    async with asyncio.timeout(SOON):
        while not condition():  # noqa: ASYNC110  # what is waited for has no event
            await asyncio.sleep(0.001)


def in_thread(job: Callable[[], Any]) -> Future[Any]:
    """What `job` returns or raises, from a thread of its own."""
    outcome: Future[Any] = Future()

    def work() -> None:
        try:
            outcome.set_result(job())
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return outcome
