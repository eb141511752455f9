"""Facts that operators record, and the probes that read them.

    operator ── OperatorCounters  ──▶ plain integers, which a probe reads at any time
             ── PayloadTrace      ──▶ one payload: when each operator had it, how it ended
             ── StreamObservation ──▶ one stream: its operators, its begin, its end

Nothing is called per event: an operator adds to integers, and a payload carries one
record that operators fill in. Which probes observe a stream is decided when it is
subscribed; without any there is no observation, no trace, and no clock is read.
Telemetry and StreamMetrics are probes; operators know neither.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock, get_ident, local
from time import time_ns
from typing import Any, NamedTuple

from rx_agui.deprecation import aliases

__all__ = [
    "OperatorCounters",
    "PayloadTrace",
    "Probe",
    "Reading",
    "Step",
    "StreamObservation",
    "deferred",
    "listeners",
    "named",
    "observe",
    "subscribing",
    "watch_here",
    "watching",
]


_log = logging.getLogger("rx_agui")


class Reading(NamedTuple):
    """Consistent snapshot of one OperatorCounters."""

    name: str
    received: int
    emitted: int
    created: int
    merged: int
    held: int
    dropped: dict[str, int]
    more: dict[tuple[str, str], int]
    levels: dict[str, int]
    states: dict[tuple[str, str], int]


class OperatorCounters:
    """Counts of one operator for one subscriber, in events.

    Whenever the stream is quiet, and after it has ended,

        received + created = emitted + dropped + merged + held

    Each integer has one writer, whose turn it is, so none needs a lock.
    """

    __slots__ = (
        "_dropped",
        "_more",
        "_shown",
        "created",
        "merged",
        "name",
        "passed",
        "pipeline",
        "sent",
        "taken",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.pipeline = ""
        #: Came and went in one step. Else: came in, `taken`; went out, `sent`.
        self.passed = 0
        self.taken = 0
        self.sent = 0
        self.created = 0
        self.merged = 0
        self._dropped: dict[str, int] | None = None  # most streams drop nothing
        self._more: defaultdict[tuple[str, str], int] | None = None
        self._shown = 0, 0  # in and out, in the reading before

    def read(self) -> Reading:
        """Return a consistent snapshot, while other threads may count."""
        shown_in, shown_out = self._shown
        # Out before in: a thread that counts meanwhile must not make `held` negative. An
        # event that is being moved from one integer to another is in neither, which
        # must not look as if a sum fell.
        for _ in range(4):  # until no thread counted in between
            out, dropped = self.emitted, self.dropped
            created, merged = self.created, self.merged
            emitted, received = max(out, shown_out), max(self.received, shown_in)
            if self.emitted == out:
                break
        self._shown = received, emitted
        held = received + created - emitted - sum(dropped.values()) - merged
        return Reading(
            self.name,
            received,
            emitted,
            created,
            merged,
            held,
            dropped,
            self.more,
            self.levels,
            self.states,
        )

    @property
    def received(self) -> int:
        """Events that came in."""
        return self.passed + self.taken

    @property
    def emitted(self) -> int:
        """Events that went out."""
        return self.passed + self.sent

    @property
    def dropped(self) -> dict[str, int]:
        """Events dropped, by reason."""
        return dict(self._dropped or {})

    @property
    def held(self) -> int:
        """Events the operator keeps for now: in a batch, or for a late number."""
        lost = sum((self._dropped or {}).values())
        return self.received + self.created - self.emitted - lost - self.merged

    @property
    def more(self) -> dict[tuple[str, str], int]:
        """Other counts, by name and label: ("compress.input.size", "gzip")."""
        return dict(self._more or {})

    @property
    def states(self) -> dict[tuple[str, str], int]:
        """States of a named object, 1 for the current one: of a circuit breaker."""
        return {}

    @property
    def levels(self) -> dict[str, int]:
        """Gauges: the length of a queue, the size of a window."""
        return {}

    def count_drop(self, reason: str, events: int) -> None:
        """Count `events` as dropped, because of `reason`."""
        if events:
            if self._dropped is None:
                self._dropped = {}
            self._dropped[reason] = self._dropped.get(reason, 0) + events

    def count(self, what: str, n: int, label: str = "") -> None:
        """Add `n` to a count that not every event has. Not for every event."""
        self.counts()[what, label] += n

    def counts(self) -> defaultdict[tuple[str, str], int]:
        """Return the mapping behind `count`, for callers with several counts."""
        if self._more is None:
            self._more = defaultdict(int)
        return self._more


class Step:
    """Work of one operator on one payload: begin and end, in ns since 1970."""

    __slots__ = ("begun", "ended", "facts", "name")

    def __init__(
        self, name: str, begun: int, ended: int, facts: dict[str, Any]
    ) -> None:
        self.name = name
        self.begun = begun
        self.ended = ended
        self.facts = facts


class PayloadTrace:
    """Trace of one payload, from its first event to the last byte written.

    It rides in the `trace` slot of frames and chunks; operators add their steps.

    Attributes:
        begun, ended: ns since 1970: its first event came; its last byte was written.
        origins: What producers' contexts its events came from, and how many from each.
        steps: What operators did with it, in order.
        size: Bytes of it that were written.
        is_claimed: Whether a writer reports the end of it.
    """

    __slots__ = (
        "begun",
        "context",
        "ended",
        "error",
        "events",
        "first",
        "is_claimed",
        "last",
        "origins",
        "size",
        "steps",
        "trigger",
        "watch",
    )

    def __init__(self, watch: StreamObservation, begun: int, events: int) -> None:
        self.watch = watch
        self.begun = begun
        self.ended = 0
        self.events = events
        self.first = 0
        self.last = 0
        self.trigger = ""
        self.error: BaseException | None = None
        self.origins: list[tuple[Any, int]] = []
        self.steps: list[Step] = []
        self.size = 0
        self.is_claimed = False
        #: What the reader may continue the trace from: a W3C traceparent.
        self.context = ""

    def add_origin(self, origin: Any, events: int) -> None:
        """Add a producer's context, and how many events came from it."""
        if self.origins and self.origins[-1][0] is origin:
            events += self.origins.pop()[1]
        self.origins.append((origin, events))

    def absorb(self, other: PayloadTrace) -> None:
        """Add a trace from a subscription further up, whose payload joined this one."""
        if not self.steps:
            self.steps += other.steps
            self.begun = min(self.begun, other.begun)
        for origin, events in other.origins:
            self.add_origin(origin, events)

    def step(self, name: str, begun: int, ended: int, **facts: Any) -> None:
        """Add the work of an operator on the payload."""
        if self.watch.wants_steps:
            self.steps.append(Step(name, begun, ended, facts))

    def written(self, begun: int, ended: int) -> None:
        """Add a write of the payload. Several writes are one step."""
        if self.steps and self.steps[-1].name == "sink.write":
            begun = self.steps.pop().begun
        self.step("sink.write", begun, ended, size=self.size)

    def done(self, error: BaseException | None = None) -> None:
        """End the trace: the last byte was written, or failed. The first call counts."""
        if not self.ended:
            self.ended = time_ns()
            self.error = error
            self.watch.sent(self)


