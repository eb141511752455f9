"""The table: what was promised, and what this machine says."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

from ag_ui.encoder import EventEncoder

from rx_agui.agui.encoding import encode
from tests.benchmarks._audience import audience
from tests.benchmarks._client import TOKENS, gained
from tests.benchmarks._core import slowness
from tests.benchmarks._cores import worth_of_two_cores
from tests.benchmarks._idle import (
    Subscribing,
    bytes_per_subscription,
    idle_streams,
    subscribing,
)
from tests.benchmarks._latency import Latency, latency_of_send
from tests.benchmarks._measure import Spread, ratio
from tests.benchmarks._pace_rows import PACE
from tests.benchmarks._peak import Peak, peak_of_pipeline
from tests.benchmarks._pipelines import bare, ours, rxpys
from tests.benchmarks._row import Measured, Row
from tests.benchmarks._serving import PEERS, Server, application
from tests.benchmarks._viewers import Viewers, viewers
from tests.benchmarks._wire import (
    RATE,
    Arrival,
    a_run,
    arriving,
    on_the_wire,
    plain,
    recorded,
)
from tests.benchmarks._workloads import (
    Event,
    arguments,
    deltas,
    objects,
    run,
    snapshots,
)

__all__ = ["ROWS", "table"]

EVENTS = 20_000

#: Readers of one run.
AUDIENCE = 1_000

#: Idle viewers of each kind; tests/benchmarks has ten thousand.
VIEWERS = 500

T = TypeVar("T")


# -- how each is measured ---------------------------------------------------------


def _ignore(_: bytes) -> None: ...


def _written(send: Callable[..., object], *args: Any, **settings: Any) -> int:
    sizes: list[int] = []
    send(*args, lambda data: sizes.append(len(data)), **settings)
    return sum(sizes)


def _beside_rxpy(events: list[Event], size: int = 100) -> Measured:
    times = ratio(
        lambda: rxpys(events, _ignore, size=size),
        lambda: ours(events, _ignore, size=size),
    )
    bytes_ = _written(ours, events, size=size) / _written(rxpys, events, size=size)
    return Measured(times, f"{bytes_:.2f} × its bytes")


def _beside_rxpy_generated() -> Measured:
    events = deltas(EVENTS)
    source: Any = lambda: (event for event in events)  # noqa: E731  # a factory
    times = ratio(
        lambda: rxpys(source(), _ignore),
        lambda: ours(source, _ignore),
    )
    return Measured(times)


def _beside_a_loop(
    events: list[Event], size: int = 100, algorithm: str = "gzip", level: int = 1
) -> Measured:
    settings = {"size": size, "algorithm": algorithm, "level": level}
    times = ratio(
        lambda: bare(events, _ignore, **settings),  # type: ignore[arg-type]
        lambda: ours(events, _ignore, **settings),  # type: ignore[arg-type]
    )
    return Measured(times)


def _encoding() -> Measured:
    events, encoder = objects(5_000), EventEncoder()

    def theirs() -> None:
        for event in events:
            encoder.encode(event)

    def own() -> None:
        for event in events:
            encode(event)

    event = events[0]
    same = f"data: {encode(event).decode()}\n\n" == encoder.encode(event)
    return Measured(ratio(theirs, own), "" if same else "and not the same bytes")


def _beside_server(peer: str) -> Measured:
    events = objects(2_000)
    with Server(application(events)) as we, Server(PEERS[peer](events)) as they:
        return Measured(ratio(they.read, we.read))


def _audience() -> Measured:
    packed = audience(AUDIENCE, "gzip").median
    return Measured(audience(AUDIENCE, "identity"), f"with gzip {packed:.0f}")


def _added(what: str) -> Measured:
    from tests.benchmarks._watching import Dropping, Encoding, metrics, spans

    if what in ("counters", "full"):
        added = metrics(what)
    else:
        exporter = Encoding() if what == "encoded" else Dropping()
        added = spans(exporter, 20.0 if what == "budget" else None)
    if what == "counters":
        return Measured(added.added, f"on / off {added.on_off:.2f}", slowness())
    note = f"{added.added.median:.0f} µs a payload; on / off {added.on_off:.2f}"
    return Measured(added.times_bare, note)


@cache
def _of_send(kind: str) -> tuple[Latency, float]:
    before = slowness()
    latency = latency_of_send(kind, 20_000)
    return latency, (before + slowness()) / 2


#: Beside whom one event is sent, and how a row calls them.
_BESIDE = {"thread": ("subject", "RxPY's own"), "asyncio": ("queue", "a bare queue")}


def _latency(kind: str, which: str) -> Measured:
    latency, slow = _of_send(kind)
    peer, name = _BESIDE[kind]
    note = f"{name} {getattr(_of_send(peer)[0], which):.1f}"
    if which == "p99":
        note += f"; p99.9 {latency.p999:.0f}, collections {latency.collections}"
    return Measured(Spread.of([getattr(latency, which)]), note, slow)


def _bytes() -> Measured:
    return Measured(Spread.of([bytes_per_subscription()]))


@cache
def _to_subscribe() -> Subscribing:
    return subscribing()


def _subscribing() -> Measured:
    cost = _to_subscribe()
    return Measured(cost.microseconds, slowness=cost.slowness)


def _subscribing_beside_rxpy() -> Measured:
    return Measured(_to_subscribe().beside_rxpy)


def _idle() -> Measured:
    idle = idle_streams(2_000, 0.5)
    each = Spread.of([idle.bytes_each / 1024])
    return Measured(
        each,
        f"{idle.cpu:.1%} CPU for {idle.streams:,}, {idle.threads} threads, "
        f"{idle.timers} timers",
    )


def _side_by_side(*measures: Callable[[], T]) -> list[T]:
    """Memory: it is the same however many measure at once."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda measure: measure(), measures))


