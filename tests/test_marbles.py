"""Every drawing in marbles/ tells the truth."""

from pathlib import Path

import pytest
from reactivex import operators as ops

from rx_agui.testing import Drawing, draw, play, read

MARBLES = Path(__file__).parent.parent / "marbles"
DRAWINGS = [
    pytest.param(drawing, id=f"{path.stem}: {drawing.name}")
    for path in sorted(MARBLES.glob("*.marble"))
    for drawing in read(path)
]


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("drawing", DRAWINGS)
def test_what_is_drawn_is_what_happens(drawing: Drawing) -> None:
    played = play(drawing, {"take": ops.take})

    assert not played.differences(), f"\n{played.differences()}"


@pytest.mark.parametrize("drawing", DRAWINGS)
def test_every_event_of_a_drawing_is_accounted_for(drawing: Drawing) -> None:
    played = play(drawing, {"take": ops.take})

    ended = "|" in drawing.lanes["out"] or "#" in drawing.lanes["out"]
    for tally in played.operators:
        assert tally.held >= 0
        if ended or "dispose" in drawing.lanes:
            assert tally.held == 0, f"{tally.name} holds {tally.held}"


@pytest.mark.parametrize("drawing", DRAWINGS)
def test_all_credit_is_home_when_a_drawing_is_over(drawing: Drawing) -> None:
    played = play(drawing, {"take": ops.take})

    if played.credit is not None and "ack" not in drawing.lanes:
        assert played.credit.free == played.credit.size


def test_the_picture_in_the_readme_is_the_drawing_as_it_is_now() -> None:
    name = "A batch behind a smaller window leaves when all in flight waits in it"
    drawing = next(one for one in read(MARBLES / "batch.marble") if one.name == name)

    picture = MARBLES.parent / "docs" / "batch.svg"

    assert picture.read_text("utf-8") == draw(drawing)