class StreamObservation:
    """One stream as probes see it: one subscription of a whole pipe.

    Attributes:
        pipeline: The name it was given; "default" if none.
        operators: Counters of every operator in it, from the source down.
        begun: When it was subscribed, in ns since 1970.
        first_sent: When its first payload was written; 0 before.
        delivered: Payloads written, their events, the sum of ages in ns over events, and
            the greatest age. The age is from a payload's first event to its last byte.
        reason, error: Why it ended; see `left`.
        notes: What a probe keeps with it, under the probe.
        origin, wants_steps, propagates: Set by a probe when the stream starts: what to
            ask for every event where it comes from, which must not raise; whether it
            wants to know what operators did; and whether payloads carry a `context`.
    """

    def __init__(self, pipeline: str, probes: tuple[Probe, ...]) -> None:
        self.pipeline = pipeline
        self.probes = probes
        self.operators: list[OperatorCounters] = []
        self.begun = time_ns()
        self.first_sent = 0
        self.delivered = 0, 0, 0, 0
        self.reason = ""
        self.error: BaseException | None = None
        self.notes: dict[Probe, Any] = {}
        self.origin: Callable[[], Any] | None = None
        self.wants_steps = False
        self.propagates = False
        #: Whether it has ended; nothing is reported after that.
        self.is_over = False
        self._parts = 0
        self._complaints: set[tuple[Probe, str]] = set()
        self._mutex = Lock()
        self._tell("started", self)

    def joined(self, tally: OperatorCounters, *, at_end: bool = False) -> None:
        """Add an operator, above the others; or a writer, at the end."""
        tally.pipeline = self.pipeline
        with self._mutex:
            self.operators.insert(len(self.operators) if at_end else 0, tally)
        self._tell("joined", self, tally)

    def part_started(self) -> bool:
        """Count a part of the stream; return True for the first.

        A part is a subscription of operators, or a writer. The first is the one at the
        bottom, since subscribing goes up.
        """
        with self._mutex:
            self._parts += 1
            return self._parts == 1

    def part_ended(
        self,
        reason: str = "",
        error: BaseException | None = None,
        *,
        at_once: bool = False,
    ) -> None:
        """End a part. The stream ends with its last part, for the first reason.

        Args:
            reason: completed, error or client_disconnect. Empty for a line further up:
                that its source is exhausted, or was left, says nothing of the stream.
            at_once: It was disposed of, which ends all parts.
        """
        with self._mutex:
            self._parts -= 1
            if self.is_over:
                return
            self.reason = self.reason or reason
            self.error = self.error or error
            self.is_over = self._parts <= 0 or at_once
            if not self.is_over:
                return
        self._tell("ended", self)

    def sending(self, send: PayloadTrace) -> None:
        """Report a payload whose producers are known, before it is sent."""
        if self.propagates or send.trigger:
            self._tell("sending", send)

    def sent(self, send: PayloadTrace) -> None:
        """Report a payload that was written, or could not be."""
        age = send.ended - send.begun
        with self._mutex:
            if send.error is None:
                self.first_sent = self.first_sent or send.ended
                sends, events, latency, longest = self.delivered
                self.delivered = (
                    sends + 1,
                    events + send.events,
                    latency + age * send.events,
                    max(longest, age),
                )
        self._tell("sent", send)

    def waited(self, wait: int, outcome: str) -> None:
        """Report a wait for credit, in ns; outcome: admitted, timeout or cancelled."""
        self._tell("waited", self, wait, outcome)

    def reordered(self, seconds: float) -> None:
        """Report how long a payload was held for order."""
        self._tell("reordered", self, seconds)

    def wrote(self, duration: int, error: BaseException | None) -> None:
        """Report a write: its duration in ns, and its error."""
        self._tell("wrote", self, duration, error)

    def transitioned(self, name: str, before: str, after: str) -> None:
        """Report a change of state of a circuit breaker."""
        self._tell("transitioned", self, name, before, after)

    def _tell(self, what: str, *facts: Any) -> None:
        """Call every probe; log the first failure of each, and go on."""
        for probe in self.probes:
            try:
                getattr(probe, what)(*facts)
            except Exception:
                self._complain(probe, what)

    def _complain(self, probe: Probe, what: str) -> None:
        """Log that a probe raised; once, as it will do so for every payload."""
        if (probe, what) not in self._complaints:
            self._complaints.add((probe, what))
            _log.exception("%r failed to hear %s of %r", probe, what, self.pipeline)


