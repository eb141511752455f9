"""Latency, and what waiting costs: runs at every pace, without waiting for them.

    rates × lengths      virtual time: the loop's clock moves on when nothing is due
    first event, p50     real time, a few seconds each

Both in this process, behind uvicorn's own protocol with a transport that takes everything:
what a client polls would blur a latency, and a run of 5,000 events at 1.5 a second takes
an hour. So the kernel's part is not in these figures; it is in those of _pace.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

from rx_agui.errors import MissingExtraError
from tests.benchmarks._measure import Spread
from tests.benchmarks._runs import Agent, Application, Pace, request_of, server
from tests.support.virtual import VirtualLoop

__all__ = ["GRID", "LENGTHS", "RATES", "Cell", "cell", "latency"]

RATES = (1.5, 5.0, 10.0, 50.0, 500.0, None)
LENGTHS = (2, 6, 80, 5_000)
GRID = tuple((rate, length) for rate in RATES for length in LENGTHS)

#: Events in a round, about: enough for a clock that ticks every ms.
_EVENTS = 2_000

_ROUNDS = 5

#: The start of an event in a body that is not coded.
_DATA = re.compile(rb"data: \{")


class _Transport(asyncio.Transport):
    """A connection whose reader takes everything at once."""

    def __init__(self, ended: asyncio.Future[None], wrote: Callable[[bytes], None]):
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self._ended = ended
        self._wrote = wrote
        self.protocol: Any = None

    def write(self, data: Any) -> None:
        self._wrote(data)

    def is_closing(self) -> bool:
        return self._ended.done()

    def close(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)
            self.protocol.connection_lost(None)

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


def _connections(
    app: Application,
) -> Callable[[str, Callable[[bytes], None]], asyncio.Future[None]]:
    """Return a function that sends uvicorn a request, and gives the response's end."""
    try:
        import uvicorn
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
        from uvicorn.server import ServerState
    except ImportError:
        raise MissingExtraError("this row", "uvicorn, httptools", "bench") from None
    config = uvicorn.Config(app, lifespan="off", log_level="critical", access_log=False)
    config.load()
    state = ServerState()

    def ask(kind: str, wrote: Callable[[bytes], None]) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        ended = loop.create_future()
        transport = _Transport(ended, wrote)
        protocol = HttpToolsProtocol(config, state, {}, _loop=loop)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(request_of(kind))
        return ended

    return ask


# -- real time ---------------------------------------------------------------------------


def latency(kind: str, rate: float, events: int = 40) -> tuple[float, float]:
    """Measure ms from an agent's `yield` to the bytes at the transport.

    Returns:
        Of the first event, and the median of the others.
    """
    return asyncio.run(_latency(kind, Pace(1, rate, events), time.perf_counter))


async def _latency(
    kind: str, pace: Pace, clock: Callable[[], float]
) -> tuple[float, float]:
    yielded: list[float] = []
    written: list[float] = []

    def make(number: int) -> Agent:
        return pace.agent(number, lambda: yielded.append(clock()))

    def wrote(data: bytes) -> None:
        written.extend([clock()] * len(_DATA.findall(data)))

    ask = _connections(server(make))
    await ask(kind, lambda _: None)  # warm: imports, caches
    yielded.clear()
    await ask(kind, wrote)
    if len(written) != len(yielded):
        raise RuntimeError(f"{len(written)} of {len(yielded)} events came")
    waits = [(b - a) * 1000 for a, b in zip(yielded, written, strict=True)]
    return waits[0], median(waits[1:])


# -- virtual time ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cell:
    """One pace: what a kind costs beside a bare response, and how long its events wait.

    Attributes:
        rate, length: As in Pace.
        gain: Events per second of processor time; the bare response's is 1.
        waits: ms that half of the events wait at least for others, computing not counted.
    """

    rate: float | None
    length: int
    gain: Spread
    waits: float


def cell(
    rate: float | None, length: int, kind: str = "ours", rounds: int = _ROUNDS
) -> Cell:
    """Measure one pace of the grid."""
    pace = Pace(max(1, _EVENTS // length), rate, length)
    gains = []
    for number in range(rounds + 1):
        ours, bare = _seconds(kind, pace), _seconds("bare", pace)
        if number:  # the first is to warm up
            gains.append(bare / ours)
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        loop = runner.get_loop()
        one = Pace(1, rate, length)
        first, others = runner.run(_latency(kind, one, loop.time))
    return Cell(rate, length, Spread.of(gains), first if length == 2 else others)


def _seconds(kind: str, pace: Pace) -> float:
    """Processor time of so many runs side by side, in virtual time."""

    async def run() -> float:
        ask = _connections(server(pace.agent))
        begun = time.process_time()
        await asyncio.gather(*[ask(kind, _ignore) for _ in range(pace.runs)])
        return time.process_time() - begun

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(run())


def _ignore(_: bytes) -> None: ...
