"""Whatever a server sends, reading it takes four times `max_size` and 32 MiB at most."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.hostile import BODIES

ROOT = Path(__file__).parents[2]
MAX_SIZE = 2 * 1024 * 1024
READABLE = {
    "a payload of tiny events",
    "just as many lists as may be:gzip",
    "lists on lines:gzip",
    "short lines:gzip",
    "text with an emoji:gzip",
    "tiny messages:gzip",
    "two bytes at a time",
}


@pytest.fixture(scope="module")
def readings() -> dict[str, tuple[int, str]]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.hostile", str(MAX_SIZE)],
        cwd=ROOT,
        capture_output=True,
        check=True,
        timeout=300,
    )
    told = map(json.loads, done.stdout.splitlines())
    return {name: (grew, ended) for name, grew, ended in told}


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells how far memory grew")
@pytest.mark.parametrize("name", BODIES)
def test_what_a_hostile_server_sends_is_read_in_bounded_memory(
    name: str, readings: dict[str, tuple[int, str]]
) -> None:
    grew, ended = readings[name]

    assert grew <= 4 * MAX_SIZE + 32 * 1024 * 1024
    is_refused = ended.split(", ")[1] in ("PayloadTooLargeError", "WireError")
    assert is_refused == (name not in READABLE)
