"""rx-agui marbles plays drawings and draws them."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from rx_agui.cli import main
from rx_agui.testing import draw, read

TRUE = """\
A full batch leaves at once.

    in       ab|
             batch(2, 5)
    out      -X|
    X        a b
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "case.marble"
    path.write_text(text, "utf-8")
    return path


def test_drawings_that_are_true_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, TRUE)

    assert main(["marbles", str(path)]) == 0
    assert capsys.readouterr().out == "case.marble: 1 drawing\n"


def test_a_drawing_that_is_not_true_is_shown_beside_what_happened(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, TRUE.replace("-X|", "--X"))

    assert main(["marbles", str(path)]) == 2
    heard = capsys.readouterr()
    assert "out      --X   drawn" in heard.out
    assert "         -X|   played" in heard.out
    assert heard.err == "rx-agui marbles: 1 drawing is not true\n"


def test_a_drawing_that_cannot_be_read_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, TRUE.replace("out", "tuo"))

    assert main(["marbles", str(path)]) == 2
    assert "case.marble:5: 'tuo' is no lane" in capsys.readouterr().err


def test_each_drawing_becomes_a_picture(tmp_path: Path) -> None:
    path = written(tmp_path, TRUE)

    assert main(["marbles", str(path), "--svg", str(tmp_path / "svg")]) == 0

    picture = tmp_path / "svg" / "case-a-full-batch-leaves-at-once.svg"
    assert ElementTree.parse(picture).getroot().tag.endswith("svg")


def test_a_picture_shows_every_mark_of_every_lane(tmp_path: Path) -> None:
    for path in sorted(Path("marbles").glob("*.marble")):
        for drawing in read(path):
            root = ElementTree.fromstring(draw(drawing))
            shown = [text.text for text in root.iter() if text.tag.endswith("text")]
            signs = [
                mark.sign
                for lane in ("in", "pull", "gate", "out", "ack", "taken", "errors")
                if lane in drawing.lanes
                for mark in drawing.marks(lane)
            ]
            for sign in set(signs) - {"|", "#"}:
                assert shown.count(sign) >= signs.count(sign)


@pytest.mark.parametrize("junk", [b"junk", b"", b"\xff\xfe\x00"])
def test_a_file_without_a_drawing_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], junk: bytes
) -> None:
    path = tmp_path / "junk"
    path.write_bytes(junk)

    assert main(["marbles", str(path)]) == 2
    assert "junk: no" in capsys.readouterr().err


def test_drawings_may_name_operators_of_a_module_of_yours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my_operators.py").write_text(
        "from rx_agui import batch\ndef pairs():\n    return batch(2, 5)\n", "utf-8"
    )
    path = written(tmp_path, TRUE.replace("batch(2, 5)", "pairs()"))
    monkeypatch.syspath_prepend(tmp_path)

    assert main(["marbles", str(path)]) == 2
    assert "no operator is called pairs" in capsys.readouterr().err
    assert main(["marbles", str(path), "--operators", "my_operators"]) == 0
    assert main(["marbles", str(path), "--operators", "not.there"]) == 2
    assert "--operators not.there: No module named" in capsys.readouterr().err
