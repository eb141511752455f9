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
from contextlib import suppress
from functools import partial
from typing import Any, Final

from rx_agui.errors import StreamError
from rx_agui.flow import Credit
from rx_agui.probe import OperatorCounters, Probe, StreamObservation, watching
from rx_agui.testing._company_contract import COMPANY_RULES
from rx_agui.testing._rig import (
    Candidate,
    ProbeSource,
    RecordingSink,
    Rig,
    Rule,
    assert_all_heard,
    only,
    payload_of,
    push_with_permits,
)

__all__ = ["RULES", "Candidate", "Rule"]


# -- the rules ------------------------------------------------------------------


def what_came_before_the_end_is_delivered_before_it(candidate: Candidate) -> None:
    rig = Rig(candidate.make())
    rig.push_all(candidate.inputs(12))
    rig.source.complete()
    rig.wait()
    assert rig.sink.ends == [None], f"ended with {rig.sink.ends}, not completed once"
    assert_all_heard(candidate, rig.sink, 12)


def what_came_before_an_error_is_delivered_before_it(candidate: Candidate) -> None:
    rig = Rig(candidate.make())
    error = StreamError("#")
    rig.push_all(candidate.inputs(12))
    rig.source.fail(error)
    rig.wait()
    assert rig.sink.ends == [error], f"ended with {rig.sink.ends}, not the error once"
    assert_all_heard(candidate, rig.sink, 12)


def nothing_follows_the_end(candidate: Candidate) -> None:
    rig = Rig(candidate.make())
    inputs = candidate.inputs(12)
    observer = only(rig.source.subscribers)
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
    alone = Rig(candidate.make())
    alone.push_all(candidate.inputs(12))
    alone.source.complete()
    alone.wait()

    rig = Rig(candidate.make())
    rig.push_all(candidate.inputs(5))
    second = RecordingSink()
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
    rig = Rig(candidate.make())
    observer = only(rig.source.subscribers)
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
    rig = Rig(candidate.make())
    rig.push_all(candidate.inputs(3))
    rig.subscription.dispose()
    rig.subscription.dispose()
    assert rig.source.disposed == 1, f"the source was disposed {rig.source.disposed} ×"


def disposal_from_inside_on_next_ends_it_there(candidate: Candidate) -> None:
    rig = Rig(candidate.make(), react=lambda _: rig.subscription.dispose())
    observer = only(rig.source.subscribers)
    for item in candidate.inputs(12):
        observer.on_next(item)
    observer.on_completed()
    rig.wait()
    # Pieces of one payload, or its events, may be under way when the first is heard;
    # what RxPY's own observer then hides must at least not be a new payload.
    heard = len({payload_of(item) for item in rig.sink.heard})
    assert heard <= 1, f"{heard} signals, though the first disposed of the stream"
    assert not rig.sink.ends, f"{rig.sink.ends} after disposal"


def disposal_from_another_thread_does_not_wait_and_is_kept(
    candidate: Candidate,
) -> None:
    inside, leave = threading.Event(), threading.Event()

    def stay(_: Any) -> None:
        inside.set()
        assert leave.wait(10)

    rig = Rig(candidate.make(), react=stay)
    observer = only(rig.source.subscribers)

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
    heard = len({payload_of(item) for item in rig.sink.heard})
    assert heard <= 1, f"{heard - 1} signals began after disposal"


def the_scheduler_is_passed_on(candidate: Candidate) -> None:
    rig = Rig(candidate.make())
    assert rig.source.scheduler is rig.clock, f"the source got {rig.source.scheduler}"


def signals_come_one_at_a_time(candidate: Candidate) -> None:
    pause = threading.Event()
    rig = Rig(candidate.make(), react=lambda _: pause.wait(0.0005))
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
    assert_all_heard(candidate, rig.sink, 120)


