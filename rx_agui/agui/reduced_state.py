"""The state that a run has come to, and the patches that only its reader can apply."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Final

import orjson

from rx_agui.agui.json_patch import Fails, Unsure, apply_patch
from rx_agui.agui.message import Event

__all__ = ["MAX_LATE", "ReducedState", "apply_if_possible"]

#: Patches left to the client; more than these are applied here as far as they can be.
MAX_LATE: Final = 1000


class ReducedState:
    """A state, told by snapshots and patches in order.

    Attributes:
        value: The state; meaningless unless `is_known`.
        is_known: Whether a STATE_SNAPSHOT came.
        late: Patches that only the client can apply, as they came.
    """

    __slots__ = ("is_known", "late", "value")

    def __init__(self) -> None:
        self.value: Any = None
        self.is_known = False
        self.late: list[bytes] = []

    def set(self, value: Any) -> None:
        """Replace the state."""
        self.value = value
        self.is_known = True
        self.late.clear()

    def patch(self, event: Event, line: bytes, run: Event | None) -> None:
        """Apply a STATE_DELTA, or leave it to the client; `run` is the RUN_STARTED."""
        if self.is_known and not self.late:
            try:
                self.value = apply_patch(self.value, event["delta"])
                return
            except Fails:
                return
            except Unsure:
                pass
        self.late.append(line)
        if len(self.late) > MAX_LATE:
            self._settle(run)

    def _settle(self, run: Event | None) -> None:
        """Apply the patches left to the client, as far as they can be: they are many.

        An unknown state is then that of the run's input, or empty.
        """
        if not self.is_known:
            asked = (run or {}).get("input")
            state = asked.get("state", {}) if isinstance(asked, dict) else {}
            self.value = deepcopy(state)
            self.is_known = True
        for line in self.late:
            self.value = apply_if_possible(self.value, orjson.loads(line)["delta"])
        self.late.clear()


def apply_if_possible(document: Any, patch: Any) -> Any:
    """Return the patched document, or the document if the patch fails."""
    try:
        return apply_patch(document, patch)
    except (Fails, Unsure):
        return document
