"""How tests wait: for something to be so, and never for a time of their own choosing."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, ParamSpec

__all__ = ["SOON", "auntil", "in_thread", "on_a_loop", "until"]

P = ParamSpec("P")

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


def on_a_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Decorate an async test: it is run on an event loop of its own."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


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
