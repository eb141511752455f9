"""What operators tell about themselves, and to whom they tell it.

    operator ── Tally ──▶ plain integers; a probe reads them when it likes
             ── Send  ──▶ one payload's way: when each operator had it, and how it ended
             ── Watch ──▶ one stream: who works in it, when it began, why it ended

Nothing is called per event: an operator adds to integers, and a payload carries one
record that it fills in. Whether anybody watches is decided when a stream is
subscribed; if nobody does, there is no Watch, no Send, and no clock is read.
Telemetry and StreamMetrics are probes; operators know neither.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from time import time_ns
from typing import Any

__all__ = [
    "Probe",
    "Send",
    "Step",
    "Tally",
    "Watch",
    "listeners",
    "named",
    "subscribing",
    "watch_here",
    "watching",
]


_log = logging.getLogger("rx_agui")


class Tally:
    """What one operator did for one subscriber, in events.

    Whenever the stream is quiet, and after it has ended,

        received + created = emitted + dropped + merged + held

    Each integer has one writer, whose turn it is, so none needs a lock.
    """

    __slots__ = (
        "_dropped",
        "_more",
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
        self._more: dict[tuple[str, str], int] | None = None

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
        """Events the operator keeps for now: a batch that fills, a late number."""
        lost = sum((self._dropped or {}).values())
        return self.received + self.created - self.emitted - lost - self.merged

    @property
    def more(self) -> dict[tuple[str, str], int]:
        """What else it counts: ("compress.input.size", "gzip") and the like."""
        return dict(self._more or {})

    @property
    def states(self) -> dict[tuple[str, str], int]:
        """Which of its states a named thing is in, as 1 and 0: a circuit breaker."""
        return {}

    @property
    def levels(self) -> dict[str, int]:
        """What goes up and down: a queue's length, a window's size."""
        return {}

    def count_drop(self, reason: str, events: int) -> None:
        """`events` more that nobody will see, because of `reason`."""
        if events:
            if self._dropped is None:
                self._dropped = {}
            self._dropped[reason] = self._dropped.get(reason, 0) + events

    def count(self, what: str, n: int, label: str = "") -> None:
        """`n` more of something that not every event has. Not for every event."""
        if self._more is None:
            self._more = {}
        key = what, label
        self._more[key] = self._more.get(key, 0) + n


class Step:
    """What one operator did with one payload: from when to when, in ns since 1970."""

    __slots__ = ("begun", "ended", "facts", "name")

    def __init__(
        self, name: str, begun: int, ended: int, facts: dict[str, Any]
    ) -> None:
        self.name = name
        self.begun = begun
        self.ended = ended
        self.facts = facts


class Send:
    """One payload's way from its first event to the last byte written.

    It rides in the `trace` slot of frames and chunks; operators add their steps.

    Attributes:
        begun, ended: ns since 1970: its first event came; its last byte was written.
        origins: What producers' contexts its events came from, and how many from each.
        steps: What operators did with it, in order.
        claimed: A writer has it, and says when it is done.
    """

    __slots__ = (
        "begun",
        "claimed",
        "context",
        "ended",
        "error",
        "events",
        "first",
        "last",
        "origins",
        "steps",
        "trigger",
        "watch",
    )

    def __init__(self, watch: Watch, begun: int, events: int) -> None:
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
        self.claimed = False
        #: What the reader may continue the trace from: a W3C traceparent.
        self.context = ""

    def step(self, name: str, begun: int, ended: int, **facts: Any) -> None:
        """An operator had the payload from `begun` to `ended`."""
        self.steps.append(Step(name, begun, ended, facts))

    def done(self, error: BaseException | None = None) -> None:
        """The last byte was written, or never will be. Once."""
        if not self.ended:
            self.ended = time_ns()
            self.error = error
            self.watch.sent(self)


class Watch:
    """One stream, as its probes see it: one subscription, whatever it is piped of.

    Attributes:
        pipeline: The name it was given; "default" if none.
        tallies: Of every operator in it, from the source down.
        begun: When it was subscribed, in ns since 1970.
        first_sent: When its first payload was written; 0 before.
        sends, latency, longest: Payloads written; the sum and the greatest of their
            ages in ns, from the first event of each to its last byte.
        reason, error: Why it ended; see `left`.
        notes: What a probe keeps with it, under the probe.
        links_origins, propagates: Set by a probe when the stream starts: whether it
            wants `origin` asked for every event, and `sending` told.
    """

    def __init__(self, pipeline: str, probes: tuple[Probe, ...]) -> None:
        self.pipeline = pipeline
        self.probes = probes
        self.tallies: list[Tally] = []
        self.begun = time_ns()
        self.first_sent = 0
        self.sends = 0
        self.latency = 0
        self.longest = 0
        self.reason = ""
        self.error: BaseException | None = None
        self.notes: dict[Probe, Any] = {}
        self.links_origins = False
        self.propagates = False
        self._parts = 0
        self._over = False
        self._mutex = Lock()
        self._tell("started", self)

    def joined(self, tally: Tally) -> None:
        """An operator, or a writer, begins to work for this stream."""
        tally.pipeline = self.pipeline
        with self._mutex:
            self.tallies.insert(0, tally)
        self._tell("joined", self, tally)

    def begins(self) -> None:
        """A part of the stream begins: a line of operators, a writer."""
        with self._mutex:
            self._parts += 1

    def ends(
        self, reason: str, error: BaseException | None = None, *, at_once: bool = False
    ) -> None:
        """A part has ended. The stream ends with its last part, for the first reason.

        Args:
            at_once: It was disposed of, which ends all parts.
        """
        with self._mutex:
            self._parts -= 1
            if self.reason and self._over:
                return
            self.reason = self.reason or reason
            self.error = self.error or error
            self._over = self._parts <= 0 or at_once
            if not self._over:
                return
        self._tell("ended", self)

    def sending(self, send: Send) -> None:
        """A payload sets out; its producers are known."""
        if self.propagates:
            self._tell("sending", send)

    def sent(self, send: Send) -> None:
        """A payload was written, or never will be."""
        age = send.ended - send.begun
        with self._mutex:
            if send.error is None:
                self.first_sent = self.first_sent or send.ended
                self.sends += 1
                self.latency += age
                self.longest = max(self.longest, age)
        self._tell("sent", send)

    def waited(self, wait: int, outcome: str) -> None:
        """Somebody waited for credit, in ns: admitted, timeout or cancelled."""
        self._tell("waited", self, wait, outcome)

    def reordered(self, seconds: float) -> None:
        """A payload was held for one that was late."""
        self._tell("reordered", self, seconds)

    def wrote(self, duration: int, error: BaseException | None) -> None:
        """A write took so many ns, or failed."""
        self._tell("wrote", self, duration, error)

    def origin(self) -> Any:
        """The context this very thread or task is in, for links; None if it has none."""
        for probe in self.probes:
            origin = probe.origin()
            if origin is not None:
                return origin
        return None

    def _tell(self, what: str, *facts: Any) -> None:
        """A probe that raises harms nobody but itself."""
        for probe in self.probes:
            try:
                getattr(probe, what)(*facts)
            except Exception:
                _log.exception("%r failed to hear %s", probe, what)


class Probe:
    """Hears of streams. What it raises is its own affair: see `Telemetry`."""

    def is_awake(self) -> bool:
        """Whether it wants to hear of a stream that begins now."""
        return True

    def origin(self) -> Any:
        """The context of this thread or task, or None. Called for every event."""
        return None

    def started(self, watch: Watch) -> None:
        """A stream was subscribed."""

    def joined(self, watch: Watch, tally: Tally) -> None:
        """An operator begins to work for it."""

    def sending(self, send: Send) -> None:
        """A payload sets out. Its `context` will travel with it."""

    def sent(self, send: Send) -> None:
        """A payload was written, or could not be."""

    def waited(self, watch: Watch, wait: int, outcome: str) -> None:
        """Somebody waited for credit, in ns: admitted, timeout or cancelled."""

    def reordered(self, watch: Watch, seconds: float) -> None:
        """A payload was held for one that was late."""

    def wrote(self, watch: Watch, duration: int, error: BaseException | None) -> None:
        """A write took so many ns, or failed."""

    def ended(self, watch: Watch) -> None:
        """The stream has ended: for `watch.reason`, with `watch.error`."""


#: Every probe that watches, asked when a stream is subscribed.
listeners: list[Probe] = []

#: The watch of the stream that is being subscribed, so that lines of operators with
#: RxPY's own between them are one stream; or the name and probes given to the next.
_here: ContextVar[Watch | tuple[str, tuple[Probe, ...]] | None] = ContextVar(
    "rx_agui_watch", default=None
)


@contextmanager
def watching(probe: Probe) -> Iterator[None]:
    """Let `probe` see every stream that is subscribed within the block."""
    listeners.append(probe)
    try:
        yield
    finally:
        listeners.remove(probe)


@contextmanager
def named(pipeline: str, probes: tuple[Probe, ...]) -> Iterator[None]:
    """Streams subscribed within the block have this name, and these probes as well."""
    token = _here.set((pipeline, probes))
    try:
        yield
    finally:
        _here.reset(token)


@contextmanager
def subscribing(watch: Watch | None) -> Iterator[None]:
    """What is subscribed within the block belongs to the same stream."""
    token = _here.set(watch)
    try:
        yield
    finally:
        _here.reset(token)


def watch_here() -> Watch | None:
    """The watch of a line that is being subscribed; None if nobody wants to know."""
    here = _here.get()
    if isinstance(here, Watch):
        return here
    if not listeners and here is None:
        return None
    name, own = here or ("default", ())
    # A pipeline's own telemetry stands in for the one everybody has.
    others = [probe for probe in listeners if type(probe) not in map(type, own)]
    probes = tuple(probe for probe in (*own, *others) if probe.is_awake())
    return Watch(name, probes) if probes else None
