"""Which level of a codec is worth its time when every batch is flushed.

    python -m tests.benchmarks.levels

For each coding and each of its own levels: the share of the raw bytes that is left, and
microseconds a flush, for one event a flush, 20, 100, and for the recorded runs. The
tables `_STREAM_LEVELS` in rx_agui/codecs are read off it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import orjson

from rx_agui.codecs.registry import HTTP_CODINGS

__all__ = ["flushes", "measured", "streamed"]

_HERE = Path(__file__).parents[2]
_OWN_LEVELS = {"gzip": 10, "deflate": 10, "br": 12, "zstd": 20}


def streamed(text: str, events: int) -> list[bytes]:
    """Return the text as deltas of a few characters, as they stand on the wire."""
    chance, at, lines = Random(1), 0, []
    for number in range(1, events + 1):
        end = at + chance.randint(2, 8)
        event = {
            "type": "TEXT_MESSAGE_CONTENT",
            "messageId": "msg_68f2b1c09a3c",
            "delta": text[at:end],
        }
        lines.append(b"id: run-7/%d\ndata: %b\n\n" % (number, orjson.dumps(event)))
        at = end
    return lines


def flushes(events: list[bytes], size: int) -> list[bytes]:
    """Return what `size` events a flush would be written as."""
    return [b"".join(events[at : at + size]) for at in range(0, len(events), size)]


def measured(coding: str, level: int, writes: list[bytes]) -> tuple[float, float]:
    """Return the share that is left at a codec's own level, and µs a flush."""
    best = float("inf")
    for _ in range(3):
        encoder = HTTP_CODINGS[coding].stream_encoder(level)
        begun = time.process_time()
        size = sum(len(encoder.encode(data)) for data in writes)
        best = min(best, time.process_time() - begun)
    return size / sum(map(len, writes)), best * 1e6 / len(writes)


def _workloads() -> Iterator[tuple[str, list[bytes]]]:
    events = streamed((_HERE / "README.md").read_text("utf-8"), 2000)
    for size in (1, 20, 100):
        yield f"{size} a flush", flushes(events, size)
    samples = sorted((_HERE / "tests" / "samples").glob("*.jsonl"))
    lines = [line for path in samples for line in path.read_bytes().splitlines()]
    yield "runs", [b"data: %b\n\n" % line for line in lines]


def _main() -> None:
    workloads = list(_workloads())
    print("".ljust(10), *(name.rjust(16) for name, _ in workloads))
    for coding, end in _OWN_LEVELS.items():
        for level in range(1 if coding == "zstd" else 0, end):
            cells = (measured(coding, level, writes) for _, writes in workloads)
            row = (f"{share:.3f} {micros:.1f} µs".rjust(16) for share, micros in cells)
            print(f"{coding} {level}".ljust(10), *row)


if __name__ == "__main__":
    _main()
