"""Who comes first is let in first, also where some wait in a queue and some in a turn."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from reactivex import Observable

from rx_agui import Frame, Gate, Permit, flow_control

Operator = Callable[[Observable[Any]], Observable[Any]]

SOON = 10.0

WINDOWS: dict[str, Callable[[], Operator]] = {
    "flow_control": lambda: flow_control(2, overflow="error", buffer_size=10),
    "sender_buffer": lambda: flow_control(2, sender_buffer=10, timeout=SOON),
}


@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS)
def test_who_waits_for_the_turn_with_a_credit_goes_before_who_queues_behind(
    window: Callable[[], Operator],
) -> None:
    """`a` is let in from the queue, and the sink takes its time with it.

    Meanwhile `b` finds the queue empty and a credit free, and waits for the turn; `c`
    finds no credit, and queues. When `a` is done its credit is free: for `c`, and yet
    `b` goes first.
    """
    heard: list[bytes] = []
    permits: list[Permit] = []
    inside, leave = threading.Event(), threading.Event()

    def sink(frame: Frame) -> None:
        heard.append(frame.data[-2:-1])
        if heard[-1] in (b"1", b"2"):
            permits.append(frame.permit.hold())
        if heard[-1] == b"3":
            inside.set()
            assert leave.wait(SOON)

    gate = Gate()
    gate.pipe(window()).subscribe(sink)
    for n in (1, 2, 3):
        gate.send({"n": n})
    serving = threading.Thread(target=permits[0].release)
    serving.start()
    assert inside.wait(SOON)
    permits[1].release()
    gate.send({"n": 4})
    gate.send({"n": 5})
    leave.set()
    serving.join(SOON)
    gate.close(SOON)

    assert heard == [b"1", b"2", b"3", b"4", b"5"]
