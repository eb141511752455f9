"""Type checkers accept what users write, and refuse what would fail at run time."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PYRIGHT = ROOT / "tests/node/node_modules/.bin/pyright"
MUST_PASS, MUST_FAIL = HERE / "must_pass.py", HERE / "must_fail.py"


def mypy() -> dict[str, set[int]]:
    """Lines with errors, by file."""
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "--strict"]
    ran = subprocess.run(
        [*command, str(MUST_PASS), str(MUST_FAIL)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert ran.returncode in (0, 1), ran.stderr
    found = re.findall(r"^\S*?(\w+\.py):(\d+): error", ran.stdout, re.M)
    return _by_file(found)


def pyright() -> dict[str, set[int]]:
    """Lines with errors, by file."""
    if not PYRIGHT.exists():
        pytest.skip("pyright is not installed: npm ci --prefix tests/node")
    ran = subprocess.run(
        [
            str(PYRIGHT),
            "--outputjson",
            "--project",
            str(HERE / "pyrightconfig.json"),
            "--pythonpath",
            sys.executable,
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert ran.returncode in (0, 1), ran.stderr
    return _by_file(
        (Path(told["file"]).name, told["range"]["start"]["line"] + 1)
        for told in json.loads(ran.stdout)["generalDiagnostics"]
        if told["severity"] == "error"
    )


def _by_file(found: Iterable[tuple[str, str | int]]) -> dict[str, set[int]]:
    lines: dict[str, set[int]] = {}
    for name, line in found:
        lines.setdefault(name, set()).add(int(line))
    return lines


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_each_line_that_must_fail_does_and_no_other(
    checker: Callable[[], dict[str, set[int]]],
) -> None:
    wrong = {
        number
        for number, line in enumerate(MUST_FAIL.read_text("utf-8").splitlines(), 1)
        if line.endswith("# error")
    }
    assert len(wrong) > 20

    assert checker() == {MUST_FAIL.name: wrong}
