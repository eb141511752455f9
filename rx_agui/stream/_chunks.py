"""What a reader holds: an Observable, an iterator, or an async iterator.

    for chunk in chunks: ...                    a thread
    async for chunk in chunks: ...              a coroutine
    chunks.subscribe(SSEWriter(write))          anything else

Whichever it is, a chunk is in flight until the reader is done with it: when it asks
for the next, or when `on_next` returns and the chunk's permit is not held. One that
could not be written counts as dropped if the reader says so:

    for chunk in chunks:
        try:
            send(format_sse_chunk(chunk))
        except OSError as error:
            chunks.fail(error)

`write_sse_chunk(write, chunk)` says it by itself when `write` raises.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import Disposable
from reactivex.scheduler import CurrentThreadScheduler

from rx_agui.clock import running_loop
from rx_agui.engine import Attended
from rx_agui.errors import AlreadySubscribedError, ProcessingError, StreamError
from rx_agui.flow import NO_PERMIT, Permit
from rx_agui.frame import StreamChunk
from rx_agui.stream._outbox import ChunkBuffer

__all__ = ["Chunks"]


class Chunks(Attended[StreamChunk]):
    """The chunks of one EventStream, for one reader at a time.

    A reader that leaves (`break`, `dispose`, `close`) has had what it took; the next
    one goes on behind that. A second one at the same time gets AlreadySubscribedError.
    """

    def __init__(self, outbox: ChunkBuffer) -> None:
        self._outbox = outbox
        self._puller = _Puller(outbox)
        super().__init__()

    # -- a thread ------------------------------------------------------------------

    def __iter__(self) -> Chunks:
        return self

    def __next__(self) -> StreamChunk:
        return self._puller.next()

    # -- a coroutine ----------------------------------------------------------------

    def __aiter__(self) -> Chunks:
        return self

    async def __anext__(self) -> StreamChunk:
        return await self._puller.anext()

    # -- failing ----------------------------------------------------------------------

    def fail(self, error: Exception) -> None:
        """Say that the chunk in hand was not written: it is dropped, and not processed.

        What is left of its payload is dropped, too; the stream goes on. With a circuit breaker in the stream
        the payload is retried after a NotSentError, as behind an SSEWriter.

        >>> from rx_agui import EventStream, NotSentError
        >>> with EventStream() as stream:
        ...     stream.send({"type": "RAW", "event": 1})
        ...     stream.complete()
        ...     chunks = stream.receive_chunks()
        ...     for chunk in chunks:
        ...         chunks.fail(NotSentError())
        ...     print(stream.metrics().events_processed, stream.metrics().events_dropped)
        0 1

        Args:
            error: What `write` raised; NotSentError if nothing of it has gone out.
        """
        self._puller.fail(error)

    # -- leaving ----------------------------------------------------------------------

    def close(self) -> None:
        """Read no more; a reader that waits for a chunk, or asks for one, gets the end.

        A loop that is left does this by itself. From any thread.
        """
        self._puller.close()

    def __del__(self) -> None:
        # Wherever the garbage collector struck, which may be in the midst of our locks.
        if self._puller.is_reading:
            self._outbox.forgets(self._puller)

    # -- anything else ------------------------------------------------------------------

    def _subscribe_core(
        self,
        observer: ObserverBase[StreamChunk],
        scheduler: SchedulerBase | None = None,
    ) -> DisposableBase:
        pusher = _Pusher(self._outbox, observer)
        try:
            self._outbox.attach(pusher)
        except AlreadySubscribedError as error:
            observer.on_error(error)
            return Disposable()
        # By way of RxPY's trampoline, so that the subscriber has something to
        # dispose of before the first chunk: `take(1)` must be able to stop us.
        CurrentThreadScheduler.singleton().schedule(lambda *_: pusher.wake())
        return Disposable(pusher.leave)


class _Puller:
    """A reader that asks for the next chunk."""

    def __init__(self, outbox: ChunkBuffer) -> None:
        self._outbox = outbox
        self._in_hand: Permit = NO_PERMIT
        self._thread = 0
        self._task: asyncio.Task[Any] | None = None
        self._mutex = threading.Lock()
        self._waker: Callable[[], object] | None = None
        self._is_closed = False
        self.is_reading = False

    def next(self) -> StreamChunk:
        self._thread, self._task = threading.get_ident(), None
        while (chunk := self._look()) is None:
            came = threading.Event()
            if self._waits_for(came.set):
                came.wait()
        return chunk

    async def anext(self) -> StreamChunk:
        self._thread, self._task = 0, asyncio.current_task()
        loop = asyncio.get_running_loop()
        while True:
            try:
                chunk = self._look()
            except StopIteration:
                raise StopAsyncIteration from None
            if chunk is not None:
                return chunk
            came: asyncio.Future[None] = loop.create_future()

            def wake(came: asyncio.Future[None] = came) -> None:
                if running_loop() is not loop:
                    with suppress(RuntimeError):  # the loop is closed
                        loop.call_soon_threadsafe(wake)
                elif not came.done():
                    came.set_result(None)

            if self._waits_for(wake):
                await came

    def _look(self) -> StreamChunk | None:
        """Be done with the chunk before, and take the next if there is one."""
        if self._is_closed:
            self.leave()  # it may have been attaching as it was closed
            raise StopIteration
        done, self._in_hand = self._in_hand, NO_PERMIT
        self._outbox.attach(self)
        self.is_reading = True
        done.release()
        chunk = self._outbox.take(survives=True)
        if chunk is not None:
            self._in_hand = chunk.permit
            return chunk
        ending = self._outbox.ending
        if ending is None:
            return None
        self.leave()
        (error,) = ending
        if error is None:
            raise StopIteration
        raise error

    def _waits_for(self, wake: Callable[[], object]) -> bool:
        """Whether there is nothing yet, and `wake` will be called when there is."""
        with self._mutex:
            self._waker = wake
        if self._outbox.has_news or self._is_closed:  # it came between
            self.wake()
            return False
        return True

    def wake(self) -> None:
        with self._mutex:
            waker, self._waker = self._waker, None
        if waker is not None:
            waker()

    def fail(self, error: Exception) -> None:
        if not self._in_hand.is_spent:
            self._in_hand.hold().release(error)  # it is told when the hand is empty

    def is_thread(self, thread: int) -> bool:
        if self._task is None:
            return thread == self._thread
        # Another task of the same loop may wait: this one reads on meanwhile.
        loop = self._task.get_loop()
        return running_loop() is loop and asyncio.current_task(loop) is self._task

    def close(self) -> None:
        self._is_closed = True
        self.leave()
        self.wake()

    def leave(self) -> None:
        self.is_reading = False
        done, self._in_hand = self._in_hand, NO_PERMIT
        self._outbox.detach(self)
        done.release()


class _Pusher:
    """A reader to whom chunks are pushed, one at a time, by the thread that has the token."""

    def __init__(
        self, outbox: ChunkBuffer, observer: ObserverBase[StreamChunk]
    ) -> None:
        self._outbox = outbox
        self._observer = observer
        self._token = threading.Lock()
        self._thread = 0
        self._left = False

    def wake(self) -> None:
        # Look again after giving the token back: something may have come meanwhile.
        while (
            not self._left
            and self._outbox.has_news
            and self._token.acquire(blocking=False)
        ):
            try:
                self._thread = threading.get_ident()
                self._push()
            finally:
                self._thread = 0
                self._token.release()

    def _push(self) -> None:
        outbox = self._outbox
        while not self._left and (chunk := outbox.take()) is not None:
            permit = chunk.permit
            error: StreamError | None = None
            try:
                self._observer.on_next(chunk)
            except Exception as raised:
                error = ProcessingError("the reader's on_next", chunk, raised)
                self.leave()
            finally:
                permit.release(error)
        ending = None if self._left else outbox.ending
        if ending is None:
            return
        self.leave()
        (failed,) = ending
        if failed is None:
            self._observer.on_completed()
        else:
            self._observer.on_error(failed)

    def is_thread(self, thread: int) -> bool:
        return thread == self._thread

    def leave(self) -> None:
        self._left = True
        self._outbox.detach(self)
