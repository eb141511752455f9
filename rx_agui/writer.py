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
import re
import threading
import time
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from functools import partial
from types import CoroutineType
from typing import Any

from rx_agui.clock import Clock, LoopClock, Timer, clock_for, running_loop
from rx_agui.engine import Sink
from rx_agui.errors import (
    ConfigError,
    NotSentError,
    StreamClosedError,
    StreamError,
    as_exception,
    require_at_least,
    stops_process,
)
from rx_agui.flow import Credit, Permit
from rx_agui.flow._downstream import warn_of_delay
from rx_agui.probe import PayloadTrace, StreamObservation
from rx_agui.sink import PendingWrite, SinkCounters, facts_of, formatted

__all__ = ["Done", "SSEWriter", "Write"]

Write = Callable[[bytes], Awaitable[object] | object]

#: Seconds a write that never waits may keep an event loop before others run.
_SLICE = 0.001


#: What stands before the slash of an id: clients send it back in a header.
_FITS_AN_ID = re.compile(r"[!-.0-~]*")

_DISPOSED = "the subscription was disposed of before everything was written"


class Done(Future[None]):
    """That everything was written, or the error that prevented it.

    A thread calls `done.result(timeout)`, a coroutine awaits `done`.
    """

    def __await__(self) -> Generator[Any, None, None]:
        # Shielded: who awaits may be cancelled, and that says nothing of the writing.
        return asyncio.shield(asyncio.wrap_future(self)).__await__()


