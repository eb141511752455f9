"""The stage of `batch(leading=...)`: no event waits for company that does not come.

    in    a-----bcd----e---|
          batch(batch_size=9, batch_timeout=9, leading=3)
    out   X-----Y--Z---W---|      X = a,  Y = b,  Z = c d,  W = e

It is the leading edge of a throttle, with nothing dropped. Chosen over a shorter
`batch_timeout`: a model's token every 20 to 100 ms has no company to wait for, and each
would be late by the whole time-out.
"""

from __future__ import annotations

from math import inf

from rx_agui.engine import Errors, Subscription
from rx_agui.flow import NO_PERMIT, Credit, Permit
from rx_agui.operators._batch_stage import BatchStage

__all__ = ["LeadingBatchStage"]

_ROUNDING = 1e-6  # seconds that clocks lose


class LeadingBatchStage(BatchStage):
    """A batch that leaves at once while the sink is idle; see above."""

    __slots__ = ("_at_sink", "_full", "_leading", "_next_at")

    def __init__(
        self,
        subscription: Subscription,
        size: int,
        timeout: float,
        most: int,
        max_bytes: int | None,
        errors: Errors,
        leading: float,
    ) -> None:
        super().__init__(subscription, size, timeout, most, max_bytes, errors)
        self._leading = leading
        self._full = size
        self._next_at = -inf  # when the next payload may leave by itself
        self._at_sink: Permit = NO_PERMIT  # of the latest payload

    def ease(self, step: str, taken: bool) -> None:
        self._size = self._full
        super().ease(step, taken)
        self._full = self._size

    def _open(self, credit: Credit | None, events: int) -> None:
        now = self.subscription.clock.now()
        leaves = now >= self._next_at - _ROUNDING and self._sink_is_idle()
        self._size = min(self._full, events) if leaves else self._full
        super()._open(credit, events)

    def _sink_is_idle(self) -> bool:
        at_sink = self._at_sink
        return at_sink is NO_PERMIT or at_sink.is_spent

    def _first_look(self) -> float:
        left = self._next_at - self.subscription.clock.now()
        return min(left if left > _ROUNDING else self._leading, self._timeout)

    def _ring(self, _: object) -> None:
        self._absorb()
        self._timer = None
        if not self.waiting:
            return
        now = self.subscription.clock.now()
        left = self._due - now
        if left <= _ROUNDING:
            self._leave("timeout")
            return
        if now >= self._next_at - _ROUNDING and self._sink_is_idle():
            self._leave("leading")
            return
        self._timer = self.after(min(self._first_look(), left), self._ring)

    def _leave(self, trigger: str) -> None:
        if trigger == "size" and self.waiting < self._full:
            trigger = "leading"
        if self.waiting:
            self._next_at = self.subscription.clock.now() + self._leading
        super()._leave(trigger)

    def _permit_for_all(self) -> Permit:
        permit = self._at_sink = super()._permit_for_all()
        return permit
