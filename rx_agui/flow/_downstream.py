"""The way a source asks the window further down, through operators of others.

    source ──▶ ops.map ──▶ ops.filter ──▶ flow_control ──▶ ...
       │                                       │
       └───── is there room? ── at each pull ──┘   told at subscribe, in this thread

RxPY subscribes upwards in one thread, so the window that is being subscribed is in
`_here` when a source is. The source asks before each event and takes no credit: what
stands between may drop the event, or make three of it. flow_control takes the credits.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from threading import get_ident, local
from typing import Any, Final

from reactivex import ConnectableObservable, Observable
from reactivex.scheduler import CurrentThreadScheduler
from reactivex.subject import Subject

from rx_agui.clock import Clock
from rx_agui.flow._credit import Credit, Waiter, Wake
from rx_agui.flow._permit import NO_PERMIT, Permit

__all__ = [
    "DownstreamCredit",
    "DownstreamWindow",
    "asking",
    "carrying",
    "is_handed_on_later",
    "is_lost_if_raised",
    "permit_here",
    "warn_of_delay",
    "window_here",
]

_log = logging.getLogger("rx_agui.flow")

#: Operators of RxPY that hand events on later, from a timer or a thread: what they keep
#: is not in the window yet.
_DELAYING: Final = frozenset(
    [
        "bufferwithtime",
        "bufferwithtimeorcount",
        "debounce",
        "delay",
        "delaywithmapper",
        "observeon",
        "sample",
        "throttlefirst",
        "windowwithtime",
        "windowwithtimeorcount",
    ]
)

#: Operators that subscribe elsewhere, where no source can be told of the window.
_DETACHING: Final = frozenset(["delaysubscription", "subscribeon"])

#: What begins an RxPY stream and is pulled by no one.
_ROOTS: Final = frozenset(
    f"reactivex.observable.{name}"
    for name in [
        "empty",
        "fromcallback",
        "fromfuture",
        "fromiterable",
        "generate",
        "interval",
        "never",
        "range",
        "returnvalue",
        "throw",
        "timer",
    ]
)

#: Seconds without an arrival after which a source behind a delaying operator goes on:
#: a filter may have dropped all that it sent.
_QUIET = 0.1

_warned: set[str] = set()


class DownstreamWindow:
    """The window that a source behind operators of others asks for room.

    Attributes:
        credit: The window; None while it is not known.
        arrived: Events that have come through; the head counts them.
        wakes: Called once, when the next event has.
        delays: Whether an operator in between hands events on later.
        stands_in: Whether the window is going to be known later.
    """

    __slots__ = ("_behind", "arrived", "credit", "delays", "stands_in", "wakes")

    def __init__(self, credit: Credit | None = None) -> None:
        self.credit = credit
        self.arrived = 0
        self.delays = False
        self.stands_in = False
        self._behind: DownstreamWindow | None = None
        self.wakes: list[Wake] = []

    def continues_in(self, window: DownstreamWindow) -> None:
        """Continue in `window`, for which this stood in until it was subscribed."""
        window.delays = window.delays or self.delays
        window.arrived += self.arrived
        self._behind = window

    def resolved(self) -> DownstreamWindow:
        """Return the window itself, if this stands in for it."""
        return self if self._behind is None else self._behind.resolved()

    def credit_for(self, clock: Clock) -> Credit:
        """Return the credit of a source that is subscribed here."""
        if self.resolved().credit is None and not self.stands_in:
            return Credit()
        return DownstreamCredit(self, clock)

    def wake_all(self) -> None:
        """Wake those that wait for an event to reach flow_control."""
        wakes, self.wakes = self.wakes, []
        for wake in wakes:
            wake()

    def on_arrival(self, wake: Wake) -> None:
        """Call `wake` once, when the next event arrives."""
        self.wakes.append(wake)


class DownstreamCredit(Credit):
    """The credit of a source behind operators of others: it asks and takes nothing.

    Behind an operator that delays, no more is on its way than there are free credits;
    elsewhere what was sent has arrived when the source asks again.
    """

    __slots__ = ("_ahead", "_below", "_clock", "_seen")

    def __init__(self, below: DownstreamWindow, clock: Clock) -> None:
        super().__init__(None)
        self._below = below
        self._clock = clock
        self._ahead = 0
        self._seen = 0

    def acquire(self) -> bool:
        if self.closed:
            raise self.refusal()
        below = self._below.resolved()
        credit = below.credit
        if self._is_ahead(below) or not (credit is None or credit.has_room):
            return False
        self._ahead += 1
        return True

    def _is_ahead(self, below: DownstreamWindow) -> bool:
        """Return True if what is on its way, in an operator that delays, will take all credits."""
        arrived = below.arrived
        self._ahead = max(0, self._ahead - (arrived - self._seen))
        self._seen = arrived
        if not below.delays or self._ahead == 0 or below.credit is None:
            return False
        return self._ahead >= below.credit.free

    def acquire_many(self, most: int) -> int:
        return int(self.acquire())

    def acquire_or(
        self, wake: Wake, *, accepted: bool = False, event: Any = None
    ) -> Waiter | None:
        waiter = Waiter(wake, accepted, event)
        self._ask(waiter)
        return None if waiter.granted else waiter

    def _ask(self, waiter: Waiter, wakes: bool = False) -> None:
        """Grant the event, now or as soon as there is room."""

        def again() -> None:
            if not waiter.granted:
                self._ask(waiter, wakes=True)

        def quiet() -> None:
            if not waiter.granted:
                self._ahead = 0
                again()

        while not (waiter.granted or self.closed):
            below = self._below.resolved()
            if self.acquire():
                waiter.granted = True
            elif self._is_ahead(below):
                below.on_arrival(again)
                self._clock.after(_QUIET, quiet)
                return
            elif below.credit is not None and below.credit.when_room(again):
                return
        if wakes:
            waiter.wake()

    def leave(self, waiter: Waiter) -> None:
        waiter.granted = True

    def _settle(self, waiter: Waiter, in_time: bool, timeout: float | None) -> None:
        try:
            super()._settle(waiter, in_time, timeout)
        finally:
            waiter.granted = True

    def release(self, n: int) -> None:
        """Nothing was taken."""


class _Here(local):
    """The window being subscribed and the permit being handed on, in this thread."""

    window: DownstreamWindow | None = None
    permit: Permit | None = None


_here = _Here()


def window_here() -> DownstreamWindow | None:
    """Return the window further down, for a source that is subscribed here and now."""
    window = _here.window
    if window is None:
        return None
    credit = window.resolved().credit
    if credit is not None and credit.is_inside(get_ident()):
        return None  # an event came at once, and its reader subscribes something else
    return window


class asking:  # noqa: N801 (as contextlib's own: a generator costs three times)
    """Sources subscribed within the block ask `window` before each event.

    Also those that RxPY subscribes on its trampoline, when the block is left.
    """

    __slots__ = ("_before", "_trampoline", "_window")

    def __init__(
        self, window: DownstreamWindow | None, source: Observable[Any] | None = None
    ) -> None:
        self._window = window
        self._trampoline: CurrentThreadScheduler | None = None
        if window is not None and source is not None and not _is_root(source):
            self._trampoline = CurrentThreadScheduler.singleton()
            _look_at(source, window)

    def __enter__(self) -> None:
        self._before = _here.window
        self._schedule(self._window)
        _here.window = self._window

    def __exit__(self, *_: object) -> None:
        self._schedule(self._before)
        _here.window = self._before

    def _schedule(self, window: DownstreamWindow | None) -> None:
        """Set the window for what stands on the trampoline behind this."""
        if self._trampoline is not None:
            self._trampoline.schedule(lambda *_: setattr(_here, "window", window))


class carrying:  # noqa: N801 (a context manager)
    """Events handed on within the block, which cannot carry it themselves, have `permit`."""

    __slots__ = ("_before", "_permit")

    def __init__(self, permit: Permit | None) -> None:
        self._permit = permit

    def __enter__(self) -> None:
        self._before, _here.permit = _here.permit, self._permit

    def __exit__(self, *_: object) -> None:
        _here.permit = self._before


def permit_here() -> Permit:
    """Return the permit of the bare event that is being handed on; NO_PERMIT if it has none."""
    return _here.permit or NO_PERMIT


# -- who calls -----------------------------------------------------------------------

#: They run what is scheduled at once, in the thread that schedules it.
_SAME_THREAD: Final = frozenset(
    f"reactivex.scheduler.{name}"
    for name in [
        "currentthreadscheduler",
        "immediatescheduler",
        "scheduleditem",
        "scheduler",
        "trampoline",
        "trampolinescheduler",
        "virtualtimescheduler",
    ]
)


#: Where streams of ours are handed on, from timers, workers and released credits.
_OUR_THREADS: Final = frozenset(
    ["rx_agui.clock", "rx_agui.engine._subscription", "rx_agui.workers"]
)


def _callers() -> Iterator[str]:
    """Yield the calling modules of RxPY, up to the first that is neither its nor ours."""
    frame = sys._getframe(2)
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module.startswith("reactivex.") or module in _OUR_THREADS:
            yield module
        elif not module.startswith("rx_agui."):
            return
        frame = frame.f_back  # type: ignore[assignment]


def is_lost_if_raised() -> bool:
    """Return True if no producer could catch an error: a scheduler called, or a stream of ours."""
    return any(
        module in _OUR_THREADS
        or (module.startswith("reactivex.scheduler.") and module not in _SAME_THREAD)
        for module in _callers()
    )


def is_handed_on_later() -> bool:
    """Return True if an operator hands on what it kept, maybe under its lock: do not wait."""
    return any(
        module.removeprefix("reactivex.operators._") in _DELAYING
        or module == "reactivex.observer.scheduledobserver"
        for module in _callers()
    )


def warn_of_delay() -> None:
    """Tell once that an operator keeps what flow_control takes for written."""
    for module in _callers():
        name = module.removeprefix("reactivex.operators._")
        if module == "reactivex.observer.scheduledobserver":
            name = "observeon"
        if name in _DELAYING and name not in _warned:
            _warned.add(name)
            _log.warning(
                "RxPY's %s() stands between flow_control and the writer: what it keeps "
                "counts as written, so the window does not bound it. Put it in front of "
                "flow_control, or an operator of rx_agui behind it",
                _PUBLIC.get(name, name),
            )


# -- what stands in between ---------------------------------------------------------


def _is_root(source: Observable[Any]) -> bool:
    module = getattr(source._subscribe, "__module__", "")
    return isinstance(source, Subject) or module in _ROOTS


def _look_at(source: Observable[Any], window: DownstreamWindow) -> None:
    """Find operators that hand on later, or where nothing can be known."""
    for name in _operators(source, depth=16):
        window.delays = window.delays or name in _DELAYING
        if name in _DETACHING and name not in _warned:
            _warned.add(name)
            _log.warning(
                "flow_control cannot hold back a source behind RxPY's %s(), which "
                "subscribes it elsewhere: its events queue, up to buffer_size. Put "
                "flow_control in front of it",
                _PUBLIC[name],
            )


#: As users write them.
_PUBLIC: Final = {
    "bufferwithtime": "buffer_with_time",
    "bufferwithtimeorcount": "buffer_with_time_or_count",
    "delaysubscription": "delay_subscription",
    "delaywithmapper": "delay_with_mapper",
    "observeon": "observe_on",
    "subscribeon": "subscribe_on",
    "throttlefirst": "throttle_first",
    "windowwithtime": "window_with_time",
    "windowwithtimeorcount": "window_with_time_or_count",
}


def _operators(source: object, depth: int) -> Iterator[str]:
    """Yield the names of RxPY's operators from here up, as its modules are called."""
    if depth == 0 or not isinstance(source, Observable):
        return
    if isinstance(source, ConnectableObservable):
        yield from _operators(source.source, depth - 1)
    subscribe = source._subscribe
    module = getattr(subscribe, "__module__", "")
    if module.startswith("reactivex.operators._"):
        yield module.removeprefix("reactivex.operators._")
    for cell in getattr(subscribe, "__closure__", None) or ():
        try:
            held = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
        for above in held if isinstance(held, list | tuple) else (held,):
            yield from _operators(above, depth - 1)
