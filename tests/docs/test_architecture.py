"""The page that says where things are names what exists, and every room."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.test_layers import DEPTH

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs/architecture.md").read_text("utf-8")
PLACES = sorted(set(re.findall(r"`([\w/]+\.py)(?:::([\w.]+))?`", PAGE)))


@pytest.mark.parametrize(("path", "name"), PLACES)
def test_what_the_page_names_exists(path: str, name: str) -> None:
    if not (ROOT / "rx_agui" / path).exists():
        assert (ROOT / path).exists()
        return
    body = ast.parse((ROOT / "rx_agui" / path).read_text("utf-8")).body
    for word in filter(None, name.split(".")):
        found = [
            node
            for node in body
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and node.name == word
        ]
        assert found, f"{path} has no {name}"
        body = found[0].body


def test_every_room_is_on_the_page() -> None:
    (table,) = re.findall(r"## The house\n(.*?)\n## ", PAGE, re.S)
    rooms = set(re.findall(r"`(\w+)`(?=[^|]*\|[^|]*\|$)", table, re.M))

    assert DEPTH.keys() - {"codec", "patch"} <= rooms  # old paths
