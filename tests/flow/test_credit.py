"""Credit goes round: none is lost, none is made, nobody is overtaken."""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import Any

import pytest
import reactivex as rx
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from rx_agui import (
    BackpressureTimeoutError,
    Credit,
    Gate,
    Permit,
    StreamClosedError,
    batch,
    flow_control,
)
from rx_agui.errors import ConfigError
from rx_agui.flow import NO_PERMIT
from rx_agui.flow._permit import ForwardedPermit
from rx_agui.frame import Frame
from tests.support.patience import SOON, in_thread, until


def spent(size: int) -> Credit:
    """A window in which everything is in flight."""
    credit = Credit(size)
    for _ in range(size):
        assert credit.acquire()
    return credit


# -- hand-over ------------------------------------------------------------------


def test_credit_is_handed_to_whoever_has_waited_longest() -> None:
    credit = spent(3)
    served: list[str] = []
    for name in "abc":
        credit.acquire_or(lambda name=name: served.append(name))  # type: ignore[misc]

    credit.release(2)
    credit.release(1)

    assert served == ["a", "b", "c"]
    assert credit.in_flight == 3


def test_nobody_overtakes_one_who_waits() -> None:
    credit = spent(1)
    waiter = credit.acquire_or(lambda: None)
    assert waiter is not None

    credit.release(1)

    assert waiter.granted
    assert not credit.acquire()


def test_a_waker_may_take_and_give_because_no_lock_is_held() -> None:
    credit = spent(1)
    taken: list[bool] = []

    def wake() -> None:
        credit.release(1)
        taken.append(credit.acquire())

    credit.acquire_or(wake)
    credit.release(1)

    assert taken == [True]
    assert credit.in_flight == 1


def test_no_wake_up_is_lost_between_eight_threads() -> None:
    size, rounds = 3, 5_000
    credit = Credit(size)
    mutex, inside, most = threading.Lock(), 0, 0

    def run() -> None:
        nonlocal inside, most
        for _ in range(rounds):
            credit.wait(SOON)
            with mutex:
                inside += 1
                most = max(most, inside)
            with mutex:
                inside -= 1
            credit.release(1)

    for outcome in [in_thread(run) for _ in range(8)]:
        outcome.result(60)

    assert most <= size
    assert (credit.free, credit.in_flight) == (size, 0)


def test_threads_and_coroutines_share_a_window_and_nobody_starves() -> None:
    credit = Credit(2)

    def run() -> None:
        for _ in range(2000):
            credit.wait(SOON)
            credit.release(1)

    async def arun() -> None:
        for _ in range(2000):
            await credit.awaited()
            credit.release(1)
            await asyncio.sleep(0)

    async def main() -> None:
        async with asyncio.timeout(30):
            await asyncio.gather(*[arun() for _ in range(4)])

    threads = [in_thread(run) for _ in range(3)]
    asyncio.run(main())
    for outcome in threads:
        outcome.result(30)

    assert credit.free == 2


# -- waiting in a thread ------------------------------------------------------------


def test_a_thread_that_waits_too_long_is_told_and_leaves_the_queue() -> None:
    credit = spent(1)

    with pytest.raises(BackpressureTimeoutError, match="all 1 credits are in flight"):
        credit.wait(0.001)
    credit.release(1)

    assert credit.free == 1  # not handed to the one who went


def test_a_grant_that_races_with_the_timeout_is_used_or_comes_home() -> None:
    credit = spent(1)
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(300):
            waits = in_thread(lambda: credit.wait(0.0005))
            gives = in_thread(lambda: credit.release(1))
            gives.result(SOON)
            if waits.exception(SOON) is None:
                assert credit.free == 0
            else:
                assert credit.free == 1
                assert credit.acquire()
    finally:
        sys.setswitchinterval(switch)


