"""One set of instruments for each MeterProvider, over all streams told to it.

    live tallies ──┐
                   ├── snapshot, once a collection ──▶ callbacks of 30 instruments
    sums of the ended ─┘

A second observable instrument of the same name is silently dropped by the SDK, and
none can be taken back: so they are made once, and streams come and go behind them.
What an ended stream counted goes on to count, or sums would fall.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from threading import Lock
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

from opentelemetry.metrics import (
    CallbackOptions,
    Histogram,
    MeterProvider,
    Observation,
    get_meter,
)

from rx_agui.probe import Tally, Watch
from rx_agui.telemetry._instruments import HISTOGRAMS, OBSERVABLES, PIPELINE
from rx_agui.telemetry._scope import SCHEMA_URL, SCOPE, VERSION

__all__ = ["Meters"]

Attributes = tuple[tuple[str, str], ...]
Sums = dict[tuple[str, Attributes], float]


class Meters:
    """The instruments of one MeterProvider; None is the global one."""

    _made: ClassVar[WeakKeyDictionary[MeterProvider, Meters]] = WeakKeyDictionary()
    _of_global: ClassVar[Meters | None] = None
    _making: ClassVar[Lock] = Lock()

    @classmethod
    def of(cls, provider: MeterProvider | None) -> Meters:
        """The one set of instruments that this provider has."""
        with cls._making:
            if provider is None:
                cls._of_global = cls._of_global or cls(None)
                return cls._of_global
            if provider not in cls._made:
                cls._made[provider] = cls(provider)
            return cls._made[provider]

    def __init__(self, provider: MeterProvider | None) -> None:
        self._mutex = Lock()
        self._live: dict[Watch, list[Tally]] = {}
        self._ended: Sums = {}
        self._snapshot: tuple[Sums, dict[str, int]] = {}, {}
        self._version = 0
        self._used: dict[str, int] = {}
        meter = get_meter(SCOPE, VERSION, provider, SCHEMA_URL)
        for seen in OBSERVABLES:
            make = (
                meter.create_observable_counter
                if seen.kind == "counter"
                else meter.create_observable_up_down_counter
            )
            make(seen.name, [self._reader(seen.name)], seen.unit, seen.description)
        meter.create_observable_up_down_counter(
            "rx_agui.session.active",
            [self._active],
            "{session}",
            "Streams that go on now.",
        )
        self.transitions = meter.create_counter(
            "rx_agui.circuit_breaker.transitions",
            "{transition}",
            "Changes of a breaker's state.",
        )
        self.histograms: dict[str, Histogram] = {
            word: meter.create_histogram(
                histogram.name,
                histogram.unit,
                histogram.description,
                explicit_bucket_boundaries_advisory=histogram.bounds,
            )
            for word, histogram in HISTOGRAMS.items()
        }

    # -- streams come and go ----------------------------------------------------

    def start(self, watch: Watch) -> None:
        """A stream begins."""
        with self._mutex:
            self._live[watch] = []

    def join(self, watch: Watch, tally: Tally) -> None:
        """An operator begins to work for it."""
        with self._mutex:
            if watch in self._live:
                self._live[watch].append(tally)

    def end(self, watch: Watch) -> None:
        """It has ended: what it counted stays, what it held does not."""
        with self._mutex:
            for tally in self._live.pop(watch, []):
                for name, attributes, value, only_grows in _points(tally):
                    if only_grows:
                        key = name, attributes
                        self._ended[key] = self._ended.get(key, 0) + value

    def record(self, word: str, value: float, pipeline: str, **more: str) -> None:
        """One value of a histogram."""
        attributes = {PIPELINE: pipeline}
        for name, label in more.items():
            attributes[name.replace("__", ".")] = label
        self.histograms[word].record(value, attributes)

    # -- collection ---------------------------------------------------------------

    def _reader(self, name: str) -> Callable[[CallbackOptions], Iterator[Observation]]:
        def read(_: CallbackOptions) -> Iterator[Observation]:
            sums, _streams = self._fresh(name)
            for (metric, attributes), value in sums.items():
                if metric == name:
                    yield Observation(value, dict(attributes))

        return read

    def _active(self, _: CallbackOptions) -> Iterator[Observation]:
        _sums, streams = self._fresh("rx_agui.session.active")
        for pipeline, count in streams.items():
            yield Observation(count, {PIPELINE: pipeline})

    def _fresh(self, name: str) -> tuple[Sums, dict[str, int]]:
        """What all instruments of one collection see: made by the first that asks.

        An instrument that has seen a snapshot is not shown it again.
        """
        with self._mutex:
            if self._used.get(name, 0) == self._version:
                self._version += 1
                self._snapshot = self._sum(), self._streams()
            self._used[name] = self._version
            return self._snapshot

    def _sum(self) -> Sums:
        sums: defaultdict[tuple[str, Attributes], float] = defaultdict(int, self._ended)
        for tallies in self._live.values():
            for tally in tallies:
                for name, attributes, value, _ in _points(tally):
                    sums[name, attributes] += value
        return dict(sums)

    def _streams(self) -> dict[str, int]:
        streams: dict[str, int] = dict.fromkeys(self._snapshot[1], 0)
        for watch in self._live:
            streams[watch.pipeline] = streams.get(watch.pipeline, 0) + 1
        return streams


def _points(tally: Tally) -> Iterator[tuple[str, Attributes, float, bool]]:
    pipeline: Any = ((PIPELINE, tally.pipeline),)
    for seen in OBSERVABLES:
        for attributes, value in seen.read(tally):
            yield seen.name, pipeline + attributes, value, seen.kind == "counter"
