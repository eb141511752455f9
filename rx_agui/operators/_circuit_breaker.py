"""A sink that keeps failing is left alone for a while, and then tried with care.

               failures, or slowness, reach their share
    ┌────────┐ ─────────────────────────────────────────▶ ┌────────┐
    │ closed │                                            │  open  │
    └────────┘ ◀──────┐              ┌──────────────────▶ └────────┘
                 well │              │ badly                   │ the wait is over
                      └─ ┌───────────┐ ◀───────────────────────┘
                         │ half_open │  a few calls are let through
                         └───────────┘

A call is one payload: handed on to the sink, and over when its permit comes home,
released (it went well) or released with an error (it failed). The error goes no
further up, so the stream survives the write that failed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reactivex.abc import ObserverBase, SchedulerBase

from rx_agui.backoff import Backoff
from rx_agui.operators._stage import Errors, Operator

__all__ = ["circuit_breaker"]

#: A sink that restarts is back within a second or so; one that is gone for longer is
#: asked once a minute.
WAIT_IN_OPEN = Backoff(1.0, most=60.0)
BETWEEN_ATTEMPTS = Backoff(0.1, most=5.0)


def circuit_breaker(
    *,
    failure_rate_threshold: float = 0.5,
    slow_call_rate_threshold: float = 1.0,
    slow_call_duration: float = 60.0,
    sliding_window: str = "count",
    sliding_window_size: int = 20,
    minimum_number_of_calls: int = 5,
    wait_in_open: float | Backoff = WAIT_IN_OPEN,
    permitted_calls_in_half_open: int = 3,
    when_open: str = "refuse",
    fallback: ObserverBase[Any] | Callable[[Any], object] | None = None,
    attempts: int = 3,
    backoff: float | Backoff = BETWEEN_ATTEMPTS,
    ignore: tuple[type[Exception], ...] = (),
    buffer_size: int = 1000,
    name: str = "sink",
    errors: Errors = None,
    scheduler: SchedulerBase | None = None,
) -> Operator:
    """Stand last, before the sink, and keep the stream alive while that fails.

    Args:
        failure_rate_threshold: The share of failed calls that opens the breaker.
        slow_call_rate_threshold: The share of slow calls that opens it.
        slow_call_duration: Seconds from which a call is slow.
        sliding_window: What the shares are of: the last so many calls ("count"), or
            the calls of the last so many seconds ("time").
        sliding_window_size: How many.
        minimum_number_of_calls: Calls before which there are no shares yet.
        wait_in_open: Seconds to leave the sink alone; longer each time in a row.
        permitted_calls_in_half_open: Calls by which the sink shows that it is well.
        when_open: What producers see: "refuse", CircuitOpen at whoever sends through a
            Gate; or "wait", until there is credit. Sources that are pulled always wait.
        fallback: What gets the payloads instead, while open.
        attempts: How often a payload is tried that the sink says was not sent.
        backoff: Seconds between such tries.
        ignore: Errors that count neither way: the reader's fault, not the sink's.
        buffer_size: Payloads that may wait here where no credit bounds them.
        name: What telemetry and CircuitOpen call it.
        errors: Told of `Lost` payloads, and of CircuitOpen for what did not fit here.
        scheduler: Whose time to use. The default is the subscription's.
    """
    raise NotImplementedError
