"""How ratios are taken, and how strictly they are held.

    RX_AGUI_BENCHMARKS=strict pytest tests/benchmarks

holds them to what is promised, on a machine that has nothing else to do. Otherwise they
guard against a fall of a third: whoever else uses the machine also uses its caches.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

__all__ = ["at_least", "seconds"]

STRICT = os.environ.get("RX_AGUI_BENCHMARKS") == "strict"


def seconds(run: Callable[[], object]) -> float:
    """Processor time of all our threads: what other processes do does not count."""
    begun = time.process_time()
    run()
    return time.process_time() - begun


def at_least(promised: float) -> float:
    """What a ratio has to reach here and now."""
    return promised if STRICT else promised * 2 / 3
