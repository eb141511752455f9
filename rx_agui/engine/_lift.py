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
from rx_agui.engine._head import HeadSubscriber
from rx_agui.engine._subscription import Subscription
from rx_agui.flow import Credit, PullSource
from rx_agui.types import Operator

if TYPE_CHECKING:
    from rx_agui.engine._stage import Stage

__all__ = ["Attended", "Operator", "Sink", "lift"]

T = TypeVar("T")


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
        subscription = Subscription(self._scheduler or scheduler)
        source = self._join(subscription, observer)
        while type(source) is Lifted and source._follows(subscription, self):
            source = source._join(subscription, subscription.top)
        entrance = subscription.entrance
        if entrance is None:
            entrance = subscription.entrance = HeadSubscriber(
                subscription, subscription.top, Credit(None)
            )
        entrance.begin(subscription.top)
        try:
            subscription.connect(self._open(source, subscription, entrance))
        except BaseException as error:
            subscription.break_off(error)
            raise
        return subscription

    def _open(
        self,
        source: Observable[Any],
        subscription: Subscription,
        entrance: HeadSubscriber,
    ) -> DisposableBase:
        if isinstance(source, PullSource):
            # An agent that subscribes streams of its own does so outside of this one.
            with probe.subscribing(None, subscription.turn.is_owned_by):
                return source.pace(entrance)
        with probe.subscribing(subscription.watch, subscription.turn.is_owned_by):
            return source.subscribe(
                entrance.on_next,
                entrance.on_error,
                entrance.on_completed,
                scheduler=subscription.scheduler,
            )

    def _join(
        self, subscription: Subscription, down: Stage | ObserverBase[Any]
    ) -> Observable[Any]:
        """Put our stage at the top of the subscription; what it takes its frames from."""
        subscription.join(self._make(subscription, *self._args), down)
        return self._source

    def _follows(self, subscription: Subscription, bottom: Lifted) -> bool:
        """Whether our stage may stand in the same subscription: one clock, one entrance."""
        one_clock = self._scheduler is None or self._scheduler is bottom._scheduler
        brings_entrance = getattr(self._make, "brings_entrance", False)
        return one_clock and not (brings_entrance and subscription.entrance is not None)
