"""Every operator keeps every promise, and every rule can tell when one does not.

A new operator is one more line in OPERATORS.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import reactivex as rx
from reactivex import Observable, compose
from reactivex import operators as ops
from reactivex.abc import DisposableBase, ObserverBase
from reactivex.disposable import CompositeDisposable, Disposable

from rx_agui import (
    Frame,
    StreamChunk,
    batch,
    chunk,
    circuit_breaker,
    compress,
    conflate,
    decompress,
    degrade,
    each,
    flow_control,
    reassemble,
    resequence,
    sequence,
    split,
    unbatch,
    validate,
)
from rx_agui.engine import as_frame
from rx_agui.errors import BackpressureTimeoutError, StreamError
from rx_agui.flow._downstream import asking
from rx_agui.testing import RULES, Candidate, Rule
from rx_agui.testing import _company_contract as company
from rx_agui.testing import _contract as rules
from rx_agui.testing._rig import custom_events

Operator = Callable[[Observable[Any]], Observable[Any]]


def value(event: Any) -> int:
    return int(event["value"]) + 1


def same(event: Any) -> Any:
    return event


def broken(event: Any) -> Any:
    raise KeyError("no number")


def made_by(*operators: Operator) -> Callable[[int], list[Any]]:
    """What an inverse takes: what the operators in front of it make."""

    def inputs(n: int) -> list[Any]:
        made: list[Any] = []
        rx.of(*custom_events(n)).pipe(*operators).subscribe(made.append)
        return made

    return inputs


cut_pieces = made_by(sequence(), chunk(20))
pieces = made_by(sequence(), compress(min_size=1, level=9), chunk())
numbered = made_by(sequence())
pairs = made_by(batch(1), ops.map(lambda f: Frame(f.data + b"\n" + f.data, events=2)))


def zipped(n: int) -> list[Any]:
    long = [{"type": "L", "text": "a" * 200, "value": i} for i in range(n)]
    made: list[Any] = []
    rx.of(*long).pipe(compress(min_size=1)).subscribe(made.append)
    return made


def zipped_pieces(n: int) -> list[Any]:
    made: list[Any] = []
    rx.of(*zipped(n)).pipe(sequence(), chunk()).subscribe(made.append)
    return made


def inlet(size: int, **settings: Any) -> Operator:
    """Flow control with a sender's buffer, as an EventStream has it."""
    room: dict[str, Any] = {"sender_buffer": 200, "sender_bytes": 1 << 20}
    return flow_control(size, **room | settings)


