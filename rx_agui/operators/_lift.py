"""A Stage becomes an operator that `pipe` takes.

    source.pipe(batch(), compress())     Lifted(Lifted(source, _Batch), _Compress)
          .subscribe(observer)           one Line, joined from the bottom up

Operators that follow each other directly subscribe in one step, as one Line; any
other operator between two of ours begins a new one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import CompositeDisposable, Disposable

from rx_agui import probe
from rx_agui.flow import Credit, Paced
from rx_agui.operators._entrance import Entrance
from rx_agui.operators._line import Line

if TYPE_CHECKING:
    from rx_agui.operators._stage import Stage

__all__ = ["Attended", "Operator", "Sink", "lift"]

T = TypeVar("T")

Operator = Callable[[Observable[Any]], Observable[Any]]


def lift(
    make: Callable[..., Stage], *args: Any, scheduler: SchedulerBase | None = None
) -> Operator:
    """Make a Stage into an operator that `pipe` takes: `make(line, *args)`."""
    return lambda source: Lifted(source, make, args, scheduler)


class Sink(ObserverBase[Any]):
    """An observer that keeps what it gets, and so must know when nobody wants it."""

    def disposed(self) -> None:
        """The subscription was disposed of. After its end this says nothing new."""


class Attended(Observable[T]):
    """An Observable of ours: a Sink at its end is told when nobody wants it."""

    def subscribe(
        self,
        on_next: Any = None,
        on_error: Any = None,
        on_completed: Any = None,
        *,
        scheduler: SchedulerBase | None = None,
    ) -> DisposableBase:
        """As every Observable's. A Sink is told when the subscription is disposed of."""
        subscription = super().subscribe(
            on_next, on_error, on_completed, scheduler=scheduler
        )
        if isinstance(on_next, Sink):
            return CompositeDisposable(subscription, Disposable(on_next.disposed))
        return subscription


class Lifted(Attended[Any]):
    """A Stage as an operator applied to a source."""

    def __init__(
        self,
        source: Observable[Any],
        make: Callable[..., Stage],
        args: tuple[Any, ...],
        scheduler: SchedulerBase | None,
    ) -> None:
        super().__init__()
        self._source = source
        self._make = make
        self._args = args
        self._scheduler = scheduler

    def _subscribe_core(
        self, observer: ObserverBase[Any], scheduler: SchedulerBase | None = None
    ) -> DisposableBase:
        line = Line(self._scheduler or scheduler)
        source = self._join(line, observer)
        while type(source) is Lifted and source._follows(line, self):
            source = source._join(line, line.top)
        entrance = line.entrance
        if entrance is None:
            entrance = line.entrance = Entrance(line, line.top, Credit(None))
        entrance.begin(line.top)
        try:
            line.connect(self._open(source, line, entrance))
        except BaseException as error:
            line.break_off(error)
            raise
        return line

    def _open(
        self, source: Observable[Any], line: Line, entrance: Entrance
    ) -> DisposableBase:
        if isinstance(source, Paced):
            # An agent that subscribes streams of its own does so outside of this one.
            with probe.subscribing(None, line.turn.is_owned_by):
                return source.pace(entrance)
        with probe.subscribing(line.watch, line.turn.is_owned_by):
            return source.subscribe(
                entrance.on_next,
                entrance.on_error,
                entrance.on_completed,
                scheduler=line.scheduler,
            )

    def _join(self, line: Line, down: Stage | ObserverBase[Any]) -> Observable[Any]:
        """Put our stage at the top of the line; what it takes its frames from."""
        line.join(self._make(line, *self._args), down)
        return self._source

    def _follows(self, line: Line, bottom: Lifted) -> bool:
        """Whether our stage may stand in the same line: one clock, one entrance."""
        one_clock = self._scheduler is None or self._scheduler is bottom._scheduler
        brings_entrance = getattr(self._make, "brings_entrance", False)
        return one_clock and not (brings_entrance and line.entrance is not None)
