"""What every operator promises, as rules that any operator can be held to.

    @pytest.mark.parametrize("rule", RULES)
    def test_my_operator(rule: Rule) -> None:
        rule(Candidate("mine", lambda: my_operator()))

Rx's grammar, Reactive Streams' rules for processors, and our own: what was accepted
is delivered, credit always comes home, nothing is held while calling down. A rule
raises AssertionError and says what it saw. It goes to the operator itself, past the
AutoDetachObserver with which RxPY hides what an operator does after its end.
"""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, NamedTuple

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import Disposable

from rx_agui.engine import as_frame
from rx_agui.errors import StreamError
from rx_agui.flow import Credit, Permit
from rx_agui.frame import Frame, StreamChunk
from rx_agui.probe import OperatorCounters, Probe, StreamObservation, watching
from rx_agui.testing._scheduler import MarbleScheduler

__all__ = ["RULES", "Candidate", "Rule"]

Operator = Callable[[Observable[Any]], Observable[Any]]


def _events(n: int) -> list[Any]:
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
    inputs: Callable[[int], list[Any]] = _events
    failing: Callable[[], Operator] | None = None
    telling: Callable[[Callable[[StreamError], object]], Operator] | None = None


Rule = Callable[[Candidate], None]


class _Source(Observable[Any]):
    """Shows the operator under test everything, also what Rx forbids."""

    def __init__(self) -> None:
        super().__init__()
        self.subscribers: list[_Bare] = []
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
        observer = _Bare(on_next, on_error, on_completed)
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


class _Bare(NamedTuple):
    """Who has subscribed, as they are: nothing is hidden from them, nothing forbidden."""

    on_next: Callable[[Any], object]
    on_error: Callable[[Exception], object]
    on_completed: Callable[[], object]


class _Sink(ObserverBase[Any]):
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
        return sum(_count(item) for item in self.heard)


class _Rig:
    """A candidate between a source and a sink, on virtual time."""

    def __init__(
        self, operator: Operator, react: Callable[[Any], object] | None = None
    ) -> None:
        self.clock = MarbleScheduler()
        self.source = _Source()
        self.sink = _Sink(react)
        self.chain = operator(self.source)
        self.subscription = self.subscribe(self.sink)

    def subscribe(self, sink: _Sink) -> DisposableBase:
        return self.chain._subscribe_core(sink, self.clock)

    def push_all(self, items: list[Any]) -> None:
        for item in items:
            self.source.push(item)

    def wait(self) -> None:
        """Let everything happen that is due some day."""
        self.clock.play()


def _count(item: Any) -> int:
    if isinstance(item, StreamChunk):
        return item.events if item.chunk_index == item.total_chunks - 1 else 0
    return item.events if isinstance(item, Frame) else 1


def _with_permits(items: list[Any], credit: Credit) -> list[tuple[Any, Permit]]:
    """The same, each with a permit, as flow_control would send them."""
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


def _push_with_permits(rig: _Rig, items: list[Any], credit: Credit) -> None:
    for item, permit in _with_permits(items, credit):
        assert credit.acquire(), "the window of the test is too small"
        try:
            rig.source.push(item)
        finally:
            permit.release()


# -- the rules ------------------------------------------------------------------


def what_came_before_the_end_is_delivered_before_it(candidate: Candidate) -> None:
    rig = _Rig(candidate.make())
    rig.push_all(candidate.inputs(12))
    rig.source.complete()
    rig.wait()
    assert rig.sink.ends == [None], f"ended with {rig.sink.ends}, not completed once"
    _assert_all_heard(candidate, rig.sink, 12)


def what_came_before_an_error_is_delivered_before_it(candidate: Candidate) -> None:
    rig = _Rig(candidate.make())
    error = StreamError("#")
    rig.push_all(candidate.inputs(12))
    rig.source.fail(error)
    rig.wait()
    assert rig.sink.ends == [error], f"ended with {rig.sink.ends}, not the error once"
    _assert_all_heard(candidate, rig.sink, 12)


def nothing_follows_the_end(candidate: Candidate) -> None:
    rig = _Rig(candidate.make())
    inputs = candidate.inputs(12)
    observer = _only(rig.source.subscribers)
    for item in inputs[:6]:
        observer.on_next(item)
    observer.on_completed()
    for item in inputs[6:]:
        observer.on_next(item)
    observer.on_error(StreamError("late"))
    observer.on_completed()
    rig.wait()
    assert rig.sink.after_end == 0, f"{rig.sink.after_end} signals after the end"
    assert rig.sink.ends == [None], f"ended with {rig.sink.ends}"


