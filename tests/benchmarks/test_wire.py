"""Bytes on the wire of a run, conflated and coded, beside plain frames.

Time is virtual and zlib is zlib, so these figures are the same on every machine.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest
from ag_ui.core import EventType
from ag_ui.encoder import EventEncoder

from rx_agui import ConfigError, from_iterable, validate
from tests.benchmarks._wire import a_run, arriving, on_the_wire, plain, recorded
from tests.benchmarks._workloads import objects

RUN = arriving(a_run())


def test_a_run_takes_a_twentieth_of_the_bytes_of_plain_frames() -> None:
    times = plain(RUN) / on_the_wire(RUN)

    print(f"bytes of a run, plain / ours: {times:.1f}")
    assert times >= 20


def test_conflation_and_compression_each_have_their_part() -> None:
    both = on_the_wire(RUN)

    assert both * 2 < on_the_wire(RUN, conflated=False)
    assert both * 2 < on_the_wire(RUN, coding="identity")
    assert on_the_wire(RUN, conflated=False, coding="identity") > plain(RUN)


def test_what_comes_slower_has_less_in_a_batch() -> None:
    sizes = [on_the_wire(arriving(a_run(), rate)) for rate in (2_000, 500, 100)]

    assert all(fast < slow for fast, slow in pairwise(sizes))


def test_plain_frames_are_what_event_encoder_writes() -> None:
    events, encoder = objects(20), EventEncoder()
    arrivals: list[Any] = [(0.0, event) for event in events]

    assert plain(arrivals) == sum(len(encoder.encode(event)) for event in events)


def test_the_run_is_legal_and_has_everything_that_a_run_has() -> None:
    refused: list[Exception] = []
    passed: list[Any] = []

    from_iterable([event for _, event in RUN]).pipe(
        validate(errors=refused.append)
    ).subscribe(passed.append)

    assert refused == []
    assert len(passed) == len(RUN)
    kinds = {event["type"] for _, event in RUN}
    assert kinds <= {kind.value for kind in EventType}
    assert {
        "REASONING_MESSAGE_CONTENT",
        "TOOL_CALL_ARGS",
        "TOOL_CALL_RESULT",
        "STATE_DELTA",
        "TEXT_MESSAGE_CONTENT",
    } <= kinds
    text = [
        len(event["delta"])
        for _, event in RUN
        if "TEXT" in event["type"]
        if "delta" in event
    ]
    assert 3 <= sum(text) / len(text) <= 5  # as models' tokens are


def written(path: Path, *lines: Any) -> Path:
    path.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    return path


def test_a_recording_arrives_2_000_a_second(tmp_path: Path) -> None:
    path = written(tmp_path / "run.jsonl", {"type": "A"}, {"type": "B"}, {"type": "C"})

    assert [at for at, _ in recorded(path)] == pytest.approx([0, 0.0005, 0.001])


def test_a_recording_that_says_when_arrives_then(tmp_path: Path) -> None:
    path = written(
        tmp_path / "run.jsonl",
        {"type": "A", "timestamp": 1_700_000_000_000},
        {"type": "B", "timestamp": 1_700_000_000_250},
        {"type": "C"},
        {"type": "D", "timestamp": 1_700_000_000_100},  # a clock that was set back
        {"type": "E", "timestamp": 1_700_000_001_000},
    )

    times = [at for at, _ in recorded(path)]

    assert times == pytest.approx([0, 0.25, 0.2505, 0.2505, 1.0])


@pytest.mark.parametrize("line", [b"data: {}", b"[]", b'{"no":"type"}', b'{"type":7}'])
def test_a_recording_with_a_line_that_is_no_event_is_refused(
    tmp_path: Path, line: bytes
) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(b'{"type":"A"}\n\n' + line)

    with pytest.raises(ConfigError, match=r"one JSON event a line, got '.*:3'"):
        recorded(path)


def test_a_recording_of_nothing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(b"\n\n")

    with pytest.raises(ConfigError, match="at least one"):
        recorded(path)
