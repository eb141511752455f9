"""The picture of a trace is drawn from spans, and the one in docs/ has them all."""

from __future__ import annotations

import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.support.receivers import ROOT, run_python

SPANS = {
    *("POST /agent", "agent think", "agent search", "agent answer"),
    *("stream chat", "send chat"),
    *("flow_control", "sequence", "batch", "compress", "chunk", "sink.write"),
}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The picture as it is drawn today."""
    path = tmp_path_factory.mktemp("docs") / "trace.svg"
    done: subprocess.CompletedProcess[str] = run_python(
        ROOT / "docs" / "draw_trace.py", path
    )
    assert (done.returncode, done.stderr) == (0, "")
    return path


def test_a_run_is_drawn_with_every_kind_of_span_and_a_link(drawn: Path) -> None:
    assert words(drawn) >= SPANS
    assert "line-purple firm dashed" in drawn.read_text("utf-8")


def test_the_picture_in_docs_shows_what_is_drawn_today(drawn: Path) -> None:
    assert words(ROOT / "docs" / "trace.svg") >= SPANS


def words(path: Path) -> set[str]:
    """All that is written in a picture."""
    svg = ElementTree.parse(path).getroot()
    return {text.text or "" for text in svg.iter("{http://www.w3.org/2000/svg}text")}
