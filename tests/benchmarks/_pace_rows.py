"""The rows that count for users, and those of each source: the tables of «Pace».

An agent that yields a token every 20 to 100 ms, hundreds of runs at once, one reader each,
beside StreamingResponse and EventEncoder; then instructions, which have no noise.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

from rx_agui.asgi import SSEResponse
from rx_agui.replay import MemoryLog
from tests.benchmarks._audience import audience
from tests.benchmarks._callgrind import instructions
from tests.benchmarks._cases import CASES, answering
from tests.benchmarks._fresh import fresh
from tests.benchmarks._measure import Spread, seconds
from tests.benchmarks._pace import SHAPES, per_cpu_second
from tests.benchmarks._row import Measured, Row
from tests.benchmarks._viewers import viewers
from tests.benchmarks._waiting import latency
from tests.benchmarks._workloads import Event, deltas

__all__ = ["PACE"]

_ROUNDS = 5

#: Readers of one run whose events come 20 at a time.
_READERS = 300

# -- time and processor time -------------------------------------------------------------


@cache
def _latencies(kind: str, rate: float) -> tuple[Spread, Spread]:
    first, others = zip(*[latency(kind, rate, 20) for _ in range(_ROUNDS)], strict=True)
    return Spread.of(list(first)), Spread.of(list(others))


def _latency(rate: float, which: int) -> Measured:
    bare, ours = (_latencies(kind, rate)[which] for kind in ("bare", "ours"))
    return Measured(ours, f"bare {bare.median:.2f}")


@cache
def _served(shape: str) -> dict[str, Spread]:
    return per_cpu_second(SHAPES[shape], "ours", "logged", "packed")


def _shape(shape: str, kind: str) -> Measured:
    return Measured(_served(shape)[kind])


def _readers(leading: bool) -> Measured:
    return Measured(audience(_READERS, "identity", paced=True, leading=leading))


def _waiting() -> Measured:
    each = {
        kind: viewers(kind, coding, 500).bytes_each
        for kind, coding in (("bare", "identity"), ("alone", "identity"))
    }
    packed = viewers("alone", "gzip", 500).bytes_each.median / 1024
    ours = each["alone"]
    kb = Spread(*(n / 1024 for n in (ours.median, ours.least, ours.most)))
    bare = each["bare"].median / 1024
    return Measured(kb, f"bare {bare:.0f}; gzip {packed:.0f}")


def _sync_generator() -> Measured:
    events = deltas(2_000)

    def agent() -> Iterator[Event]:
        yield from events

    answer = answering(lambda _: SSEResponse(agent))
    answer(1)
    times = [seconds(lambda: answer(1)) for _ in range(_ROUNDS)]
    return Measured(Spread.of([t / len(events) * 1e6 for t in times]))


def kept_in_a_log(n: int = 5_000) -> float:
    """Return the bytes that a MemoryLog keeps for one of `n` deltas of 98 bytes."""
    events, log = deltas(n), MemoryLog()

    async def agent() -> Any:
        for event in events:
            yield event

    answer = answering(lambda i: SSEResponse(agent, log=log, stream=f"run-{i}"))
    answer(1)  # what is made once
    tracemalloc.start()
    answer(1)
    kept, _ = tracemalloc.get_traced_memory()
    return kept / n


def _kept() -> Measured:
    return Measured(Spread.of([fresh(kept_in_a_log)]))


def _imports() -> Measured:
    ratios = []
    for _ in range(_ROUNDS):
        fastapi, ours = (_cost_of(module) for module in ("fastapi", "rx_agui"))
        ratios.append(ours / fastapi)
    all_names = _cost_of("rx_agui, rx_agui.asgi") / _cost_of("fastapi")
    return Measured(Spread.of(ratios), f"with rx_agui.asgi {all_names:.2f}")


def _cost_of(modules: str) -> float:
    """Processor time of an interpreter that imports them."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", f"import {modules}"], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


# -- instructions ------------------------------------------------------------------------


@cache
def _counts() -> dict[str, float]:
    return instructions(CASES)


def _count(case: str, beside: str = "") -> Measured:
    counts = _counts()
    note = f"{beside} {counts[beside] / 1000:,.1f}" if beside else ""
    return Measured(Spread.of([counts[case] / 1000]), note)


def _net(case: str, of: str) -> Measured:
    counts = _counts()
    return Measured(Spread.of([(counts[case] - counts[of]) / 1000]), f"net of {of}")


def _dicts() -> Measured:
    counts = _counts()
    bare = (counts["dicts flat out, bare"] - counts["the agent"]) / 1000
    ours = (counts["dicts flat out"] - counts["the agent"]) / 1000
    return Measured(
        Spread.of([ours]), f"StreamingResponse {bare:.1f}; net of the agent"
    )


