"""Every block of code in README and docs runs, or is what its tool accepts."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import NamedTuple

import pytest

from rx_agui.cli._arguments import parser
from rx_agui.testing import play, read

ROOT = Path(__file__).parent.parent.parent
PAGES = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").glob("*.md"),
]


class Block(NamedTuple):
    page: Path
    line: int
    language: str
    text: str

    @property
    def id(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks() -> list[Block]:
    found = []
    for page in PAGES:
        text = page.read_text("utf-8")
        for match in re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.M | re.S):
            line = text.count("\n", 0, match.start()) + 1
            found.append(Block(page, line, match[1], match[2]))
    return found


BLOCKS = blocks()


def of(*languages: str) -> pytest.MarkDecorator:
    these = [block for block in BLOCKS if block.language in languages]
    return pytest.mark.parametrize("block", these, ids=lambda block: block.id)


def test_each_block_has_a_language_that_is_tested_here() -> None:
    known = {"python", "sh", "js", "text", "toml", "yaml"}
    assert {block.language for block in BLOCKS} <= known


@pytest.mark.parametrize(
    "page", sorted({b.page for b in BLOCKS if b.language == "python"})
)
def test_the_python_of_a_page_runs_from_top_to_bottom(
    page: Path, tmp_path: Path
) -> None:
    text = "\n".join(
        b.text for b in BLOCKS if b.page == page and b.language == "python"
    )
    script = tmp_path / "page.py"
    script.write_text(text, "utf-8")

    done = subprocess.run(
        [sys.executable, "-W", "error", script],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env={"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"},
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")


@of("sh")
def test_a_command_is_one_that_its_tool_accepts(block: Block) -> None:
    for line in block.text.replace("\\\n", " ").splitlines():
        for command in re.split(r"&&|\|", line.partition(" #")[0]):
            words = shlex.split(re.sub(r"[<>] ?\S+", "", command))
            if words and words[0].rpartition("/")[2] == "rx-agui":
                _accepts(parser(words[1:]), words[1:])
            elif words[:2] == ["python", "-m"]:
                assert (ROOT / words[2].replace(".", "/")).is_dir()
            elif words and words[0].endswith("/python") and words[1] != "-m":
                assert (ROOT / words[1]).is_file()


def _accepts(arguments: ArgumentParser, words: list[str]) -> None:
    try:
        arguments.parse_args(words)
    except SystemExit as error:
        raise AssertionError(f"rx-agui does not accept {words}") from error


@of("js")
def test_javascript_parses(block: Block, tmp_path: Path) -> None:
    node = shutil.which("node") or pytest.skip("node is not installed")
    script = tmp_path / "block.mjs"
    script.write_text(block.text, "utf-8")

    subprocess.run([node, "--check", script], check=True)


@of("text")
def test_a_drawing_is_true(block: Block, tmp_path: Path) -> None:
    path = tmp_path / "block.marble"
    path.write_text(f"A page.\n\n{block.text}", "utf-8")
    if not re.search(r"^    in +", block.text, re.M):
        return  # text

    (drawing,) = read(path)
    assert play(drawing).differences() == ""
