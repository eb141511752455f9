"""Time for streams with a loop, with a scheduler, and with neither."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from reactivex.scheduler import EventLoopScheduler, TimeoutScheduler
from reactivex.scheduler.eventloop import AsyncIOScheduler

from rx_agui import clock as clock_module
from rx_agui.clock import LoopClock, SchedulerClock, ThreadClock, Timer, clock_for
from rx_agui.testing import MarbleScheduler
from rx_agui.workers import Workers
from tests.support.patience import SOON, until


def in_thread(job: Callable[[], Any]) -> None:
    """Do `job` in another thread, and wait until it has returned."""
    errors: list[BaseException] = []

    def work() -> None:
        try:
            job()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(SOON)
    assert not thread.is_alive()
    if errors:
        raise errors[0]


class Thing:
    """Something a timer refers to."""

    def __init__(self) -> None:
        self.rang = threading.Event()

    def ring(self) -> None:
        self.rang.set()


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Workers:
    """Hands of one's own, so that a stuck one troubles this test alone."""
    hands = Workers("test-hand", limit=2, patience=0.005, idle=0.01)
    monkeypatch.setattr(clock_module, "CALLBACK_POOL", hands)
    return hands


@pytest.fixture
def own(hands: Workers) -> Iterator[ThreadClock]:
    clock = ThreadClock(idle=0.01)
    yield clock
    until(lambda: clock._thread is None)


@pytest.fixture
def elsewhere() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that runs in another thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield loop
    if not loop.is_closed():
        loop.call_soon_threadsafe(loop.stop)
        thread.join(SOON)
        loop.close()


# -- whose clock -----------------------------------------------------------------


def test_a_subscription_has_its_schedulers_time_else_the_loops_else_the_shared() -> (
    None
):
    async def main() -> None:
        assert isinstance(clock_for(MarbleScheduler()), SchedulerClock)
        assert isinstance(clock_for(None), LoopClock)

    asyncio.run(main())
    assert clock_for(None) is ThreadClock.shared


# -- the shared thread -----------------------------------------------------------


def test_timers_ring_in_order_of_time(own: ThreadClock) -> None:
    rang: list[str] = []
    last = threading.Event()
    monkey = own.now
    own.now = lambda: 0.0  # type: ignore[method-assign]
    own.after(0.03, last.set)
    own.after(0.02, lambda: rang.append("b"))
    own.after(0.01, lambda: rang.append("a"))
    assert [when for when, _, _ in sorted(own._due)] == [0.01, 0.02, 0.03]
    own.now = monkey  # type: ignore[method-assign]  # now all are due

    assert last.wait(SOON)
    until(lambda: sorted(rang) == ["a", "b"])


def test_a_sooner_timer_wakes_the_thread_that_waits_for_a_later_one(
    own: ThreadClock,
) -> None:
    thing = Thing()
    late = own.after(3600, lambda: None)

    own.after(0.001, thing.ring)

    assert thing.rang.wait(SOON)
    late.cancel()


def test_the_timer_thread_ends_when_idle_and_comes_back(own: ThreadClock) -> None:
    for _ in range(3):
        thing = Thing()
        own.after(0.0, thing.ring)
        assert thing.rang.wait(SOON)
        until(lambda: own._thread is None)


def test_a_timer_that_was_cancelled_keeps_no_thread(own: ThreadClock) -> None:
    timers = [own.after(3600, lambda: None) for _ in range(3)]
    until(lambda: own._changed._waiters)  # type: ignore[attr-defined]  # it waits for them
    for timer in timers:
        timer.cancel()

    until(lambda: own._thread is None)


def test_a_timer_that_was_cancelled_keeps_nothing_alive(own: ThreadClock) -> None:
    soon, late = Thing(), Thing()
    gone = [weakref.ref(soon), weakref.ref(late)]
    timers = [own.after(1800, soon.ring), own.after(3600, late.ring)]
    for timer in timers:
        timer.cancel()
        timer.cancel()  # twice is harmless
    del soon, late

    until(lambda: (gc.collect(), [ref() for ref in gone])[1] == [None, None])


def test_a_timer_that_was_cancelled_does_not_ring(own: ThreadClock) -> None:
    silent, thing = Thing(), Thing()

    timer = own.after(0.001, silent.ring)
    timer.cancel()
    own.after(0.002, thing.ring)

    assert thing.rang.wait(SOON)
    assert not silent.rang.is_set()