OPERATORS = [
    Candidate("flow_control", flow_control, telling=lambda e: flow_control(errors=e)),
    Candidate("flow_control of one", lambda: flow_control(1)),
    Candidate("sender_buffer", lambda: inlet(100), telling=lambda e: inlet(100, errors=e)),
    Candidate("sender_buffer of one", lambda: inlet(1)),
    Candidate("sender_buffer by weight", lambda: inlet(1, sender_buffer=400, sender_bytes=8020)),
    Candidate("sender_buffer and batch", lambda: compose(inlet(2), sequence(), batch(3, 0.002))),
    Candidate("sequence", sequence, telling=lambda e: sequence(errors=e)),
    Candidate("sequence by number", lambda: sequence(number=value), failing=lambda: sequence(number=broken)),
    Candidate("batch", lambda: batch(3, 0.002), telling=lambda e: batch(3, 0.002, errors=e)),
    Candidate("batch of one", lambda: batch(1)),
    Candidate("batch that adapts", lambda: batch(50, 0.002, max_batch_size=50, adaptive=True), telling=lambda e: batch(50, 0.002, max_batch_size=50, adaptive=True, errors=e)),
    Candidate("batch by bytes", lambda: batch(50, 0.002, max_bytes=100)),
    Candidate("conflate", conflate, telling=lambda e: conflate(errors=e)),
    Candidate("conflate of payloads", conflate, pairs),
    Candidate("conflate behind batch", lambda: compose(batch(3, 0.002), conflate())),
    Candidate("flow_control that merges", lambda: flow_control(overflow="conflate")),
    Candidate("split", split, telling=lambda e: split(errors=e)),
    Candidate("split of what has no pieces", lambda: split(10)),
    Candidate("compress", lambda: compress(min_size=1), telling=lambda e: compress(errors=e)),
    Candidate("compress by workers", lambda: compress(min_size=1, workers=3)),
    Candidate("three in company", lambda: compose(flow_control(), sequence(), batch(3, 0.002))),
    Candidate("chunk", chunk, telling=lambda e: chunk(errors=e)),
    Candidate("chunk in pieces", lambda: chunk(10)),
    Candidate("circuit_breaker", circuit_breaker, telling=lambda e: circuit_breaker(errors=e)),
    Candidate("circuit_breaker of pieces", circuit_breaker, cut_pieces),
    Candidate("degrade", degrade, telling=lambda e: degrade(errors=e)),
    Candidate("degrade in company", lambda: compose(flow_control(), degrade(), sequence(), batch(3, 0.002))),
    Candidate("each", lambda: each(same), failing=lambda: each(broken), telling=lambda e: each(same, errors=e)),
    Candidate("each behind another", lambda: compose(flow_control(), each(same))),
    Candidate("each in company", lambda: compose(flow_control(), each(same), sequence(), batch(3, 0.002))),
    Candidate("each of payloads", lambda: each(same), pairs),
    Candidate("validate", validate, telling=lambda e: validate(errors=e)),
    Candidate("validate behind another", lambda: compose(flow_control(), validate())),
    Candidate("validate in company", lambda: compose(validate(), flow_control(), sequence(), batch(3, 0.002))),
    Candidate("reassemble", reassemble, zipped_pieces),
    Candidate("decompress", decompress, zipped),
    Candidate("resequence", resequence, numbered),
    Candidate("unbatch", unbatch, pairs),
]  # fmt: skip


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: operator.name)
def test_an_operator_keeps_the_rule(operator: Candidate, rule: Rule) -> None:
    rule(operator)


# -- one operator per rule that breaks it ---------------------------------------


class Raw:
    """An operator written by hand, with no Stage to keep it honest."""

    def __call__(self, source: Observable[Any]) -> Observable[Any]:
        def subscribe(down: ObserverBase[Any], scheduler: Any = None) -> DisposableBase:
            return self.subscribe(source, down, scheduler)

        return Observable(subscribe)

    def subscribe(
        self, source: Observable[Any], down: ObserverBase[Any], scheduler: Any
    ) -> DisposableBase:
        self.begin(down)
        return source.subscribe(
            lambda item: self.next(down, item),
            lambda error: self.error(down, error),
            lambda: self.complete(down),
            scheduler=scheduler,
        )

    def begin(self, down: ObserverBase[Any]) -> None: ...

    def next(self, down: ObserverBase[Any], item: Any) -> None:
        down.on_next(item if isinstance(item, Frame | StreamChunk) else as_frame(item))

    def error(self, down: ObserverBase[Any], error: Exception) -> None:
        down.on_error(error)

    def complete(self, down: ObserverBase[Any]) -> None:
        down.on_completed()


class Keeps(Raw):
    """Gathers three, and forgets what is left at the end."""

    def begin(self, down: ObserverBase[Any]) -> None:
        self.waiting: list[Any] = []

    def next(self, down: ObserverBase[Any], item: Any) -> None:
        frame = as_frame(item)
        frame.permit.hold()
        self.waiting.append(frame)
        if len(self.waiting) == 5:
            self.flush(down)

    def flush(self, down: ObserverBase[Any]) -> None:
        leaving, self.waiting = self.waiting, []
        for frame in leaving:
            super().next(down, frame)
            frame.permit.release()


class KeepsAtCompletion(Keeps):
    def error(self, down: ObserverBase[Any], error: Exception) -> None:
        self.flush(down)
        down.on_error(error)


