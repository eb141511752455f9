"""Chunks that are ready, and wait for the reader.

    ... compress ──▶ reserve ──▶ chunk ──▶ ▒▒▒ outbox ──▶ reader
                     lets a payload by     chunk_buffer_size
                     while there is room   chunk_buffer_bytes

The pipeline pushes and a reader takes, each at its own pace; when the outbox is full,
payloads wait in the `reserve`, in one piece. Those hold their permits, so flights run
out, the event buffer fills, and senders wait: that is how a slow reader is felt.

There is one reader at a time. One that leaves has had what it was given; the next one
goes on behind that, with a whole payload: what is left of one that was begun, or of
which a piece failed, is dropped and counted.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import InvalidStateError
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

from rx_agui.engine import Operator, Sink, Stage, Subscription, lift
from rx_agui.errors import AlreadySubscribedError, DeliveryError, NotSentError
from rx_agui.flow import AckPermit, Permit
from rx_agui.frame import Frame, StreamChunk
from rx_agui.probe import OperatorCounters, PayloadTrace, StreamObservation
from rx_agui.writer import Done

__all__ = ["ChunkBuffer", "Reader", "reserve"]


class Reader(Protocol):
    """Who takes chunks."""

    def wake(self) -> None:
        """There is something to take: a chunk, or the end. On any thread."""

    def is_thread(self, thread: int) -> bool:
        """Whether to block this thread would stop the reading."""

    def leave(self) -> None:
        """Read no more."""


class ChunkBuffer(Sink):
    """The end of the pipeline, and the beginning of the reader's side.

    Args:
        size: Chunks that may wait.
        max_bytes: Bytes that may wait. A payload's pieces go in together.

    Attributes:
        done: When all has been delivered and nothing is in the reader's hands any more,
            or what remained was given up.
        delivered: Events that were handed to a reader.
        on_room: Called when there is room again. On any thread.
    """

    def __init__(self, size: int, max_bytes: int) -> None:
        self.done = Done()
        self.delivered = 0
        self.on_room: Callable[[], object] = _nothing
        self.tally = _Counts(self)
        self._size = size
        self._max_bytes = max_bytes
        self._mutex = threading.Lock()  # of all below: both sides use them
        self._chunks: deque[StreamChunk] = deque()
        self._bytes = 0
        self._in_hands = 0
        self._is_within = False  # a payload of which pieces were taken
        self._skips = False  # what is left of a payload, to its last piece
        self._was_full = False
        self._reader: Reader | None = None
        self._forgotten: deque[Reader] = deque()
        self._ending: tuple[Exception | None] | None = None
        self._is_frozen = False
        self._watch: StreamObservation | None = None

    def watched_by(self, watch: StreamObservation) -> None:
        """Join the stream as its last part, so that what waits here is counted."""
        self._watch = watch
        watch.part_started()
        watch.joined(self.tally, at_end=True)

    # -- the pipeline's side ---------------------------------------------------------

    @property
    def has_room(self) -> bool:
        """Whether another payload may come. After False, `on_room` is called."""
        if len(self._chunks) < self._size and self._bytes < self._max_bytes:
            return True
        with self._mutex:
            full = len(self._chunks) >= self._size or self._bytes >= self._max_bytes
            self._was_full = full and not self._is_frozen
            return not self._was_full

    def on_next(self, chunk: Any) -> None:
        permit: Permit = chunk.permit
        permit.hold()
        if isinstance(chunk.trace, PayloadTrace):
            chunk.trace.is_claimed = True  # it is done when the reader is done with it
        with self._mutex:
            frozen = self._is_frozen
            self.tally.taken += _events_of(chunk)
            if frozen:
                self.tally.count_drop("cancelled", _events_of(chunk))
            else:
                self._chunks.append(chunk)
                self._bytes += len(chunk.data)
            reader = self._reader
        if frozen:
            permit.release()
        elif reader is not None:
            reader.wake()

    def on_error(self, error: Exception) -> None:
        self._end(error)

    def on_completed(self) -> None:
        self._end(None)

    def _end(self, error: Exception | None) -> None:
        with self._mutex:
            self._ending = self._ending or (error,)
            reader = self._reader
        if reader is not None:
            reader.wake()
        self._settle()

    # -- the reader's side -------------------------------------------------------------

    @property
    def has_news(self) -> bool:
        """Whether a reader would get something now: a chunk, or the end."""
        return bool(self._chunks) or self._ending is not None

    def attach(self, reader: Reader) -> None:
        """Attach a reader, or let it go on.

        Raises:
            AlreadySubscribedError: There is a reader already.
        """
        if self._reader is reader:
            return
        self.see_who_left()
        with self._mutex:
            if self._reader not in (None, reader):
                raise AlreadySubscribedError(
                    "an EventStream", "use Hub for more viewers"
                )
            self._reader = reader

    def detach(self, reader: Reader) -> None:
        """Detach the reader. Chunks that it did not take wait for the next one."""
        with self._mutex:
            if self._reader is reader:
                self._reader = None
                self._skips |= self._is_within

    def forgets(self, reader: Reader) -> None:
        """Forget a reader that was collected. From a finalizer: takes no lock."""
        self._forgotten.append(reader)

    def see_who_left(self) -> None:
        """Take back what readers had who were forgotten."""
        while self._forgotten:
            with suppress(IndexError):  # another thread has done it
                self._forgotten.popleft().leave()

    def is_read_by(self, thread: int) -> bool:
        """Whether to block this thread would stop the reading."""
        reader = self._reader
        return reader is not None and reader.is_thread(thread)

    @property
    def is_read(self) -> bool:
        """Whether there is a reader now."""
        self.see_who_left()
        return self._reader is not None

    def take(self, *, survives: bool = False) -> StreamChunk | None:
        """Return the next chunk, whose permit the reader must release; None: there is none.

        Args:
            survives: A failure to write it does not end the stream: another reader may
                come.
        """
        self._skip()
        with self._mutex:
            if not self._chunks:
                return None
            chunk = self._chunks.popleft()
            self._bytes -= len(chunk.data)
            self._in_hands += 1
            self._is_within = chunk.chunk_index < chunk.total_chunks - 1
            events = _events_of(chunk)
            self.delivered += events
            self.tally.sent += events
            self.tally.count("chunk_buffer.taken.size", len(chunk.data))
            has_room = self._was_full
            self._was_full = False
        if has_room:
            self.on_room()
        if isinstance(chunk.trace, PayloadTrace) and events:
            chunk.trace.is_claimed = False  # an SSEWriter will claim it anew
        above = chunk.permit
        chunk.permit = AckPermit(
            above,
            partial(self._returned, chunk, above),
            answers=survives and not above.is_answered,
        )
        above.release()  # the receipt holds it now
        return chunk

    def _skip(self) -> None:
        """Drop what is left of a payload that its reader has in part, and cannot use."""
        while self._skips:
            with self._mutex:
                if not self._chunks:
                    return  # its last piece is still to come
                chunk = self._chunks[0]
                self._skips = chunk.chunk_index > 0
                if not self._skips:
                    break  # it was given back, and begins anew
                self._chunks.popleft()
                self._bytes -= len(chunk.data)
                self._skips = chunk.chunk_index < chunk.total_chunks - 1
                self._is_within = self._skips
                answered = chunk.permit.is_answered
                why = "given_back" if answered else "incomplete"
                self.tally.count_drop(why, _events_of(chunk))
                has_room, self._was_full = self._was_full, False
            error = DeliveryError("a piece before it was not delivered")
            chunk.permit.release(error if answered else None)
            if has_room:
                self.on_room()
            self._settle()

    @property
    def ending(self) -> tuple[Exception | None] | None:
        """How it ends, once there is nothing more to take: (None,) or (error,)."""
        ending = self._ending  # first: the last chunk comes before it
        return None if self._chunks else ending

    def _returned(
        self, chunk: StreamChunk, above: Permit, error: Exception | None
    ) -> None:
        """Settle a chunk that the reader is done with: delivered or not."""
        send, events = chunk.trace, _events_of(chunk)
        answered = error is not None and above.is_answered
        if (
            isinstance(send, PayloadTrace)
            and not send.is_claimed
            and events
            and not answered
        ):
            send.done(error)
        with self._mutex:
            self._in_hands -= 1
            if error is not None:
                self.delivered -= events
                if answered or not _is_writers(chunk):
                    self.tally.sent -= events
                    why = "given_back" if answered else "write_failed"
                    self.tally.count_drop(why, events)
                if not answered:
                    self._skips |= self._is_within
        if answered:
            self._give_back()
        self._settle()

    def _give_back(self) -> None:
        """Give back what waits: it must not overtake the failed chunk, which may be retried."""
        with self._mutex:
            waiting, self._chunks = self._chunks, deque()
            self._bytes = 0
            self._is_within = False
            had_no_room, self._was_full = self._was_full, False
            self.tally.count_drop("given_back", sum(map(_events_of, waiting)))
        for chunk in waiting:
            chunk.permit.release(NotSentError("the one before it failed", tried=False))
        if had_no_room:
            self.on_room()

    # -- the end -------------------------------------------------------------------------

    def freeze(self) -> int:
        """Nothing more is handed out. Events that were handed out until now."""
        with self._mutex:
            self._is_frozen = True
            self._in_hands += 1  # so that all is not done before `fail` has said how
            lost, self._chunks = self._chunks, deque()
            self._bytes = 0
            self.tally.count_drop("cancelled", sum(map(_events_of, lost)))
            delivered = self.delivered
        for chunk in lost:
            chunk.permit.release()
        return delivered

    def fail(self, error: Exception | None) -> None:
        """End the buffer: with `error`, or well if nothing was lost."""
        with self._mutex:
            if self._ending in (None, (None,)):
                self._ending = (error,)
            self._in_hands = 0  # what is held was told of, and may never be released
        self._end(error)

    def _settle(self) -> None:
        with self._mutex:
            if self._ending is None or self._chunks or self._in_hands > 0:
                return
            watch, self._watch = self._watch, None
            error = self._ending[0]
        if watch is not None:
            watch.part_ended("completed" if error is None else "error", error)
        with suppress(InvalidStateError):  # it was done before
            self.done.set_result(None)


class _Counts(OperatorCounters):
    """What the outbox does. What waits, and what a reader has not taken, it holds."""

    __slots__ = ("_outbox",)

    def __init__(self, outbox: ChunkBuffer) -> None:
        super().__init__("chunk_buffer")
        self._outbox = outbox

    @property
    def levels(self) -> dict[str, int]:
        return {
            "operator.buffer.usage": self._outbox._bytes,
            "chunk_buffer.chunks": len(self._outbox._chunks),
        }


# -- in front of it --------------------------------------------------------------------


def reserve(outbox: ChunkBuffer) -> Operator:
    """Let payloads by while the outbox has room; keep the others, in order."""
    return lift(_Reserve, outbox)


class _Reserve(Stage):
    __slots__ = ("_ending", "_outbox", "_waiting")
    word = "reserve"

    def __init__(self, subscription: Subscription, outbox: ChunkBuffer) -> None:
        super().__init__(subscription)
        self._outbox = outbox
        self._waiting: deque[Frame] = deque()
        self._ending: tuple[Exception | None] | None = None
        outbox.on_room = self._room

    def next(self, frame: Frame) -> None:
        self.taken += frame.events
        if not self._waiting and self._outbox.has_room:
            self.sent += frame.events
            self.emit(frame)
        else:
            frame.permit.hold()
            self._waiting.append(frame)

    def _room(self) -> None:
        self.subscription.on_own_loop(self._go_on)

    def _go_on(self, _: object) -> None:
        while self._waiting and self._outbox.has_room:
            frame = self._waiting.popleft()
            self.sent += frame.events
            try:
                self.emit(frame)
            finally:
                frame.permit.release()
        if self._ending is not None and not self._waiting:
            (error,), self._ending = self._ending, None
            self.end(error)

    @property
    def levels(self) -> dict[str, int]:
        waiting = tuple(self._waiting)
        return {"operator.buffer.usage": sum([len(frame.data) for frame in waiting])}

    def finish(self, error: Exception | None) -> None:
        self._ending = (error,)
        self._go_on(None)

    def drop(self) -> None:
        self._ending = None
        self._outbox.on_room = _nothing  # keep nothing of the line
        for frame in self._waiting:
            self.count_drop("cancelled", frame.events)
            frame.permit.release()
        self._waiting.clear()


def _events_of(chunk: StreamChunk) -> int:
    """Events that are delivered once this is. Pieces come with their last."""
    return chunk.events if chunk.chunk_index == chunk.total_chunks - 1 else 0


def _is_writers(chunk: StreamChunk) -> bool:
    """Whether an SSEWriter took it, which counts itself what becomes of it."""
    return isinstance(chunk.trace, PayloadTrace) and chunk.trace.is_claimed


def _nothing() -> None:
    """Do nothing: no sender waits for room."""
