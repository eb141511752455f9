"""rx-agui bench: it measures, says so, and draws. What it finds is not for a test."""

from __future__ import annotations

from pathlib import Path

from terminal import rx_agui

from rx_agui.bench import GROWTHS, ROWS, Measured, Row, Spread, bars, curves, markdown


def test_it_measures_the_rows_that_say_a_word(tmp_path: Path) -> None:
    table, picture = tmp_path / "table.md", tmp_path / "picture.svg"

    answer = rx_agui(f"bench --only EventEncoder, --markdown {table} --svg {picture}")

    text = answer.out.decode()
    assert (answer.status, answer.err) == (0, "")
    assert "encoding an AG-UI object" in text
    assert "promised ≥ 3.0 ×" in text
    assert "subscribing" not in text
    assert "encoding an AG-UI object" in table.read_text("utf-8")
    assert picture.read_text("utf-8").startswith("<svg")


def test_it_measures_how_costs_grow(tmp_path: Path) -> None:
    picture = tmp_path / "growth.svg"

    answer = rx_agui(f"bench --only subscription --growth {picture} --short")

    text = answer.out.decode()
    assert (answer.status, answer.err) == (0, "")
    assert all(growth.name in text for growth in GROWTHS)
    assert picture.read_text("utf-8").count("<polyline") == len(GROWTHS)


def test_a_word_that_no_row_says_is_refused() -> None:
    answer = rx_agui("bench --only nothing-of-the-kind")

    assert answer.status == 2
    assert "no row says" in answer.err
    assert "Served over HTTP" in answer.err


def a_row(least: float | None = None, most: float | None = None) -> Row:
    return Row("group", "what is measured", "×", lambda: FOUND, least, most)


FOUND = Measured(Spread(2.0, 1.5, 2.5), "a note")


def test_a_row_says_whether_its_promise_was_kept() -> None:
    assert a_row(least=2.0).reached(FOUND) is True
    assert a_row(least=2.1).reached(FOUND) is False
    assert a_row(most=2.0).reached(FOUND) is True
    assert a_row(most=1.9).reached(FOUND) is False
    assert a_row().reached(FOUND) is None


def test_the_table_shows_figure_spread_and_promise() -> None:
    *_, line = markdown([(a_row(least=1.0), FOUND)]).splitlines()

    assert line == (
        "| what is measured (a note) | **2.0 ×** | 1.50 to 2.5 | ≥ 1.00 × |"
    )


def test_the_picture_has_a_bar_for_every_gain_and_none_for_costs() -> None:
    rows = [(a_row(least=1.0), FOUND), (a_row(), FOUND), (a_row(most=3.0), FOUND)]

    assert bars(rows).count('class="bar"') == 2
    assert bars([]).startswith("<svg")
    assert curves([]).startswith("<svg")


def test_every_promise_is_a_number_of_its_unit() -> None:
    assert all(row.least is None or row.most is None for row in ROWS)
    assert {row.unit for row in ROWS} <= {"×", "µs", "B", "KB"}