class Probe:
    """Base class of observers of streams. What one raises is logged, not passed on."""

    def is_awake(self) -> bool:
        """Return True to observe a stream that is subscribed now."""
        return True

    def started(self, watch: StreamObservation) -> None:
        """Handle the subscription of a stream."""

    def joined(self, watch: StreamObservation, tally: OperatorCounters) -> None:
        """Handle a new operator of the stream."""

    def sending(self, send: PayloadTrace) -> None:
        """Handle a payload before it is sent; its `context` is sent with it."""

    def sent(self, send: PayloadTrace) -> None:
        """Handle a payload that was written, or could not be."""

    def waited(self, watch: StreamObservation, wait: int, outcome: str) -> None:
        """Report a wait for credit, in ns; outcome: admitted, timeout or cancelled."""

    def reordered(self, watch: StreamObservation, seconds: float) -> None:
        """Report how long a payload was held for order."""

    def wrote(
        self, watch: StreamObservation, duration: int, error: BaseException | None
    ) -> None:
        """Report a write: its duration in ns, and its error."""

    def transitioned(
        self, watch: StreamObservation, name: str, before: str, after: str
    ) -> None:
        """Report a change of state of a circuit breaker."""

    def ended(self, watch: StreamObservation) -> None:
        """Handle the end of a stream: see its `reason` and `error`."""


