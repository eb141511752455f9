"""The observable of a named pipeline: what `rx_agui.pipeline` returns."""

from __future__ import annotations

from typing import Any

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase

from rx_agui.engine._lift import Attended
from rx_agui.probe import Probe, named

__all__ = ["NamedPipeline"]


class NamedPipeline(Attended[Any]):
    """An observable whose subscriptions carry a name, and probes of their own."""

    def __init__(
        self, inner: Observable[Any], name: str, probes: tuple[Probe, ...]
    ) -> None:
        super().__init__()
        self._inner = inner
        self._name = name
        self._probes = probes

    def _subscribe_core(
        self, observer: ObserverBase[Any], scheduler: SchedulerBase | None = None
    ) -> DisposableBase:
        with named(self._name, self._probes):
            return self._inner._subscribe_core(observer, scheduler)