def an_event_pushed_from_inside_on_next_comes_later(candidate: Candidate) -> None:
    inputs = candidate.inputs(24)
    echoes = iter(inputs[12:])

    def echo(_: Any) -> None:
        for item in echoes:
            rig.source.push(item)
            return

    rig = Rig(candidate.make(), react=echo)
    rig.push_all(inputs[:12])
    rig.push_all(list(echoes))
    rig.source.complete()
    rig.wait()
    most = rig.sink.most_at_a_time
    assert most == 1, f"on_next was called inside on_next, {most} deep"
    assert_all_heard(candidate, rig.sink, 24)


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

    rig = Rig(candidate.make(), react=push_elsewhere)
    rig.push_all(inputs[:12])
    rig.source.complete()
    rig.wait()
    assert stuck, "nothing was heard"
    assert not any(stuck), "another thread had to wait until the sink returned"


def credit_comes_home_after_the_end(candidate: Candidate) -> None:
    for ending in ("complete", "fail"):
        credit = Credit(64)
        rig = Rig(candidate.make())
        push_with_permits(rig, candidate.inputs(12), credit)
        if ending == "complete":
            rig.source.complete()
        else:
            rig.source.fail(StreamError("#"))
        rig.wait()
        assert credit.in_flight == 0, f"{credit.in_flight} credits are lost ({ending})"


def credit_comes_home_after_disposal(candidate: Candidate) -> None:
    for pushed in range(1, 9):
        credit = Credit(64)
        rig = Rig(candidate.make())
        push_with_permits(rig, candidate.inputs(8)[:pushed], credit)
        rig.subscription.dispose()
        rig.wait()
        assert credit.in_flight == 0, f"{credit.in_flight} of {pushed} credits are lost"


def credit_comes_home_when_the_sink_raises(candidate: Candidate) -> None:
    credit = Credit(64)

    def break_(_: Any) -> None:
        raise RuntimeError("the sink broke")

    rig = Rig(candidate.make(), react=break_)
    with suppress(RuntimeError):
        push_with_permits(rig, candidate.inputs(12), credit)
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

    rig = Rig(candidate.make(), react=break_)
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
    rig = Rig(candidate.make())
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
        operators: list[OperatorCounters] = []  # noqa: RUF012

        def joined(self, _: StreamObservation, tally: OperatorCounters) -> None:
            self.operators = [*self.operators, tally]

    for ending in ("complete", "dispose"):
        watch = Tallies()
        with watching(watch):
            rig = Rig(candidate.make())
        rig.push_all(candidate.inputs(11))
        if ending == "complete":
            rig.source.complete()
        else:
            rig.subscription.dispose()
        rig.wait()
        assert watch.operators, "it tells nothing"
        for tally in watch.operators:
            lost = sum(tally.dropped.values())
            said = (
                f"{tally.received} in, {tally.emitted} out, {lost} dropped ({ending})"
            )
            assert tally.held == 0, f"{tally.name}: {said}"
        out = watch.operators[0].emitted
        assert out == rig.sink.events, f"{out} events counted, {rig.sink.events} heard"


def a_user_function_that_raises_becomes_an_error(candidate: Candidate) -> None:
    if candidate.failing is None:
        return
    rig = Rig(candidate.failing())
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
    rig = Rig(candidate.telling(told.append))
    inputs = candidate.inputs(12)
    rig.push_all([*inputs[:5], object(), *inputs[5:]])
    rig.source.complete()
    rig.wait()
    assert len(told) == 1, f"{len(told)} errors were told"
    assert rig.sink.ends == [None], f"ended with {rig.sink.ends}"
    assert_all_heard(candidate, rig.sink, 12)


def without_errors_it_ends_the_stream_behind_the_others(
    candidate: Candidate,
) -> None:
    if candidate.telling is None:
        return
    rig = Rig(candidate.make())
    inputs = candidate.inputs(12)
    rig.push_all([*inputs[:5], object(), *inputs[5:]])
    rig.wait()
    ends = rig.sink.ends
    assert len(ends) == 1, f"ended with {ends}"
    assert isinstance(ends[0], StreamError), f"ended with {ends}"
    assert_all_heard(candidate, rig.sink, 5)
    assert rig.source.disposed == 1, "the source goes on"


def timers_and_events_race_without_loss(candidate: Candidate) -> None:
    source, sink = ProbeSource(), RecordingSink()
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
    assert_all_heard(candidate, sink, 300)


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
    without_errors_it_ends_the_stream_behind_the_others,
    timers_and_events_race_without_loss,
    *COMPANY_RULES,
)