class KeepsAtError(Keeps):
    def complete(self, down: ObserverBase[Any]) -> None:
        self.flush(down)
        down.on_completed()


class SharesState(Raw):
    """Counts in the operator, not in the subscription: RxPY's own commonest fault."""

    seen = 0

    def next(self, down: ObserverBase[Any], item: Any) -> None:
        self.seen += 1
        if self.seen <= 12:
            super().next(down, item)


class DisposesTwice(Raw):
    def subscribe(self, source: Any, down: Any, scheduler: Any) -> DisposableBase:
        first = super().subscribe(source, down, scheduler)
        again = source.subscribe(
            lambda _: None, lambda _: None, lambda: None, scheduler=scheduler
        )
        return CompositeDisposable(first, again)


class ForgetsScheduler(Raw):
    def subscribe(self, source: Any, down: Any, scheduler: Any) -> DisposableBase:
        return super().subscribe(source, down, None)


class DisposeWaits(Raw):
    def begin(self, down: ObserverBase[Any]) -> None:
        self.lock = threading.RLock()

    def subscribe(self, source: Any, down: Any, scheduler: Any) -> DisposableBase:
        subscription = super().subscribe(source, down, scheduler)

        def dispose() -> None:
            with self.lock:
                subscription.dispose()

        return Disposable(dispose)

    def next(self, down: ObserverBase[Any], item: Any) -> None:
        with self.lock:
            super().next(down, item)


class LosesCredit(Raw):
    def next(self, down: ObserverBase[Any], item: Any) -> None:
        frame = as_frame(item)
        frame.permit.hold()
        down.on_next(frame)


class HoldsUntilTheEnd(Raw):
    """Gives everything back when the stream ends, and only then."""

    def begin(self, down: ObserverBase[Any]) -> None:
        self.held: list[Any] = []

    def next(self, down: ObserverBase[Any], item: Any) -> None:
        self.held.append(as_frame(item).permit.hold())
        super().next(down, item)

    def complete(self, down: ObserverBase[Any]) -> None:
        for permit in self.held:
            permit.release()
        down.on_completed()

    def error(self, down: ObserverBase[Any], error: Exception) -> None:
        self.complete(rx.Observer())
        down.on_error(error)


class ReleasesAfterwards(Raw):
    """Gives back behind on_next, which is too late if that raises."""

    def next(self, down: ObserverBase[Any], item: Any) -> None:
        permit = as_frame(item).permit.hold()
        super().next(down, item)
        permit.release()


class Swallows(Raw):
    def next(self, down: ObserverBase[Any], item: Any) -> None:
        try:
            super().next(down, item)
        except RuntimeError:
            return


class Remembers(Raw):
    def __init__(self) -> None:
        self.downs: list[Any] = []

    def begin(self, down: ObserverBase[Any]) -> None:
        self.downs.append(down)


class Miscounts(Raw):
    def __call__(self, source: Observable[Any]) -> Observable[Any]:
        return sequence()(source).pipe(ops.skip(1))


class DropsTheUnencodable(Raw):
    """Neither tells, nor ends."""

    def next(self, down: ObserverBase[Any], item: Any) -> None:
        if isinstance(item, dict):
            super().next(down, item)


class LosesInARace(Raw):
    """RxPY's own timed buffer as it was before 6.0: swaps without a lock."""

    def begin(self, down: ObserverBase[Any]) -> None:
        self.waiting: list[Any] = []
        self.timer: threading.Timer | None = None

    def next(self, down: ObserverBase[Any], item: Any) -> None:
        self.waiting.append(item)
        if len(self.waiting) == 1:
            self.timer = threading.Timer(0.0005, self.flush, args=(down,))
            self.timer.start()
        if len(self.waiting) >= 3:
            self.flush(down)

    def flush(self, down: ObserverBase[Any]) -> None:
        for item in list(self.waiting):
            super().next(down, item)
        threading.Event().wait(0.001)  # a slow moment, and what comes in it is lost
        self.waiting = []

    def complete(self, down: ObserverBase[Any]) -> None:
        if self.timer is not None:
            self.timer.join()
        self.flush(down)
        down.on_completed()