def test_hands_that_are_stuck_do_not_delay_the_timers_of_others(
    own: ThreadClock, hands: Workers
) -> None:
    may_end, begun = threading.Event(), threading.Semaphore(0)

    def stuck() -> None:
        begun.release()
        may_end.wait(6 * SOON)

    for _ in range(5):
        own.after(0.0, stuck)
    for _ in range(5):
        assert begun.acquire(timeout=SOON)
    thing = Thing()
    own.after(0.001, thing.ring)

    assert thing.rang.wait(SOON)
    assert hands.threads > hands.limit
    may_end.set()
    until(lambda: hands.threads == 0)


def test_hands_that_are_stuck_do_not_delay_what_comes_next_either(
    own: ThreadClock,
) -> None:
    may_end, begun = threading.Event(), threading.Semaphore(0)

    def stuck() -> None:
        begun.release()
        may_end.wait(6 * SOON)

    for _ in range(3):
        own.soon(stuck)
    for _ in range(3):
        assert begun.acquire(timeout=SOON)
    thing = Thing()
    own.soon(thing.ring)

    assert thing.rang.wait(SOON)
    may_end.set()


def test_a_sink_that_blocks_behind_a_worker_leaves_the_workers_free(
    own: ThreadClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute = Workers("test-compute", limit=1, idle=0.01)
    monkeypatch.setattr(clock_module, "COMPUTE", compute)
    may_end, begun = threading.Event(), threading.Event()

    def block(result: object) -> None:
        begun.set()
        may_end.wait(6 * SOON)

    own.work(lambda: 1, block)
    assert begun.wait(SOON)
    thing = Thing()
    own.work(lambda: 2, lambda result: thing.ring())

    assert thing.rang.wait(SOON)
    may_end.set()


def test_user_code_never_runs_on_the_timer_thread(own: ThreadClock) -> None:
    names: list[str] = []
    done = threading.Event()
    own.after(0.0, lambda: names.append(threading.current_thread().name))
    own.after(0.001, done.set)

    assert done.wait(SOON)
    until(lambda: names)
    assert names == ["rx_agui-test-hand"]


def test_a_timer_thread_that_died_is_replaced(
    own: ThreadClock, hands: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    died = threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda args: died.set())
    with monkeypatch.context() as patch:
        patch.setattr(hands, "submit", lambda job: 1 / 0)  # can't start new thread
        own.after(0.0, lambda: None)
        assert died.wait(SOON)
    thread = own._thread
    if thread is not None:
        thread.join(SOON)
    thing = Thing()

    own.after(0.0, thing.ring)

    assert thing.rang.wait(SOON)


def test_a_thousand_timers_need_one_thread_and_few_hands(
    own: ThreadClock, hands: Workers
) -> None:
    done = threading.Semaphore(0)
    for _ in range(1000):
        own.after(0.001, done.release)
    for _ in range(1000):
        assert done.acquire(timeout=SOON)

    timers = [t for t in threading.enumerate() if t is own._thread]
    assert len(timers) <= 1
    assert hands.threads <= 10


# -- a loop's ----------------------------------------------------------------------


def here(seen: list[Any], done: threading.Event) -> Callable[[], None]:
    def act() -> None:
        seen.append(clock_module.running_loop())
        done.set()

    return act


def test_a_loops_timers_ring_on_it_whoever_asked(
    elsewhere: asyncio.AbstractEventLoop,
) -> None:
    clock = LoopClock(elsewhere)
    for ask in (
        lambda act: clock.after(0.001, act),
        clock.soon,
        lambda act: elsewhere.call_soon_threadsafe(clock.soon, act),
        lambda act: elsewhere.call_soon_threadsafe(clock.after, 0.001, act),
    ):
        seen: list[Any] = []
        done = threading.Event()
        ask(here(seen, done))
        assert done.wait(SOON)
        assert seen == [elsewhere]


def test_a_foreign_thread_may_cancel_before_the_loop_has_seen_the_timer(
    elsewhere: asyncio.AbstractEventLoop,
) -> None:
    clock = LoopClock(elsewhere)
    busy, go_on, rang = threading.Event(), threading.Event(), threading.Event()

    def hold_up() -> None:
        busy.set()
        go_on.wait(SOON)

    elsewhere.call_soon_threadsafe(hold_up)
    assert busy.wait(SOON)

    timer = clock.after(0.0, rang.set)
    timer.cancel()
    go_on.set()
    later = threading.Event()
    clock.after(0.005, later.set)

    assert later.wait(SOON)
    assert not rang.is_set()


@pytest.mark.parametrize("asked_on_the_loop", [True, False])
def test_a_loops_timer_is_only_ever_touched_on_the_loop(
    asked_on_the_loop: bool,
    elsewhere: asyncio.AbstractEventLoop,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    touched: list[int] = []
    cancel = asyncio.TimerHandle.cancel

    def record(self: asyncio.TimerHandle) -> None:
        touched.append(threading.get_ident())
        cancel(self)

    monkeypatch.setattr(asyncio.TimerHandle, "cancel", record)
    clock = LoopClock(elsewhere)
    timers: list[Timer] = []
    done = threading.Event()

    def ask() -> None:
        timers.append(clock.after(3600, lambda: None))
        elsewhere.call_soon(done.set)

    if asked_on_the_loop:
        elsewhere.call_soon_threadsafe(ask)
    else:
        timers.append(clock.after(3600, lambda: None))
        elsewhere.call_soon_threadsafe(done.set)
    assert done.wait(SOON)
    timers[0].cancel()

    until(lambda: touched)
    threads: list[int] = []
    elsewhere.call_soon_threadsafe(lambda: threads.append(threading.get_ident()))
    until(lambda: threads)
    assert set(touched) == set(threads)


def test_a_cancelled_loop_timer_keeps_nothing_alive(
    elsewhere: asyncio.AbstractEventLoop,
) -> None:
    clock = LoopClock(elsewhere)
    thing = Thing()
    gone = weakref.ref(thing)
    timer = clock.after(3600, thing.ring)
    del thing
    timer.cancel()

    until(lambda: (gc.collect(), gone())[1] is None)


def test_after_its_loop_has_closed_a_stream_goes_on_in_threads() -> None:
    loop = asyncio.new_event_loop()
    clock = LoopClock(loop)
    timer = None

    async def main() -> None:
        nonlocal timer
        timer = clock.after(3600, lambda: None)

    loop.run_until_complete(main())
    loop.close()
    soon, late = Thing(), Thing()

    clock.soon(soon.ring)
    clock.after(0.001, late.ring)
    assert timer is not None
    timer.cancel()

    assert soon.rang.wait(SOON)
    assert late.rang.wait(SOON)


def test_a_loop_that_closes_at_this_very_moment_raises_at_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = asyncio.new_event_loop()
    clock = LoopClock(loop)
    timer: list[Timer] = []
    loop.call_soon(lambda: timer.append(clock.after(3600, lambda: None)))
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    monkeypatch.setattr(loop, "is_closed", lambda: False)  # as it was, a moment ago
    thing = Thing()

    clock.after(0.001, thing.ring)
    timer[0].cancel()

    assert thing.rang.wait(SOON)


def test_nobody_may_wait_on_a_loop_whatever_the_clock() -> None:
    async def main() -> None:
        for clock in (
            LoopClock(asyncio.get_running_loop()),
            ThreadClock.shared,
            SchedulerClock(TimeoutScheduler.singleton()),
        ):
            assert clock.must_not_wait()

    asyncio.run(main())
    assert not ThreadClock.shared.must_not_wait()
    assert not SchedulerClock(TimeoutScheduler.singleton()).must_not_wait()


def test_a_stream_of_threads_does_not_belong_on_a_loop() -> None:
    async def main() -> None:
        assert not ThreadClock.shared.is_here()
        assert LoopClock(asyncio.get_running_loop()).is_here()

    asyncio.run(main())
    assert ThreadClock.shared.is_here()


# -- a scheduler's -------------------------------------------------------------------


def test_nobody_may_wait_in_virtual_time_or_on_a_schedulers_only_thread() -> None:
    assert SchedulerClock(MarbleScheduler()).must_not_wait()
    scheduler = EventLoopScheduler()
    clock = SchedulerClock(scheduler)
    seen: list[bool] = []
    done = threading.Event()

    def look() -> None:
        seen.append(clock.must_not_wait())
        done.set()

    clock.soon(look)

    assert done.wait(SOON)
    assert seen == [True]
    assert not clock.must_not_wait()
    scheduler.dispose()


def test_what_an_action_returns_is_not_disposed_of() -> None:
    scheduler = MarbleScheduler()
    clock = SchedulerClock(scheduler)
    rang: list[float] = []

    def ring() -> object:
        rang.append(clock.now())
        return object()

    clock.after(2, ring)
    cancelled = clock.after(1, lambda: rang.append(-1))
    cancelled.cancel()
    clock.soon(ring)
    clock.work(lambda: 7, rang.append)
    scheduler.play()

    assert rang == [0.0, 7, 2.0]


def test_rxpys_asyncio_scheduler_is_the_time_of_its_loop_from_any_thread() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        clock = clock_for(AsyncIOScheduler(loop))
        came = asyncio.Event()

        threading.Thread(target=clock.soon, args=(came.set,)).start()

        await asyncio.wait_for(came.wait(), 5)

    asyncio.run(main(), debug=True)
