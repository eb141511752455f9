"""Virtual time moves when something is due, and at no other time."""

from __future__ import annotations

from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as ops
from reactivex.scheduler import VirtualTimeScheduler

from rx_agui.testing import MarbleScheduler


def moments(clock: Any, n: int) -> list[float]:
    """When `n` things happen that are due at second 10."""
    heard: list[float] = []
    for _ in range(n):
        clock.schedule_absolute(
            10.0, lambda *_: heard.append(clock.to_seconds(clock.now))
        )
    clock.play() if isinstance(clock, MarbleScheduler) else clock.start()
    return heard


def test_what_is_due_in_one_instant_happens_in_it_however_much_it_is() -> None:
    assert set(moments(MarbleScheduler(), 250)) == {10.0}


def test_that_is_not_so_in_rxpys_own() -> None:
    assert set(moments(VirtualTimeScheduler(), 250)) > {10.0, 11.0}


def test_what_is_due_at_the_same_time_happens_in_the_order_it_was_scheduled() -> None:
    clock, heard = MarbleScheduler(), list[str]()
    for second, name in [(2, "c"), (1, "a"), (2, "d"), (1, "b")]:
        clock.at(second, heard.append, name)
    clock.play()

    assert heard == list("abcd")


def test_soon_is_this_second_behind_what_is_due_in_it() -> None:
    clock, heard = MarbleScheduler(), list[tuple[float, str]]()

    def say(what: str) -> None:
        heard.append((clock.seconds, what))

    clock.at(3, clock.soon, lambda: say("soon"))
    clock.at(3, say, "due")
    clock.play()

    assert heard == [(3, "due"), (3, "soon")]


def test_the_clock_stands_where_the_last_thing_happened() -> None:
    clock = MarbleScheduler()
    assert clock.seconds == 0
    clock.play()
    assert clock.seconds == 0

    clock.at(2.5, lambda: None)
    clock.at(7, lambda: None)
    clock.play(until=5)
    assert clock.seconds == 2.5
    clock.play()
    assert clock.seconds == 7

    clock.at(1, lambda: None)  # in the past: now, and the clock does not go back
    clock.play()
    assert clock.seconds == 7


def test_until_is_included() -> None:
    clock, heard = MarbleScheduler(), list[int]()
    for second in (1, 2, 3):
        clock.at(second, heard.append, second)
    clock.play(until=2)

    assert heard == [1, 2]


def test_a_limit_ends_what_feeds_itself() -> None:
    clock, heard = MarbleScheduler(), list[float]()

    def again() -> None:
        heard.append(clock.seconds)
        clock.soon(again)

    clock.at(1, again)
    with pytest.raises(RuntimeError, match="more than 50 actions: something schedules"):
        clock.play(limit=50)

    assert heard == [1.0] * 50


def test_as_many_actions_as_the_limit_are_no_loop() -> None:
    clock, heard = MarbleScheduler(), list[int]()
    for n in range(50):
        clock.at(1, heard.append, n)
    clock.play(limit=50)

    assert len(heard) == 50


def test_what_was_cancelled_neither_happens_nor_counts() -> None:
    clock, heard = MarbleScheduler(), list[str]()
    for _ in range(99):
        clock.schedule_relative(5.0, lambda *_: heard.append("no")).dispose()
    clock.at(9, heard.append, "yes")
    clock.play(limit=1)

    assert heard == ["yes"]


def test_what_an_action_raises_comes_out_and_the_rest_can_go_on() -> None:
    clock, heard = MarbleScheduler(), list[str]()

    def break_() -> None:
        raise RuntimeError("broke")

    clock.at(1, break_)
    clock.at(2, heard.append, "later")
    with pytest.raises(RuntimeError, match="broke"):
        clock.play()
    clock.play()

    assert heard == ["later"]


def test_work_takes_as_long_as_is_said_and_then_no_time() -> None:
    clock, heard = MarbleScheduler([4.0, 2.0]), list[tuple[float, str]]()
    for name in "abc":
        clock.work(name.upper, lambda result: heard.append((clock.seconds, result)))
    clock.play()

    assert heard == [(0, "C"), (2, "B"), (4, "A")]


def test_rxpys_operators_keep_this_time_too() -> None:
    clock, heard = MarbleScheduler(), list[tuple[float, int]]()
    rx.interval(2.0).pipe(ops.take(3), ops.delay(0.5)).subscribe(
        lambda n: heard.append((clock.seconds, n)), scheduler=clock
    )
    clock.play()

    assert heard == [(2.5, 0), (4.5, 1), (6.5, 2)]
