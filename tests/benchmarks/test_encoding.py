"""Encoding an AG-UI event object, beside AG-UI's own EventEncoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ag_ui.encoder import EventEncoder

from rx_agui.agui.encoding import encode
from tests.benchmarks import ratio
from tests.benchmarks._workloads import objects
from tests.benchmarks.bounds import at_least, n

ENCODERS: dict[str, Callable[[Any], object]] = {
    "rx_agui": encode,
    "EventEncoder": EventEncoder().encode,
}


@pytest.mark.parametrize("by", ENCODERS)
@pytest.mark.benchmark(group="encoding AG-UI objects")
def test_encoding(benchmark: Any, by: str) -> None:
    events, encoder = objects(n(benchmark, 5_000)), ENCODERS[by]

    def run() -> None:
        for event in events:
            encoder(event)

    benchmark(run)


def test_ours_is_at_least_three_times_as_fast_and_says_the_same() -> None:
    events, encoder = objects(5_000), EventEncoder()

    times = ratio(
        lambda: [encoder.encode(event) for event in events],
        lambda: [encode(event) for event in events],
    )

    print(f"encoding, ours / EventEncoder: {times}")
    assert times.median >= at_least(3)
    assert all(f"data: {encode(e).decode()}\n\n" == encoder.encode(e) for e in events)
