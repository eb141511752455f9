"""A permit that says how its frame fared.

batch, circuit_breaker          writer
sends a frame with a receipt    holds it, writes, lets go
          ▲                          │
          └──── well, or this error ─┘    and then the credit comes home
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

from rx_agui.flow._credit import Credit
from rx_agui.flow._permit import Permit

__all__ = ["AckPermit"]


class AckPermit(Permit):
    """Tells once, when the last who holds it lets go; then lets go of the permit above.

    >>> receipt = AckPermit(Permit(Credit(1)), print)
    >>> receipt.release(OSError("the reader has left"))
    the reader has left

    Args:
        above: The frame's own permit, which is held until then.
        tell: Called with None, or the first error. On any thread, and no lock is held.
        answers: An error is for who made the receipt to deal with, and goes no further
            up: it does not end the stream.
    """

    __slots__ = ("_above", "_answers", "_error", "_mutex", "_tell")

    def __init__(
        self,
        above: Permit,
        tell: Callable[[Exception | None], object],
        *,
        answers: bool = False,
    ) -> None:
        self._above = above.hold()
        self._tell = tell
        self._answers = answers
        self._error: Exception | None = None
        self._holds = 1
        self._mutex = Lock()

    @property
    def credit(self) -> Credit | None:
        return self._above.credit

    @property
    def credits(self) -> int:
        return self._above.credits

    @property
    def is_abandoned(self) -> bool:
        return self._above.is_abandoned

    @property
    def is_answered(self) -> bool:
        return self._answers or self._above.is_answered

    @property
    def has_failed(self) -> bool:
        """True if something that carried it could not be written."""
        return self._error is not None

    @property
    def is_spent(self) -> bool:
        return not self._holds

    def hold(self) -> Permit:
        with self._mutex:
            self._holds += 1
        return self

    def release(self, error: Exception | None = None) -> None:
        if error is not None:
            self._fail(error)
        home: dict[Credit, int] = {}
        self._release_into(home)
        for credit, n in home.items():
            credit.release(n)

    def _fail(self, error: Exception) -> None:
        with self._mutex:
            self._error = self._error or error
        if not self._answers:
            self._above._fail(error)

    def _release_into(self, home: dict[Credit, int]) -> None:
        with self._mutex:
            if self._holds == 0:
                return
            self._holds -= 1
            if self._holds:
                return
        self._tell(self._error)
        self._above._release_into(home)
