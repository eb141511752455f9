"""Draw docs/adaptive.svg: what `batch(adaptive=True)` makes of events as they come.

python docs/draw_adaptive.py

The batch is the real one, played in virtual time, between arrivals as agents make them
and a sink that takes its time. So the picture is the same whenever it is drawn.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import log10
from pathlib import Path
from random import Random

from reactivex.subject import Subject

from rx_agui import Frame, batch
from rx_agui.testing import MarbleScheduler
from rx_agui.testing._svg import circle, path, picture, text

ROOT = Path(__file__).parent.parent

#: Of the picture, and of one of its fields.
WIDTH, HEIGHT = 1040, 560
LEFT, RIGHT, FIELD, GAP, TOP = 84, 1016, 190, 44, 92

#: The colour of each sink.
COLOURS = {"quick": "blue", "slow": "amber"}

#: What an agent does, and until which second.
PHASES = (
    ("now and then", 1.5),
    ("a model types, in bursts", 3.5),
    ("faster and faster", 5.0),
    ("20,000 a second", 5.6),
    ("a model types", 7.0),
)


@dataclass
class Sink:
    """What one sink got: seconds, size and delay of each batch.

    Args:
        call, event: Seconds a payload takes, and each event in it.
    """

    name: str
    call: float
    event: float
    batches: list[tuple[float, int, float]] = field(default_factory=list)


def sinks() -> tuple[Sink, Sink]:
    """A reader nearby, and one far away."""
    return (
        Sink("quick", call=0.0005, event=0.000_002),
        Sink("slow", call=0.03, event=0.000_02),
    )


def arrivals() -> Iterator[float]:
    """When events come, in seconds, as in PHASES."""
    chance = Random(1)
    lone, typed, rising, flood, again = (until for _, until in PHASES)
    now = 0.2
    while now < lone:
        yield now
        now += chance.uniform(0.1, 0.4)
    yield from bursts(chance, lone, typed)
    now = typed
    while now < rising:
        yield now
        now += 1 / (100 * 200 ** ((now - typed) / (rising - typed)))
    while now < flood:
        yield now
        now += 1 / 20_000
    yield from bursts(chance, flood + 0.1, again)


def bursts(chance: Random, begin: float, end: float) -> Iterator[float]:
    """Tokens as a model's service sends them: a few in one packet, then a pause."""
    now = begin
    while now < end:
        for _ in range(chance.choice((1, 1, 2, 3, 6))):
            yield now
            now += 0.0001
        now += chance.uniform(0.02, 0.06)


def play(sink: Sink) -> None:
    """Send what comes through an adaptive batch, to this sink."""
    clock = MarbleScheduler()
    source: Subject[dict[str, object]] = Subject()
    waiting: deque[Frame] = deque()
    came: deque[float] = deque()

    def take(frame: Frame) -> None:
        now = clock.to_seconds(clock.now)
        delays = [now - came.popleft() for _ in range(frame.events)]
        sink.batches.append((now, frame.events, max(delays)))
        frame.permit.hold()
        waiting.append(frame)
        if len(waiting) == 1:
            work()

    def work() -> None:
        lasts = sink.call + sink.event * waiting[0].events
        clock.at(clock.to_seconds(clock.now) + lasts, done)

    def done() -> None:
        waiting[0].permit.release()  # which may bring the next
        waiting.popleft()
        if waiting:
            work()

    def send(n: int) -> None:
        came.append(clock.to_seconds(clock.now))
        source.on_next({"type": "CUSTOM", "name": "n", "value": n})

    source.pipe(batch(adaptive=True)).subscribe(take, scheduler=clock)
    for n, moment in enumerate(arrivals()):
        clock.at(moment, send, n)
    clock.play()


# -- as a picture ----------------------------------------------------------------


def main() -> None:
    """Play both sinks, and draw."""
    file = Path(sys.argv[1]) if sys.argv[1:] else ROOT / "docs" / "adaptive.svg"
    file.write_text(drawn(), "utf-8")
    print(file)


def drawn() -> str:
    """The picture."""
    both = sinks()
    for sink in both:
        play(sink)
    shapes = [*frame(both), *sizes(both), *delays(both)]
    label = "Sizes and delays of adaptive batches, for two sinks"
    return picture(WIDTH, HEIGHT, shapes, label)


def x(second: float) -> float:
    """Where this second is."""
    return LEFT + second / PHASES[-1][1] * (RIGHT - LEFT)


def y(value: float, low: float, high: float, top: float) -> float:
    """Where this value is, on a scale of powers of ten."""
    share = (log10(max(value, low)) - log10(low)) / (log10(high) - log10(low))
    return top + FIELD - share * FIELD


def frame(both: tuple[Sink, Sink]) -> Iterator[str]:
    yield text("title", 24, 32, "batch(adaptive=True): a lone event leaves at once")
    left = 24.0
    for sink in both:
        yield circle(COLOURS[sink.name], left + 4, 51, 4)
        said = f"a {sink.name} sink: {sink.call * 1000:g} ms a payload, {sink.event * 1e6:g} µs an event"
        yield text("note muted", left + 14, 55, said)
        left += 330
    bottom = TOP + 2 * FIELD + GAP
    begun = 0.0
    for name, until in PHASES:
        middle = (x(begun) + x(until)) / 2
        yield text("note muted", middle, TOP - 12, name, "middle")
        begun = until
        yield path("line-frame dotted", "M", x(until), TOP - 24, "V", bottom)
    for second in range(8):
        yield text("note muted", x(second), bottom + 18, f"{second} s", "middle")


def scale(
    top: float, low: float, high: float, name: str, marks: dict[float, str]
) -> Iterator[str]:
    yield text("halo-paper", LEFT + 8, top + 22, f"{name} (logarithmic)")
    for value, label in marks.items():
        at = y(value, low, high, top)
        yield path("line-frame", "M", LEFT, at, "H", RIGHT)
        yield text("note muted", LEFT - 8, at + 4, label, "end")


def sizes(both: tuple[Sink, Sink]) -> Iterator[str]:
    marks = {1.0: "1", 10.0: "10", 100.0: "100", 500.0: "500"}
    yield from scale(TOP, 1, 500, "events in each batch", marks)
    for sink in both:
        for now, events, _ in sink.batches:
            yield dot(sink, now, y(events, 1, 500, TOP))


def delays(both: tuple[Sink, Sink]) -> Iterator[str]:
    top = TOP + FIELD + GAP
    marks = {1e-4: "0", 1e-3: "1 ms", 5e-3: "5 ms", 5e-2: "50 ms"}
    yield from scale(top, 1e-4, 0.1, "how long its first event was held", marks)
    for sink in both:
        for now, _, delay in sink.batches:
            yield dot(sink, now, y(delay, 1e-4, 0.1, top))


def dot(sink: Sink, second: float, at: float) -> str:
    return circle(COLOURS[sink.name], x(second), at, 1.6)


if __name__ == "__main__":
    main()
