"""Our own samples are runs that the stock client takes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

SAMPLES = sorted((Path(__file__).parents[1] / "samples").glob("*_run.jsonl"))


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_the_stock_client_takes_a_recorded_run(
    sample: Path, node: Callable[..., str], ag_ui_client: str
) -> None:
    events = [json.loads(line) for line in sample.read_bytes().split(b"\n") if line]

    made = json.loads(node("reduce.mjs", ag_ui_client, read=json.dumps(events)))

    assert made["error"] is None
    assert made["messages"]