class Forgives(Raw):
    """Takes an error for the end of the stream, and says so to no one."""

    def error(self, down: ObserverBase[Any], error: Exception) -> None:
        down.on_completed()


class TellsAfterTheEnd(Raw):
    """Lets the end overtake what it has to tell."""

    def __init__(self, tell: Callable[[Any], object] = print) -> None:
        self.tell = tell
        self.errors: list[Any] = []

    def next(self, down: ObserverBase[Any], item: Any) -> None:
        try:
            super().next(down, item)
        except StreamError as error:
            self.errors.append(error)

    def complete(self, down: ObserverBase[Any]) -> None:
        down.on_completed()
        for error in self.errors:
            self.tell(error)


class SubscribesElsewhere(Raw):
    """Tells no source what it could ask, as a subscription on another thread does."""

    def subscribe(self, source: Any, down: Any, scheduler: Any) -> DisposableBase:
        with asking(None):
            return super().subscribe(source, down, scheduler)


class RaisesAtTheCaller(Raw):
    """Refuses by raising, wherever it is called from."""

    def next(self, down: ObserverBase[Any], item: Any) -> None:
        raise BackpressureTimeoutError(1.0, 1)

    def complete(self, down: ObserverBase[Any]) -> None: ...


BROKEN: dict[Rule, Callable[[], Operator]] = {
    rules.what_came_before_the_end_is_delivered_before_it: KeepsAtCompletion,
    rules.what_came_before_an_error_is_delivered_before_it: KeepsAtError,
    rules.nothing_follows_the_end: Raw,
    rules.two_subscriptions_share_nothing: SharesState,
    rules.nothing_follows_disposal: Raw,
    rules.disposal_reaches_the_source_once: DisposesTwice,
    rules.disposal_from_inside_on_next_ends_it_there: Raw,
    rules.disposal_from_another_thread_does_not_wait_and_is_kept: DisposeWaits,
    rules.the_scheduler_is_passed_on: ForgetsScheduler,
    rules.signals_come_one_at_a_time: Raw,
    rules.an_event_pushed_from_inside_on_next_comes_later: Raw,
    rules.no_lock_is_held_while_calling_down: DisposeWaits,
    rules.credit_comes_home_after_the_end: LosesCredit,
    rules.credit_comes_home_after_disposal: HoldsUntilTheEnd,
    rules.credit_comes_home_when_the_sink_raises: ReleasesAfterwards,
    rules.a_sink_that_raises_is_heard_of_and_ends_it: Swallows,
    rules.what_listened_is_forgotten_after_disposal: Remembers,
    rules.its_numbers_balance: Miscounts,
    rules.a_user_function_that_raises_becomes_an_error: Raw,
    rules.an_event_that_cannot_be_encoded_costs_itself_alone: DropsTheUnencodable,
    rules.without_errors_it_ends_the_stream_behind_the_others: DropsTheUnencodable,
    rules.timers_and_events_race_without_loss: LosesInARace,
    company.what_was_not_delivered_was_told_before_the_end: Forgives,
    company.what_is_told_is_told_before_the_end: TellsAfterTheEnd,
    company.a_source_waits_for_a_reader_that_is_stuck: SubscribesElsewhere,
    company.what_a_scheduler_hands_on_ends_however_slow_the_reader: RaisesAtTheCaller,
    company.a_source_that_breaks_off_has_ended: Forgives,
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_rule_can_tell_an_operator_that_breaks_it(rule: Rule) -> None:
    make = BROKEN[rule]
    telling = make if make is TellsAfterTheEnd else lambda _: make()
    operator = Candidate("broken", make, failing=make, telling=telling)

    with pytest.raises(AssertionError):
        rule(operator)
