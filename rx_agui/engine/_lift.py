"""Makes a Stage an operator that `pipe` takes.

    source.pipe(batch(), compress())     Lifted(Lifted(source, BatchStage), _Compress)
          .subscribe(observer)           one Subscription, joined from the bottom up

Operators that follow each other directly subscribe in one step, as one Subscription;
any other operator between two of ours begins a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import CompositeDisposable, Disposable

from rx_agui import probe
from rx_agui.engine._head import HeadSubscriber
from rx_agui.engine._protocols import AnyHead, AnyStage
from rx_agui.engine._stage import Stage
from rx_agui.engine._subscription import Subscription
from rx_agui.flow import Credit, PullSource
from rx_agui.flow._downstream import DownstreamWindow, asking
from rx_agui.types import Operator

__all__ = [
    "Attended",
    "Operator",
    "Sink",
    "StageSpec",
    "connect",
    "lift",
    "operator",
    "stages_of",
]

T = TypeVar("T")
R = TypeVar("R")
P = ParamSpec("P")


def operator(make: Callable[P, Operator[T, R]]) -> Callable[P, Operator[T, R]]:
    """Mark a function that makes an operator: `pipe(batch)` says that `()` is missing."""

    @wraps(make)
    def checked(*args: P.args, **kwargs: P.kwargs) -> Operator[T, R]:
        if args and isinstance(args[0], Observable):
            name = make.__name__
            raise TypeError(f"{name} makes an operator: write {name}(), not {name}")
        return make(*args, **kwargs)

    return checked


def lift(
    make: Callable[..., Stage], *args: Any, scheduler: SchedulerBase | None = None
) -> Operator:
    """Make an operator that `pipe` takes of a Stage: `make(subscription, *args)`."""
    return lambda source: Lifted(source, make, args, scheduler)


class Sink(ObserverBase[Any]):
    """An observer that keeps what it gets, and so is told when it is disposed of."""

    def disposed(self) -> None:
        """Learn that the subscription was disposed of, or has ended."""


class Attended(Observable[T]):
    """An Observable that tells a Sink at its end when it is disposed of."""

    def subscribe(
        self,
        on_next: Any = None,
        on_error: Any = None,
        on_completed: Any = None,
        *,
        scheduler: SchedulerBase | None = None,
    ) -> DisposableBase:
        """Subscribe, as to every Observable; a Sink is also told of disposal."""
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
        return _start(subscription, source)

    def _join(
        self, subscription: Subscription, down: AnyStage | ObserverBase[Any]
    ) -> Observable[Any]:
        """Put our stage at the top of the subscription; return its source."""
        subscription.join(self._make(subscription, *self._args), down)
        return self._source

    def _follows(self, subscription: Subscription, bottom: Lifted) -> bool:
        """Whether our stage may join the same subscription: one clock, one head."""
        one_clock = self._scheduler is None or self._scheduler is bottom._scheduler
        provides_head = getattr(self._make, "provides_head", False)
        return one_clock and not (provides_head and subscription.head is not None)


#: A Stage's class, and its arguments.
StageSpec = tuple[Callable[..., Stage], tuple[Any, ...]]


def stages_of(operators: Sequence[Operator]) -> tuple[StageSpec, ...]:
    """Return the stages of operators made by `lift`, from the source down.

    Raises:
        TypeError: One of them was not.
    """
    source: Observable[Any] = Observable()
    specs: list[StageSpec] = []
    for apply in operators:
        lifted = apply(source)
        if type(lifted) is not Lifted or lifted._source is not source:
            raise TypeError(f"{apply!r} was not made by lift()")
        specs.append((lifted._make, lifted._args))
    return tuple(specs)


def connect(
    source: PullSource, stages: Sequence[StageSpec], observer: ObserverBase[Any]
) -> Subscription:
    """Subscribe stages directly, without an Observable for each; see `stages_of`."""
    subscription = Subscription(None)
    down: AnyStage | ObserverBase[Any] = observer
    for make, args in reversed(stages):
        subscription.join(make(subscription, *args), down)
        down = subscription.top
    return cast(Subscription, _start(subscription, source))


def _start(subscription: Subscription, source: Observable[Any]) -> DisposableBase:
    """Give a subscription its head, and connect it to its source."""
    top = cast(Stage, subscription.top)
    head = subscription.head
    if head is None:
        below = subscription.below
        credit = below.credit_for(subscription.clock) if below else Credit()
        head = subscription.head = HeadSubscriber(subscription, top, credit)
    head.begin(top)
    try:
        subscription.connect(_open(source, subscription, head))
    except BaseException as error:
        subscription.break_off(error)
        raise
    return subscription


def _open(
    source: Observable[Any],
    subscription: Subscription,
    head: AnyHead,
) -> DisposableBase:
    if isinstance(source, PullSource):
        # An agent that subscribes streams of its own does so outside of this one.
        with (
            probe.subscribing(None, subscription.executor.is_owned_by),
            asking(None),
        ):
            return source.attach(head)
    window = head.window or DownstreamWindow()
    is_inside = subscription.executor.is_owned_by
    with (
        probe.subscribing(subscription.watch, is_inside),
        asking(window, source),
    ):
        return source.subscribe(
            head.on_next,
            head.on_error,
            head.on_completed,
            scheduler=subscription.scheduler,
        )
