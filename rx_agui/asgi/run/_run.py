"""A run that is kept in a log: the first request starts it, and none owns it.

    agent ──▶ flow_control ──▶ sequence ──▶ batch ──▶ ending ──▶ recorder ──▶ log
                   ▲                                                 │
                   └──── credit: when the fastest reader has written it

It is held back by its fastest reader: at most the window lies between the two. A slower
one reads from the log, at its own pace. Without any reader its policy decides: see `grace`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from math import inf
from typing import Any, ClassVar
from uuid import uuid4

from rx_agui.agui.unfinished import Unfinished
from rx_agui.asgi._identity import Claim
from rx_agui.asgi._settings import SSESettings
from rx_agui.asgi._sink import CloseReason
from rx_agui.asgi.run._deferred import PipelineSpec
from rx_agui.asgi.run._request_run import CLEANUP
from rx_agui.asgi.run._source import Source, called, checked, must_be_awaited
from rx_agui.asgi.run._terminal import RunState
from rx_agui.asgi.run._window import Reader, RunWindow
from rx_agui.clock import running_loop
from rx_agui.engine import Sink
from rx_agui.errors import as_exception, stops_process
from rx_agui.flow import Permit
from rx_agui.frame import Frame
from rx_agui.probe import PayloadTrace
from rx_agui.replay import Asked, Opened, ReplayLog, StreamKey

__all__ = ["Run"]

_log = logging.getLogger("rx_agui")

#: Seconds a log may take for the end of a run whose event loop closes.
_FAREWELL = 2.0

#: Seconds a run waits for a reader whom we sent away ourselves.
_RETURN = 15.0


class Run:
    """The producer of one stream.

    Attributes:
        state: How far it has come.
        opened: Its name, once the log has it; None if another run fills a stream of
            that name, so that this one was given up, or if it failed before its first
            event.
        elsewhere: The stream of another run that has the name, if that is why this one
            was given up.
        over: When everything is in the log.
        working: Until its source has been closed, too.
    """

    #: By the log's `id`, which is its own as long as a run of it is here.
    _of_log: ClassVar[dict[tuple[int, StreamKey], Run]] = {}
    _alive: ClassVar[set[Run]] = set()

    @classmethod
    def of(cls, log: ReplayLog, stream: StreamKey) -> Run | None:
        """Return the run that fills this stream, if it is on this event loop."""
        run = cls._of_log.get((id(log), stream))
        return run if run is not None and run.loop is running_loop() else None

    @classmethod
    def anywhere(cls, log: ReplayLog, stream: StreamKey) -> Run | None:
        """Return the run that fills this stream, if it is in this process."""
        return cls._of_log.get((id(log), stream))

    @classmethod
    def alive(cls) -> Iterator[Run]:
        """All that are under way in this process."""
        return iter(tuple(cls._alive))

    def __init__(
        self,
        source: Any,
        log: ReplayLog,
        stream: StreamKey | None,
        claim: Claim,
        settings: SSESettings,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.state = RunState(
            stream.name if stream else "",
            expose=settings.expose_errors,
            unfinished=Unfinished(),
        )
        self.opened: asyncio.Future[StreamKey | None] = self.loop.create_future()
        self.elsewhere: StreamKey | None = None
        self.over = asyncio.Event()
        self._source = source
        self._log = log
        self._stream = stream
        self._claim = claim
        self._policy = settings.without_readers(logged=True)
        self._window = RunWindow(settings.window, self._policy)
        self._close_reason = CloseReason()
        self.state.hides_errors = settings.agent_errors == "hide"
        self.state.failing = partial(self._close_reason.set, "error")
        self._chain = PipelineSpec(
            settings, self.state, self._close_reason, goes_out=False
        )
        self._feed: Source | None = None
        self._starting: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: deque[tuple[Frame, Permit]] = deque()
        self._ended = False
        self._is_cancelled = False
        self._last_word: Frame | None = None
        self._taken = 0  # the last number that has come
        self._numbers = False  # True if the run assigns numbers itself
        self._came = asyncio.Event()
        self._alive.add(self)
        if stream is not None:  # the log has it, and who asks is told so from now on
            self._is_opened_as(stream)
        self.working = self.loop.create_task(self._work())

    def _is_opened_as(self, stream: StreamKey) -> None:
        self._stream, self.state.stream = stream, stream.name
        for old in [k for k, run in self._of_log.items() if run.loop.is_closed()]:
            del self._of_log[old]  # a loop that was torn down tells nothing
        self._of_log[id(self._log), stream] = self

    @property
    def last(self) -> int:
        """The last number in the log."""
        return self._window.last

    # -- what the source does ---------------------------------------------------------

    async def _work(self) -> None:
        """Start the source, and keep what it says, to its end."""
        if not self._is_cancelled:  # before it began
            self._starting = self.loop.create_task(self._start())
        try:
            await self._record()
        except Exception as error:
            await self._log_failed(error)
        except asyncio.CancelledError:  # the loop closes
            self._gives_up()
            await self._end_in_log("the event loop closes")
            raise
        finally:
            self._is_over()
        if self._starting is not None:
            self._starting.cancel()
        if self._feed is not None:
            await self._cleans_up(self._feed)

    async def _start(self) -> None:
        recorder = _Recorder(self)
        self.state.ended = recorder.on_completed
        try:
            made = called(self._source)
            if must_be_awaited(made):
                made = await made
            self._feed = Source(checked(made), self._chain)
            self._feed.subscribe(recorder)
        except BaseException as error:  # of the factory
            if self._is_cancelled:
                raise
            recorder.on_next(self.state.fails(as_exception(error, "the source")))
            recorder.on_completed()
            if stops_process(error):
                raise

    def takes(self, frame: Frame, permit: Permit) -> None:
        """Take a payload, whose permit is held."""
        if self._ended:  # in a thread that had not heard yet
            permit.release()
            return
        self._taken = frame.last
        self._waiting.append((frame, permit))
        self._came.set()

    def ends(self) -> None:
        """No more will come."""
        self._ended = True
        self._came.set()

    async def _record(self) -> None:
        while True:
            while self._waiting:
                frame, permit = self._waiting.popleft()
                if not await self._is_open_for(frame):
                    permit.release()
                    return
                await self._keep(frame, permit)
            if self._ended:
                await self._close()
                return
            self._came.clear()
            await self._came.wait()

    async def _is_open_for(self, frame: Frame) -> bool:
        """Whether the stream is ours to fill. The first payload may have to name it."""
        if self.opened.done():
            return True
        state = self.state
        if state.refusal() is not None:
            if self._stream is not None:
                await self._log.forget(self._stream)
            self.opened.set_result(None)
            return False
        if self._stream is None:
            claimed = await self._log.open(
                state.stream or uuid4().hex,
                namespace=self._claim.namespace,
                owner=self._claim.owner or "",
                asked=Asked(uuid4().hex),  # a run that names itself is new
            )
            if not isinstance(claimed, Opened):
                _log.info("%s is running already: this run is given up", state)
                self.elsewhere = claimed.stream
                self._gives_up()
                self.opened.set_result(None)
                return False
            self._is_opened_as(claimed.stream)
        self.opened.set_result(self._stream)
        return True

    async def _keep(self, frame: Frame, permit: Permit) -> None:
        stream = self._stream
        assert stream is not None
        send = frame.trace
        if not frame.last:  # it went through operators, but not through `sequence`
            self._numbers = True
        if self._numbers or frame is self._last_word:
            frame = frame.copy()
            frame.first = self.last + 1
            frame.last = self.last + frame.events
        try:
            await self._log.append(stream, frame)
        except Exception as error:
            if isinstance(send, PayloadTrace):
                send.done(error)
            permit.release()
            raise
        if isinstance(send, PayloadTrace):
            send.done()
        self._window.stores(frame.first, frame.last, permit, self.loop.time())

    async def _close(self) -> None:
        if self.opened.done() and self._stream is not None:
            await self._log.close(self._stream)

    async def _log_failed(self, error: Exception) -> None:
        """End the run: the log refused a payload, so nothing more can be read."""
        _log.error(
            "%s: the log failed behind number %d (%r): the run is cancelled",
            self.state,
            self.last,
            error,
            exc_info=error,
        )
        self.state.error = error
        self._gives_up()
        if not self.opened.done():
            self.opened.set_exception(error)
            self.opened.exception()  # it may be read, and need not be
        with suppress(Exception):
            await self._close()

    async def _end_in_log(self, why: str) -> None:
        """Give the stream its end, or the next request for it would wait for ever."""
        with suppress(Exception):
            async with asyncio.timeout(_FAREWELL):
                if not self.opened.done() and self._stream is not None:
                    await self._log.forget(self._stream)
                    return
                if not self.state.over:
                    last = self._last_word = self.state.cancel(
                        why, "CANCELLED", self._taken
                    )
                    self._waiting.append((last, last.permit))
                while self._waiting:
                    await self._keep(*self._waiting.popleft())
                await self._close()

    def _is_over(self) -> None:
        self.over.set()
        self._alive.discard(self)
        if self._stream is not None:
            self._of_log.pop((id(self._log), self._stream), None)
        if self._timer is not None:
            self._timer.cancel()
        self._window.ends()
        for _, permit in self._waiting:
            permit.release()
        self._waiting.clear()

    async def _cleans_up(self, feed: Source) -> None:
        """Wait for the source's own end, behind the end of its run; but not for ever."""
        try:
            async with asyncio.timeout(CLEANUP):
                await feed.closed.wait()
        except TimeoutError:
            _log.warning(
                "%s: its agent is still at work %g s after its end, number %d, and is "
                "cancelled",
                self.state,
                CLEANUP,
                self.last,
            )
            feed.dispose()

    # -- who reads ------------------------------------------------------------------------

    def attach(self, written: int) -> Reader:
        """Attach a reader that has everything up to this number."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return self._window.attach(self.loop.time(), written)

    def detach(self, reader: Reader, *, returns: bool = False) -> None:
        """One reads no more. Whether it was sent away, and will come back."""
        if not self._window.detach(reader) or self.over.is_set():
            return
        seconds = max(self._policy.seconds, _RETURN if returns else 0.0)
        if seconds == 0:
            self.cancel("it has no reader any more", "CANCELLED")
        elif seconds < inf:
            why = f"it had no reader for {seconds:g} s"
            self._timer = self.loop.call_later(
                seconds, lambda: self.cancel(why, "CANCELLED")
            )

    # -- its end ---------------------------------------------------------------------------

    def cancel(self, why: str, code: str) -> None:
        """End it, by an event like any other run's end."""
        if self._is_cancelled or self.over.is_set() or self.state.over:
            return
        _log.info("%s: %s; it is cancelled at number %d", self.state, why, self.last)
        self._gives_up()
        self._last_word = self.state.cancel(why, code, self._taken)
        self.takes(self._last_word, self._last_word.permit)
        self.ends()

    def _gives_up(self) -> None:
        self._is_cancelled = True
        if self._starting is not None:
            self._starting.cancel()
        self._close_reason.set("client_disconnect")
        if self._feed is not None:
            self._feed.dispose()


class _Recorder(Sink):
    """Where payloads leave the stream, for the log."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def on_next(self, value: Any) -> None:
        send = value.trace
        if isinstance(send, PayloadTrace):
            send.is_claimed = True
        self._at_home(self._run.takes, value, value.permit.hold())

    def on_error(self, error: Exception) -> None:
        # `ending` makes an event of every error; this is that a write failed, and ours do not.
        _log.error("%s: %r", self._run.state, error)
        self._at_home(self._run.ends)

    def on_completed(self) -> None:
        self._at_home(self._run.ends)

    def _at_home(self, do: Any, *args: Any) -> None:
        """On the loop of the run: an Observable may speak from any thread."""
        loop = self._run.loop
        if running_loop() is loop:
            do(*args)
            return
        with suppress(RuntimeError):  # the loop is closed, and the run with it
            loop.call_soon_threadsafe(do, *args)