class SSEWriter(Sink):
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
        stream: Makes ids `<stream>/<number>`, by which a reader who was cut off asks a
            log for the rest. ASCII without a slash: see `urllib.parse.quote`. Without
            it an id is the bare number, which says that there is no coming back.
        loop: Where to await `write`. The default is the loop that runs here and now.

    Attributes:
        done: When the last byte was written, or the stream or a write failed, or the
            subscription was disposed of (StreamClosedError).

    What `write` raises never leaves `on_next`. It ends the stream, by way of the
    permits, and is what `done` carries. Without `flow_control` there are no permits
    and the source cannot be told; then what follows is dropped. Behind a
    `circuit_breaker` the stream goes on: what was in the write is given up, or tried
    again if `write` raised NotSentError, and the breaker decides when the next is made.

    Raises:
        ConfigError: `write` is async, no loop was given, and none runs here.
    """

    def __init__(
        self,
        write: Write,
        *,
        flush_interval: float = 0.0,
        stream: str = "",
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        require_at_least(0.0, flush_interval=flush_interval)
        if not _FITS_AN_ID.fullmatch(stream):
            raise ConfigError("stream", stream, must="printable ASCII without a slash")
        self.done = Done()
        self._stem = f"{stream}/" if stream else ""
        self._write = write
        self._flush_interval = flush_interval
        self._loop = loop or running_loop()
        self._is_async = _is_async(write)
        if self._is_async and self._loop is None:
            must = "given, or a loop must run where SSEWriter is made: write is async"
            raise ConfigError("loop", None, must)
        self._clock: Clock = LoopClock(self._loop) if self._loop else clock_for(None)
        self._mutex = threading.Lock()  # of all below: both sides use them
        self._waiting = PendingWrite()
        self._under_way = 0  # bytes
        self._is_busy = False
        self._timer: Timer | None = None
        self._ending: tuple[Exception | None] | None = None
        self._failed: Exception | None = None
        self._outlived = False
        self._parked_in: Credit | None = None
        self._task: asyncio.Task[None] | None = None
        self._tally = _WriterCounters(self)
        self._watch: StreamObservation | None = None
        self._is_over = False

    # -- what comes --------------------------------------------------------

    def on_next(self, value: Any) -> None:
        events, permit, send = facts_of(value)
        if send is not None:
            self._claim(send)
        if self._failed is not None:
            self._lose(events)
            if permit.is_answered:  # else it would count as written
                permit.hold().release(self._failed)
            return
        if permit.is_spent:
            warn_of_delay()
        permit.hold()
        try:
            data = self._format(value)
        except Exception as error:  # neither an event nor a payload
            self._lose(events)
            if send is not None:
                send.done(error)
            self._refuse(error, permit)
            return
        work: PendingWrite | None = None
        with self._mutex:
            failed = self._failed is not None
            is_idle = not self._is_busy
            goes_alone = is_idle and not (self._is_async or permit.is_given_up)
            if not failed:
                self._tally.taken += events
                self._waiting.add(data, permit, events, send)
                self._outlived = permit.is_abandoned
                if not self._flush_interval:
                    self._is_busy = True
                    if goes_alone:
                        work, self._waiting = self._waiting, PendingWrite()
        if failed:
            self._lose(events)
            permit.release(self._failed if permit.is_answered else None)
        elif is_idle and self._flush_interval:
            self._park(permit.credit)
        elif is_idle:
            self._pump(work)

    def _format(self, value: Any) -> bytes:
        """Return the bytes of an item."""
        return formatted(value, self._stem)

    def _claim(self, send: PayloadTrace) -> None:
        """Claim a payload's trace: this writer ends it. The first claims the stream too."""
        send.is_claimed = True
        if self._watch is not None:
            return
        watch = send.watch
        with self._mutex:
            if self._watch is not None or self._is_over:
                return
            self._watch = watch
            watch.part_started()
        watch.joined(self._tally, at_end=True)

    def _lose(self, events: int) -> None:
        """Something came that will not be written."""
        with self._mutex:
            self._tally.taken += events
            self._tally.count_drop("write_failed", events)

    def on_error(self, error: Exception) -> None:
        self._end(error)

    def on_completed(self) -> None:
        self._end(None)

    def disposed(self) -> None:
        """Drop what has not been written yet: the subscription was disposed of."""
        with self._mutex:
            if self._ending is not None or self.done.done():
                return
            is_left = self._failed is None
            error = self._failed = self._failed or StreamClosedError(_DISPOSED)
            waiting, self._waiting = self._waiting, PendingWrite()
            self._tally.count_drop("cancelled", waiting.events)
        waiting.release(None)
        self._settle(error, is_left=is_left)

    def _refuse(self, error: Exception, permit: Permit) -> None:
        """End with `error`, behind what came before it."""
        with self._mutex:
            self._failed = self._failed or error
        self._end(error)
        permit.release(error)

    def _end(self, error: Exception | None) -> None:
        with self._mutex:
            self._ending = self._ending or (error,)
        self._flush()

    # -- the coalescing buffer ---------------------------------------------

    def _park(self, credit: Credit | None) -> None:
        """Let bytes wait for more, but not if more cannot come."""
        with self._mutex:
            if self._timer is None and not self._is_busy:
                self._timer = self._clock.after(self._flush_interval, self._flush)
                self._parked_in = credit
                if credit is not None:
                    credit.add_buffering(self)
        if credit is not None:
            credit.relieve()

    @property
    def parked(self) -> int:
        """Credits of the bytes that wait for more; see Credit.is_stalled."""
        return sum(permit.credits for permit in set(self._waiting.permits))

    def flush(self) -> None:
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

    def _pump(self, work: PendingWrite | None = None) -> None:
        """Write until nothing waits. Only who has set `_is_busy` comes here."""
        if self._is_async:
            self._start(None, None)
            return
        if work is not None:
            self._under_way = work.begin()
        while (work := work or self._next_work()) is not None:
            try:
                result = self._write(work.data)
            except BaseException as caught:
                error = as_exception(caught, "the write")
                if stops_process(caught) or not self._give_back(error, work):
                    self._fail(error, work)
                    if stops_process(caught):
                        raise  # Ctrl-C is not ours to swallow
                    return
            else:
                if result is not None and inspect.isawaitable(result):
                    self._become_async(result, work)
                    return
                self._written(work)
            work = None

    def _start(
        self, result: Awaitable[object] | None, work: PendingWrite | None
    ) -> None:
        """Go on writing in a task on the loop."""
        loop = self._loop
        assert loop is not None

        def start() -> None:
            self._task = loop.create_task(self._pump_async(result, work))
            self._task.add_done_callback(never_began)

        def never_began(task: asyncio.Task[None]) -> None:
            if task.cancelled() and self._failed is None:
                _never_await(result)
                self._fail(StreamError("the write was cancelled"), work)

        if running_loop() is loop:
            start()
            return
        try:
            loop.call_soon_threadsafe(start)
        except RuntimeError as error:  # the loop is closed
            _never_await(result)
            self._fail(error, work)

    def _become_async(self, result: Awaitable[object], work: PendingWrite) -> None:
        """`write` looked like a plain function, and returned something to await."""
        if self._loop is None:
            _never_await(result)
            must = "given, or a loop must run where SSEWriter is made: write is async"
            self._fail(ConfigError("loop", None, must), work)
            return
        self._is_async = True
        self._start(result, work)

    async def _pump_async(
        self, result: Awaitable[object] | None, work: PendingWrite | None
    ) -> None:
        """Write until nothing waits, awaiting each write; `result` is that of `work`."""
        try:
            yield_at = time.monotonic() + _SLICE
            while (work := work or self._next_work()) is not None:
                try:
                    written = self._write(work.data) if result is None else result
                    if type(written) is CoroutineType or inspect.isawaitable(written):
                        await written
                except BaseException as caught:
                    if stops_process(caught) or self._is_called_off(caught):
                        raise
                    error = as_exception(caught, "the write")
                    if not self._give_back(error, work):
                        self._fail(error, work)
                        return
                else:
                    self._written(work)
                work = result = None
                # A write that never waits would keep the loop for as long as the
                # credit it gives back brings more.
                if time.monotonic() >= yield_at:
                    await asyncio.sleep(0)
                    yield_at = time.monotonic() + _SLICE
        except asyncio.CancelledError as error:
            # Not ours to swallow; but `done` has to say that these bytes do not go out.
            self._fail(StreamError(f"the write was cancelled{error or ''}"), work)
            raise
        except BaseException as caught:
            self._fail(as_exception(caught, "the write"), work)
            if stops_process(caught):
                raise

    def _is_called_off(self, error: BaseException) -> bool:
        """Return True if it is a cancellation of this task, and not one that leaked."""
        task = self._task
        is_cancelled = isinstance(error, asyncio.CancelledError)
        return is_cancelled and (task is None or task.cancelling() > 0)

    def _next_work(self) -> PendingWrite | None:
        """All that waits as one; None when idle. In the same step we are no longer busy."""
        abandoned: PendingWrite | None = None
        ending: tuple[Exception | None] | None = None
        with self._mutex:
            if self._waiting.permits and self._is_unwanted():
                abandoned, self._waiting = self._waiting, PendingWrite()
                self._tally.count_drop("cancelled", abandoned.events)
                if self._ending == (None,):  # it did not end well after all
                    credit = abandoned.permits[-1].credit
                    self._ending = (credit.refusal() if credit else None,)
            parked_in, self._parked_in = self._parked_in, None
            self._under_way = 0
            work: PendingWrite | None = None
            if self._waiting.pieces:
                work, self._waiting = self._waiting, PendingWrite()
            else:
                self._is_busy = False
                ending, self._ending = self._ending, None
        if parked_in is not None:
            parked_in.remove_buffering(self)
        if abandoned is not None:
            abandoned.release(None)
        if work is not None:
            self._under_way = work.begin()
        elif ending is not None:
            self._settle(ending[0])
        return work

    def _is_unwanted(self) -> bool:
        """Return True if what waits was disposed of. Under the mutex."""
        last = self._waiting.permits[-1]
        if last.is_given_up:
            return True
        # What was disposed of before it came, or because the end had come, was
        # accepted: an operator in between, such as `take`, had enough, but not we.
        was_disposed = last.is_abandoned and not self._outlived
        return was_disposed and self._ending is None

    def _written(self, work: PendingWrite) -> None:
        duration = work.end()
        watch = self._watch  # who disposes of us takes it away
        if watch is not None:
            watch.wrote(duration, None)
        tally = self._tally
        tally.sent += work.events
        tally.frames += len(work.pieces)
        tally.size += len(work.data)
        tally.busy += duration
        if work.sends:
            work.tell(None)
        work.release(None)

    def _give_back(self, error: Exception, work: PendingWrite) -> bool:
        """Give a failed write back to its permits; return True if all of them take it.

        What waits behind it goes back with it. It must not be written before what
        failed is tried again, or given up.
        """
        with self._mutex:
            permits = (*work.permits, *self._waiting.permits)
            if self._failed or not all(permit.is_answered for permit in permits):
                return False
            waiting, self._waiting = self._waiting, PendingWrite()
            self._under_way = 0
            self._tally.count_drop("given_back", work.events + waiting.events)
        duration = work.end()
        self._tally.count("operator.time", duration)
        self._tally.count("errors", 1, type(error).__qualname__)
        watch = self._watch
        if watch is not None:
            watch.wrote(duration, error)
        for send in (*work.sends, *waiting.sends):
            send.size = 0  # if it goes again, it goes from its first byte
        work.release(error)
        waiting.release(NotSentError("the write before it failed", tried=False))
        return True

    # -- the end ---------------------------------------------------------------

    def _fail(self, error: Exception, work: PendingWrite | None) -> None:
        with self._mutex:
            self._failed = error
            waiting, self._waiting = self._waiting, PendingWrite()
            self._is_busy = False
            self._under_way = 0
            lost = waiting.events + (0 if work is None else work.events)
            self._tally.count_drop("write_failed", lost)
        if work is not None:
            duration = work.end()
            self._tally.busy += duration
            watch = self._watch
            if watch is not None:
                watch.wrote(duration, error)
        self._tally.count("errors", 1, type(error).__qualname__)
        unwritten = [waiting] if work is None else [work, waiting]
        for each in unwritten:
            each.tell(error)
        self._settle(error)
        for each in unwritten:
            each.release(error)

    def _settle(self, error: Exception | None, *, is_left: bool = False) -> None:
        with self._mutex:
            self._is_over = True
            watch, self._watch = self._watch, None
        if watch is not None and is_left:  # maybe before its line says so, in turn
            watch.part_ended("client_disconnect")
        elif watch is not None:
            watch.part_ended("completed" if error is None else "error", error)
        with suppress(InvalidStateError):  # it has ended before, or was cancelled
            if error is None:
                self.done.set_result(None)
            else:
                self.done.set_exception(error)


class _WriterCounters(SinkCounters):
    """Counts of an SSEWriter, which holds the bytes that wait to be written."""

    __slots__ = ("_writer",)

    def __init__(self, writer: SSEWriter) -> None:
        super().__init__()
        self._writer = writer

    @property
    def levels(self) -> dict[str, int]:
        waiting = tuple(self._writer._waiting.pieces)
        held = sum([len(piece) for piece in waiting]) + self._writer._under_way
        return {"operator.buffer.usage": held}


def _never_await(result: Awaitable[object] | None) -> None:
    if inspect.iscoroutine(result):
        result.close()  # else Python warns


def _is_async(write: Write) -> bool:
    while isinstance(write, partial):
        write = write.func
    call = getattr(write, "__call__", None)  # noqa: B004  # the method, not whether
    return inspect.iscoroutinefunction(write) or inspect.iscoroutinefunction(call)
