"""Under pressure less is sent, step by step; and back, when the reader has caught up.

    level   what is done besides             where
    0       nothing                          normal
    1       compression at its cheapest      compress
    2       batches up to max_batch_size     batch
    3       conflation                       conflate
    4       no RAW, no rawEvent              here
    5       producers are refused            flow_control; RUN_*, *_START, *_END … pass

Pressure is how long the oldest event in flight has been under way.
"""

from __future__ import annotations

from collections.abc import Callable

from reactivex.abc import SchedulerBase

from rx_agui.operators._stage import Errors, Operator

__all__ = ["STEPS", "degrade"]

#: Every step, in the order in which a reader would miss what is taken away.
STEPS = ("compress", "batch", "conflate", "shed", "refuse")


def degrade(
    steps: tuple[str, ...] = STEPS,
    *,
    max_age: float = 1.0,
    relief: float = 0.5,
    dwell: float = 1.0,
    on_level: Callable[[int, str], object] | None = None,
    errors: Errors = None,
    scheduler: SchedulerBase | None = None,
) -> Operator:
    """Send less while the reader cannot keep up.

    It acts on the operators of ours that stand in one line with it: `flow_control`
    above or below, `batch`, `conflate` and `compress` below.

    Args:
        steps: What is done at level 1, 2, ...: any of "compress", "batch", "conflate",
            "shed" and "refuse", in this order.
        max_age: Seconds the oldest event in flight may have been under way.
        relief: The share of `max_age` below which the reader has caught up.
        dwell: Seconds either must last before one level is taken, or left.
        on_level: Told of each new level, and what its step is ("normal" at 0).
        errors: Told of events that cannot be encoded, if this operator is the first.
        scheduler: Whose time to use. The default is the subscription's.
    """
    raise NotImplementedError
