"""python -m tests.benchmarks: it measures, says so, and draws."""

from __future__ import annotations

from pathlib import Path

import pytest

from rx_agui.testing import simulated_run
from tests.benchmarks import (
    GROWTHS,
    ROWS,
    Latency,
    Measured,
    Peak,
    Row,
    Spread,
    Viewers,
    _core,
    _rows,
    bars,
    curves,
    markdown,
)
from tests.benchmarks.__main__ import main
from tests.benchmarks._core import slower
from tests.benchmarks._waiting import RATES
from tests.support.terminal import Answer, in_terminal, jsonl


def run(typed: str) -> Answer:
    return in_terminal(main, typed)


def test_it_measures_the_rows_that_say_a_word(tmp_path: Path) -> None:
    table, picture = tmp_path / "table.md", tmp_path / "picture.svg"

    answer = run(f"--only EventEncoder, --markdown {table} --svg {picture}")

    text = answer.out.decode()
    assert (answer.status, answer.err) == (0, "")
    assert "encoding an AG-UI object" in text
    assert "promised ≥ 6.3 ×" in text
    assert "subscribing" not in text
    assert "encoding an AG-UI object" in table.read_text("utf-8")
    assert picture.read_text("utf-8").startswith("<svg")


def test_it_measures_how_costs_grow(tmp_path: Path) -> None:
    picture = tmp_path / "growth.svg"

    answer = run(f"--only subscription --growth {picture} --short")

    text = answer.out.decode()
    assert (answer.status, answer.err) == (0, "")
    assert all(growth.name in text for growth in GROWTHS)
    assert picture.read_text("utf-8").count('"line-blue firm"') == len(GROWTHS)


def test_a_word_that_no_row_says_is_refused() -> None:
    answer = run("--only nothing-of-the-kind")

    assert answer.status == 2
    assert "no row says" in answer.err
    assert "Served over HTTP" in answer.err


def test_a_recording_replaces_the_simulated_run(tmp_path: Path) -> None:
    recording = tmp_path / "mine.jsonl"
    recording.write_bytes(jsonl(simulated_run(200)))

    answer = run(f"--only wire --recording {recording}")

    text = answer.out.decode()
    assert (answer.status, answer.err) == (0, "")
    assert "fewer bytes on the wire than plain frames, gzip: mine.jsonl" in text
    assert "gzip alone" in text
    assert "at 100 events a second" not in text  # a recording comes when it came
    assert "promised ≥ 20.0 ×" in text


def test_a_recording_that_is_none_is_refused_before_anything_is_measured(
    tmp_path: Path,
) -> None:
    recording = tmp_path / "mine.jsonl"
    recording.write_text("data: {}\n")

    answer = run(f"--recording {recording}")
    absent = run(f"--recording {tmp_path}/absent.jsonl")

    assert answer.status == 2
    assert "--recording must be one JSON event a line" in answer.err
    assert f"{recording}:1" in answer.err
    assert b"promised" not in answer.out
    assert absent.status == 1
    assert "No such file" in absent.err


