"""A stand for one operator: a source, a sink and virtual time, with nothing hidden.

    ProbeSource ──▶ operator under test ──▶ RecordingSink
                          MarbleScheduler

The sink goes to the operator itself, past the AutoDetachObserver with which RxPY hides
what an operator does after its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import Disposable

from rx_agui.engine import as_frame
from rx_agui.errors import StreamError
from rx_agui.flow import Credit, Permit
from rx_agui.frame import Frame, StreamChunk
from rx_agui.testing._scheduler import MarbleScheduler

__all__ = [
    "BareObserver",
    "Candidate",
    "Operator",
    "ProbeSource",
    "RecordingSink",
    "Rig",
    "Rule",
    "assert_all_heard",
    "count_events",
    "custom_events",
    "only",
    "payload_of",
    "push_with_permits",
]

Operator = Callable[[Observable[Any]], Observable[Any]]


def custom_events(n: int) -> list[Any]:
    return [{"type": "CUSTOM", "name": "n", "value": i} for i in range(n)]


@dataclass(frozen=True)
class Candidate:
    """An operator that is to be held to the rules.

    Attributes:
        name: As people call it.
        make: Makes it anew, with settings that let something out for 12 inputs.
        inputs: `n` things it takes; by default events as mappings.
        failing: Makes it with a user function that raises for every event.
        telling: Makes it with this observer as `errors=`; only if it takes events.
    """

    name: str
    make: Callable[[], Operator]
    inputs: Callable[[int], list[Any]] = custom_events
    failing: Callable[[], Operator] | None = None
    telling: Callable[[Callable[[StreamError], object]], Operator] | None = None


Rule = Callable[[Candidate], None]


class ProbeSource(Observable[Any]):
    """Shows the operator under test everything, also what Rx forbids."""

    def __init__(self) -> None:
        super().__init__()
        self.subscribers: list[BareObserver] = []
        self.scheduler: SchedulerBase | None = None
        self.disposed = 0

    def subscribe(
        self,
        on_next: Any = None,
        on_error: Any = None,
        on_completed: Any = None,
        *,
        scheduler: SchedulerBase | None = None,
    ) -> DisposableBase:
        if isinstance(on_next, ObserverBase):
            seen = on_next
            on_next, on_error, on_completed = (
                seen.on_next,
                seen.on_error,
                seen.on_completed,
            )
        observer = BareObserver(on_next, on_error, on_completed)
        self.subscribers.append(observer)
        self.scheduler = scheduler

        def dispose() -> None:
            self.disposed += 1
            self.subscribers.remove(observer)

        return Disposable(dispose)

    def push(self, item: Any) -> None:
        for observer in list(self.subscribers):
            observer.on_next(item)

    def complete(self) -> None:
        for observer in list(self.subscribers):
            observer.on_completed()

    def fail(self, error: Exception) -> None:
        for observer in list(self.subscribers):
            observer.on_error(error)


class BareObserver(NamedTuple):
    """Who has subscribed, as they are: nothing is hidden from them, nothing forbidden."""

    on_next: Callable[[Any], object]
    on_error: Callable[[Exception], object]
    on_completed: Callable[[], object]


class RecordingSink(ObserverBase[Any]):
    """Writes down what it hears, and whether it heard two things at a time."""

    def __init__(self, react: Callable[[Any], object] | None = None) -> None:
        self.heard: list[Any] = []
        self.ends: list[Exception | None] = []
        self.after_end = 0
        self.at_a_time = 0
        self.most_at_a_time = 0
        self.react = react

    def on_next(self, value: Any) -> None:
        with self._hearing():
            self.heard.append(value)
            if self.react is not None:
                self.react(value)

    def on_error(self, error: Exception) -> None:
        with self._hearing():
            self.ends.append(error)

    def on_completed(self) -> None:
        with self._hearing():
            self.ends.append(None)

    @contextmanager
    def _hearing(self) -> Iterator[None]:
        self.after_end += bool(self.ends)
        self.at_a_time += 1
        self.most_at_a_time = max(self.most_at_a_time, self.at_a_time)
        try:
            yield
        finally:
            self.at_a_time -= 1

    @property
    def events(self) -> int:
        """Events heard, whatever they came in."""
        return sum(count_events(item) for item in self.heard)


class Rig:
    """A candidate between a source and a sink, on virtual time."""

    def __init__(
        self, operator: Operator, react: Callable[[Any], object] | None = None
    ) -> None:
        self.clock = MarbleScheduler()
        self.source = ProbeSource()
        self.sink = RecordingSink(react)
        self.chain = operator(self.source)
        self.subscription = self.subscribe(self.sink)

    def subscribe(self, sink: RecordingSink) -> DisposableBase:
        return self.chain._subscribe_core(sink, self.clock)  # noqa: SLF001 (as RxPY does)

    def push_all(self, items: list[Any]) -> None:
        for item in items:
            self.source.push(item)

    def wait(self) -> None:
        """Let everything happen that is due some day."""
        self.clock.play()


def count_events(item: Any) -> int:
    if isinstance(item, StreamChunk):
        return item.events if item.chunk_index == item.total_chunks - 1 else 0
    return item.events if isinstance(item, Frame) else 1


def with_permits(items: list[Any], credit: Credit) -> list[tuple[Any, Permit]]:
    """Return the same items, each with a permit, as flow_control would send them."""
    carried: list[tuple[Any, Permit]] = []
    for item in items:
        permit = Permit(credit)
        if isinstance(item, StreamChunk):
            carried.append((replace(item, permit=permit), permit))
        else:
            frame = as_frame(item).copy()
            frame.permit = permit
            carried.append((frame, permit))
    return carried


def push_with_permits(rig: Rig, items: list[Any], credit: Credit) -> None:
    for item, permit in with_permits(items, credit):
        assert credit.acquire(), "the window of the test is too small"
        try:
            rig.source.push(item)
        finally:
            permit.release()


def assert_all_heard(candidate: Candidate, sink: RecordingSink, pushed: int) -> None:
    wanted = sum(count_events(item) for item in candidate.inputs(pushed))
    assert sink.events == wanted, f"{sink.events} of {wanted} events were heard"


def only(observers: list[BareObserver]) -> BareObserver:
    assert len(observers) == 1, f"the source was subscribed {len(observers)} ×"
    return observers[0]


def payload_of(item: Any) -> object:
    """Return what pieces and events of one payload have in common."""
    return item.sequence_num if isinstance(item, StreamChunk) else id(item)
