"""What a hostile server sends, rx-agui.mjs reads in four times `maxSize` and 32 MiB."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "node" / "hostile.mjs"
MAX_SIZE = 8 * 1024 * 1024

#: V8 lets garbage lie until its heap is full, which by default is gigabytes away.
FLAGS = ("--expose-gc", "--max-old-space-size=48", "--max-semi-space-size=2")
READABLE = {
    "a payload of tiny events",
    "early frames",
    "some numbers",
    "two characters at a time",
}


def node(*args: str) -> str:
    if shutil.which("node") is None:
        pytest.skip("no node to be had: Node.js 20 or later")
    run = ["node", *FLAGS, str(SCRIPT), *args]
    return subprocess.run(
        run, capture_output=True, check=True, timeout=120
    ).stdout.decode()


def test_memory_is_bounded_whatever_comes() -> None:
    for name in json.loads(node()):
        told = json.loads(node(name, str(MAX_SIZE)))

        assert told["grew"] <= 4 * MAX_SIZE + 32 * 1024 * 1024, name
        assert (told["ended"] == "TOO_LARGE") == (name not in READABLE), name