@cache
def _bare_viewers() -> Viewers:
    return viewers("bare", n=VIEWERS)


def _viewers(coding: str) -> Measured:
    bare, logged = _side_by_side(
        _bare_viewers, partial(viewers, "logged", coding, VIEWERS)
    )
    return Measured(
        logged.above(bare),
        f"bare {bare.bytes_each.median / 1024:.0f}; {logged.cpu:.1%} CPU for "
        f"{logged.viewers}, {logged.threads} threads, {logged.timers} timers",
    )


def _peak() -> Measured:
    peaks: list[Peak] = _side_by_side(*[peak_of_pipeline] * 5)
    before = Spread.of([peak.before / 2**20 for peak in peaks]).median
    return Measured(
        Spread.of([peak.whole / 2**20 for peak in peaks]),
        f"{before:.1f} of it interpreter and imports",
    )


def _fewer_bytes(recording: list[Arrival] | None) -> Measured:
    arrivals = recording or arriving(a_run())
    frames = plain(arrivals)
    note = f"gzip alone {frames / on_the_wire(arrivals, conflated=False):.0f}"
    if recording is None:
        slower = on_the_wire(arriving(a_run(), 100))
        note += f", at 100 events a second {frames / slower:.0f}"
    return Measured(Spread.of([frames / on_the_wire(arrivals)]), note)


def _applied(node_modules: Path | None) -> Measured:
    return Measured(gained(folder=node_modules), "20 messages before")


_PIPELINE = "The whole pipeline"
_SERVING = "Served over HTTP"
_ONE = "One event, one stream"
_WATCHED = "Watched by OpenTelemetry"
_MEMORY = "Resident memory"
_CONFLATED = "Batches of 50 ms, conflated"


def table(
    *, recording: Path | None = None, node_modules: Path | None = None
) -> tuple[Row, ...]:
    """The rows.

    Args:
        recording: A run of the user's own, whose bytes to count: one JSON event a line.
        node_modules: The folder in which @ag-ui/client is installed.

    Raises:
        ConfigError: A line of the recording is no event, or there is none.
        OSError: It cannot be read.
    """
    run = None if recording is None else recorded(recording)
    simulated = f"a run, {RATE:,} events a second"
    of = simulated if recording is None else recording.name
    return (
        *PACE,
        *_ALWAYS,
        Row(
            _MEMORY,
            "the pipeline at full speed, deltas, batch 100, gzip 6: the whole process",
            "MB",
            _peak,
            most=64,
        ),
        Row(
            _MEMORY,
            "an idle viewer, one event read of a logged run of its own, above bare Starlette",
            "KB",
            partial(_viewers, "identity"),
            most=40,
        ),
        Row(
            _MEMORY,
            "the same with gzip",
            "KB",
            partial(_viewers, "gzip"),
            most=80,
        ),
        Row(
            _CONFLATED,
            f"fewer bytes on the wire than plain frames, gzip: {of}",
            "×",
            partial(_fewer_bytes, run),
            least=20,
        ),
        Row(
            _CONFLATED,
            f"{TOKENS:,} tokens applied by the stock client: as fast as one by one",
            "×",
            partial(_applied, node_modules),
            least=20,
        ),
    )


