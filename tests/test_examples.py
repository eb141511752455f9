"""Every example runs as it stands, and shows something."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_as_it_stands_and_shows_something(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", path], capture_output=True, timeout=30
    )

    assert (done.returncode, done.stderr.decode()) == (0, "")
    assert len(done.stdout.decode().split()) > 10


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_says_how_to_run_it_and_fits_on_a_screen(path: Path) -> None:
    text = path.read_text("utf-8")

    assert f"python examples/{path.name}" in text
    assert text.count("\n") <= 60