#: Probes that are asked when a stream is subscribed.
listeners: list[Probe] = []

#: Called whenever a stream is subscribed, until it returns True: each may add a listener
#: once there is something to listen for. So telemetry need not be imported before.
deferred: list[Callable[[], bool]] = []


class _Name(NamedTuple):
    """Name and probes of the next stream on this thread."""

    pipeline: str
    probes: tuple[Probe, ...]


class _Inside(NamedTuple):
    """The stream that is being subscribed, and a test for its threads."""

    watch: StreamObservation
    is_owned_by: Callable[[int], bool]


class _Here(local):
    """Thread-local state of a subscription in progress.

    Chosen over a ContextVar, which timers and tasks would take along: an agent that
    subscribes a stream of its own would find it to be part of this one.
    """

    place: _Name | _Inside | None = None


_here = _Here()


@contextmanager
def watching(probe: Probe) -> Iterator[None]:
    """Let `probe` observe every stream that is subscribed within the block."""
    listeners.append(probe)
    try:
        yield
    finally:
        listeners.remove(probe)


@contextmanager
def named(pipeline: str, probes: tuple[Probe, ...]) -> Iterator[None]:
    """Give streams subscribed within the block this name and these probes."""
    before, _here.place = _here.place, _Name(pipeline, probes)
    try:
        yield
    finally:
        _here.place = before


class subscribing:  # noqa: N801 (as contextlib's own: a generator costs three times)
    """Count subscriptions made within the block as parts of one stream.

    RxPY's operators may stand in between. What RxPY subscribes later is a stream of its
    own: the second of `concat`, or one on another thread.
    """

    __slots__ = ("_before", "_inside")

    def __init__(
        self, watch: StreamObservation | None, is_owned_by: Callable[[int], bool]
    ) -> None:
        self._inside = None if watch is None else _Inside(watch, is_owned_by)

    def __enter__(self) -> None:
        self._before, _here.place = _here.place, self._inside

    def __exit__(self, *_: object) -> None:
        _here.place = self._before


def watch_here() -> StreamObservation | None:
    """Return the observation for a subscription in progress; None without probes."""
    here = _here.place
    if isinstance(here, _Inside):
        if not here.is_owned_by(get_ident()):
            return here.watch
        here = None  # a source sent at once, and its observer subscribes another stream
    return observe(*(here or ("default", ())))


def observe(pipeline: str, own: tuple[Probe, ...] = ()) -> StreamObservation | None:
    """Return the observation of a stream that begins now; None without probes.

    Args:
        pipeline: The stream's name.
        own: Probes of this stream alone.
    """
    for install in deferred.copy():
        if install():
            deferred.remove(install)
    if not listeners and not own:
        return None
    # A pipeline's own telemetry replaces the default one.
    others = [probe for probe in listeners if type(probe) not in map(type, own)]
    probes = tuple(probe for probe in (*own, *others) if _is_awake(probe))
    return StreamObservation(pipeline, probes) if probes else None


def _is_awake(probe: Probe) -> bool:
    try:
        return probe.is_awake()
    except Exception:
        _log.exception("%r failed to say whether it is awake", probe)
        return False


__getattr__ = aliases(
    __name__,
    {
        "Send": f"{__name__}:PayloadTrace",
        "Tally": f"{__name__}:OperatorCounters",
        "Watch": f"{__name__}:StreamObservation",
    },
)
