"""A server that stops lets its streams end well, and not all of them at once.

    begin ──┬─ readers who can come back     closed one by one, in the first half
            ├─ runs with one reader          may finish; told RUN_ERROR near the deadline
            └─ runs in a log                 may finish; cancelled at the deadline
    new requests get 503 and Retry-After

What tells us that the server stops? Its lifespan does not: uvicorn and hypercorn end
that behind the last connection, for which they wait. The signal does. So `install`
chains a handler before the server's own, which runs as before; no server is patched.

    uvicorn     install, at startup; give it no timeout_graceful_shutdown, or a longer one
    granian     the same; workers_kill_timeout must be longer
    hypercorn   its command runs workers that get no signal: call `begin` yourself, or
                serve from code (hypercorn.asyncio.serve), where install works. Its
                graceful_timeout must be longer
    others      whatever knows first calls `begin`
"""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from types import FrameType
from typing import Any

from rx_agui.asgi._connection import SHUTDOWN, Connection
from rx_agui.asgi.run._run import Run
from rx_agui.errors import ConfigError, require_positive

__all__ = ["Shutdown"]

_log = logging.getLogger("rx_agui")


class Shutdown:
    """Ends the streams of an application within a deadline.

    Make one for the application, give it to every response, and wire it once:

    >>> shutdown = Shutdown(deadline=8)
    >>> shutdown.draining
    False

        app = FastAPI(lifespan=shutdown.lifespan)
        ... SSEResponse(agent, shutdown=shutdown)

    Args:
        deadline: Seconds streams have to end by themselves, or to be ended. With the
            default there are two left of the ten that container runtimes give.

    Raises:
        ConfigError: A setting makes no sense.
    """

    def __init__(self, deadline: float = 8.0) -> None:
        require_positive(deadline=deadline)
        self.deadline = deadline
        self.draining = False
        self._open: dict[Connection, bool] = {}
        self._runs: set[Run] = set()
        self._changed: set[asyncio.Event] = set()
        self._handlers: dict[int, tuple[Any, Any]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    # -- how it begins ------------------------------------------------------------------

    def begin(self) -> None:
        """Begin to drain. From any thread, and from a signal handler; twice is once."""
        if self.draining:
            return
        self.draining = True
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # it is closed: nothing is open
                loop.call_soon_threadsafe(self._drain)

    async def drain(self) -> None:
        """Begin, and wait until every stream has ended: about `deadline` at most."""
        self._loop = self._loop or asyncio.get_running_loop()
        self.begin()
        changed = asyncio.Event()
        self._changed.add(changed)
        try:
            while self._open or self._runs:
                changed.clear()
                await changed.wait()
        finally:
            self._changed.discard(changed)

    def install(self, *signals: int) -> None:
        """Begin when the process is told to stop: chained before the server's handler.

        Call it where the event loop runs, in the main thread, when the server has set
        its own handlers: in the application's startup.

        Args:
            signals: SIGTERM and SIGINT, if none is given.

        Raises:
            ConfigError: It is called elsewhere.
        """
        if threading.current_thread() is not threading.main_thread():
            raise ConfigError(
                "install", threading.current_thread().name, must="in the main thread"
            )
        self._loop = asyncio.get_running_loop()
        for number in signals or (signal.SIGTERM, signal.SIGINT):
            if number not in self._handlers:
                before = signal.getsignal(number)
                handler = self._handler(before)
                self._handlers[number] = handler, before
                signal.signal(number, handler)

    def uninstall(self) -> None:
        """Restore the previous handlers, unless another handler wraps ours."""
        for number, (handler, before) in self._handlers.items():
            if signal.getsignal(number) is handler:
                signal.signal(number, before)
        self._handlers.clear()

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:
        """Run as the lifespan of Starlette, FastAPI or Litestar: `install`, at last `drain`.

        What runs in a log has no connection that a server would wait for; this does.
        """
        try:
            self.install()
        except ConfigError as error:
            _log.warning("no signal will begin the drain of streams: %s", error)
        try:
            yield
        finally:
            await self.drain()
            self.uninstall()

    def _handler(self, before: Any) -> Callable[[int, FrameType | None], None]:
        def handle(number: int, frame: FrameType | None) -> None:
            self.begin()
            if callable(before):
                before(number, frame)
            elif before == signal.SIG_DFL:  # no server is left: do as the signal says
                signal.signal(number, signal.SIG_DFL)
                signal.raise_signal(number)

        return handle

    # -- what it ends -----------------------------------------------------------------------

    @contextmanager
    def enrolled(self, connection: Connection, *, resumes: bool) -> Iterator[None]:
        """End it, if it is open when the drain begins."""
        self._loop = self._loop or asyncio.get_running_loop()
        self._open[connection] = resumes
        if self.draining:
            self._close_soon(connection, resumes)
        try:
            yield
        finally:
            del self._open[connection]
            self._has_changed()

    def enrol(self, run: Run) -> None:
        """End this run, if it is under way at the deadline."""
        self._runs.add(run)
        run.working.add_done_callback(lambda _: self._forget(run))
        if self.draining:  # it came before, and its log has taken so long to answer
            run.loop.call_later(self.deadline, self._cancel_runs)

    def _forget(self, run: Run) -> None:
        self._runs.discard(run)
        self._has_changed()

    def _has_changed(self) -> None:
        for changed in self._changed:
            changed.set()

    @property
    def retry_after(self) -> int:
        """Seconds that a new client should wait."""
        return 1 + int(random.uniform(0, self.deadline))

    def _drain(self) -> None:
        _log.info(
            "the server stops: %d connections and %d runs have %g s to end",
            len(self._open),
            len(self._runs),
            self.deadline,
        )
        for connection, resumes in self._open.items():
            self._close_soon(connection, resumes)
        assert self._loop is not None
        self._loop.call_later(self.deadline, self._cancel_runs)

    def _close_soon(self, connection: Connection, resumes: bool) -> None:
        """Who can come back does so early, and not with all the others."""
        low, high = (0.0, 0.5) if resumes else (0.8, 0.95)
        delay = self.deadline * random.uniform(low, high)
        asyncio.get_running_loop().call_later(delay, connection.close, SHUTDOWN)

    def _cancel_runs(self) -> None:
        for run in tuple(self._runs):
            run.cancel("the server shuts down", "SERVER_SHUTDOWN")
