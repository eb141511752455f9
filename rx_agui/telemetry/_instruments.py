"""The instruments: their names, units, attributes, and what they read.

Names follow OpenTelemetry's conventions: the library's own namespace, plurals only
for what counts things, seconds and bytes, no `total`. Ids are never attributes of a
metric: an SDK keeps 2,000 sets of attributes and folds the rest together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from rx_agui.probe import Reading

__all__ = [
    "ERROR",
    "HISTOGRAMS",
    "OBSERVABLES",
    "OPERATOR",
    "PIPELINE",
    "AsyncInstrument",
    "Histogram",
]

PIPELINE: Final = "rx_agui.pipeline.name"
OPERATOR: Final = "rx_agui.operator.name"
ERROR: Final = "error.type"

#: Attributes and a number: one point of a metric.
Point = tuple[tuple[tuple[str, str], ...], float]


@dataclass(frozen=True)
class AsyncInstrument:
    """An asynchronous instrument. Operators' integers are its points.

    Attributes:
        kind: "counter" only grows; "updowncounter" goes up and down.
        read: The points of one operator, by attributes besides the pipeline's.
    """

    name: str
    unit: str
    description: str
    read: Callable[[Reading], Iterable[Point]]
    kind: str = "counter"

    @property
    def only_grows(self) -> bool:
        """Whether it is a sum that never falls."""
        return self.kind == "counter"


@dataclass(frozen=True)
class Histogram:
    """A synchronous instrument, recorded once a payload or more rarely."""

    name: str
    unit: str
    description: str
    bounds: tuple[float, ...]


def _of(tally: Reading) -> tuple[tuple[str, str], ...]:
    return ((OPERATOR, tally.name),)


def _events(attribute: str) -> Callable[[Reading], Iterable[Point]]:
    return lambda tally: [(_of(tally), getattr(tally, attribute))]


def _dropped(tally: Reading) -> Iterator[Point]:
    for reason, events in tally.dropped.items():
        yield (*_of(tally), ("rx_agui.drop.reason", reason)), events


def _counted(
    what: str, label: str = "", *, by_operator: bool = False, scale: float = 1
) -> Callable[[Reading], Iterable[Point]]:
    """Read what operators count under `word`, by the attribute `label`."""

    def read(tally: Reading) -> Iterator[Point]:
        for (word, value), n in tally.more.items():
            if word == what:
                attributes = _of(tally) if by_operator else ()
                if label:
                    attributes = (*attributes, (label, value))
                yield attributes, n * scale if scale != 1 else n

    return read


def _level(
    what: str, *, by_operator: bool = False
) -> Callable[[Reading], Iterable[Point]]:
    def read(tally: Reading) -> Iterator[Point]:
        if what in tally.levels:
            yield _of(tally) if by_operator else (), tally.levels[what]

    return read


def _states(tally: Reading) -> Iterator[Point]:
    for (name, state), is_in in tally.states.items():
        breaker = ("rx_agui.circuit_breaker.name", name)
        yield (breaker, ("rx_agui.circuit_breaker.state", state)), is_in


_UPDOWN: Final = "updowncounter"
_ALGORITHM: Final = "rx_agui.compress.algorithm"

OBSERVABLES: Final = (
    AsyncInstrument(
        "rx_agui.operator.received.events", "{event}",
        "Events that came in to an operator.", _events("received"),
    ),
    AsyncInstrument(
        "rx_agui.operator.emitted.events", "{event}",
        "Events that went out; a batch of 50 counts 50.", _events("emitted"),
    ),
    AsyncInstrument(
        "rx_agui.operator.created.events", "{event}",
        "Events an operator made of others.", _events("created"),
    ),
    AsyncInstrument(
        "rx_agui.operator.merged.events", "{event}",
        "Events that became part of another.", _events("merged"),
    ),
    AsyncInstrument(
        "rx_agui.operator.held.events", "{event}",
        "Events an operator keeps for now.", _events("held"), _UPDOWN,
    ),
    AsyncInstrument(
        "rx_agui.operator.dropped.events", "{event}",
        "Events that will never be delivered, by reason.", _dropped,
    ),
    AsyncInstrument(
        "rx_agui.operator.errors", "{error}",
        "Errors of an operator, by type.", _counted("errors", ERROR, by_operator=True),
    ),
    AsyncInstrument(
        "rx_agui.operator.time", "s",
        "Time an operator was at work.",
        _counted("operator.time", by_operator=True, scale=1e-9),
    ),
    AsyncInstrument(
        "rx_agui.operator.buffer.usage", "By",
        "Bytes an operator holds.",
        _level("operator.buffer.usage", by_operator=True), _UPDOWN,
    ),
    AsyncInstrument(
        "rx_agui.flow_control.inflight", "{event}",
        "Events let in and not yet written.", _level("flow_control.inflight"), _UPDOWN,
    ),
    AsyncInstrument(
        "rx_agui.flow_control.limit", "{event}",
        "Events that may be in flight.", _level("flow_control.limit"), _UPDOWN,
    ),
    AsyncInstrument(
        "rx_agui.flow_control.queue.size", "{event}",
        "Events that wait for credit where nothing may wait.",
        _level("flow_control.queue.size"), _UPDOWN,
    ),
    AsyncInstrument(
        "rx_agui.flow_control.queue.capacity", "{event}",
        "Events that may wait so.", _level("flow_control.queue.capacity"), _UPDOWN,
    ),
    AsyncInstrument(
        "rx_agui.flow_control.backpressure.activations", "{activation}",
        "Times a producer had to wait for credit.",
        _counted("flow_control.backpressure.activations"),
    ),
    AsyncInstrument(
        "rx_agui.flow_control.wait.time", "s",
        "Time producers waited for credit.",
        _counted("flow_control.wait.time", scale=1e-9),
    ),
    AsyncInstrument(
        "rx_agui.sequence.out_of_order.events", "{event}",
        "Events that came before one that belongs in front of them.",
        _counted("sequence.out_of_order.events"),
    ),
    AsyncInstrument(
        "rx_agui.sequence.gaps", "{gap}",
        "Ranges of numbers that never came.", _counted("sequence.gaps"),
    ),
    AsyncInstrument(
        "rx_agui.sequence.buffer.size", "{event}",
        "Events held for order.", _level("sequence.buffer.size"), _UPDOWN,
    ),
    AsyncInstrument(
        "rx_agui.sequence.buffer.capacity", "{event}",
        "Events that may be held for order.", _level("sequence.buffer.capacity"), _UPDOWN,
    ),
    AsyncInstrument(
        "rx_agui.compress.input.size", "By",
        "Bytes given to a codec.", _counted("compress.input.size", _ALGORITHM),
    ),
    AsyncInstrument(
        "rx_agui.compress.output.size", "By",
        "Bytes a codec made of them.", _counted("compress.output.size", _ALGORITHM),
    ),
    AsyncInstrument(
        "rx_agui.compress.events", "{event}",
        "Events by how their payload fared.",
        _counted("compress.events", "rx_agui.compress.outcome"),
    ),
    AsyncInstrument(
        "rx_agui.chunk.emitted.chunks", "{chunk}",
        "Chunks made.", _counted("chunk.emitted.chunks"),
    ),
    AsyncInstrument(
        "rx_agui.chunk.split.frames", "{frame}",
        "Payloads that had to be cut.", _counted("chunk.split.frames"),
    ),
    AsyncInstrument(
        "rx_agui.sink.sent.frames", "{frame}",
        "Frames and chunks written.", _counted("sink.sent.frames"),
    ),
    AsyncInstrument(
        "rx_agui.sink.sent.size", "By", "Bytes written.", _counted("sink.sent.size"),
    ),
    AsyncInstrument(
        "rx_agui.session.resumptions", "{resumption}",
        "Readers that came back.", _counted("session.resumptions"),
    ),
    AsyncInstrument(
        "rx_agui.session.replayed.events", "{event}",
        "Events sent again to those who came back.",
        _counted("session.replayed.events"),
    ),
    AsyncInstrument(
        "rx_agui.degrade.level", "1",
        "How many steps of sending less are taken; of all streams.",
        _level("degrade.level"), _UPDOWN,
    ),
    AsyncInstrument(
        "rx_agui.circuit_breaker.status", "1",
        "1 for the state a breaker is in, 0 for the others.", _states, _UPDOWN,
    ),
)  # fmt: skip

_SECONDS: Final = (
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60,
)  # fmt: skip

HISTOGRAMS: Final = {
    histogram.name.removeprefix("rx_agui."): histogram
    for histogram in (
        Histogram(
            "rx_agui.flow_control.wait.duration", "s",
            "How long events waited for credit, of those that did.", _SECONDS,
        ),
        Histogram(
            "rx_agui.sequence.reorder.duration", "s",
            "How long payloads were held for order, of those that were.", _SECONDS,
        ),
        Histogram(
            "rx_agui.batch.size", "{event}",
            "Events in a batch, by what made it leave.",
            (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000),
        ),
        Histogram(
            "rx_agui.batch.fill.duration", "s",
            "From a batch's first event to its leaving.", _SECONDS,
        ),
        Histogram(
            "rx_agui.event.delivery.duration", "s",
            "The age of a payload's first event when its last byte was written.",
            _SECONDS,
        ),
        Histogram(
            "rx_agui.sink.write.duration", "s",
            "How long a write took: the reader's own pace.", _SECONDS,
        ),
        Histogram(
            "rx_agui.session.duration", "s",
            "From subscribe to the end of a stream, by why it ended.",
            (.01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30, 60, 120, 300, 900, 3600),
        ),
        Histogram(
            "rx_agui.session.time_to_first_event", "s",
            "From subscribe to the first payload written.",
            (.01, .02, .04, .08, .16, .32, .64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
        ),
    )
}  # fmt: skip
