"""A stock client that is given the pieces ends with what it was to be given whole.

RX_AGUI_STREAMS=5000 asks of so many random streams; the default is 80.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import reactivex as rx

from rx_agui import Frame, batch, conflate, sequence, split
from rx_agui.agui.encoding import encode
from tests.support.reducer import Lines, differing, random_lines, reduced

MIB = 1024 * 1024


def cut(lines: Lines, size: int, *more: object) -> Lines:
    frames: list[Frame] = []
    rx.of(*lines).pipe(split(size), *more).subscribe(frames.append)
    return [line for frame in frames for line in frame.lines()]


def test_it_ends_with_the_same_messages_and_state(
    node: Callable[..., str], ag_ui_client: str
) -> None:
    originals, others = [], []
    for lines, chance in random_lines():
        originals.append(lines)
        others.append(cut(lines, chance.choice([70, 80, 100, 150])))

    assert sum(map(len, others)) > 1.2 * sum(map(len, originals))
    assert differing(node, ag_ui_client, originals, others) == []


def test_conflated_behind_it_it_ends_with_the_same(
    node: Callable[..., str], ag_ui_client: str
) -> None:
    originals, others = [], []
    for lines, chance in random_lines():
        originals.append(lines)
        behind = batch(chance.choice([2, 10, 50])), conflate()
        numbers = [sequence()] if chance.random() < 0.5 else []
        others.append(cut(lines, chance.choice([70, 100]), *numbers, *behind))

    assert differing(node, ag_ui_client, originals, others) == []


@pytest.mark.parametrize("size", [MIB, 4 * MIB])
def test_a_state_that_a_stock_client_refuses_whole_it_takes_in_pieces(
    size: int, node: Callable[..., str], ag_ui_client: str
) -> None:
    rows = [{"id": id, "text": "lorem ipsum " * 8} for id in range(100_000)]
    run = {"threadId": "thread-1", "runId": "run-1"}
    state = {"title": "ships", "rows": rows, "total": 100_000}
    lines = [
        encode({"type": "RUN_STARTED", **run}),
        encode({"type": "STATE_SNAPSHOT", "snapshot": state}),
        encode({"type": "RUN_FINISHED", **run}),
    ]

    pieces = cut(lines, size)
    (made,) = reduced(node, ag_ui_client, [pieces])

    assert len(lines[1]) > 10 * MIB
    assert max(map(len, pieces)) <= size
    assert list(made["state"].items()) == list(state.items())
