"""What the stock client makes of streams: its messages, its state, its error."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import Any

from rx_agui.agui.encoding import encode
from rx_agui.testing import random_stream

Lines = list[bytes]

#: Random streams that are tried. RX_AGUI_STREAMS=5000 takes a few minutes.
STREAMS = int(os.environ.get("RX_AGUI_STREAMS", "80"))


def reduced(
    node: Callable[..., str], package: str, streams: Iterable[Lines]
) -> list[Any]:
    """What each stream ends in: {messages, state, error}."""
    read = "\n".join(f"[{b','.join(lines).decode()}]" for lines in streams)
    made = node("reduce.mjs", package, read=read, timeout=30 + STREAMS)
    return [json.loads(line) for line in made.rstrip("\n").split("\n")]


def differing(
    node: Callable[..., str], package: str, originals: list[Lines], others: list[Lines]
) -> list[int]:
    """Which streams do not end alike. The order of keys counts in the state alone."""
    wanted = reduced(node, package, originals)
    made = reduced(node, package, others)
    return [
        seed
        for seed, pair in enumerate(zip(wanted, made, strict=True))
        if len({_as_text(end) for end in pair}) > 1
    ]


def _as_text(end: Any) -> str:
    return json.dumps(end.pop("state", None)) + json.dumps(end, sort_keys=True)


def random_lines(streams: int = STREAMS) -> Iterator[tuple[Lines, Random]]:
    """Legal streams, a line for each event, and a chance that goes with each."""
    for seed in range(streams):
        yield [encode(event) for event in random_stream(seed)], Random(seed)


def batches(lines: Lines, chance: Random) -> Iterator[tuple[int, Lines]]:
    """The same in batches of any size, with the number of the first line of each."""
    start = 0
    while start < len(lines):
        size = chance.choice([1, 3, 10, 50, 1000])
        yield start + 1, lines[start : start + size]
        start += size
