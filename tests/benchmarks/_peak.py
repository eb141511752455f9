"""The most memory that the five operators take at full speed, and what was there before.

    an interpreter of its own    import ──▶ peak ──▶ the pipeline, flat out ──▶ peak

Its events are made one by one and its bytes are forgotten, so whatever is resident is
the interpreter's, the imports' or the pipeline's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rx_agui.testing import simulated_deltas
from tests.benchmarks._fresh import fresh, peak
from tests.benchmarks._pipelines import ours

__all__ = ["Peak", "peak_of_pipeline"]


@dataclass(frozen=True, slots=True)
class Peak:
    """Of one process, in bytes.

    Attributes:
        whole: At most, up to the end of the stream: interpreter, imports, pipeline.
        before: At most, up to its beginning: interpreter and imports.
    """

    whole: int
    before: int


def peak_of_pipeline(events: int = 50_000) -> Peak:
    """Send so many deltas, batch 100, gzip 6, in an interpreter of its own.

    Raises:
        NotToBeHad: This system does not tell its peak.
    """
    peak()
    return Peak(*fresh(_measure, events))


def _measure(events: int) -> list[int]:
    before = peak()
    source: Any = lambda: simulated_deltas(events)  # noqa: E731  # a factory
    ours(source, lambda data: None, level=6)
    return [peak(), before]
