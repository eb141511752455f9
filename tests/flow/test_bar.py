"""A bar keeps producers out though there is credit; a receipt says how a frame fared."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rx_agui import (
    CircuitOpenError,
    Credit,
    Permit,
    StreamError,
    flow_control,
    from_iterable,
)
from rx_agui.flow import NO_PERMIT, AckPermit, AdmissionBlock


def closed_for(seconds: float, spared: Any = None) -> AdmissionBlock:
    return AdmissionBlock(
        lambda: CircuitOpenError(seconds), lambda event: event == spared
    )


# -- a bar ------------------------------------------------------------------------


def test_nobody_gets_a_credit_behind_a_bar_and_everybody_without() -> None:
    credit, bar, woken = Credit(3), closed_for(1), list[str]()
    credit.acquire()
    credit.release(1)  # some are laid out

    credit.block(bar)
    assert not credit.acquire()
    assert credit.acquire_many(3) == 0
    waiter = credit.acquire_or(lambda: woken.append("it is ours"))
    assert waiter is not None
    assert woken == []

    credit.unblock(bar)
    assert woken == ["it is ours"]
    assert credit.acquire_many(9) == 2
    assert credit.in_flight == 3


def test_who_comes_with_an_event_is_told_why_and_the_spared_one_is_let_in() -> None:
    credit = Credit(2)
    credit.block(closed_for(7, spared="end"))

    with pytest.raises(CircuitOpenError, match="try again in 7 s"):
        credit.wait(1.0, "delta")
    with pytest.raises(CircuitOpenError):
        credit.acquire_despite("delta")
    with pytest.raises(CircuitOpenError):
        asyncio.run(credit.awaited("delta"))
    credit.wait(1.0, "end")
    assert credit.acquire_despite("end")
    assert not credit.acquire_despite("end"), "there is no credit left"
    assert credit.in_flight == 2


def test_the_spared_who_wait_get_credit_that_comes_home_past_those_who_are_not() -> (
    None
):
    credit, woken = Credit(1), list[str]()
    credit.acquire()
    first = credit.acquire_or(lambda: woken.append("pulled"))
    second = credit.acquire_or(lambda: woken.append("end"), event="end")
    third = credit.acquire_or(lambda: woken.append("delta"), event="delta")
    assert first is not None
    assert second is not None
    assert third is not None

    credit.block(closed_for(1, spared="end"))
    credit.release(1)

    assert woken == ["delta", "end"]
    assert (first.granted, second.granted, third.granted) == (False, True, False)
    assert isinstance(third.refused, CircuitOpenError)


def test_who_comes_just_as_a_bar_goes_leaves_the_credit_of_those_who_wait() -> None:
    class Lock:
        """Another thread comes as the bar has gone, before those who wait are let in."""

        def __enter__(self) -> None: ...

        def __exit__(self, *_: object) -> None:
            if not credit._blocks and coming:
                coming.pop()()

    credit = Credit(3)
    bar = closed_for(1.0)
    credit.block(bar)
    woken: list[str] = []
    credit.acquire_or(lambda: woken.append("it"))
    coming = [credit.acquire]
    credit.lock = Lock()  # type: ignore[assignment]
    credit.unblock(bar)

    assert woken == ["it"]


def test_every_bar_must_be_gone() -> None:
    credit, one, other = Credit(1), closed_for(1), closed_for(2, spared="end")
    credit.block(one)
    credit.block(other)

    with pytest.raises(CircuitOpenError, match="in 1 s"):
        credit.wait(1.0, "end")
    credit.unblock(one)
    credit.unblock(one)
    assert not credit.acquire()
    credit.unblock(other)
    assert credit.acquire()


def test_a_stream_that_is_closed_says_so_and_not_what_the_bar_says() -> None:
    credit = Credit(1)
    credit.block(closed_for(1))
    credit.close(StreamError("over"))

    with pytest.raises(StreamError, match="over"):
        credit.wait(1.0, "delta")


def test_a_list_that_is_pulled_waits_behind_a_bar() -> None:
    heard: list[Any] = []
    bars: list[Any] = []

    def hear(frame: Any) -> None:
        heard.append(frame)
        if len(heard) == 1:
            credit = frame.permit.credit
            bars.append((credit, closed_for(1)))
            credit.block(bars[0][1])

    from_iterable([{"n": n} for n in range(300)]).pipe(flow_control(1)).subscribe(hear)
    assert len(heard) == 1

    credit, bar = bars[0]
    credit.unblock(bar)
    assert len(heard) == 300


# -- a receipt ------------------------------------------------------------------------


def test_a_receipt_tells_once_when_the_last_lets_go_and_then_the_credit_comes_home() -> (
    None
):
    credit, told = Credit(1), list[tuple[Exception | None, int]]()
    credit.acquire()
    above = Permit(credit)
    receipt = AckPermit(above, lambda error: told.append((error, credit.in_flight)))
    above.release()
    receipt.hold()

    receipt.release()
    assert told == []
    receipt.release()
    receipt.release()

    assert told == [(None, 1)]
    assert credit.in_flight == 0


@pytest.mark.parametrize("answers", [True, False])
def test_an_error_ends_the_stream_above_unless_somebody_answers_for_it(
    answers: bool,
) -> None:
    credit, told, failed = Credit(1), list[Exception | None](), list[Exception]()
    credit.on_failure = failed.append
    credit.acquire()
    above = Permit(credit)
    receipt = AckPermit(above, told.append, answers=answers)
    first, second = StreamError("first"), StreamError("second")

    receipt.hold().release(first)
    receipt.release(second)
    above.release()

    assert receipt.is_answered is answers
    assert told == [first]
    assert failed == ([] if answers else [first])
    assert credit.in_flight == 0


def test_what_is_gathered_of_receipts_lets_each_know() -> None:
    told: list[int] = []
    credit = Credit(2)
    credit.acquire_many(2)
    parts = []
    for n in range(2):
        above = Permit(credit)
        parts.append(AckPermit(above, lambda _, n=n: told.append(n), answers=True))  # type: ignore[misc]
        above.release()
    whole = Permit(credit, 0, parts)

    assert whole.is_answered
    assert whole.credits == 2
    whole.release(StreamError("#"))

    assert told == [0, 1]
    assert not credit.failed
    assert credit.in_flight == 0


def test_a_frame_that_nobody_counts_may_have_a_receipt() -> None:
    told: list[Exception | None] = []
    receipt = AckPermit(NO_PERMIT, told.append)

    receipt.release()

    assert told == [None]
    assert not receipt.is_answered
    assert receipt.credit is None
