"""What becomes of many: costs that stay flat, or grow as what is done grows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

from rx_agui.flow import Gate, from_iterable
from rx_agui.frame import Frame
from rx_agui.operators import batch, chunk, compress, flow_control, sequence
from rx_agui.writer import SSEWriter
from tests.benchmarks._measure import Spread, seconds
from tests.benchmarks._pipelines import ours
from tests.benchmarks._workloads import deltas

__all__ = ["GROWTHS", "Curve", "Growth"]


@dataclass(frozen=True, slots=True)
class Curve:
    """How a cost grows: points of an x, and what it cost there."""

    name: str
    points: list[tuple[int, Spread]]

    @property
    def growth(self) -> float:
        """The highest median beside the lowest, behind the first point, which warms."""
        medians = [cost.median for _, cost in self.points[1:]]
        return max(medians) / min(medians)


@dataclass(frozen=True, slots=True)
class Growth:
    """What grows, and what is asked of it.

    Attributes:
        name, x, y: What the picture says, and its axes.
        xs: Where to measure; `short` for a glance.
        cost: What one measurement at x costs.
        most: What the highest may be beside the lowest; behind the first.
    """

    name: str
    x: str
    y: str
    xs: Sequence[int]
    short: Sequence[int]
    cost: Callable[[int], float]
    most: float

    def curve(self, *, short: bool = False, rounds: int = 5) -> Curve:
        """Measure it."""
        points = []
        for x in self.short if short else self.xs:
            costs = [self.cost(x) for _ in range(3 if x > 1_000_000 else rounds)]
            points.append((x, Spread.of(costs)))
        return Curve(self.name, points)


def _by_events(n: int) -> float:
    """µs an event, of `n` in one stream, made one by one."""
    work = deltas(1000)
    spent = seconds(
        lambda: ours(lambda: islice(cycle(work), n), lambda data: None)  # type: ignore[arg-type]
    )
    return spent / n * 1e6


def _by_streams(n: int) -> float:
    """µs an event, of 50,000 in `n` streams, one of each in turn."""
    work = deltas(1000)
    gates = [Gate() for _ in range(n)]
    for gate in gates:
        gate.pipe(
            flow_control(), sequence(), batch(50, 60.0), compress(), chunk()
        ).subscribe(SSEWriter(lambda data: None))
    turns = 50_000 // n

    def send() -> None:
        for turn in range(turns):
            event = work[turn % 1000]
            for gate in gates:
                gate.send(event)

    spent = seconds(send)
    for gate in gates:
        gate.close()
    return spent / (turns * n) * 1e6


def _by_size(size: int) -> float:
    """ms a megabyte, of a payload of `size` bytes that is cut and written."""
    frame = Frame(b'{"type":"RAW","event":"%b"}' % (b"x" * size))
    runs = max(1, 10_000_000 // size)

    def cut() -> None:
        for _ in range(runs):
            writer = SSEWriter(lambda data: None)
            from_iterable([frame]).pipe(chunk()).subscribe(writer)
            writer.done.result(60)

    return seconds(cut) / (runs * size) * 1e9


GROWTHS = (
    Growth(
        "A stream as it goes on",
        "events in one stream",
        "µs an event",
        [10**n for n in range(3, 8)],
        [1_000, 10_000, 30_000],
        _by_events,
        1.5,
    ),
    Growth(
        "Streams side by side",
        "streams in one process, 50,000 events in all",
        "µs an event",
        [1, 3, 10, 30, 100, 300, 1000],
        [1, 10, 100],
        _by_streams,
        3.0,  # a thousand streams do not fit in a processor's nearest cache
    ),
    Growth(
        "A payload that is cut",
        "bytes of one payload",
        "ms a megabyte",
        [10**n for n in range(5, 9)],
        [100_000, 1_000_000, 10_000_000],
        _by_size,
        2.0,
    ),
)
