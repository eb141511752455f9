"""Adaptive batches: their size follows the rate and the sink, and does not swing.

What a marble can show of them is in marbles/batch.marble; docs/adaptive.svg shows the rest.
"""

from __future__ import annotations

import queue
import runpy
import threading
from itertools import pairwise
from math import exp
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from reactivex.subject import Subject

from rx_agui import Frame, Gate, batch, flow_control, unbatch
from rx_agui.operators._rate import RateEstimator
from rx_agui.probe import OperatorCounters, Probe, StreamObservation, watching
from rx_agui.testing import MarbleScheduler

DOCS = Path(__file__).parent.parent.parent / "docs"


@pytest.fixture(scope="module")
def drawing() -> dict[str, Any]:
    """The script that draws the picture."""
    return runpy.run_path(str(DOCS / "draw_adaptive.py"))


# -- how large the next should be ------------------------------------------------


@given(rate=st.floats(1, 200_000), seed=st.integers(0, 2**32))
def test_at_a_steady_rate_the_aim_comes_near_from_one_side_whatever_leaves(
    rate: float, seed: int
) -> None:
    pace, now, aims, chance = (
        RateEstimator(500, timeout=0.05, begun=0.0),
        0.0,
        [1],
        Random(seed),
    )
    expected = rate * pace.linger
    # At 4.5, what sums of floats lose decides between 4 and 5, each time anew.
    assume(abs(expected % 1 - 0.5) > 1e-6)
    for _ in range(300):
        size = chance.randint(1, 500)
        now += size / rate
        pace.left(size, now)
        aims.append(pace.aim(now))

    assert aims == sorted(aims)
    # It began at nothing, and that is what it has not forgotten yet.
    reached = expected * (1 - exp(-now / pace.memory))
    assert aims[-1] == pytest.approx(max(1, min(500, reached)), abs=0.5 + 1e-6)


def test_between_two_sizes_it_is_one_of_them() -> None:
    pace = RateEstimator(500, timeout=0.05, begun=0.0)
    aims = set()
    for n in range(1, 1001):
        pace.left(9, n / 100)  # 900 a second: 4.5 are to be expected
        aims.add(pace.aim(n / 100) if n > 100 else 4)

    assert aims <= {4, 5}


@given(st.lists(st.integers(1, 15), min_size=1, max_size=50))
def test_a_few_events_in_one_moment_are_no_flood(bursts: list[int]) -> None:
    pace = RateEstimator(500, timeout=0.05, begun=0.0)
    for second, events in enumerate(bursts):
        for _ in range(events):
            assert pace.aim(second) == 1
            pace.left(1, second)


def test_many_are_and_it_is_forgotten_as_fast() -> None:
    pace, batches = RateEstimator(500, timeout=0.05, begun=0.0), 0
    while pace.aim(0.0) < 500:
        pace.left(pace.aim(0.0), 0.0)
        batches += 1

    assert batches < 200  # 10,000 events at once: not each by itself
    assert pace.aim(1.0) == 1


# -- the sink's own clock ------------------------------------------------------------


class Reader:
    """A sink that takes `call` seconds for a payload, and `event` for each event in it."""

    def __init__(self, clock: MarbleScheduler, call: float, event: float) -> None:
        self.clock = clock
        self.call = call
        self.event = event
        self.sizes: list[int] = []
        self.waiting: list[Frame] = []

    def take(self, frame: Frame) -> None:
        frame.permit.hold()
        self.sizes.append(frame.events)
        self.waiting.append(frame)
        if len(self.waiting) == 1:
            self.work()

    def work(self) -> None:
        lasts = self.call + self.event * self.waiting[0].events
        self.clock.at(self.clock.to_seconds(self.clock.now) + lasts, self.done)

    def done(self) -> None:
        self.waiting[0].permit.release()
        self.waiting.pop(0)
        if self.waiting:
            self.work()