_ALWAYS = (
    Row(
        _PIPELINE,
        "deltas of text, batch 100, gzip 6: as fast as RxPY's own operators with zlib 6",
        "×",
        lambda: _beside_rxpy(deltas(EVENTS)),
        least=5,
    ),
    Row(
        _PIPELINE,
        "the same, from a generator that may block",
        "×",
        _beside_rxpy_generated,
        least=3,
    ),
    Row(
        _PIPELINE,
        "arguments of a tool, batch 100",
        "×",
        lambda: _beside_rxpy(arguments(EVENTS)),
    ),
    Row(
        _PIPELINE, "a run with everything", "×", lambda: _beside_rxpy(run(EVENTS // 2))
    ),
    Row(
        _PIPELINE,
        "snapshots of 135 KB, batch 1",
        "×",
        lambda: _beside_rxpy(snapshots(50, 135_000), 1),
    ),
    Row(
        _PIPELINE,
        "snapshots of 1.4 MB, two workers on two cores: as fast as one on one",
        "×",
        lambda: Measured(worth_of_two_cores()),
    ),
    Row(
        _PIPELINE,
        "deltas, batch 100, gzip 1: as fast as a bare loop with the same codec",
        "×",
        lambda: _beside_a_loop(deltas(EVENTS)),
        least=0.4,
    ),
    Row(
        _SERVING,
        "composed by hand, batches of 50, flat out: beside StreamingResponse",
        "×",
        partial(_beside_server, "EventEncoder and StreamingResponse"),
    ),
    Row(
        _SERVING,
        "the same beside sse-starlette",
        "×",
        partial(_beside_server, "sse-starlette"),
    ),
    Row(
        _SERVING,
        "the same beside FastAPI's SSE",
        "×",
        partial(_beside_server, "FastAPI's SSE"),
    ),
    Row(
        _SERVING,
        f"one run before {AUDIENCE:,} readers, 100 events at a time, beside sse-starlette",
        "×",
        _audience,
        least=30,
    ),
    Row(
        _ONE,
        "encoding an AG-UI object: as fast as EventEncoder, the same bytes",
        "×",
        _encoding,
        least=6.3,
    ),
    Row(
        _ONE,
        "`send` to bytes at the writer, in a thread, p50",
        "µs",
        partial(_latency, "thread", "p50"),
        most=20,
    ),
    Row(
        _ONE,
        "the same in a thread, p99",
        "µs",
        partial(_latency, "thread", "p99"),
        most=100,
    ),
    Row(
        _ONE,
        "`asend` to bytes, on asyncio, p50",
        "µs",
        partial(_latency, "asyncio", "p50"),
        most=20,
    ),
    Row(
        _ONE,
        "the same on asyncio, p99",
        "µs",
        partial(_latency, "asyncio", "p99"),
        most=100,
    ),
    Row(
        _ONE, "subscribing to five operators and disposing", "µs", _subscribing, most=50
    ),
    Row(
        _ONE,
        "subscribing, disposing: as fast as RxPY's own seven operators",
        "×",
        _subscribing_beside_rxpy,
        least=1,
    ),
    Row(_ONE, "memory of that subscription", "B", _bytes, most=5632),
    Row(_ONE, "resident memory of an idle stream", "KB", _idle, most=40),
    Row(
        _WATCHED,
        "counters add to a payload",
        "µs",
        partial(_added, "counters"),
        most=12,
    ),
    Row(
        _WATCHED,
        "histograms too: beside three records of the bare SDK",
        "×",
        partial(_added, "full"),
        most=2,
    ),
    Row(
        _WATCHED,
        "20 payloads a second traced: beside seven spans of the bare SDK",
        "×",
        partial(_added, "budget"),
        most=0.25,
    ),
    Row(
        _WATCHED,
        "every payload traced, exporter drops: beside seven bare spans",
        "×",
        partial(_added, "dropped"),
        most=1.6,
    ),
    Row(
        _WATCHED,
        "every payload traced, OTLP encoded: beside seven bare spans",
        "×",
        partial(_added, "encoded"),
        most=1.35,
    ),
)

ROWS = table()
