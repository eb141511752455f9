"""The end of the line: whatever comes is written, as one who writes is ready.

    in        a-b-c-d-----|
    write     [a ][bc ][d ]       one write at a time; what came meanwhile goes next
              ▲    ▲
              └─ idle: at once

A permit is held until the write that carries its last byte is done. That is where
the reader's pace comes from: a socket that is full does not return, so the credit
does not come home, so the agent is not advanced.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import Future
from functools import partial
from time import time_ns
from typing import Any

from reactivex.abc import ObserverBase

from rx_agui.clock import Clock, LoopClock, Timer, clock_for, running_loop
from rx_agui.errors import ConfigError, StreamError, require_at_least
from rx_agui.flow import Credit, Permit
from rx_agui.flow._turn import Turn
from rx_agui.frame import IDENTITY, Frame, StreamChunk
from rx_agui.operators._stage import as_frame
from rx_agui.probe import Send, Tally, Watch
from rx_agui.sse import format_frame, format_sse_chunk

__all__ = ["Done", "SSEWriter"]

Write = Callable[[bytes], Awaitable[object] | object]


class Done(Future[None]):
    """That everything was written, or the error that prevented it.

    A thread calls `done.result(timeout)`, a coroutine awaits `done`.
    """

    def __await__(self) -> Generator[Any, None, None]:
        # Shielded: who awaits may be cancelled, and that says nothing of the writing.
        return asyncio.shield(asyncio.wrap_future(self)).__await__()


class SSEWriter(ObserverBase[Any]):
    r"""An observer that writes a stream as Server-Sent Events.

    >>> from rx_agui import from_iterable, sequence
    >>> written = []
    >>> writer = SSEWriter(written.append)
    >>> _ = from_iterable([{"type": "A"}, {"type": "B"}]).pipe(sequence()).subscribe(writer)
    >>> writer.done.result()
    >>> written
    [b'id: 1\ndata: {"type":"A"}\n\n', b'id: 2\ndata: {"type":"B"}\n\n']

    Takes chunks, frames and bare events. Chunks that were compressed or cut are
    written in the chunk profile, everything else as plain AG-UI frames.

    Args:
        write: Called with bytes, never twice at a time. If it is a coroutine function,
            or returns something to await, it is awaited before the next write.
        flush_interval: Seconds that bytes may wait for more to go out with them. 0
            writes at once when idle, which gathers whatever comes during a write.
        loop: Where to await `write`. The default is the loop that runs here and now.

    Attributes:
        done: When the last byte was written, or the stream or a write failed.

    What `write` raises never leaves `on_next`. It ends the stream, by way of the
    permits, and is what `done` carries. Without `flow_control` there are no permits
    and the source cannot be told; then what follows is dropped.

    Raises:
        ConfigError: `write` is async, no loop was given, and none runs here.
    """

    def __init__(
        self,
        write: Write,
        *,
        flush_interval: float = 0.0,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        require_at_least(0.0, flush_interval=flush_interval)
        self.done = Done()
        self._write = write
        self._flush_interval = flush_interval
        self._loop = loop or running_loop()
        self._is_async = _is_async(write)
        if self._is_async and self._loop is None:
            must = "given, or a loop must run where SSEWriter is made: write is async"
            raise ConfigError("loop", None, must)
        self._clock: Clock = LoopClock(self._loop) if self._loop else clock_for(None)
        self._turn = Turn()
        self._mutex = threading.Lock()  # of the five below: both sides use them
        self._waiting = _Work()
        self._is_busy = False
        self._timer: Timer | None = None
        self._ending: tuple[Exception | None] | None = None
        self._failed: Exception | None = None
        self._parked_in: Credit | None = None
        self._task: asyncio.Task[None] | None = None
        self._under_way = 0  # bytes
        self._tally = _SinkTally(self)
        self._watch: Watch | None = None

    # -- what comes --------------------------------------------------------

    def on_next(self, value: Any) -> None:
        send = getattr(value, "trace", None)
        if isinstance(send, Send):
            self._claim(send)
        else:
            send = None
        events = _events_of(value)
        if self._failed is not None:
            self._lose(events)
            return
        try:
            data, permit = _format(value)
        except StreamError as error:
            self._lose(events)
            if send is not None:
                send.done(error)
            self._fail(error, None)
            return
        permit.hold()
        with self._mutex:
            self._tally.taken += events
            self._waiting.add(data, permit, events, send)
        if self._flush_interval and not self._is_busy:
            self._park(permit.credit)
        else:
            self._flush()

    def _claim(self, send: Send) -> None:
        """It is for us to say when a payload is done; the first says whose we are."""
        send.claimed = True
        if self._watch is None and not self.done.done():
            self._watch = send.watch
            self._watch.begins()
            self._watch.joined(self._tally, at_end=True)

    def _lose(self, events: int) -> None:
        """Something came that will not be written."""
        with self._mutex:
            self._tally.taken += events
            self._tally.count_drop("write_failed", events)

    def on_error(self, error: Exception) -> None:
        self._end(error)

    def on_completed(self) -> None:
        self._end(None)

    def _end(self, error: Exception | None) -> None:
        with self._mutex:
            self._ending = self._ending or (error,)
        self._flush()

    # -- the coalescing buffer ---------------------------------------------

    def _park(self, credit: Credit | None) -> None:
        """Let bytes wait for more, but not if more cannot come."""
        with self._mutex:
            begins = self._timer is None and not self._is_busy
            if begins:
                self._timer = self._clock.after(self._flush_interval, self._flush)
                self._parked_in = credit
        if begins and credit is not None:
            credit.parks(self)
        if credit is not None:
            credit.relieve()

    @property
    def parked(self) -> int:
        """Credits of the bytes that wait for more; see Credit.is_stalled."""
        return sum(permit.credits for permit in set(self._waiting.permits))

    def let_go(self) -> None:
        """Nothing in flight can move unless what waits here does."""
        self._flush()

    def _flush(self) -> None:
        """Write what waits, unless a write is under way: then it goes next."""
        with self._mutex:
            if self._is_busy:
                return
            self._is_busy = True
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        self._pump()

    # -- writing -------------------------------------------------------------

    def _pump(self) -> None:
        """Write until nothing waits. Only who has set `_is_busy` comes here."""
        loop = self._loop
        if self._is_async and loop is not None:
            if running_loop() is loop:
                self._start()
            elif loop.is_closed():
                self._fail(RuntimeError("the event loop is closed"), None)
            else:
                loop.call_soon_threadsafe(self._start)
            return
        while (work := self._next_work()) is not None:
            try:
                result = self._write(work.data)
            except Exception as error:
                self._fail(error, work)
                return
            if inspect.isawaitable(result):
                self._become_async(result, work)
                return
            self._written(work)

    def _start(self) -> None:
        assert self._loop is not None
        self._task = self._loop.create_task(self._pump_async())

    def _become_async(self, result: Awaitable[object], work: _Work) -> None:
        """`write` looked like a plain function, and returned something to await."""
        loop = self._loop
        if loop is None:
            if inspect.iscoroutine(result):
                result.close()
            must = "given, or a loop must run where SSEWriter is made: write is async"
            self._fail(ConfigError("loop", None, must), work)
            return
        self._is_async = True

        def start() -> None:
            self._task = loop.create_task(self._pump_async(result, work))

        if running_loop() is loop:
            start()
        else:
            loop.call_soon_threadsafe(start)

    async def _pump_async(
        self, result: Awaitable[object] | None = None, work: _Work | None = None
    ) -> None:
        try:
            if result is not None and work is not None:
                await result
                self._written(work)
            while (work := self._next_work()) is not None:
                written = self._write(work.data)
                if inspect.isawaitable(written):
                    await written
                self._written(work)
        except asyncio.CancelledError as error:
            # Not ours to swallow; but nobody may wait for these bytes any more.
            self._fail(StreamError(f"the write was cancelled{error or ''}"), work)
            raise
        except Exception as error:
            self._fail(error, work)

    def _next_work(self) -> _Work | None:
        """All that waits as one; None when idle. In the same step we are no longer busy."""
        ending: tuple[Exception | None] | None = None
        with self._mutex:
            work, self._waiting = self._waiting, _Work()
            parked_in, self._parked_in = self._parked_in, None
            if work.is_abandoned:
                abandoned, work = work, _Work()
            else:
                abandoned = _Work()
            self._tally.count_drop("cancelled", abandoned.events)
            self._under_way = 0
            if not work.pieces:
                self._is_busy = False
                ending, self._ending = self._ending, None
        if parked_in is not None:
            parked_in.parks_no_more(self)
        abandoned.release(None)
        if work.pieces:
            self._under_way = work.begin()
            return work
        if ending is not None:
            self._settle(ending[0])
        return None

    def _written(self, work: _Work) -> None:
        duration = work.end()
        if self._watch is not None:
            self._watch.wrote(duration, None)
        self._tally.sent += work.events
        self._tally.count("sink.sent.frames", len(work.pieces))
        self._tally.count("sink.sent.size", len(work.data))
        self._tally.count("operator.time", duration)
        work.tell(None)
        work.release(None)

    # -- the end ---------------------------------------------------------------

    def _fail(self, error: Exception, work: _Work | None) -> None:
        with self._mutex:
            self._failed = error
            waiting, self._waiting = self._waiting, _Work()
            self._is_busy = False
            self._under_way = 0
            lost = waiting.events + (0 if work is None else work.events)
            self._tally.count_drop("write_failed", lost)
        if work is not None:
            duration = work.end()
            self._tally.count("operator.time", duration)
            if self._watch is not None:
                self._watch.wrote(duration, error)
        self._tally.count("errors", 1, type(error).__qualname__)
        unwritten = [waiting] if work is None else [work, waiting]
        for each in unwritten:
            each.tell(error)
        self._settle(error)
        for each in unwritten:
            each.release(error)

    def _settle(self, error: Exception | None) -> None:
        if self.done.done():
            return
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.ends("completed" if error is None else "error", error)
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)


class _Work:
    """What goes out in one write."""

    __slots__ = ("begun", "data", "ended", "events", "permits", "pieces", "sends")

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.permits: list[Permit] = []
        self.sends: dict[Send, bool] = {}  # and whether this ends them
        self.events = 0
        self.data = b""
        self.begun = self.ended = 0  # ns since 1970

    @property
    def is_abandoned(self) -> bool:
        """Whether the stream was disposed of: nothing need be written any more."""
        return bool(self.permits) and self.permits[-1].is_abandoned

    def add(self, data: bytes, permit: Permit, events: int, send: Send | None) -> None:
        """One more piece, whose permit is held until it is written."""
        self.pieces.append(data)
        self.permits.append(permit)
        self.events += events
        if send is not None:
            send.size += len(data)
            self.sends[send] = events > 0

    def begin(self) -> int:
        """The write begins. Of how many bytes."""
        self.data = b"".join(self.pieces)
        self.begun = time_ns()
        return len(self.data)

    def end(self) -> int:
        """The write is over: how many ns it took."""
        self.ended = time_ns()
        for send in self.sends:
            if send.watch.wants_steps:
                send.written(self.begun, self.ended)
        return self.ended - self.begun

    def tell(self, error: Exception | None) -> None:
        """Say how each payload fared."""
        for send, is_last in self.sends.items():
            if is_last or error is not None:
                send.done(error)

    def release(self, error: Exception | None) -> None:
        """Give back what was held."""
        for permit in self.permits:
            permit.release(error)


class _SinkTally(Tally):
    """What a writer does. What waits to be written is what it holds."""

    __slots__ = ("_writer",)

    def __init__(self, writer: SSEWriter) -> None:
        super().__init__("sink")
        self._writer = writer

    @property
    def levels(self) -> dict[str, int]:
        waiting = tuple(self._writer._waiting.pieces)
        held = sum([len(piece) for piece in waiting]) + self._writer._under_way
        return {"operator.buffer.usage": held}


def _format(value: Any) -> tuple[bytes, Permit]:
    if type(value) is StreamChunk:
        return format_sse_chunk(value), value.permit
    frame = as_frame(value)
    if frame.encoding == IDENTITY:
        return format_frame(frame), frame.permit
    chunk = StreamChunk(
        data=frame.data,
        event_type="chunk",
        event_id=str(frame.last) if frame.last else "",
        encoding=frame.encoding,
        sequence_num=frame.first,
        events=frame.events,
        numbers=frame.numbers,
        crc32=frame.crc32,
        trace=frame.trace,
    )
    return format_sse_chunk(chunk), frame.permit


def _events_of(value: Any) -> int:
    """Events that are written once this is. Pieces of a payload come with its last."""
    if isinstance(value, StreamChunk) and value.chunk_index < value.total_chunks - 1:
        return 0
    return value.events if isinstance(value, StreamChunk | Frame) else 1


def _is_async(write: Write) -> bool:
    while isinstance(write, partial):
        write = write.func
    call = getattr(write, "__call__", None)  # noqa: B004  # the method, not whether
    return inspect.iscoroutinefunction(write) or inspect.iscoroutinefunction(call)