@pytest.mark.parametrize("rate", [200, 1000, 5000])
def test_sizes_go_to_what_comes_during_one_acknowledgement_and_stay_there(
    rate: int,
) -> None:
    clock, source = MarbleScheduler(), Subject[dict[str, Any]]()
    reader = Reader(clock, call=0.02, event=0.00005)
    source.pipe(batch(adaptive=True)).subscribe(reader.take, scheduler=clock)
    for n in range(rate * 2):
        clock.at(n / rate, source.on_next, {"n": n})
    clock.play(until=1.999)

    expected = rate * 0.02 / (1 - rate * 0.00005)
    settled = reader.sizes[len(reader.sizes) // 2 :]
    assert max(settled) - min(settled) <= 1
    assert sum(settled) / len(settled) == pytest.approx(expected, abs=1.01)
    grown = reader.sizes[: reader.sizes.index(settled[-1]) + 1]
    assert all(b >= a - 1 for a, b in pairwise(grown))


# -- the simulation that is drawn -------------------------------------------------------


def of_phase(drawing: dict[str, Any], sink: Any, name: str) -> list[Any]:
    begun = 0.0
    for phase, until in drawing["PHASES"]:
        if phase == name:
            return [b for b in sink.batches if begun <= b[0] < until]
        begun = until
    raise LookupError(name)


def test_the_simulation_keeps_every_promise(drawing: dict[str, Any]) -> None:
    quick, slow = drawing["sinks"]()
    drawing["play"](quick)
    drawing["play"](slow)

    came = len(list(drawing["arrivals"]()))
    for sink in (quick, slow):
        assert sum(events for _, events, _ in sink.batches) == came
        assert max(delay for *_, delay in sink.batches) <= 0.05 + 1e-6
        assert all(
            (events, delay) == (1, 0)
            for _, events, delay in of_phase(drawing, sink, "now and then")
        ), "a lone event leaves at once"
    typed = of_phase(drawing, quick, "a model types, in bursts")
    assert max(delay for *_, delay in typed) < 0.001
    flood = [events for _, events, _ in of_phase(drawing, slow, "20,000 a second")]
    assert set(flood) == {500}
    flood = [events for _, events, _ in of_phase(drawing, quick, "20,000 a second")]
    assert flood == sorted(flood), "it swings"
    assert flood[-1] == round(20_000 * 0.005) - 1


def test_the_picture_in_docs_is_what_the_script_draws(drawing: dict[str, Any]) -> None:
    assert (DOCS / "adaptive.svg").read_text("utf-8") == drawing["drawn"]()


# -- threads, and what it tells -----------------------------------------------------------


@pytest.mark.usefixtures("either_way")
def test_a_sink_that_is_done_on_another_thread_gets_everything_in_order() -> None:
    gate, heard = Gate(), list[int]()
    taken: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()

    def read() -> None:
        while (frame := taken.get()) is not None:
            heard.extend(int(line[5:-1]) for line in frame.lines())
            frame.permit.release()

    def keep(frame: Frame) -> None:
        frame.permit.hold()
        taken.put(frame)

    reader = threading.Thread(target=read)
    reader.start()
    gate.pipe(flow_control(64), batch(adaptive=True)).subscribe(keep)
    for n in range(3000):
        gate.send({"n": n}, timeout=30)
    gate.close()
    taken.put(None)
    reader.join(30)

    assert heard == list(range(3000))


def test_what_made_a_batch_leave_is_counted() -> None:
    class Tallies(Probe):
        def joined(self, _: StreamObservation, tally: OperatorCounters) -> None:
            operators.append(tally)

    operators: list[OperatorCounters] = []
    clock, source = MarbleScheduler(), Subject[dict[str, Any]]()
    with watching(Tallies()):
        source.pipe(batch(adaptive=True), unbatch()).subscribe(
            lambda _: None, scheduler=clock
        )
    source.on_next({"n": 1})

    assert operators[-1].name == "batch"
    assert operators[-1].more[("batches", "adaptive")] == 1