def two_subscriptions_share_nothing(candidate: Candidate) -> None:
    alone = _Rig(candidate.make())
    alone.push_all(candidate.inputs(12))
    alone.source.complete()
    alone.wait()

    rig = _Rig(candidate.make())
    rig.push_all(candidate.inputs(5))
    second = _Sink()
    rig.subscribe(second)
    observer = rig.source.subscribers[-1]
    for item in candidate.inputs(12):
        observer.on_next(item)
    observer.on_completed()
    rig.wait()
    assert second.events == alone.sink.events, (
        f"the second subscriber heard {second.events} events, "
        f"alone it hears {alone.sink.events}"
    )
    assert second.ends == [None], f"the second subscriber's end is {second.ends}"


def nothing_follows_disposal(candidate: Candidate) -> None:
    rig = _Rig(candidate.make())
    observer = _only(rig.source.subscribers)
    rig.push_all(candidate.inputs(12)[:7])
    rig.subscription.dispose()
    before = len(rig.sink.heard)
    for item in candidate.inputs(12)[7:]:
        observer.on_next(item)
    observer.on_completed()
    rig.wait()
    late = len(rig.sink.heard) - before
    assert late == 0, f"{late} signals after disposal"
    assert not rig.sink.ends, f"{rig.sink.ends} after disposal"


def disposal_reaches_the_source_once(candidate: Candidate) -> None:
    rig = _Rig(candidate.make())
    rig.push_all(candidate.inputs(3))
    rig.subscription.dispose()
    rig.subscription.dispose()
    assert rig.source.disposed == 1, f"the source was disposed {rig.source.disposed} ×"


def disposal_from_inside_on_next_ends_it_there(candidate: Candidate) -> None:
    rig = _Rig(candidate.make(), react=lambda _: rig.subscription.dispose())
    observer = _only(rig.source.subscribers)
    for item in candidate.inputs(12):
        observer.on_next(item)
    observer.on_completed()
    rig.wait()
    # Pieces of one payload, or its events, may be under way when the first is heard;
    # what RxPY's own observer then hides must at least not be a new payload.
    heard = len({_payload(item) for item in rig.sink.heard})
    assert heard <= 1, f"{heard} signals, though the first disposed of the stream"
    assert not rig.sink.ends, f"{rig.sink.ends} after disposal"


def disposal_from_another_thread_does_not_wait_and_is_kept(
    candidate: Candidate,
) -> None:
    inside, leave = threading.Event(), threading.Event()

    def stay(_: Any) -> None:
        inside.set()
        assert leave.wait(10)

    rig = _Rig(candidate.make(), react=stay)
    observer = _only(rig.source.subscribers)

    def push() -> None:
        for item in candidate.inputs(12):
            observer.on_next(item)
        observer.on_completed()
        rig.wait()

    pusher = threading.Thread(target=push, daemon=True)
    pusher.start()
    assert inside.wait(10), "nothing was heard"
    disposer = threading.Thread(target=rig.subscription.dispose, daemon=True)
    disposer.start()
    disposer.join(5)
    waited = disposer.is_alive()
    rig.sink.react = None
    leave.set()
    pusher.join(10)
    assert not waited, "dispose waited for the sink"
    heard = len({_payload(item) for item in rig.sink.heard})
    assert heard <= 1, f"{heard - 1} signals began after disposal"


def the_scheduler_is_passed_on(candidate: Candidate) -> None:
    rig = _Rig(candidate.make())
    assert rig.source.scheduler is rig.clock, f"the source got {rig.source.scheduler}"


