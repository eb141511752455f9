"""Estimate the next batch size from the rate of events.

    events/s      few         thousands            more than the sink can take
    aim           1     ...   rate × linger   ...  most

Two old rules, each where it is right:

* While a payload is at the sink, what comes waits, for it would wait there too; when the
  sink is done, it leaves as one. That is Nagle's rule (RFC 896). A batch is then what
  came during one acknowledgement, rate × time, which is Little's law, and no estimate
  of either is needed: the sink is its own clock. Should it take a + b·n seconds for n
  events, sizes go to a·rate / (1 - b·rate) from one side, so they cannot swing.
* When the sink is idle, a batch may still wait `linger` seconds, if more than one event
  is to be expected in them. A sink that answers at once would else be given a flood
  one by one, and each payload costs as much as twenty events.

The expected rate is a moving average that forgets in `memory` seconds of time, not of
events: a burst of a model's tokens, all in one moment, is no flood.
"""

from __future__ import annotations

from math import exp
from threading import get_ident

from rx_agui.clock import Timer
from rx_agui.engine import (
    Errors,
    Subscription,
)
from rx_agui.flow import AckPermit, Credit, Permit
from rx_agui.operators._batch_stage import PATIENCE, BatchStage

__all__ = ["LINGER", "AdaptiveBatchStage", "RateEstimator"]

#: Of the longest a batch may be held. With the default of 50 ms that is 5: a screen
#: shows a new picture every 16, and a third of that is not visible.
LINGER = 0.1
#: The same for the memory: a flood fills batches after about this long, 100 ms, and is
#: forgotten in a few of it.
_MEMORY = 2.0


class RateEstimator:
    """Estimator of the event rate and of the batch size that fits it.

    >>> pace = RateEstimator(most=500, timeout=0.05, begun=0.0)
    >>> pace.aim(now=0.0)
    1
    >>> for ms in range(1, 1001):  # ten thousand a second
    ...     pace.left(events=10, now=ms / 1000)
    >>> pace.aim(now=1.0), pace.aim(now=2.0)
    (50, 1)

    Args:
        most: Events in a batch at most.
        timeout: Seconds a batch may be held at most.
        begun: Now. In seconds of any clock, as every `now`.

    Attributes:
        linger: Seconds a batch may wait for more while the sink is idle.
        memory: Seconds in which two thirds of what was are forgotten.
        rate: Events a second, as of `since`, when the last batch left.
    """

    __slots__ = ("linger", "memory", "most", "rate", "since")

    def __init__(self, most: int, timeout: float, begun: float) -> None:
        self.most = most
        self.linger = timeout * LINGER
        self.memory = timeout * _MEMORY
        self.rate = 0.0
        self.since = begun

    def aim(self, now: float) -> int:
        """Return how many events to wait for, given that one arrives now."""
        quiet = now - self.since
        expected = self.rate * exp(-quiet / self.memory) * self.linger
        return max(1, min(self.most, round(expected)))

    def left(self, events: int, now: float) -> None:
        """Record that a batch of `events` leaves now."""
        lasted = now - self.since
        self.since = now
        if lasted < 1e-9 * self.memory:  # in the same moment: the limit of what follows
            self.rate += events / self.memory
            return
        weight = 1 - exp(-lasted / self.memory)
        self.rate += weight * (events / lasted - self.rate)


class AdaptiveBatchStage(BatchStage):
    """A batch whose size follows the rate and the sink; see above."""

    __slots__ = ("_first_came", "_pace", "_soon", "_under_way")

    def __init__(
        self,
        subscription: Subscription,
        size: int,
        timeout: float,
        most: int,
        max_bytes: int | None,
        errors: Errors,
    ) -> None:
        super().__init__(subscription, 1, timeout, most, max_bytes, errors)
        self._pace = RateEstimator(most, timeout, subscription.clock.now())
        self._under_way = 0  # payloads the sink has
        self._first_came = 0.0
        self._soon: Timer | None = None

    def ease(self, step: str, taken: bool) -> None:
        if step == "batch":
            timeout = self._usual[1]
            self._timeout = timeout * PATIENCE if taken else timeout
            self._pace.linger = timeout if taken else timeout * LINGER

    def _open(self, credit: Credit | None, events: int) -> None:
        self._first_came = now = self.subscription.clock.now()
        self._size = self._most if self._under_way else self._pace.aim(now)
        super()._open(credit, events)
        if events < self._size and not self._under_way:
            self._linger(self._pace.linger)

    def _leave(self, trigger: str) -> None:
        events = self.waiting
        if not events:
            return
        self._pace.left(events, self.subscription.clock.now())
        if trigger == "size" and events < self._most:
            trigger = "adaptive"
        super()._leave(trigger)

    def _permit_for_all(self) -> Permit:
        permit = super()._permit_for_all()
        self._under_way += 1
        acknowledged = AckPermit(permit, self._acknowledged)
        permit.release()  # the AckPermit holds it now
        return acknowledged

    def _acknowledged(self, _: Exception | None) -> None:
        """Handle the acknowledgement of a payload. Called on any thread."""
        if not self.subscription.executor.is_owned_by(get_ident()):
            self.subscription.on_own_loop(self._is_idle)
            return
        self._under_way -= 1
        if self.waiting and not self._under_way:
            self.subscription.execute(self._go)

    def _is_idle(self, _: object) -> None:
        self._under_way -= 1
        if not self._under_way:
            self._go(None)

    def _go(self, _: object) -> None:
        """Send what waits to the idle sink, unless more is expected within `linger`."""
        self._absorb()
        if not self.waiting or self._under_way:
            return
        now = self.subscription.clock.now()
        self._size = self._pace.aim(now)
        left = self._first_came + self._pace.linger - now
        if self.waiting >= self._size or left <= 1e-6:  # what clocks lose in rounding
            self._leave("adaptive")
        else:
            self._make_room()
            self._linger(left)

    def _linger(self, seconds: float) -> None:
        if self._soon is None:
            self._soon = self.after(seconds, self._lingered)

    def _lingered(self, _: object) -> None:
        self._soon = None
        self._go(None)

    def _cancel(self) -> None:
        super()._cancel()
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
