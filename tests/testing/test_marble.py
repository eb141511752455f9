"""A drawing is read as it was meant, written as it is read, or refused with its row."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rx_agui.testing import Drawing, MarbleError, Mark, Meaning, play, read, write

MARBLES = Path(__file__).parent.parent.parent / "marbles"

laws = settings(
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def read_text(tmp_path: Path, *rows: str) -> list[Drawing]:
    """The drawings of a file with these rows."""
    path = tmp_path / "my.marble"
    path.write_text("\n".join(rows), "utf-8")
    return list(read(path))


def marks(lane: str) -> list[Mark]:
    return Drawing("", lanes={"out": lane}).marks("out")


# -- reading -------------------------------------------------------------------------


def test_prose_names_what_is_set_in_below_it(tmp_path: Path) -> None:
    first, second = read_text(
        tmp_path,
        "my: a file.",
        "",
        "Prose may take",
        "two rows.",
        "",
        "    in       ab|",
        "             batch(2)",
        "             chunk(100)",
        "    out      -X|",
        "    X        a b by:size",
        "And need no empty row.",
        "    in       -|",
        '    a        {"type":"A"}',
    )

    assert (first.name, first.file) == ("two rows", "my.marble")
    assert first.lanes == {"in": "ab|", "out": "-X|"}
    assert first.stages == ["batch(2)", "chunk(100)"]
    assert first.meanings == {"X": Meaning(("a", "b"), trigger="size")}
    assert second.name == "And need no empty row"
    assert second.event("a") == {"type": "A"}
    assert second.event("b") == {"type": "b"}


def test_a_file_without_drawings_has_none(tmp_path: Path) -> None:
    assert read_text(tmp_path) == []
    assert read_text(tmp_path, "my: prose alone.", "", "And more of it.") == []


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("a b", Meaning(("a", "b"))),
        ("1:a 2:b", Meaning(("a", "b"), numbers=((1, 1), (2, 2)))),
        ("2-3:a 4:b", Meaning(("a", "b"), numbers=((2, 3), (4, 4)))),
        ("a (gzip)", Meaning(("a",), encoding="gzip")),
        ("[2/3]", Meaning(piece=(2, 3))),
        ("[2/3] a by:late", Meaning(("a",), piece=(2, 3), trigger="late")),
        ("Gap", Meaning(("Gap",))),
        ("1 2", Meaning(("1", "2"))),
        ("17:1", Meaning(("1",), numbers=((17, 17),))),
        ("户", Meaning(("户",))),
    ],
)
def test_a_letter_stands_for_what_is_said_of_it(
    tmp_path: Path, text: str, meaning: Meaning
) -> None:
    (drawing,) = read_text(tmp_path, f"    X        {text}")

    assert drawing.meaning("X") == meaning
    assert drawing.meaning("y") == Meaning(("y",))


def test_a_letter_may_stand_for_several_signals(tmp_path: Path) -> None:
    (drawing,) = read_text(tmp_path, "    out      -P--c", "    P        = a b |")

    assert drawing.marks("out") == [
        Mark(1, "a"), Mark(1, "b"), Mark(1, "|"), Mark(4, "c"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("lane", "drawn"),
    [
        ("", []),
        ("---", []),
        ("-a-|", [(1, "a"), (3, "|")]),
        ("a(bc)-d#", [(0, "a"), (1, "b"), (1, "c"), (6, "d"), (7, "#")]),
        ("a b", [(0, "a"), (2, "b")]),
    ],
)
def test_one_column_is_one_second(lane: str, drawn: list[tuple[int, str]]) -> None:
    assert marks(lane) == drawn
    assert Drawing("").marks("out") == []


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("    inn      ab|", "'inn' is no lane"),
        ("    batch(batch_size=3)", "'batch(bat' is no lane"),
        ("    in       a(bc", "each ( needs its own ) behind it"),
        ("    in       ab)-", "each ( needs its own ) behind it"),
        ("    in       (a(b)c)", "each ( needs its own ) behind it"),
        ("    out      -|", "'out' is drawn twice"),
        ("    Y        b", "'Y' is drawn twice"),
        ("    Y        = b", "'Y' is drawn twice"),
        ('    Y        {"type":"b"}', "'Y' is drawn twice"),
        ("    work     1-2", "a job takes as many seconds as its one digit says"),
        ("    X        1:a b", "number all events, or none"),
        ("    X        ab", "'ab' says nothing about a letter"),
        ("    X        a (gzip", "'(gzip' says nothing about a letter"),
        ("    X        a by:", "'by:' says nothing about a letter"),
        ("    X        [3/2] a", "there is no piece 3 of 2"),
        ("    X        [0/2] a", "there is no piece 0 of 2"),
        ('    X        {"type":}', "Expecting value"),
        ('    X        "open', "Unterminated string"),
    ],
)
def test_what_cannot_be_read_is_told_with_file_row_and_text(
    tmp_path: Path, row: str, says: str
) -> None:
    with pytest.raises(MarbleError) as refused:
        read_text(tmp_path, "A case.", "", "    out      -", "    Y        a", row)

    said = str(refused.value)
    assert said.startswith(f"my.marble:5: {says}")
    assert said.endswith(repr(row.strip()))


# -- writing ------------------------------------------------------------------------------

SIGN = st.sampled_from("abcXYZ123|#!户")
LANE = st.lists(
    st.one_of(
        st.integers(0, 5).map(lambda n: "-" * n),
        SIGN,
        st.lists(SIGN, min_size=1, max_size=4).map(lambda s: f"({''.join(s)})"),
    )
).map("".join)


@laws
@given(LANE)
@example("(a)b")
def test_what_is_written_reads_as_it_was(lane: str) -> None:
    assert marks(write(marks(lane))) == marks(lane)


@laws
@given(LANE)
def test_what_was_written_is_written_the_same_again(lane: str) -> None:
    written = write(marks(lane))

    assert write(marks(written)) == written


@laws
@given(LANE, LANE)
def test_it_survives_a_file(tmp_path: Path, one: str, other: str) -> None:
    rows = [f"    in       {one}", "             batch(3)", f"    out      {other}"]

    (drawing,) = read_text(tmp_path, "A case.", "", *rows)

    assert drawing.marks("in") == marks(one)
    assert drawing.marks("out") == marks(other)


def test_every_lane_of_ours_is_written_as_it_is_drawn() -> None:
    for path in MARBLES.glob("*.marble"):
        for drawing in read(path):
            for lane in drawing.lanes.keys() - {"work", "credit"}:
                again = marks(write(drawing.marks(lane)))
                short = not drawing.several and "(" not in drawing.lanes[lane]
                assert again == drawing.marks(lane) or not short


@pytest.mark.parametrize(
    ("drawn", "lane"),
    [
        ([], ""),
        ([(2, "a")], "--a"),
        ([(0, "a"), (0, "b"), (9, "|")], "(ab)-----|"),
        ([(0, "a"), (0, "b"), (1, "c")], "(ab)+c"),
        ([(1.5, "a"), (8, "|")], "-(a@1.5)|"),
    ],
)
def test_what_does_not_fit_is_pushed_aside_or_has_its_time_beside_it(
    drawn: Iterable[tuple[float, str]], lane: str
) -> None:
    assert write([Mark(*mark) for mark in drawn]) == lane


# -- playing ------------------------------------------------------------------------------


def drawn(**lanes: str) -> Drawing:
    stages = lanes.pop("stages", "")
    return Drawing("A case", "my.marble", lanes, stages.split("; ") if stages else [])


def test_what_differs_is_drawn_above_what_was_played() -> None:
    drawing = drawn(**{"in": "-ab|", "out": "-b-|"})

    assert play(drawing).differences() == (
        "out      -b-|   drawn\n         -ab|   played"
    )
    drawing.lanes["out"] = "-ab|"
    assert play(drawing).differences() == ""


def test_credit_that_differs_is_shown_too() -> None:
    lanes = {"in": "ab|", "stages": "flow_control(2)", "out": "ab|", "credit": "12"}

    assert play(drawn(**lanes)).differences() == (
        "credit   12   drawn\n         22   played"
    )


@pytest.mark.parametrize("lane", ["in", "pull", "gate"])
@pytest.mark.parametrize("ending", ["|", "#"])
def test_events_may_come_by_any_of_three_ways(lane: str, ending: str) -> None:
    if (lane, ending) == ("gate", "#"):
        return  # a Gate has no way to fail
    lanes = {lane: f"ab{ending}", "stages": "flow_control(2); batch(2, 9)"}

    played = play(drawn(**lanes, out=""))

    assert "".join(mark.sign for mark in played.lanes["out"]) == f"«a b»{ending}"


@pytest.mark.parametrize(
    ("lanes", "says"),
    [
        ({"out": "-"}, "nothing goes in"),
        ({"in": "a|", "stages": "nonsense()"}, "no operator is called nonsense"),
        ({"in": "a|", "stages": "batch"}, "not an operator: batch"),
        ({"in": "a|", "stages": "batch("}, "not an operator: batch("),
        ({"in": "a|", "stages": "batch(0)"}, "batch(0): batch_size must be positive"),
        ({"in": "a|", "stages": "batch(size=1)"}, "batch(size=1): batch() got an"),
        (
            {"in": "a|", "stages": "batch(errors=error)"},
            "batch(errors=error): error is none of errors, other, digit, spelled, twice",
        ),
        ({"in": "a|", "stages": "batch(1 + x)"}, "batch(1 + x): malformed node"),
    ],
)
def test_what_cannot_be_played_is_told_with_file_and_sentence(
    lanes: dict[str, str], says: str
) -> None:
    with pytest.raises(MarbleError) as refused:
        play(drawn(**lanes))

    assert str(refused.value).startswith(f"my.marble: A case: {says}")


def test_a_drawing_need_not_say_what_comes_out() -> None:
    played = play(drawn(**{"in": "ab|", "stages": "batch(2)"}))

    assert played.lanes == {}
    assert [tally.emitted for tally in played.operators] == [2]


def test_operators_of_ones_own_can_be_drawn() -> None:
    def twice(n: int) -> Any:
        def operator(source: Any) -> Any:
            return source.flat_map(lambda item: [item] * n)

        return operator

    played = play(
        drawn(**{"in": "ab|", "stages": "twice(2)", "out": "(aa)"}), {"twice": twice}
    )

    assert [mark.sign for mark in played.lanes["out"]] == ["a", "a", "b", "b", "|"]
