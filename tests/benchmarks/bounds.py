"""How strictly ratios are held.

    RX_AGUI_BENCHMARKS=strict pytest tests/benchmarks

holds them to what is promised, on a machine that has nothing else to do. Otherwise they
guard against a fall of a third: other users of the machine use its caches too.
"""

from __future__ import annotations

import os
from typing import Any

__all__ = ["at_least", "at_most", "n"]

STRICT = os.environ.get("RX_AGUI_BENCHMARKS") == "strict"


def at_least(promised: float) -> float:
    """What a ratio has to reach here and now."""
    return promised if STRICT else promised * 2 / 3


def at_most(promised: float) -> float:
    """What a cost may reach here and now."""
    return promised if STRICT else promised * 3 / 2


def n(benchmark: Any, full: int) -> int:
    """How many to do: all of them to measure, a few in an ordinary run."""
    return min(full, 300) if benchmark.disabled else full
