"""A whole pipeline as one object, from `send` to the chunks a reader takes.

    send ─▶ event buffer ─▶ flow control ─▶ sequence ─▶ batch ─▶ compress ─▶ chunk ─▶ reader
            ▒▒▒▒▒▒▒▒▒▒▒▒    ░ in flight ░   numbers     ▒▒▒      workers     ▒▒▒▒▒
                 ▲                                                             │
                 └────────────── credit, when the reader is done ──────────────┘

It is composed of the public operators, and adds a life: it begins, it can
be asked how it is, and it ends without losing what it accepted. The names are those of
the AG-UI Go SDK's EventStream; docs/parity.md says what is kept and what is stricter.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import Any, Final, Self

from reactivex import Observable
from reactivex import operators as ops
from reactivex.abc import DisposableBase, SchedulerBase
from reactivex.subject import AsyncSubject

from rx_agui.clock import Clock, Timer, clock_for, running_loop
from rx_agui.config import StreamConfig, config_or_default
from rx_agui.errors import (
    AlreadyStartedError,
    BackpressureTimeoutError,
    ConfigError,
    DrainTimeoutError,
    NotStartedError,
    StreamClosedError,
    StreamError,
    ValidationError,
    WouldBlockError,
)
from rx_agui.flow import Demand, Gate
from rx_agui.metrics import StreamMeter, StreamMetrics
from rx_agui.operators._overflow import REASONS
from rx_agui.pipeline import pipeline
from rx_agui.stream._chain import buffers_of, operators_of
from rx_agui.stream._chunks import Chunks
from rx_agui.stream._faults import ErrorSubject
from rx_agui.stream._log import StreamLog, Witness
from rx_agui.stream._outbox import ChunkBuffer
from rx_agui.types import Item

__all__ = ["EventStream"]

#: "As the config says", since None means: for ever.
_AS_CONFIGURED: Final = -1.0

#: Seconds between two looks for readers that were forgotten, while closing waits.
_GLANCE: Final = 0.05

#: Why flow control drops what was never let in; and what is lost by closing.
_REFUSED: Final = ("invalid", "refused", *REASONS.values())
_NEVER_IN: Final = (*_REFUSED, "cancelled")

#: What is lost by closing; and what comes again, or is dropped by who got it back.
_ELSEWHERE: Final = ("cancelled", "given_back")


class EventStream:
    """Takes events from any thread or coroutine, and gives chunks to one reader.

    >>> with EventStream() as stream:
    ...     stream.send({"type": "STEP_STARTED", "stepName": "think"})
    ...     stream.complete()
    ...     for chunk in stream.receive_chunks():
    ...         print(chunk.event_id, chunk.data)
    1 b'{"type":"STEP_STARTED","stepName":"think"}'

    Events come out in the order they were let in, in every mode, however many workers
    there are: an AG-UI reader needs it. One that fails takes no other along: its
    sender is told, or `errors` are. One that was accepted is delivered, or `close`
    says how many were not.

    Args:
        config: What can be turned; see StreamConfig.
        number: Reads the producer's own number from an event, given as a mapping; for
            `ordering_required`.
        name: What telemetry and the log call the stream. One name for what is one
            thing to its operator: it is an attribute of every metric, so never an id.
        scheduler: Whose time to use. The default is that of the event loop `start` is
            called on, else a thread's.

    Attributes:
        config: As given.
        errors: An Observable, and an iterable (also async), of errors that cost an event and did not end the stream,
            and that were told nowhere else. Each names its number and cause, where it
            has them. It completes with the stream.

    Raises:
        ConfigError: `number` is given, and the config does not ask for order.
        MissingExtraError: The algorithm is not installed.
    """

    config: StreamConfig
    errors: ErrorSubject

    def __init__(
        self,
        config: StreamConfig | None = None,
        *,
        number: Callable[[Mapping[str, Any]], int] | None = None,
        name: str = "default",
        scheduler: SchedulerBase | None = None,
    ) -> None:
        self.config = config = config_or_default(config)
        if number is not None and not config.ordering_required:
            must = "left out, or the config must say ordering_required=True"
            raise ConfigError("number", number, must)
        self._faults = ErrorSubject()
        self.errors = self._faults
        self._name = name
        self._log = StreamLog(name)
        self._meter = StreamMeter() if config.enable_metrics else None
        self._witness = Witness(self._log, self._meter)
        self._outbox = ChunkBuffer(config.chunk_buffer_size, config.chunk_buffer_bytes)
        self._scheduler = scheduler
        self._gate = _Door(self._outbox, self._log, config.backpressure_timeout)
        self._pipeline = self._gate.pipe(
            pipeline(
                name,
                *operators_of(
                    config,
                    number=number,
                    name=name,
                    outbox=self._outbox,
                    errors=self._fault,
                ),
                telemetry=self._witness,
            )
        )
        self._mutex = threading.Lock()
        self._is_started = False
        self._is_closing = False
        self._has_given_up = False
        self._late: DrainTimeoutError | None = None
        self._clock: Clock = clock_for(scheduler)
        self._deadline: Timer | None = None
        self._subscription: DisposableBase | None = None
        self._over: AsyncSubject[None] = AsyncSubject()
        self._outbox.done.add_done_callback(lambda _: self._ended())

    def _fault(self, error: StreamError) -> None:
        self._log.error(error)
        self._faults.tell(error)

    # -- the beginning ----------------------------------------------------------------

    def start(self) -> None:
        """Begin. On the event loop that runs here, if one does.

        Raises:
            AlreadyStartedError: It was called before.
            StreamClosedError: The stream was closed before it began.
        """
        with self._mutex:
            if self._is_closing:
                raise StreamClosedError("the stream was closed before it began")
            if self._is_started:
                raise AlreadyStartedError
            self._is_started = True
        self._clock = clock_for(self._scheduler)
        self._subscription = self._pipeline.subscribe(
            self._outbox, scheduler=self._scheduler
        )
        link = self._gate.link
        if link is not None:  # a reader must not wait for itself, as a sender
            link.credit.is_inside = self._is_inside(link.credit.is_inside)
        if self._witness.watch is not None:
            self._outbox.watched_by(self._witness.watch)
        if self._meter is not None and logging.getLogger("rx_agui").isEnabledFor(
            logging.DEBUG
        ):
            self.metrics_changes().subscribe(
                lambda m: self._log.say(logging.DEBUG, "metrics", "%s", m)
            )
        self._log.say(logging.DEBUG, "life", "started")

    def _is_inside(self, is_ours: Callable[[int], bool]) -> Callable[[int], bool]:
        is_reader = self._outbox.is_read_by
        return lambda thread: is_ours(thread) or is_reader(thread)

    @property
    def is_closed(self) -> bool:
        """Whether it refuses events."""
        return self._is_closing

    # -- sending ------------------------------------------------------------------------

    def send(self, event: Item, timeout: float | None = _AS_CONFIGURED) -> None:
        """Let an event in. Waits only when the event buffer is full.

        Args:
            event: Itemthing `rx_agui.agui.encoding.encode` takes.
            timeout: Seconds to wait at most; None: as long as it takes. The default is
                the config's `backpressure_timeout`.

        Raises:
            BackpressureTimeoutError: The reader made no room in time; the event was not let
                in, and may be sent again.
            CircuitOpenError, Overloaded: The reader's writes keep failing, or it is too far
                behind; the first says when to try again.
            WouldBlockError: There is no room, and this thread runs the event loop or reads
                this very stream. At once, whatever the timeout.
            ValidationError: The event cannot be encoded.
            NotStartedError, StreamClosedError: It has not begun, or has ended.
        """
        try:
            self._gate.send(event, timeout)
        except Exception as error:
            refusal = self._refusal(error)
            raise refusal from refusal.__cause__

    def send_event(self, event: Item, timeout: float | None = _AS_CONFIGURED) -> None:
        """As `send`, by the name that readers of the Go SDK look for.

        On a running event loop use `asend`, which awaits room; this raises there.
        """
        self.send(event, timeout)

    async def asend(self, event: Item) -> None:
        """Let an event in, awaiting while the event buffer is full.

        However long that takes: a reader may pause, and the agent pauses with it.
        Cancelling gives back what was granted meanwhile, so `asyncio.timeout` bounds it.

        Raises:
            WouldBlockError: There is no room, and this task reads this very stream.
            ValidationError, NotStartedError, StreamClosedError: As `send`.
        """
        try:
            await self._gate.asend(event)
        except Exception as error:
            refusal = self._refusal(error)
            raise refusal from refusal.__cause__

    def try_send(self, event: Item) -> bool:
        """Let an event in if there is room now. Whether there was.

        Raises:
            ValidationError, NotStartedError, StreamClosedError: As `send`.
        """
        try:
            return self._gate.try_send(event)
        except Exception as error:
            refusal = self._refusal(error)
            raise refusal from refusal.__cause__

    def _refusal(self, error: Exception) -> Exception:
        """Return the error for a sender, in the words of a stream."""
        if not self._is_started and not self._is_closing:
            return NotStartedError()
        if isinstance(error, StreamClosedError):
            return (
                StreamClosedError("the stream was closed")
                if self._is_closing
                else error
            )
        if isinstance(error, ValidationError | BackpressureTimeoutError):
            self._log.error(error)
        if isinstance(error, StreamError):
            self._faults.tell(error)
            return error
        ended = StreamClosedError(
            f"the stream has ended, since its reader failed: {error!r}"
        )
        ended.__cause__ = error
        return ended

    # -- reading ------------------------------------------------------------------------

    def receive_chunks(self) -> Chunks:
        """Return the chunks, for one reader: iterate, iterate asynchronously, or subscribe.

        Before there is a reader, chunks wait, up to `chunk_buffer_size`; then payloads
        do, then events, then senders. So does a reader that is slow make senders slow.
        One that leaves has had what it took, and the next goes on behind that; a second
        at the same time gets AlreadySubscribedError.

        Errors:
            What ended the stream; DrainTimeoutError or StreamClosedError if it was closed before
            everything was read.
        """
        return Chunks(self._outbox)

    # -- how it is ------------------------------------------------------------------------

    def metrics(self) -> StreamMetrics | None:
        """Return the numbers until now and the fill of buffers; None without `enable_metrics`.

        Always of this moment. Rates are over the last second or more, whatever else asks.
        """
        if self._meter is None:
            return None
        return self._with_buffers(self._meter.metrics())

    def metrics_changes(self) -> Observable[StreamMetrics]:
        """Emit a snapshot every `metrics_interval` seconds, until the stream has ended.

        Raises:
            ConfigError: `enable_metrics` is off.
        """
        if self._meter is None:
            raise ConfigError("enable_metrics", False, must="True for metrics_changes")
        every = self._meter.every(self.config.metrics_interval)
        return every.pipe(ops.map(self._with_buffers), ops.take_until(self._over))

    def _with_buffers(self, metrics: StreamMetrics) -> StreamMetrics:
        return replace(metrics, buffers=buffers_of(self.config, self._witness.watch))

    # -- the end --------------------------------------------------------------------------

    def complete(self) -> None:
        """Refuse new events, and wait for nothing: what was accepted is delivered.

        However long the reader takes for it. `close` sets a deadline, and waits.
        """
        with self._mutex:
            first, self._is_closing = not self._is_closing, True
            is_started = self._is_started
        if not is_started:
            self._outbox.on_completed()
        elif first:
            text = "closing: %s events are under way"
            under_way = self._accepted - self._outbox.delivered
            self._log.say(logging.INFO, "life", text, f"{under_way:,}")
            self._gate.complete()

    def close(self, drain: bool = True) -> None:
        """Refuse new events, and wait until the reader has taken what was accepted.

        Where waiting would stop what is waited for (on an event loop, or in the thread
        that reads) it starts to drain and returns; `await aclose()` waits on a loop.
        Another close waits with the first. The deadline is the config's `drain_timeout`.

        Args:
            drain: False drops what has not been read, and tells the reader.

        Raises:
            DrainTimeoutError: The deadline passed; it says how many events were lost. Once.
        """
        self._begin_to_close(drain)
        if self._may_wait():
            deadline = time.monotonic() + self.config.drain_timeout
            while not self._is_drained(deadline - time.monotonic()):
                if time.monotonic() >= deadline:
                    self._give_up(self._lateness)
                self._outbox.see_who_left()
            self._report()

    async def aclose(self, drain: bool = True) -> None:
        """As `close`, awaiting instead of blocking."""
        self._begin_to_close(drain)
        if self._outbox.is_read_by(threading.get_ident()):
            return
        done = asyncio.wrap_future(self._outbox.done)
        while not done.done():
            await asyncio.wait([done], timeout=_GLANCE)
            self._outbox.see_who_left()
        self._report()

    def _begin_to_close(self, drain: bool) -> None:
        self.complete()
        self._outbox.see_who_left()
        if not drain:
            self._give_up(
                lambda _: StreamClosedError("the stream was closed before all was read")
            )
            return
        with self._mutex:
            if self._deadline is not None or self._outbox.done.done():
                return
            self._deadline = self._clock.after(
                self.config.drain_timeout, lambda: self._give_up(self._lateness)
            )
        if self._outbox.done.done():  # meanwhile
            self._deadline.cancel()

    def _is_drained(self, left: float) -> bool:
        with suppress(TimeoutError):
            self._outbox.done.result(max(min(left, _GLANCE), 0.0))
        return self._outbox.done.done()

    def _may_wait(self) -> bool:
        if running_loop() is not None or self._clock.must_not_wait():
            return False
        link = self._gate.link
        thread = threading.get_ident()
        inside = link is not None and link.credit.is_inside(thread)
        return not inside and not self._outbox.is_read_by(thread)

    def _lateness(self, lost: int) -> DrainTimeoutError:
        return DrainTimeoutError(lost, self.config.drain_timeout)

    def _give_up(self, say: Callable[[int], StreamError]) -> None:
        """Drop what has not been read, and count it."""
        with self._mutex:
            if self._has_given_up or self._outbox.done.done():
                return
            self._has_given_up = True
        lost = self._accepted - self._outbox.freeze() - self._dropped()
        error = say(lost)
        if isinstance(error, DrainTimeoutError) and lost:
            self._late = error
        if lost:
            self._log.say(logging.WARNING, "drain", "%s", error)
        if self._subscription is not None:
            self._subscription.dispose()
        self._outbox.fail(error if lost else None)

    @property
    def _accepted(self) -> int:
        """Events that were let in: each is delivered, or told of, or reported as lost."""
        watch = self._witness.watch
        for tally in () if watch is None else watch.operators:
            if tally.name == "flow_control":
                dropped = tally.dropped
                refused = sum(dropped.get(why, 0) for why in _REFUSED)
                return tally.received - refused
        return 0

    def _dropped(self) -> int:
        """Return how many accepted events became part of others, or were dropped and told."""
        watch = self._witness.watch
        dropped = 0
        for tally in () if watch is None else watch.operators:
            apart = _NEVER_IN if tally.name == "flow_control" else _ELSEWHERE
            dropped += tally.merged - tally.created
            if tally.name != "sink":  # a reader's, to whom they were delivered
                reasons = tally.dropped.items()
                dropped += sum(n for why, n in reasons if why not in apart)
        return dropped

    def _report(self) -> None:
        with self._mutex:
            late, self._late = self._late, None
        if late is not None:
            raise late

    def _ended(self) -> None:
        """Everything was read, or given up."""
        if self._deadline is not None:
            self._deadline.cancel()
        if self._subscription is not None:
            self._subscription.dispose()
        delivered, dropped = self._outbox.delivered, self._dropped()
        self._log.say(
            logging.INFO,
            "life",
            "ended: %s events accepted, %s delivered, %s dropped",
            f"{self._accepted:,}",
            f"{delivered:,}",
            f"{dropped:,}",
        )
        self._log.end()
        self._over.on_next(None)
        self._over.on_completed()
        self._faults.complete()

    # -- with ---------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close. If the block raised, wait only if there is a reader."""
        try:
            self.close(drain=error is None or self._outbox.is_read)
        except DrainTimeoutError:
            if error is None:
                raise  # else the log has it, and what the block raised says more

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """As without `async`."""
        try:
            await self.aclose(drain=error is None or self._outbox.is_read)
        except DrainTimeoutError:
            if error is None:
                raise


class _Door(Gate):
    """The Gate of a stream: it knows who reads, and says when a sender is stuck."""

    def __init__(self, outbox: ChunkBuffer, log: StreamLog, patience: float) -> None:
        super().__init__()
        self._outbox = outbox
        self._log = log
        self._patience = patience

    async def await_credit(self, link: Demand, prepared: Any) -> None:
        if self._outbox.is_read_by(threading.get_ident()):
            raise WouldBlockError(
                "no room, and this task reads the stream: send from another task"
            )
        stall = link.clock.after(self._patience, self._say_stalled)
        try:
            await super().await_credit(link, prepared)
        finally:
            stall.cancel()

    def _say_stalled(self) -> None:
        text = "stalled: a sender has awaited room for %g s, the reader is stuck"
        self._log.say(logging.WARNING, "stall", text, self._patience)
