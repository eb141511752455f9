"""The circuit breaker itself: three states, a window of calls, no clock and no thread.

    state       what happened                          next
    closed      failures or slowness reach their share open
    open        the wait is over                       half_open
    half_open   the calls let through went well        closed
    half_open   they did not                           open, for longer

Terms and rules are resilience4j's (CircuitBreaker, "Create and configure"), its names in
snake_case, its percentages as shares from 0 to 1. Two things differ. Its window of time
is as well made of seconds, but a call counts for the state in which it began: one that
was begun before the breaker opened says nothing of how the sink is after the wait. And
the wait grows while the sink does not recover.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from rx_agui.backoff import Backoff

__all__ = ["CLOSED", "HALF_OPEN", "OPEN", "STATES", "Circuit", "Rules"]

CLOSED: Final = "closed"
OPEN: Final = "open"
HALF_OPEN: Final = "half_open"
STATES: Final = (CLOSED, OPEN, HALF_OPEN)

#: What happens in which state, and what is next. Anything else changes nothing.
NEXT: Final = {
    (CLOSED, "badly"): OPEN,
    (OPEN, "waited"): HALF_OPEN,
    (HALF_OPEN, "well"): CLOSED,
    (HALF_OPEN, "badly"): OPEN,
}


@dataclass(frozen=True)
class Rules:
    """When to open, and for how long. As in `circuit_breaker`, which checks them."""

    failure_rate_threshold: float
    slow_call_rate_threshold: float
    slow_call_duration: float
    sliding_window: str
    sliding_window_size: int
    minimum_number_of_calls: int
    wait_in_open: Backoff
    permitted_calls_in_half_open: int


class Circuit:
    """State of a sink, judged by its calls.

    >>> rules = Rules(0.5, 1.0, 60.0, "count", 10, 2, Backoff(5.0, jitter=0), 1)
    >>> circuit = Circuit(rules)
    >>> for second in (0.0, 1.0):
    ...     circuit.ended(circuit.begins(), now=second, failed=True, lasted=0.1)
    >>> circuit.state, circuit.retry_in(now=2.0), circuit.lets_through
    ('open', 4.0, False)
    >>> circuit.waited()
    >>> circuit.ended(circuit.begins(), now=7.0, failed=False, lasted=0.1)
    >>> circuit.state
    'closed'

    Attributes:
        changed: Called with the state before and the state after.
    """

    def __init__(
        self, rules: Rules, changed: Callable[[str, str], object] = lambda *_: None
    ) -> None:
        self.state = CLOSED
        self.changed = changed
        self._rules = rules
        self._era = 0  # how many states there were
        self._opened = 0  # in a row, with no time closed in between
        self._due = 0.0
        self._begun = 0  # calls in this state
        self._window = self._new_window()

    @property
    def lets_through(self) -> bool:
        """Whether a call may begin."""
        if self.state == HALF_OPEN:
            return self._begun < self._rules.permitted_calls_in_half_open
        return self.state == CLOSED

    def retry_in(self, now: float) -> float:
        """Seconds until it is worth trying again; 0 unless open."""
        return max(0.0, self._due - now) if self.state == OPEN else 0.0

    def begins(self) -> int:
        """Begin a call; return the era to give to `ended`."""
        self._begun += 1
        return self._era

    def ended(self, era: int, now: float, failed: bool, lasted: float) -> None:
        """Record the end of a call that began in `era` and took `lasted` seconds."""
        if era != self._era:
            return
        rules = self._rules
        window = self._window
        window.add(now, failed, lasted >= rules.slow_call_duration)
        in_half_open = self.state == HALF_OPEN
        least = (
            rules.permitted_calls_in_half_open
            if in_half_open
            else rules.minimum_number_of_calls
        )
        if window.calls < least:
            return
        badly = (
            window.failures >= rules.failure_rate_threshold * window.calls
            or window.slow >= rules.slow_call_rate_threshold * window.calls
        )
        if badly:
            self._happens("badly", now)
        elif in_half_open:
            self._happens("well", now)

    def ignore(self, era: int) -> None:
        """Take back a call that began in `era` and shows nothing about the sink."""
        if era == self._era:
            self._begun -= 1

    def waited(self) -> None:
        """End the wait in the state open."""
        self._happens("waited", self._due)

    def _happens(self, what: str, now: float) -> None:
        before = self.state
        after = NEXT.get((before, what))
        if after is None:
            return
        self.state = after
        self._era += 1
        self._begun = 0
        self._window = self._new_window()
        if after == OPEN:
            self._opened += 1
            self._due = now + self._rules.wait_in_open.delay(self._opened)
        elif after == CLOSED:
            self._opened = 0
        self.changed(before, after)

    def _new_window(self) -> _Calls | _Seconds:
        rules = self._rules
        if self.state == HALF_OPEN:
            return _Calls(rules.permitted_calls_in_half_open)
        if rules.sliding_window == "count":
            return _Calls(rules.sliding_window_size)
        return _Seconds(rules.sliding_window_size)


class _Calls:
    """Sliding window over the last `size` calls."""

    def __init__(self, size: int) -> None:
        self._calls: deque[tuple[bool, bool]] = deque(maxlen=size)
        self.failures = 0
        self.slow = 0

    @property
    def calls(self) -> int:
        return len(self._calls)

    def add(self, now: float, failed: bool, slow: bool) -> None:
        if len(self._calls) == self._calls.maxlen:
            oldest_failed, oldest_slow = self._calls[0]
            self.failures -= oldest_failed
            self.slow -= oldest_slow
        self._calls.append((failed, slow))
        self.failures += failed
        self.slow += slow


class _Seconds:
    """Sliding window over the last `size` seconds, in sums of one second each."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._sums: deque[list[int]] = deque()  # second, calls, failures, slow
        self.calls = 0
        self.failures = 0
        self.slow = 0

    def add(self, now: float, failed: bool, slow: bool) -> None:
        second = int(now)
        while self._sums and self._sums[0][0] <= second - self._size:
            _, calls, failures, slow_calls = self._sums.popleft()
            self.calls -= calls
            self.failures -= failures
            self.slow -= slow_calls
        if not self._sums or self._sums[-1][0] != second:
            self._sums.append([second, 0, 0, 0])
        latest = self._sums[-1]
        for i, n in enumerate((1, int(failed), int(slow)), start=1):
            latest[i] += n
        self.calls += 1
        self.failures += failed
        self.slow += slow