def signals_come_one_at_a_time(candidate: Candidate) -> None:
    pause = threading.Event()
    rig = _Rig(candidate.make(), react=lambda _: pause.wait(0.0005))
    inputs = candidate.inputs(120)
    threads = [
        threading.Thread(target=rig.push_all, args=(inputs[i::4],)) for i in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    rig.source.complete()
    rig.wait()
    most = rig.sink.most_at_a_time
    assert most == 1, f"{most} signals at the same time"
    _assert_all_heard(candidate, rig.sink, 120)


def an_event_pushed_from_inside_on_next_comes_later(candidate: Candidate) -> None:
    inputs = candidate.inputs(24)
    echoes = iter(inputs[12:])

    def echo(_: Any) -> None:
        for item in echoes:
            rig.source.push(item)
            return

    rig = _Rig(candidate.make(), react=echo)
    rig.push_all(inputs[:12])
    rig.push_all(list(echoes))
    rig.source.complete()
    rig.wait()
    most = rig.sink.most_at_a_time
    assert most == 1, f"on_next was called inside on_next, {most} deep"
    _assert_all_heard(candidate, rig.sink, 24)


def no_lock_is_held_while_calling_down(candidate: Candidate) -> None:
    inputs = candidate.inputs(24)
    spare = iter(inputs[12:])
    stuck: list[bool] = []

    def push_elsewhere(_: Any) -> None:
        item = next(spare, None)
        if item is None:
            return
        other = threading.Thread(target=rig.source.push, args=(item,), daemon=True)
        other.start()
        other.join(2)
        stuck.append(other.is_alive())
        if stuck[-1]:
            rig.sink.react = None

    rig = _Rig(candidate.make(), react=push_elsewhere)
    rig.push_all(inputs[:12])
    rig.source.complete()
    rig.wait()
    assert stuck, "nothing was heard"
    assert not any(stuck), "another thread had to wait until the sink returned"


def credit_comes_home_after_the_end(candidate: Candidate) -> None:
    for ending in ("complete", "fail"):
        credit = Credit(64)
        rig = _Rig(candidate.make())
        _push_with_permits(rig, candidate.inputs(12), credit)
        if ending == "complete":
            rig.source.complete()
        else:
            rig.source.fail(StreamError("#"))
        rig.wait()
        assert credit.in_flight == 0, f"{credit.in_flight} credits are lost ({ending})"


def credit_comes_home_after_disposal(candidate: Candidate) -> None:
    for pushed in range(1, 9):
        credit = Credit(64)
        rig = _Rig(candidate.make())
        _push_with_permits(rig, candidate.inputs(8)[:pushed], credit)
        rig.subscription.dispose()
        rig.wait()
        assert credit.in_flight == 0, f"{credit.in_flight} of {pushed} credits are lost"


def credit_comes_home_when_the_sink_raises(candidate: Candidate) -> None:
    credit = Credit(64)

    def break_(_: Any) -> None:
        raise RuntimeError("the sink broke")

    rig = _Rig(candidate.make(), react=break_)
    with suppress(RuntimeError):
        _push_with_permits(rig, candidate.inputs(12), credit)
    with suppress(RuntimeError):
        rig.source.complete()
    with suppress(RuntimeError):
        rig.wait()
    rig.subscription.dispose()
    rig.wait()
    assert credit.in_flight == 0, f"{credit.in_flight} credits are lost"


def a_sink_that_raises_is_heard_of_and_ends_it(candidate: Candidate) -> None:
    def break_(_: Any) -> None:
        raise RuntimeError("the sink broke")

    rig = _Rig(candidate.make(), react=break_)
    raised = 0
    push = partial(rig.push_all, candidate.inputs(12))
    for act in (push, rig.source.complete, rig.wait):
        try:
            act()
        except RuntimeError:
            raised += 1
    assert raised == 1, f"what the sink raised was heard of {raised} times"
    assert len(rig.sink.heard) == 1, f"{len(rig.sink.heard)} signals to a broken sink"
    assert rig.source.disposed == 1, "the source goes on"


def what_listened_is_forgotten_after_disposal(candidate: Candidate) -> None:
    rig = _Rig(candidate.make())
    rig.push_all(candidate.inputs(7))
    listener = weakref.ref(rig.sink)
    rig.subscription.dispose()
    rig.wait()
    keep = rig.chain, rig.source, rig.clock
    del rig
    gc.collect()
    assert listener() is None, "the sink is still referred to"
    del keep


def its_numbers_balance(candidate: Candidate) -> None:
    class Tallies(Probe):
        tallies: list[OperatorCounters] = []  # noqa: RUF012

        def joined(self, _: StreamObservation, tally: OperatorCounters) -> None:
            self.tallies = [*self.tallies, tally]

    for ending in ("complete", "dispose"):
        watch = Tallies()
        with watching(watch):
            rig = _Rig(candidate.make())
        rig.push_all(candidate.inputs(11))
        if ending == "complete":
            rig.source.complete()
        else:
            rig.subscription.dispose()
        rig.wait()
        assert watch.tallies, "it tells nothing"
        for tally in watch.tallies:
            lost = sum(tally.dropped.values())
            said = (
                f"{tally.received} in, {tally.emitted} out, {lost} dropped ({ending})"
            )
            assert tally.held == 0, f"{tally.name}: {said}"
        out = watch.tallies[0].emitted
        assert out == rig.sink.events, f"{out} events counted, {rig.sink.events} heard"


def a_user_function_that_raises_becomes_an_error(candidate: Candidate) -> None:
    if candidate.failing is None:
        return
    rig = _Rig(candidate.failing())
    rig.push_all(candidate.inputs(1))
    rig.wait()
    assert len(rig.sink.ends) == 1, f"it ended with {rig.sink.ends}"
    assert isinstance(rig.sink.ends[0], StreamError), (
        f"{rig.sink.ends[0]!r} is no StreamError"
    )


def an_event_that_cannot_be_encoded_costs_itself_alone(candidate: Candidate) -> None:
    if candidate.telling is None:
        return
    told: list[StreamError] = []
    rig = _Rig(candidate.telling(told.append))
    inputs = candidate.inputs(12)
    rig.push_all([*inputs[:5], object(), *inputs[5:]])
    rig.source.complete()
    rig.wait()
    assert len(told) == 1, f"{len(told)} errors were told"
    assert rig.sink.ends == [None], f"ended with {rig.sink.ends}"
    _assert_all_heard(candidate, rig.sink, 12)


def without_anybody_to_tell_it_ends_the_stream_behind_the_others(
    candidate: Candidate,
) -> None:
    if candidate.telling is None:
        return
    rig = _Rig(candidate.make())
    inputs = candidate.inputs(12)
    rig.push_all([*inputs[:5], object(), *inputs[5:]])
    rig.wait()
    ends = rig.sink.ends
    assert len(ends) == 1, f"ended with {ends}"
    assert isinstance(ends[0], StreamError), f"ended with {ends}"
    _assert_all_heard(candidate, rig.sink, 5)
    assert rig.source.disposed == 1, "the source goes on"


def timers_and_events_race_without_loss(candidate: Candidate) -> None:
    source, sink = _Source(), _Sink()
    chain = candidate.make()(source)
    subscription = chain.subscribe(
        sink, scheduler=None
    )  # real time: a thread for timers
    inputs = candidate.inputs(300)
    breathe = threading.Event()
    for i, item in enumerate(inputs):
        source.push(item)
        if i % 7 == 0:
            breathe.wait(0.001)
    source.complete()
    for _ in range(5000):
        if sink.ends:
            break
        breathe.wait(0.001)
    subscription.dispose()
    assert sink.ends == [None], f"ended with {sink.ends}"
    most = sink.most_at_a_time
    assert most == 1, f"{most} signals at the same time"
    _assert_all_heard(candidate, sink, 300)


def _assert_all_heard(candidate: Candidate, sink: _Sink, pushed: int) -> None:
    wanted = sum(_count(item) for item in candidate.inputs(pushed))
    assert sink.events == wanted, f"{sink.events} of {wanted} events were heard"


def _only(observers: list[_Bare]) -> _Bare:
    assert len(observers) == 1, f"the source was subscribed {len(observers)} ×"
    return observers[0]


def _payload(item: Any) -> object:
    """What pieces and events of one payload have in common."""
    return item.sequence_num if isinstance(item, StreamChunk) else id(item)


#: Every rule, in the order in which one would want to hear of a fault.
RULES: Final[tuple[Rule, ...]] = (
    what_came_before_the_end_is_delivered_before_it,
    what_came_before_an_error_is_delivered_before_it,
    nothing_follows_the_end,
    two_subscriptions_share_nothing,
    nothing_follows_disposal,
    disposal_reaches_the_source_once,
    disposal_from_inside_on_next_ends_it_there,
    disposal_from_another_thread_does_not_wait_and_is_kept,
    the_scheduler_is_passed_on,
    signals_come_one_at_a_time,
    an_event_pushed_from_inside_on_next_comes_later,
    no_lock_is_held_while_calling_down,
    credit_comes_home_after_the_end,
    credit_comes_home_after_disposal,
    credit_comes_home_when_the_sink_raises,
    a_sink_that_raises_is_heard_of_and_ends_it,
    what_listened_is_forgotten_after_disposal,
    its_numbers_balance,
    a_user_function_that_raises_becomes_an_error,
    an_event_that_cannot_be_encoded_costs_itself_alone,
    without_anybody_to_tell_it_ends_the_stream_behind_the_others,
    timers_and_events_race_without_loss,
)
