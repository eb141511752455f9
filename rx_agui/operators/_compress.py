"""Payloads get smaller; how, is written on them.

    in    a-b-c-----|
          compress(workers=3)
    work  921                    seconds each takes
    out   ----------(abc|)       b and c are ready early and wait for a

What would not get smaller passes as it is. Order is kept however many workers
there are. A payload that is large never holds up an event loop: it is compressed
on another thread, and goes on from there on the loop.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from time import time_ns
from typing import Final

from rx_agui.clock import running_loop
from rx_agui.codecs.codec import Pack
from rx_agui.codecs.registry import PAYLOAD_CODECS, crc32
from rx_agui.engine import Errors, Stage, Subscription, lift, operator
from rx_agui.errors import (
    CompressionError,
    CorruptError,
    MissingExtraError,
    PayloadError,
    WireError,
    require_at_least,
    require_one_of,
    require_positive,
    require_whole,
)
from rx_agui.frame import IDENTITY, Frame
from rx_agui.probe import PayloadTrace
from rx_agui.types import AlgorithmName, Item, Operator

__all__ = ["compress", "decompress"]

#: Bytes that take about a millisecond at gzip 6. More would be felt on a loop.
_LARGE = 32 * 1024


@operator
def compress(
    algorithm: AlgorithmName = "gzip",
    level: int | None = None,
    *,
    min_size: int = 1024,
    workers: int = 1,
    ordered: bool = True,
    errors: Errors = None,
) -> Operator[Item, Frame]:
    """Compress each payload by itself, for readers who decompress.

    This is the chunk profile's compression, payload by payload, which may be cut,
    reordered and kept. A browser's own is HTTP's, one context for the whole response.

    >>> from rx_agui import from_iterable
    >>> event = {"type": "STATE_SNAPSHOT", "snapshot": {"text": "ab" * 1000}}
    >>> _ = from_iterable([event]).pipe(compress()).subscribe(
    ...     lambda frame: print(frame.encoding, len(frame.data) < 100)
    ... )
    gzip True

    Args:
        algorithm: "gzip"; "deflate" in zlib's format, as HTTP means it; "lz4", which
            is fast; "zstd" where installed; "none".
        level: The algorithm's own scale; a high one is small and slow. The default is
            6 for gzip and deflate, 0 for lz4, 3 for zstd. With the extra "fast", gzip's
            and deflate's levels 2 and 3, 5 and 6, 8 and 9 give the same bytes: its
            libraries have fewer levels than zlib.
        min_size: Bytes below which a payload passes as it is.
        workers: Payloads compressed side by side, on threads shared by all streams.
        ordered: Keep the order. False lets a payload overtake; only for a reader who
            has `resequence`.
        errors: Told when a codec fails. The payload goes on uncompressed either way.

    A payload passes as it is unless a quarter is saved: on the wire a compressed one
    is base64, which gives a third back.

    Raises:
        ConfigError: A setting makes no sense.
        MissingExtraError: zstd is not installed.
    """
    require_one_of(tuple(PAYLOAD_CODECS), algorithm=algorithm)
    require_at_least(0, min_size=min_size)
    require_positive(workers=workers)
    require_whole(min_size=min_size, workers=workers)
    codec = PAYLOAD_CODECS[algorithm]
    level = codec.level_or_default(level=level)
    packs = codec.packer(level), codec.packer(min(level, codec.cheapest_level))
    return lift(_Compress, algorithm, packs, min_size, workers, ordered, errors)


@operator
def decompress(
    *, max_size: int = 16 * 1024 * 1024, errors: Errors = None
) -> Operator[Item, Frame]:
    """Give back payloads as they were before `compress`, whatever they are encoded in.

    >>> from rx_agui import from_iterable
    >>> events = [{"type": "CUSTOM", "name": "text", "value": "to be " * 1000}]
    >>> _ = from_iterable(events).pipe(compress(), decompress()).subscribe(
    ...     lambda payload: print(payload.encoding, len(payload.data))
    ... )
    identity 6042

    Args:
        max_size: Bytes a payload may have. A few compressed bytes can claim gigabytes;
            no more than this is ever made of them.
        errors: Told of payloads that cannot be decompressed; the others go on. Without
            it such a payload ends the stream.

    Raises:
        ConfigError: A setting makes no sense.
    """
    require_positive(max_size=max_size)
    require_whole(max_size=max_size)
    return lift(_Decompress, max_size, errors)


class _Job:
    """A payload on its way through a worker."""

    __slots__ = ("begun", "ended", "error", "frame", "is_done", "outcome", "size")

    def __init__(self, frame: Frame, *, is_done: bool) -> None:
        self.frame = frame
        self.is_done = is_done
        self.error: CompressionError | None = None
        self.outcome = ""  # compressed, below_minimum, incompressible or error
        self.size = len(frame.data)
        self.begun = self.ended = 0  # ns since 1970


#: The jobs of those who never needed a worker.
_NOTHING: Final[deque[_Job]] = deque(maxlen=0)


class _Compress(Stage):
    __slots__ = (
        "_algorithm",
        "_ending",
        "_idle",
        "_min_size",
        "_ordered",
        "_pack",
        "_packs",
        "_pending",
        "_queued",
        "_workers",
    )
    word = "compress"

    def __init__(
        self,
        subscription: Subscription,
        algorithm: str,
        packs: tuple[Pack, Pack],
        min_size: int,
        workers: int,
        ordered: bool,
        errors: Errors,
    ) -> None:
        super().__init__(subscription, errors)
        self._algorithm = algorithm
        self._packs = packs  # as set, and at its cheapest
        self._pack = packs[0]
        self._min_size = min_size
        self._workers = self._idle = workers
        if workers > 1 and subscription.below is not None:
            subscription.below.delays = True  # a source must not run ahead of them
        self._ordered = ordered
        self._pending = _NOTHING  # in order of arrival
        self._queued = _NOTHING  # those no worker has begun
        self._ending: tuple[Exception | None] | None = None

    def ease(self, step: str, taken: bool) -> None:
        """Take less time for it, while `degrade` says so."""
        if step == "compress":
            self._pack = self._packs[taken]

    def next(self, frame: Frame) -> None:
        self.taken += frame.events
        is_small = len(frame.data) < self._min_size or self._algorithm == "none"
        passes = is_small or frame.encoding != IDENTITY
        if not self._pending and (passes or not self._should_offload(frame)):
            job = _Job(frame, is_done=True)
            if not passes:
                self._squeeze(job)
            elif is_small:
                job.outcome = "below_minimum"
            self._send(job)
            return
        frame.permit.hold()
        job = _Job(frame, is_done=passes)
        if is_small:
            job.outcome = "below_minimum"
        if self._pending is _NOTHING:
            self._pending, self._queued = deque(), deque()
        self._pending.append(job)
        if not passes:
            self._queued.append(job)
            self._start()
        elif not self._ordered:
            self._send_ready()

    def _should_offload(self, frame: Frame) -> bool:
        if self._workers > 1:
            return True
        return len(frame.data) >= _LARGE and running_loop() is not None

    def _start(self) -> None:
        while self._queued and self._idle:
            self._idle -= 1
            job = self._queued.popleft()
            self.subscription.clock.work(partial(self._squeeze, job), self._worked)

    def _squeeze(self, job: _Job) -> _Job:
        """Compress, if it is worth it. In turn or on a worker; touches the job alone."""
        frame = job.frame
        job.begun = time_ns()
        try:
            data = self._pack(frame.data)
        except Exception as error:
            job.ended, job.outcome = time_ns(), "error"
            first, last = frame.first or None, frame.last or None
            size = len(frame.data)
            job.error = CompressionError(self._algorithm, size, error, first, last)
            return job
        if len(data) * 4 <= len(frame.data) * 3:
            frame.crc32 = crc32(frame.data)
            frame.data = data
            frame.encoding = self._algorithm
        job.outcome = "incompressible" if frame.encoding == IDENTITY else "compressed"
        job.ended = time_ns()
        return job

    def _worked(self, job: _Job) -> None:
        self.subscription.on_own_loop(self._done, job)

    def _done(self, job: _Job) -> None:
        job.is_done = True
        self._idle += 1
        self._start()
        self._send_ready()
        if self._ending is not None and not self._pending:
            (error,), self._ending = self._ending, None
            self.end(error)

    def _send_ready(self) -> None:
        if self._ordered:
            while self._pending and self._pending[0].is_done:
                self._send_held(self._pending.popleft())
        else:
            for job in [job for job in self._pending if job.is_done]:
                self._pending.remove(job)
                self._send_held(job)

    def _send_held(self, job: _Job) -> None:
        try:
            self._send(job)
        finally:
            job.frame.permit.release()

    def _send(self, job: _Job) -> None:
        if job.error is not None:
            self.count("errors", 1, type(job.error).__qualname__)
            if self.tell is not None:
                self.tell(job.error)
        frame, counts = job.frame, self.counts()
        if job.outcome:
            counts["compress.events", job.outcome] += frame.events
        if job.ended:
            counts["operator.time", ""] += job.ended - job.begun
            counts["compress.input.size", self._algorithm] += job.size
            counts["compress.output.size", self._algorithm] += len(frame.data)
            size = len(frame.data)
            # What is compressed is written in base64.
            wire = size if frame.encoding == IDENTITY else (size + 2) // 3 * 4
            counts["compress.wire.size", ""] += wire
        if isinstance(frame.trace, PayloadTrace):
            begun = job.begun or time_ns()
            frame.trace.step(
                self.word,
                begun,
                job.ended or begun,
                algorithm=frame.encoding,
                input_size=job.size,
                output_size=len(frame.data),
                outcome=job.outcome,
            )
        self.sent += frame.events
        self.emit(frame)

    @property
    def levels(self) -> dict[str, int]:
        waiting = [len(job.frame.data) for job in tuple(self._pending)]
        return {"operator.buffer.usage": sum(waiting)}

    def finish(self, error: Exception | None) -> None:
        if self._pending:
            self._ending = (error,)  # what is at work was accepted, and goes first
        else:
            self.end(error)

    def drop(self) -> None:
        self._queued.clear()
        self._ending = None
        for job in self._pending:
            self.count_drop("cancelled", job.frame.events)
            job.frame.permit.release()
        self._pending.clear()


class _Decompress(Stage):
    __slots__ = ("_max_size",)
    word = "decompress"

    def __init__(
        self, subscription: Subscription, max_size: int, errors: Errors
    ) -> None:
        super().__init__(subscription, errors)
        self._max_size = max_size

    def next(self, frame: Frame) -> None:
        self.taken += frame.events
        try:
            if frame.encoding != IDENTITY:
                frame = _unpacked(frame, self._max_size)
            _check(frame)
        except (PayloadError, MissingExtraError) as error:
            self.count_drop("invalid", frame.events)
            self.refuse(error)
            return
        self.sent += frame.events
        self.emit(frame)


def _unpacked(frame: Frame, max_size: int) -> Frame:
    codec = PAYLOAD_CODECS.get(frame.encoding)
    if codec is None:
        known = ", ".join(PAYLOAD_CODECS)
        raise WireError(f"encoding {frame.encoding!r} is not one of {known}")
    try:
        data = codec.unpack(frame.data, max_size)
    except (PayloadError, MissingExtraError):
        raise
    except Exception as error:
        size = len(frame.data)
        raise CorruptError(
            f"{size} bytes do not decompress as {frame.encoding}: {error}"
        ) from error
    whole = frame.copy(data=data)
    whole.encoding = IDENTITY
    return whole


def _check(frame: Frame) -> None:
    """Compare a payload with what was written on it."""
    if frame.crc32 is not None:
        is_now = crc32(frame.data)
        if is_now != frame.crc32:
            raise CorruptError(f"crc32 is {is_now:08x}, {frame.crc32:08x} was sent")
    lines = frame.data.count(b"\n") + 1
    if lines != frame.events:
        raise CorruptError(f"{lines} events came, {frame.events} were sent")
    if frame.numbers is not None and len(frame.numbers) != lines:
        raise CorruptError(f"{lines} events came with {len(frame.numbers)} numbers")
