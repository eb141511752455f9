"""A stock client cannot tell a conflated stream from the original.

RX_AGUI_STREAMS=5000 asks of so many random streams; the default is 80.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from reactivex.subject import Subject

from rx_agui import Frame, Permit, batch, conflate, flow_control
from rx_agui.agui.known_state import KnownState
from rx_agui.operators._conflate import conflate_lines
from rx_agui.testing import MarbleScheduler
from rx_agui.types import RawEvent
from tests.support.reducer import Lines, batches, differing, random_lines

SAMPLES = sorted((Path(__file__).parents[1] / "samples").glob("*_run.jsonl"))
MIB = 1024 * 1024
RAW_EVENTS: list[RawEvent] = ["strip", "keep_last", "barrier"]


def conflated(
    lines: Lines, chance: Random, *, numbered: bool = False
) -> tuple[Lines, list[int]]:
    """The stream in batches of any size, each conflated."""
    rule: RawEvent = chance.choice(RAW_EVENTS)
    known = chance.choice([None, KnownState(MIB), KnownState(MIB), KnownState(200)])
    made, covered = [], []
    for first, part in batches(lines, chance):
        numbers = range(first, first + len(part)) if numbered else ()
        fewer, numbers_left = conflate_lines(part, numbers, raw_event=rule, known=known)
        made += fewer
        covered += numbers_left
    return made, covered


def test_it_ends_with_the_same_messages_and_state(
    node: Callable[..., str], ag_ui_client: str
) -> None:
    originals, others = [], []
    for lines, chance in random_lines():
        originals.append(lines)
        others.append(conflated(lines, chance)[0])

    assert sum(map(len, others)) < 0.8 * sum(map(len, originals))
    assert differing(node, ag_ui_client, originals, others) == []


def test_one_that_was_cut_anywhere_goes_on_where_its_number_says(
    node: Callable[..., str], ag_ui_client: str
) -> None:
    originals, others = [], []
    for lines, chance in random_lines():
        made, covered = conflated(lines, chance, numbered=True)
        seen = chance.randint(1, len(made))
        originals.append(lines)
        others.append(made[:seen] + lines[covered[seen - 1] :])

    assert sum(map(len, others)) < 0.95 * sum(map(len, originals))
    assert differing(node, ag_ui_client, originals, others) == []


def test_a_slow_reader_with_a_queue_that_merges_ends_with_the_same(
    node: Callable[..., str], ag_ui_client: str
) -> None:
    originals, others = [], []
    for lines, chance in random_lines():
        originals.append(lines)
        others.append(read_slowly(lines, chance))

    assert sum(map(len, others)) < 0.8 * sum(map(len, originals))
    assert differing(node, ag_ui_client, originals, others) == []


def read_slowly(lines: Lines, chance: Random) -> Lines:
    """What a reader gets who now and then lets go of one event, and then of many."""
    written: Lines = []
    held: list[Permit] = []

    def write(frame: Frame) -> None:
        written.append(frame.data)
        held.append(frame.permit.hold())

    source: Subject[bytes] = Subject()
    slow = flow_control(2, buffer_size=10_000, overflow="conflate")
    clock = MarbleScheduler()
    source.pipe(slow).subscribe(write, scheduler=clock)
    for line in lines:
        source.on_next(line)
        if chance.random() < 0.2:
            for permit in held[: chance.choice([1, 1, 2])]:
                held.remove(permit)
                permit.release()
    source.on_completed()
    while held:
        held.pop(0).release()
    clock.play()
    return written


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_a_recorded_run_ends_with_the_same(
    sample: Path, node: Callable[..., str], ag_ui_client: str
) -> None:
    lines = [line for line in sample.read_bytes().split(b"\n") if line]
    frames: list[Frame] = []
    source: Subject[bytes] = Subject()
    source.pipe(batch(50), conflate()).subscribe(frames.append)

    for line in lines:
        source.on_next(line)
    source.on_completed()

    made = [line for frame in frames for line in frame.lines()]
    assert len(made) < len(lines)
    assert differing(node, ag_ui_client, [lines], [made]) == []
