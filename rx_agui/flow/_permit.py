"""The permit that an event carries while it is in flight.

    flow_control      batch              writer
    takes a credit    holds the permit   holds it until the bytes are written
        │                 │                  │
        ▼                 ▼                  ▼
    ┌────────┐ Permit ┌────────┐ Permit ┌────────┐
    │ Credit │───────▶│ ░░░░░  │───────▶│ ░      │──▶ write
    └────────┘        └────────┘        └────────┘
        ▲                                    │
        └──────── the credit comes home ─────┘

A Credit is the window of one subscription. Every event let in takes one, as a
Permit on its frame. The rule is Netty's: a stage that keeps a frame beyond `on_next`
calls `hold`, and `release` when done; the last release brings the credit home.
If no stage holds it, it comes home when `on_next` returns, so a plain
`.subscribe(print)` never stalls and never leaks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rx_agui.flow._credit import Credit

__all__ = [
    "NO_PERMIT",
    "SPENT_PERMIT",
    "ForwardedPermit",
    "Permit",
    "TransitPermit",
    "joint_permit",
]


class Permit:
    """Credits that come home when the last who holds it lets go.

    `flow_control` puts one on each frame and holds it while `on_next` runs. A
    batch has one for all its events; the pieces of a chunked payload share one.
    """

    __slots__ = ("_credit", "_holds", "_n", "_parts")

    def __init__(
        self, credit: Credit, n: int = 1, parts: Sequence[Permit] = ()
    ) -> None:
        self._credit = credit
        self._n = n
        self._holds = 1
        self._parts = parts

    @property
    def credit(self) -> Credit | None:
        """The window that the credits came from and go to."""
        return self._credit

    @property
    def credits(self) -> int:
        """The number of credits that come home with this permit, not before."""
        return self._n + sum([part.credits for part in self._parts])

    @property
    def is_abandoned(self) -> bool:
        """True if the stream was disposed of: the frame need not be written."""
        parts = self._parts
        if parts and not self._n:
            return all(part.is_abandoned for part in parts)
        return self._credit.abandoned

    @property
    def is_answered(self) -> bool:
        """Whether a stage above deals with a failure, so that the stream goes on."""
        parts = self._parts
        return bool(parts) and not self._n and all(part.is_answered for part in parts)

    @property
    def is_spent(self) -> bool:
        """True if the credits have come home, though the frame is not written yet."""
        return not self._holds

    @property
    def is_given_up(self) -> bool:
        """True if the frame was reported as lost, and must not be written any more."""
        credit = self.credit
        return credit is not None and credit.given_up

    def hold(self) -> Permit:
        """Keep the frame beyond `on_next`. Call `release` when done with it."""
        with self._credit.lock:
            self._holds += 1
        return self

    def release(self, error: Exception | None = None) -> None:
        """Be done with the frame: written, dropped, or stored elsewhere.

        Args:
            error: The frame could not be written. The stream ends with this error.
        """
        if error is not None:
            self._fail(error)
        if not self._parts:  # most have none, and then there is one home
            credit = self._credit
            with credit.lock:
                self._holds -= self._holds > 0
                n = 0 if self._holds else self._n
                self._n -= n
            if n:
                credit.release(n)
            return
        home: dict[Credit, int] = {}
        self._release_into(home)
        for credit, n in home.items():  # each window's in one step
            credit.release(n)

    def _fail(self, error: Exception) -> None:
        """Tell every source that something of its is in the frame."""
        if self._n or not self._parts:
            self._credit.fail(error)
        for part in self._parts:
            part._fail(error)

    def _release_into(self, home: dict[Credit, int]) -> None:
        """Remove one hold; add the credits that this frees to those that go `home`."""
        credit = self._credit
        with credit.lock:
            if self._holds == 0:
                return
            self._holds -= 1
            if self._holds:
                return
            n, self._n = self._n, 0
            parts, self._parts = self._parts, ()
        home[credit] = home.get(credit, 0) + n
        for part in parts:
            part._release_into(home)


class ForwardedPermit(Permit):
    """A permit from a line of operators further up, in a line of its own.

    An operator of RxPY's in between, such as `take`, may have ended the line above,
    while what came through is still wanted here.
    """

    __slots__ = ("_above",)

    def __init__(self, credit: Credit, above: Permit) -> None:
        self._credit = credit
        self._above = above

    @property
    def credit(self) -> Credit | None:
        return self._above.credit

    @property
    def credits(self) -> int:
        return self._above.credits

    @property
    def is_abandoned(self) -> bool:
        return self._credit.abandoned

    @property
    def is_answered(self) -> bool:
        return self._above.is_answered

    @property
    def is_spent(self) -> bool:
        return self._above.is_spent

    def hold(self) -> Permit:
        self._above.hold()
        return self

    def release(self, error: Exception | None = None) -> None:
        self._above.release(error)

    def _fail(self, error: Exception) -> None:
        self._above._fail(error)

    def _release_into(self, home: dict[Credit, int]) -> None:
        self._above._release_into(home)


class TransitPermit(ForwardedPermit):
    """A permit held while an operator of others keeps what carries it.

    Such an operator holds nothing. When the frame is passed on, or dropped, nothing
    refers to this permit any more, and then its hold is released.
    """

    __slots__ = ()

    def __init__(self, credit: Credit, above: Permit) -> None:
        super().__init__(credit, above.hold())

    def __del__(self) -> None:
        self._above.release()


class _NoPermit(Permit):
    """The permit of a frame that is not counted, or not any more."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def credit(self) -> Credit | None:
        return None

    @property
    def credits(self) -> int:
        return 0

    @property
    def is_abandoned(self) -> bool:
        return False

    @property
    def is_answered(self) -> bool:
        return False

    @property
    def is_spent(self) -> bool:
        return self is SPENT_PERMIT

    def hold(self) -> Permit:
        return self

    def release(self, error: Exception | None = None) -> None: ...

    def _fail(self, error: Exception) -> None: ...

    def _release_into(self, home: dict[Credit, int]) -> None: ...

    def __repr__(self) -> str:
        return self._name


#: The permit of a frame that is not counted: there was no flow_control.
NO_PERMIT: Final[Permit] = _NoPermit("NO_PERMIT")

#: The permit of a frame that counts as written: nothing held it during `on_next`.
SPENT_PERMIT: Final[Permit] = _NoPermit("SPENT_PERMIT")


def joint_permit(permits: Sequence[Permit]) -> Permit:
    """Return one permit for several; their credits come home when it is released.

    Each of `permits` was held for it.
    """
    if not permits:
        return NO_PERMIT
    if len(permits) == 1:
        return permits[0]
    return Permit(permits[0].credit or Credit(), 0, permits)