def test_a_grant_at_the_very_moment_of_the_timeout_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    credit = spent(1)

    class LateEvent(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            credit.release(1)  # after the wait has ended, before anybody looked
            return False

    monkeypatch.setattr(threading, "Event", LateEvent)
    credit.wait(0.001)

    assert credit.in_flight == 1


@pytest.mark.parametrize("timeout", [None, float("inf"), 1e12])
def test_one_may_wait_for_ever(timeout: float | None) -> None:
    credit = spent(1)

    waits = in_thread(lambda: credit.wait(timeout))
    until(lambda: credit._waiters or waits.done())
    credit.release(1)

    waits.result(SOON)


def test_an_interrupted_thread_leaves_no_waiter_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    credit = spent(1)

    class Interrupted(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            raise KeyboardInterrupt

    monkeypatch.setattr(threading, "Event", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        credit.wait(None)
    credit.release(1)

    assert credit.free == 1


# -- awaiting -------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before", "same tick", "same tick, last", "after"])
def test_whoever_is_cancelled_gives_credit_back(when: str) -> None:
    async def main() -> None:
        credit = spent(1)
        task = asyncio.create_task(credit.awaited())
        await asyncio.sleep(0)  # it waits now
        if when == "before":
            task.cancel()
            await asyncio.wait([task])
            credit.release(1)
        elif when == "same tick":
            task.cancel()
            credit.release(1)
        elif when == "same tick, last":
            credit.release(1)
            task.cancel()
        else:
            credit.release(1)
            await asyncio.wait([task])
            assert not task.cancel()
            credit.release(1)
        await asyncio.wait([task])

        assert task.cancelled() is (when != "after")
        assert (credit.free, credit.in_flight) == (1, 0)

    asyncio.run(main())


def test_a_cancelled_waiter_hands_what_it_was_granted_to_the_next() -> None:
    async def main() -> None:
        credit = spent(1)
        first = asyncio.create_task(credit.awaited())
        second = asyncio.create_task(credit.awaited())
        await asyncio.sleep(0)

        credit.release(1)
        first.cancel()

        async with asyncio.timeout(SOON):
            await second
        assert first.cancelled()
        assert credit.in_flight == 1

    asyncio.run(main())


def test_cancellation_by_the_hundred_loses_nothing() -> None:
    credit = spent(3)

    def go_round() -> None:
        for _ in range(1000):
            credit.release(1)
            credit.wait(SOON)

    async def main() -> None:
        thread = in_thread(go_round)
        while not thread.done():
            tasks = [asyncio.create_task(credit.awaited()) for _ in range(3)]
            await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            credit.release(sum(not task.cancelled() for task in tasks))
        thread.result()

    asyncio.run(asyncio.wait_for(main(), 30))

    assert credit.in_flight == 3


def test_credit_that_comes_from_another_thread_wakes_the_loop() -> None:
    async def main() -> None:
        credit = spent(1)
        task = asyncio.create_task(credit.awaited())
        await asyncio.sleep(0)
        in_thread(lambda: credit.release(1)).result(SOON)
        async with asyncio.timeout(SOON):
            await task

    asyncio.run(main())


def test_credit_granted_to_a_loop_that_was_closed_does_not_hurt_who_gives() -> None:
    credit = spent(2)
    loop = asyncio.new_event_loop()
    task = loop.create_task(credit.awaited())
    loop.call_soon(loop.stop)
    loop.run_forever()
    task.get_loop().close()
    served: list[str] = []
    credit.acquire_or(lambda: served.append("next"))

    credit.release(2)

    assert served == ["next"]
    task._log_destroy_pending = False  # type: ignore[attr-defined]


# -- closing --------------------------------------------------------------------------


def test_closing_wakes_everyone_who_waits() -> None:
    async def main() -> None:
        credit = spent(1)
        threads = [in_thread(lambda: credit.wait(None)) for _ in range(3)]
        tasks = [asyncio.create_task(credit.awaited()) for _ in range(3)]
        until(lambda: len(credit._waiters) >= 3)
        await asyncio.sleep(0)

        credit.close()

        async with asyncio.timeout(SOON):
            for error in await asyncio.gather(*tasks, return_exceptions=True):
                assert isinstance(error, StreamClosedError)
        for thread in threads:
            assert isinstance(thread.exception(SOON), StreamClosedError)
        credit.release(1)
        assert credit.free == 1

    asyncio.run(main())


def test_after_closing_everyone_is_refused_with_what_ended_the_stream() -> None:
    credit = Credit(1)
    credit.close(OSError("gone"))

    for take in (
        credit.acquire,
        lambda: credit.wait(1),
        lambda: credit.acquire_or(lambda: None),
        lambda: asyncio.run(credit.awaited()),
    ):
        with pytest.raises(OSError, match="gone"):
            take()
    assert credit.free == 1


def test_one_who_waits_for_an_accepted_event_survives_closing() -> None:
    credit = spent(1)
    woken: list[str] = []
    accepted = credit.acquire_or(lambda: woken.append("accepted"), accepted=True)
    other = credit.acquire_or(lambda: woken.append("other"))
    assert accepted
    assert other

    credit.close()
    assert woken == ["other"]
    credit.release(1)

    assert woken == ["other", "accepted"]
    assert (accepted.granted, other.granted) == (True, False)


def test_abandoning_turns_even_accepted_events_away() -> None:
    credit = spent(1)
    woken: list[str] = []
    accepted = credit.acquire_or(lambda: woken.append("accepted"), accepted=True)
    assert accepted

    credit.close(abandon=True)

    assert woken == ["accepted"]
    assert not accepted.granted
    with pytest.raises(StreamClosedError):
        credit.acquire_or(lambda: None, accepted=True)


def test_a_grant_that_races_with_closing_comes_home() -> None:
    async def main() -> None:
        credit = spent(1)
        task = asyncio.create_task(credit.awaited())
        await asyncio.sleep(0)
        credit.release(1)  # granted, and closed before the task has looked
        credit.close()
        with pytest.raises(StreamClosedError):
            await task
        assert credit.in_flight == 0

    asyncio.run(main())


def test_no_credit_is_taken_while_another_thread_closes() -> None:
    for _ in range(200):
        credit = Credit(50)
        taken = [0, 0]

        def take(who: int, credit: Credit = credit, taken: list[int] = taken) -> None:
            try:
                while credit.acquire():
                    taken[who] += 1
            except StreamClosedError:
                pass

        threads = [in_thread(lambda: take(0)), in_thread(lambda: take(1))]
        credit.close()
        for thread in threads:
            thread.result(SOON)
        assert sum(taken) + credit.free == 50


def test_whoever_asks_is_told_once_everything_is_home() -> None:
    credit = spent(2)
    told: list[str] = []
    credit.when_home(lambda: told.append("home"))

    credit.release(1)
    assert not told
    credit.release(1)
    credit.when_home(lambda: told.append("at once"))

    assert told == ["home", "at once"]


def test_the_first_write_that_fails_is_the_one_that_is_told() -> None:
    credit = Credit(2)
    told: list[Exception] = []
    credit.on_failure = told.append
    first, second = OSError("first"), OSError("second")
    permits = [Permit(credit), Permit(credit)]
    for _ in permits:
        credit.acquire()

    permits[0].release(first)
    permits[1].release(second)

    assert told == [first]
    assert credit.refusal() is first
    assert credit.free == 2


# -- sizes ----------------------------------------------------------------------------


def test_a_window_of_a_billion_costs_no_memory() -> None:
    credit = Credit(10**9)
    for _ in range(1000):
        assert credit.acquire()
    credit.release(500)
    waiter = credit.acquire_or(lambda: None)

    assert waiter is None
    assert credit.in_flight == 501
    assert len(credit.tokens) < 1000


def test_without_a_size_nothing_is_counted_and_nobody_waits() -> None:
    credit = Credit(None)
    assert all(credit.acquire() for _ in range(10_000))
    assert credit.in_flight == 0
    assert not credit.is_stalled
    credit.close()
    with pytest.raises(StreamClosedError):
        credit.acquire()


@pytest.mark.parametrize("size", [0, -1, float("nan")])
def test_a_size_that_makes_no_sense_is_refused(size: int) -> None:
    with pytest.raises(ConfigError, match="size must be positive"):
        Credit(size)


# -- the stall rule ----------------------------------------------------------------------


class Parked:
    """A stage that keeps events."""

    def __init__(self, name: str, parked: int, told: list[str]) -> None:
        self.name = name
        self.parked = parked
        self.told = told

    def flush(self) -> None:
        self.told.append(self.name)


def test_nothing_is_stalled_while_anything_is_under_way() -> None:
    told: list[str] = []
    credit = spent(3)
    stage = Parked("batch", 2, told)
    credit.add_buffering(stage)

    credit.relieve()
    assert not credit.is_stalled  # the third is on its way to the reader
    stage.parked = 3
    assert credit.is_stalled
    credit.relieve()
    credit.release(1)

    assert not credit.is_stalled
    assert told == ["batch"]


def test_who_has_parked_longest_is_let_go_first() -> None:
    told: list[str] = []
    credit = spent(3)
    first, second = Parked("first", 1, told), Parked("second", 2, told)
    credit.add_buffering(first)
    credit.add_buffering(second)

    credit.relieve()
    credit.remove_buffering(first)
    credit.remove_buffering(first)  # twice is harmless
    second.parked = 3
    credit.relieve()

    assert told == ["first", "second"]


# -- permits --------------------------------------------------------------------------------


def test_credit_comes_home_with_the_last_who_holds() -> None:
    credit = spent(1)
    permit = Permit(credit)
    permit.hold().hold()

    permit.release()
    permit.release()
    assert credit.free == 0
    permit.release()
    assert credit.free == 1


def test_releasing_twice_makes_no_credit() -> None:
    credit = spent(2)
    permit, part = Permit(credit), Permit(credit)
    merged = Permit(credit, 0, [part])
    for each in (permit, permit, merged, merged, part):
        each.release()

    assert credit.free == 2


def test_the_credits_of_a_batch_come_home_in_one_step() -> None:
    credit = spent(5)
    merged = Permit(credit, 2, [Permit(credit) for _ in range(3)])
    seen: list[float] = []
    for _ in range(3):
        credit.acquire_or(lambda: seen.append(credit.free))

    assert merged.credits == 5
    merged.release()

    assert seen == [2, 2, 2]  # all five came before anybody was woken
    assert merged.credits == 0


def test_a_permit_that_came_through_another_line_goes_home_with_its_batch() -> None:
    above, line = spent(2), Credit(None)
    passages = [ForwardedPermit(line, Permit(above)) for _ in range(2)]
    merged = Permit(above, 0, passages)
    above.close(abandon=True)  # `take` has had enough, and disposed of its source

    assert (merged.credits, merged.credit) == (2, above)
    assert not merged.is_abandoned
    line.close(abandon=True)
    assert merged.is_abandoned
    passages[0].hold()
    merged.release()
    assert above.free == 1
    passages[0].release()
    assert above.free == 2


def test_the_credits_of_such_a_batch_come_home_in_one_step() -> None:
    above = spent(3)
    merged = Permit(
        above, 0, [ForwardedPermit(Credit(), Permit(above)) for _ in range(3)]
    )
    seen: list[float] = []
    above.acquire_or(lambda: seen.append(above.free))

    merged.release()

    assert seen == [2]


def test_a_part_that_somebody_else_holds_too_stays_out() -> None:
    credit = spent(2)
    shared, own = Permit(credit), Permit(credit)
    shared.hold()
    Permit(credit, 0, [shared, own]).release()

    assert credit.free == 1
    shared.release()
    assert credit.free == 2


def test_permits_of_two_credits_in_one_batch_each_go_home() -> None:
    one, other = spent(2), spent(1)
    inner = Permit(other, 0, [Permit(other)])
    merged = Permit(one, 1, [Permit(one), inner])
    errors: list[Exception] = []
    one.on_failure = other.on_failure = errors.append

    merged.release(error := OSError("gone"))

    assert (one.free, other.free) == (2, 1)
    assert errors == [error, error]  # both sources are told


def test_a_frame_without_a_permit_is_nobodys_business() -> None:
    frame = Frame(b"{}")
    assert frame.permit is NO_PERMIT
    assert frame.permit.hold() is NO_PERMIT
    frame.permit.release(OSError())
    assert (frame.permit.credits, frame.permit.is_abandoned) == (0, False)
    assert repr(frame.permit) == "NO_PERMIT"


@settings(max_examples=60, stateful_step_count=60, deadline=None)
class Rounds(RuleBasedStateMachine):
    """However events are let in, held, merged, released and cancelled."""

    def __init__(self) -> None:
        super().__init__()
        self.credits = [Credit(4), Credit(3)]
        self.loose = [0, 0]  # taken, and on no permit
        self.waiting: list[tuple[int, Any]] = []
        self.permits: list[list[Any]] = []  # permit, holds, credits of each window
        self.closed = False

    which = st.integers(0, 1)
    some = st.integers(0, 50)

    @rule(which=which)
    def take(self, which: int) -> None:
        credit = self.credits[which]
        was_free = credit.free
        try:
            taken = credit.acquire()
        except StreamClosedError:
            assert self.closed
            return
        assert taken is (was_free > 0)
        self.loose[which] += taken

    @rule(which=which, accepted=st.booleans())
    def queue(self, which: int, accepted: bool) -> None:
        try:
            waiter = self.credits[which].acquire_or(lambda: None, accepted=accepted)
        except StreamClosedError:
            assert self.closed
            assert not accepted
            return
        if waiter is None:
            self.loose[which] += 1
        else:
            self.waiting.append((which, waiter))

    @rule(n=some)
    def leave(self, n: int) -> None:
        if self.waiting:
            which, waiter = self.waiting.pop(n % len(self.waiting))
            self.credits[which].leave(waiter)

    @rule(n=some)
    def use_the_grant(self, n: int) -> None:
        granted = [each for each in self.waiting if each[1].granted]
        if granted:
            each = granted[n % len(granted)]
            self.waiting.remove(each)
            self.loose[each[0]] += 1

    @rule(which=which)
    def come_home(self, which: int) -> None:
        if self.loose[which]:
            self.loose[which] -= 1
            self.credits[which].release(1)

    @rule(which=which, n=st.integers(1, 4))
    def permit(self, which: int, n: int) -> None:
        n = min(n, self.loose[which])
        self.loose[which] -= n
        own = [0, 0]
        own[which] = n
        self.permits.append([Permit(self.credits[which], n), 1, own])

    @rule(which=which, a=some, b=some)
    def merge(self, which: int, a: int, b: int) -> None:
        held = [each for each in self.permits if each[1] == 1]
        parts = (
            [held[i % len(held)] for i in {a % len(held), b % len(held)}]
            if held
            else []
        )
        own = [sum(each[2][i] for each in parts) for i in (0, 1)]
        for part in parts:
            self.permits.remove(part)
        merged = Permit(self.credits[which], 0, [part[0] for part in parts])
        assert merged.credits == sum(own)
        self.permits.append([merged, 1, own])

    @rule(n=some)
    def hold(self, n: int) -> None:
        if self.permits:
            each = self.permits[n % len(self.permits)]
            each[0].hold()
            each[1] += 1

    @rule(n=some, twice=st.booleans())
    def release(self, n: int, twice: bool) -> None:
        if self.permits:
            each = self.permits[n % len(self.permits)]
            each[0].release()
            each[1] -= 1
            if not each[1]:
                self.permits.remove(each)
                if twice:
                    each[0].release()

    @rule()
    def close(self) -> None:
        self.closed = True
        for credit in self.credits:
            credit.close()

    @invariant()
    def every_credit_is_somewhere(self) -> None:
        for which, credit in enumerate(self.credits):
            out = self.loose[which] + sum(each[2][which] for each in self.permits)
            out += sum(w == which and waiter.granted for w, waiter in self.waiting)
            assert credit.in_flight == out
            assert credit.free + out == credit.size
            if credit.free > 0:
                assert not credit._waiters  # nobody waits for what is there


TestRounds = Rounds.TestCase


def test_a_batch_of_two_windows_pays_each_back_its_own() -> None:
    a, b = Gate(), Gate()
    seen: list[Any] = []
    windows = []
    for gate, size in ((a, 4), (b, 3)):
        windows.append(gate.pipe(flow_control(size)))
    rx.merge(*windows).pipe(batch(5, 60)).subscribe(lambda f: seen.append(f.events))
    credits = [gate._link.credit for gate in (a, b) if gate._link]
    for gate in (a, a, b, a, b):
        gate.send({"type": "A"})

    assert seen == [5]
    assert [credit.free for credit in credits] == [4, 3]
    a.close(1)
    b.close(1)
