"""Threads that come with the work, and go when there is none."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from rx_agui.workers import Workers
from tests.support.patience import SOON, until


class Stuck:
    """Jobs that do not end until they may."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.may_end = threading.Event()

    def __call__(self) -> None:
        self.begun.release()
        assert self.may_end.wait(6 * SOON)

    def wait_for(self, n: int) -> None:
        for _ in range(n):
            assert self.begun.acquire(timeout=SOON)


@pytest.fixture
def stuck() -> Iterator[Stuck]:
    stuck = Stuck()
    yield stuck
    stuck.may_end.set()


@pytest.fixture
def raised(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What threading.excepthook was told."""
    told: list[Any] = []
    monkeypatch.setattr(
        threading, "excepthook", lambda args: told.append(args.exc_value)
    )
    return told


def test_there_are_never_more_threads_than_the_limit(stuck: Stuck) -> None:
    workers = Workers("test", limit=3, idle=0.01)
    for _ in range(20):
        workers.submit(stuck)
    stuck.wait_for(3)

    assert workers.threads == 3
    assert workers.backlog == 17
    stuck.may_end.set()
    stuck.wait_for(17)


def test_a_thread_that_waits_is_used_before_another_is_made() -> None:
    workers = Workers("test", limit=3)
    names: list[str] = []
    for _ in range(10):
        done = threading.Event()

        def job(done: threading.Event = done) -> None:
            names.append(str(threading.get_ident()))
            done.set()

        workers.submit(job)
        assert done.wait(SOON)
        until(lambda: workers._waiting == 1)

    assert len(set(names)) == 1
    assert workers.threads == 1


def test_threads_end_when_idle_and_come_back_with_work() -> None:
    workers = Workers("short-lived", limit=2, idle=0.001)
    for _ in range(3):
        done = threading.Event()
        workers.submit(done.set)
        assert done.wait(SOON)
        until(lambda: workers.threads == 0)

    until(
        lambda: not [t for t in threading.enumerate() if t.name.endswith("short-lived")]
    )


def test_no_job_is_lost_between_many_who_submit_and_threads_that_end() -> None:
    workers = Workers("test", limit=2, idle=0.0)
    done = threading.Semaphore(0)

    def submit() -> None:
        for _ in range(500):
            workers.submit(done.release)

    submitters = [threading.Thread(target=submit) for _ in range(4)]
    for thread in submitters:
        thread.start()
    for thread in submitters:
        thread.join(SOON)

    for _ in range(2000):
        assert done.acquire(timeout=SOON)
    until(lambda: workers.threads == 0)


def test_what_a_job_raises_goes_to_the_excepthook_and_the_thread_lives_on(
    raised: list[Any],
) -> None:
    workers = Workers("test", limit=1)
    threads: list[int] = []
    done = threading.Event()

    def fail() -> None:
        threads.append(threading.get_ident())
        raise KeyError("a sink's own")

    def last() -> None:
        threads.append(threading.get_ident())
        done.set()

    workers.submit(fail)
    workers.submit(last)

    assert done.wait(SOON)
    assert [str(error) for error in raised] == ['"a sink\'s own"']
    assert len(set(threads)) == 1


def test_a_job_that_exits_takes_no_thread_with_it(raised: list[Any]) -> None:
    workers = Workers("test", limit=1)
    done = threading.Event()

    def leave() -> None:
        raise SystemExit(1)

    workers.submit(leave)
    workers.submit(done.set)

    assert done.wait(SOON)
    assert workers.threads == 1
    assert [type(error) for error in raised] == [SystemExit]


def test_a_job_is_forgotten_once_done() -> None:
    import weakref

    class Job:
        def __call__(self) -> None: ...

    workers = Workers("test", limit=1)
    job = Job()
    gone = weakref.ref(job)
    workers.submit(job)
    del job

    until(lambda: gone() is None)
    assert workers.threads == 1  # it was not the thread's end that freed it


def test_relief_comes_only_when_all_are_stuck(stuck: Stuck) -> None:
    workers = Workers("test", limit=1, patience=0.02, idle=0.01)
    for _ in range(2):
        workers.submit(stuck)
    stuck.wait_for(1)

    workers._progress += 60  # progress was made just now
    workers.relieve()
    assert workers.threads == 1
    workers._progress -= 120
    workers.relieve()
    stuck.wait_for(1)
    assert workers.threads == 2

    workers._progress -= 120
    workers.relieve()  # stuck, but nobody waits
    assert workers.threads == 2


def test_relief_is_one_thread_at_a_time(stuck: Stuck) -> None:
    workers = Workers("test", limit=1, patience=60, idle=0.01)
    for _ in range(5):
        workers.submit(stuck)
    stuck.wait_for(1)
    workers._progress -= 120

    for _ in range(5):
        workers.relieve()

    stuck.wait_for(1)
    assert workers.threads == 2


def test_relief_goes_when_no_longer_needed_however_steadily_work_comes(
    stuck: Stuck,
) -> None:
    workers = Workers("test", limit=2, patience=0.0, idle=60.0)
    for n in range(6):
        workers.submit(stuck)
        if n >= workers.limit:
            workers.relieve()
        stuck.wait_for(1)
        assert workers.threads == n + 1

    stuck.may_end.set()

    until(lambda: workers.threads == 2)


def test_without_patience_there_is_no_relief(stuck: Stuck) -> None:
    workers = Workers("test", limit=1, idle=0.01)
    for _ in range(2):
        workers.submit(stuck)
    stuck.wait_for(1)
    workers._progress -= 3600

    workers.relieve()

    assert workers.threads == 1


def test_a_thread_that_cannot_start_is_not_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workers = Workers("test", limit=1)
    done = threading.Semaphore(0)

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start"):
            workers.submit(done.release)
    assert workers.threads == 0

    workers.submit(done.release)
    for _ in range(2):  # what was submitted then is done now
        assert done.acquire(timeout=SOON)


_FORKED = """
import os, threading
from rx_agui import Gate, batch, compress, flow_control

def run():
    events, done = [], threading.Event()
    gate = Gate()
    gate.pipe(flow_control(10), batch(5, 0.01), compress(workers=2, min_size=1)).subscribe(
        lambda frame: events.append(frame.events), on_completed=done.set
    )
    gate.send({"type": "CUSTOM", "name": "n", "value": 1})
    gate.close(20)
    return done.wait(20) and sum(events) == 1

assert run()  # the timer thread and the pools have idle threads now
pending = Gate()
pending.pipe(flow_control(10), batch(5, 60)).subscribe(print)
pending.send({"type": "CUSTOM", "name": "n", "value": 1})  # and a timer is set
for _ in range(3):
    pid = os.fork()
    if pid == 0:
        os._exit(0 if run() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
print("all ended")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_has_timers_and_workers_of_its_own() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _FORKED],
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.stdout.strip() == "all ended", done.stderr


_FORKED_AT_A_BAD_MOMENT = """
import os, threading
from rx_agui.clock import ThreadClock

clock, held, over = ThreadClock.shared, threading.Event(), threading.Event()

def hold():
    with clock._changed:
        held.set()
        over.wait()

threading.Thread(target=hold, daemon=True).start()
held.wait()
pid = os.fork()
if pid == 0:
    rang = threading.Event()
    asking = threading.Thread(target=clock.after, args=(0.0, rang.set), daemon=True)
    asking.start()
    os._exit(0 if rang.wait(5) else 1)
over.set()
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
print("it rang")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_child_forked_while_a_thread_sets_a_timer_can_set_its_own() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _FORKED_AT_A_BAD_MOMENT],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.stdout.strip() == "it rang", done.stderr