def test_a_row_whose_peer_is_missing_says_what_to_type(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # no Node

    answer = run("--only stock")

    (line,) = [line for line in answer.out.decode().splitlines() if "stock" in line]
    assert (answer.status, answer.err) == (0, "")
    assert line.startswith(f"  {'-':>12}  8,000 tokens applied by the stock client")
    assert line.endswith("npm install @ag-ui/client")


def row_of(word: str) -> Row:
    (row,) = [row for row in ROWS if word in row.what]
    return row


def test_the_row_of_viewers_says_how_much_above_bare_ones_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def viewers(kind: str, coding: str = "identity", n: int = 0) -> Viewers:
        each = {("bare", "identity"): 10, ("logged", "identity"): 50.5}
        kb = each.get((kind, coding), 90)
        return Viewers(kind, coding, n, Spread.of([kb * 1024.0]), 0.001, 0, 0)

    monkeypatch.setattr(_rows, "viewers", viewers)
    _rows._bare_viewers.cache_clear()
    identity, gzip = row_of("above bare Starlette"), row_of("the same with gzip")

    found = identity.measure(), gzip.measure()
    _rows._bare_viewers.cache_clear()

    assert [each.figure.median for each in found] == [40.5, 80]
    assert found[0].note == "bare 10; 0.1% CPU for 500, 0 threads, 0 timers"
    assert (identity.promise, gzip.promise) == ("≤ 40.0 KB", "≤ 80.0 KB")
    assert identity.reached(found[0]) is False
    assert gzip.reached(found[1]) is True


def test_the_row_of_the_pipeline_says_what_was_there_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    peaks = iter(range(60, 65))
    monkeypatch.setattr(
        _rows, "peak_of_pipeline", lambda: Peak(next(peaks) << 20, 48 << 20)
    )
    row = row_of("the whole process")

    found = row.measure()

    assert found == Measured(Spread(62, 60, 64), "48.0 of it interpreter and imports")
    assert row.promise == "≤ 64.0 MB"
    assert row.reached(found) is True


def a_row(least: float | None = None, most: float | None = None) -> Row:
    return Row("group", "what is measured", "×", lambda: FOUND, least, most)


FOUND = Measured(Spread(2.0, 1.5, 2.5), "a note")


def test_a_row_says_whether_its_promise_was_kept() -> None:
    assert a_row(least=2.0).reached(FOUND) is True
    assert a_row(least=2.1).reached(FOUND) is False
    assert a_row(most=2.0).reached(FOUND) is True
    assert a_row(most=1.9).reached(FOUND) is False
    assert a_row().reached(FOUND) is None


def test_microseconds_are_promised_for_an_idle_core() -> None:
    row = Row("group", "what is measured", "µs", lambda: FOUND, most=20)

    assert row.reached(Measured(Spread(39, 38, 40), slowness=2.0)) is True
    assert row.reached(Measured(Spread(41, 38, 45), slowness=2.0)) is False
    assert slower(len(_core._EVENTS) * 11e-6) == pytest.approx(2.0)
    assert slower(len(_core._EVENTS) * 1e-6) == 1.0


def test_a_row_in_microseconds_says_how_far_this_core_is_from_the_promised_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_rows, "slowness", lambda: 2.5)
    monkeypatch.setattr(_rows, "latency_of_send", lambda kind, n: LATENCY)
    _rows._of_send.cache_clear()

    answer = run("--only thread,")
    _rows._of_send.cache_clear()

    p50, p99 = [line for line in answer.out.decode().splitlines() if "µs" in line]
    promise = "on an idle core; this one is 2.5 times slower)"
    assert p50.endswith(f"p50; RxPY's own 50.0  (promised ≤ 20 µs {promise}")
    assert f"(promised ≤ 100 µs {promise}  NOT REACHED" in p99


#: As fast as promised for half of all, and not for the slowest hundredth.
LATENCY = Latency(50, 90, 251, 300, 400, 0, 0.0, 0.0)


def test_the_table_shows_figure_spread_and_promise() -> None:
    *_, line = markdown([(a_row(least=1.0), FOUND)]).splitlines()

    assert line == (
        "| what is measured (a note) | **2.0 ×** | 1.50 to 2.5 | ≥ 1.00 × |"
    )


def test_the_picture_has_a_bar_for_every_gain_and_none_for_costs() -> None:
    rows = [(a_row(least=1.0), FOUND), (a_row(), FOUND), (a_row(most=3.0), FOUND)]

    assert bars(rows).count('<rect class="blue"') == 2
    assert bars([]).startswith("<svg")
    assert curves([]).startswith("<svg")


def test_every_promise_is_a_number_of_its_unit() -> None:
    assert all(row.least is None or row.most is None for row in ROWS)
    assert {row.unit for row in ROWS} <= {"×", "µs", "ms", "k", "B", "KB", "MB"}


def test_it_measures_every_pace_and_draws_a_field_for_each(tmp_path: Path) -> None:
    picture = tmp_path / "grid.svg"

    answer = run(f"--only subscription --grid {picture} --short")

    text = answer.out.decode()
    assert (answer.status, answer.err) == (0, "")
    assert "6 events, flat out" in text
    assert picture.read_text("utf-8").count(" ms</text>") == len(RATES)