def _times(theirs: str, ours: str) -> Measured:
    counts = _counts()
    return Measured(Spread.of([counts[theirs] / counts[ours]]))


_AT_A_PACE = "At the pace of tokens, beside StreamingResponse and EventEncoder"
_COUNTED = "Instructions of the processor, by callgrind"
_KEPT = "Kept and imported"

#: By shape: what ours must reach, and what with a log and gzip or with a log alone.
_MUST: dict[str, tuple[float, str, float]] = {
    "12 runs at 10 events a second": (1.0, "packed", 0.8),
    "100 runs at 5 a second": (1.0, "packed", 0.75),
    "500 runs of 6 events at 1.5 a second": (1.0, "packed", 0.75),
    "50 runs of 100 events, flat out": (2.0, "logged", 1.5),
    "one run of 5,000 events, flat out": (3.0, "packed", 2.5),
}
_WITH = {"packed": "a log and gzip", "logged": "a log"}


def _shapes() -> Iterator[Row]:
    for shape, (ours, kind, kept) in _MUST.items():
        per = f"events per CPU second, {shape}"
        yield Row(_AT_A_PACE, per, "×", partial(_shape, shape, "ours"), least=ours)
        yield Row(
            _AT_A_PACE,
            f"the same with {_WITH[kind]}",
            "×",
            partial(_shape, shape, kind),
            least=kept,
        )


def _counted(what: str, measure: Callable[[], Measured], most: float) -> Row:
    return Row(_COUNTED, what, "k", measure, most=most)


PACE: tuple[Row, ...] = (
    Row(
        _AT_A_PACE,
        "first event of a run, from `yield` to `send`",
        "ms",
        partial(_latency, 10.0, 0),
        most=2,
    ),
    Row(
        _AT_A_PACE,
        "every other at 10 a second, p50",
        "ms",
        partial(_latency, 10.0, 1),
        most=1,
    ),
    Row(_AT_A_PACE, "at 50 a second, p50", "ms", partial(_latency, 50.0, 1), most=2),
    *_shapes(),
    Row(
        _AT_A_PACE,
        f"one run before {_READERS} readers, 20 events every 10 ms: beside sse-starlette",
        "×",
        partial(_readers, True),
        least=20,
    ),
    Row(
        _AT_A_PACE,
        "the same in batches of 50 ms, and no event ahead of them",
        "×",
        partial(_readers, False),
        least=30,
    ),
    Row(_AT_A_PACE, "resident memory of a waiting run", "KB", _waiting, most=34),
    _counted(
        "making, answering and ending a run of two events",
        partial(_count, "run of two", "run of two, bare"),
        800,
    ),
    _counted(
        "the same with a log and gzip",
        partial(_count, "run of two, log and gzip"),
        1_300,
    ),
    _counted("an event of one run of dicts, flat out", _dicts, 15),
    _counted(
        "an event through the pipeline, from a list of dicts",
        partial(_count, "list of dicts", "bare loop"),
        4.3,
    ),
    _counted("from `Gate.send`", partial(_count, "Gate.send", "RxPY's own"), 9),
    _counted("from `Gate.send_many` of 50", partial(_count, "Gate.send_many"), 5.5),
    _counted("from an async generator", partial(_count, "async generator"), 10.5),
    _counted(
        "from one that waits on a queue",
        partial(_net, "async generator that waits", "the queue it waits on"),
        21.6,
    ),
    _counted(
        "from `EventStream.send`",
        partial(_count, "EventStream.send", "RxPY's own"),
        15,
    ),
    _counted("from `EventStream.asend`", partial(_count, "EventStream.asend"), 15),
    _counted("from a Subject of RxPY", partial(_count, "RxPY Subject"), 20),
    _counted("from JSON bytes in a list", partial(_count, "list of JSON bytes"), 5),
    Row(
        _COUNTED,
        "encoding an AG-UI object, beside EventEncoder",
        "×",
        partial(_times, "EventEncoder", "encode(object)"),
        least=6.3,
    ),
    Row(
        _COUNTED,
        "events through EventStream, beside RxPY's own operators",
        "×",
        partial(_times, "RxPY's own", "EventStream.send"),
        least=2.5,
    ),
    Row(
        _KEPT,
        "an event of a sync generator under SSEResponse",
        "µs",
        _sync_generator,
        most=16,
    ),
    Row(_KEPT, "an event of 98 bytes in a MemoryLog", "B", _kept, most=12),
    Row(
        _KEPT,
        "`import rx_agui`, beside `import fastapi`, processor time",
        "×",
        _imports,
        most=1.1,
    ),
)
