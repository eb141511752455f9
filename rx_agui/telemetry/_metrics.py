"""One set of instruments for each MeterProvider, over all streams told to it.

    operators of live streams ─┐
                               ├─ snapshot, once a collection ─▶ callbacks of instruments
    sums of ended streams ─────┘

A second observable instrument of the same name is silently dropped by the SDK, and
none can be taken back: so they are made once, and streams come and go behind them.
What an ended stream counted goes on to count, or sums would fall; and what it held
goes on as 0, or a reader would see the last value for ever.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from threading import Lock
from typing import ClassVar, Final, NamedTuple
from weakref import WeakKeyDictionary

from opentelemetry.context import Context
from opentelemetry.metrics import (
    CallbackOptions,
    MeterProvider,
    Observation,
    get_meter,
)

from rx_agui.probe import OperatorCounters, StreamObservation
from rx_agui.telemetry._instruments import HISTOGRAMS, OBSERVABLES, PIPELINE
from rx_agui.telemetry._scope import SCHEMA_URL, SCOPE, VERSION

__all__ = ["Label", "Meters", "Series"]

Label = tuple[str, str]
Attributes = tuple[Label, ...]

#: By instrument, then by attributes.
Sums = dict[str, dict[Attributes, float]]

#: Values that are kept before they are recorded: one after another they cost half as
#: much as one by one, when compression has emptied the processor's caches in between.
_MANY: Final = 32

_ACTIVE: Final = "rx_agui.session.active"


#: Values are recorded later, where some other span is current: it is not theirs.
_NOWHERE: Final = Context()


class Series(NamedTuple):
    """One histogram, with one set of attributes."""

    record: Callable[[float, dict[str, str], Context], None]
    attributes: dict[str, str]


class Meters:
    """The instruments of one MeterProvider."""

    _made: ClassVar[WeakKeyDictionary[MeterProvider, Meters]] = WeakKeyDictionary()
    _making: ClassVar[Lock] = Lock()

    @classmethod
    def of(cls, provider: MeterProvider) -> Meters:
        """Return the set of instruments of this provider."""
        with cls._making:
            if provider not in cls._made:
                cls._made[provider] = cls(provider)
            return cls._made[provider]

    def __init__(self, provider: MeterProvider) -> None:
        self._mutex = Lock()
        self._live: dict[StreamObservation, list[OperatorCounters]] = {}
        self._leaving: list[OperatorCounters] = []  # of ended streams, not yet at rest
        self._ended: Sums = {seen.name: {} for seen in OBSERVABLES}
        self._ended[_ACTIVE] = {}
        self._snapshot: Sums = {}
        self._seen: set[str] = set(self._ended)  # instruments that have read it
        self._kept: deque[tuple[Series, float]] = deque()
        self._series: dict[tuple[str, Attributes], Series] = {}
        meter = get_meter(SCOPE, VERSION, provider, SCHEMA_URL)
        for seen in OBSERVABLES:
            make = (
                meter.create_observable_counter
                if seen.only_grows
                else meter.create_observable_up_down_counter
            )
            make(seen.name, [self._reader(seen.name)], seen.unit, seen.description)
        meter.create_observable_up_down_counter(
            _ACTIVE, [self._reader(_ACTIVE)], "{session}", "Streams that go on now."
        )
        self.transitions = meter.create_counter(
            "rx_agui.circuit_breaker.transitions",
            "{transition}",
            "Changes of a breaker's state.",
        )
        self.histograms = {
            word: meter.create_histogram(
                histogram.name,
                histogram.unit,
                histogram.description,
                explicit_bucket_boundaries_advisory=histogram.bounds,
            )
            for word, histogram in HISTOGRAMS.items()
        }

    # -- streams come and go ----------------------------------------------------

    def start(self, watch: StreamObservation) -> None:
        """Add a stream."""
        with self._mutex:
            self._live[watch] = []

    def join(self, watch: StreamObservation, tally: OperatorCounters) -> None:
        """Add an operator of the stream."""
        with self._mutex:
            self._live.get(watch, self._leaving).append(tally)

    def end(self, watch: StreamObservation) -> None:
        """Remove a stream: its counts stay in the sums, its levels do not."""
        with self._mutex:
            self._leaving += self._live.pop(watch, [])
            self._ended[_ACTIVE][(PIPELINE, watch.pipeline),] = 0
            self._let_go()
        self._record_kept()

    def _let_go(self) -> None:
        """Move operators of ended streams that hold nothing into the sums. Caller locks.

        The writer of a stream that was disposed of may still be writing.
        """
        leaving, self._leaving = self._leaving, []
        for tally in leaving:
            if tally.held:
                self._leaving.append(tally)
            else:
                _add(self._ended, tally, is_live=False)

    def record(self, word: str, value: float, *labels: Label) -> None:
        """Record one value of a histogram."""
        self.keep(self.series(word, *labels), value)

    def series(self, word: str, *labels: Label) -> Series:
        """Return the series of a histogram with these attributes."""
        key = word, labels
        found = self._series.get(key)
        if found is None:  # names of pipelines, reasons, errors: there are few
            record = self.histograms[word].record
            found = self._series[key] = Series(record, dict(labels))
        return found

    def keep(self, series: Series, value: float) -> None:
        """Queue one value, to be recorded with others."""
        kept = self._kept
        kept.append((series, value))
        if len(kept) >= _MANY:
            self._record_kept()

    def _record_kept(self) -> None:
        """Record the queued values. Every collection begins with this."""
        while self._kept:
            try:
                (record, attributes), value = self._kept.popleft()
            except IndexError:  # another thread is at it as well
                return
            record(value, attributes, _NOWHERE)

    # -- collection ---------------------------------------------------------------

    def _reader(self, name: str) -> Callable[[CallbackOptions], Iterator[Observation]]:
        def read(_: CallbackOptions) -> Iterator[Observation]:
            for attributes, value in self._fresh(name).get(name, {}).items():
                yield Observation(value, dict(attributes))

        return read

    def _fresh(self, name: str) -> Sums:
        """Return the snapshot of one collection, made by the first instrument that asks.

        An instrument that has seen a snapshot is not shown it again.
        """
        self._record_kept()
        with self._mutex:
            if name in self._seen:
                self._seen.clear()
                self._let_go()
                self._snapshot = self._sum()
            self._seen.add(name)
            return self._snapshot

    def _sum(self) -> Sums:
        sums = {name: dict(points) for name, points in self._ended.items()}
        for watch in self._live:
            key = ((PIPELINE, watch.pipeline),)
            sums[_ACTIVE][key] = sums[_ACTIVE].get(key, 0) + 1
        for operators in (*self._live.values(), self._leaving):
            for tally in operators:
                _add(sums, tally, is_live=True)
        return sums


def _add(sums: Sums, tally: OperatorCounters, *, is_live: bool) -> None:
    pipeline = ((PIPELINE, tally.pipeline),)
    reading = tally.read()
    for seen in OBSERVABLES:
        points = sums[seen.name]
        for attributes, value in seen.read(reading):
            key = pipeline + attributes
            points[key] = points.get(key, 0) + (
                value if is_live or seen.only_grows else 0
            )
