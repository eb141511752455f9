"""Runs over real HTTP: how many events a second of the server's processor time.

    agents ──▶ application ──▶ uvicorn, uvloop, httptools ──▶ sockets ──▶ readers

The server is an interpreter that does nothing else, the readers are another process. The
kinds of _runs take turns, five rounds; what is compared is the server's processor time,
the kernel's part included.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import socket
import sys
import time
from contextlib import suppress
from typing import Any

from rx_agui.errors import MissingExtraError
from tests.benchmarks._fresh import NotToBeHad, fresh
from tests.benchmarks._measure import Spread
from tests.benchmarks._runs import Pace, request_of, server

__all__ = ["SHAPES", "per_cpu_second"]

#: The shapes of load that users have, by what a row calls them.
SHAPES: dict[str, Pace] = {
    "12 runs at 10 events a second": Pace(12, 10, 20),
    "100 runs at 5 a second": Pace(100, 5, 10),
    "500 runs of 6 events at 1.5 a second": Pace(500, 1.5, 6),
    "50 runs of 100 events, flat out": Pace(50, None, 100),
    "one run of 5,000 events, flat out": Pace(1, None, 5_000),
}

_ROUNDS = 5


def per_cpu_second(pace: Pace, *kinds: str) -> dict[str, Spread]:
    """Measure events per second of processor time, beside the bare response's.

    Args:
        pace: What the agents do.
        kinds: Of _runs.KINDS, without "bare".

    Returns:
        Of each kind the ratio: above 1, it takes less processor time than the bare one.

    Raises:
        MissingExtraError: uvicorn, uvloop or httptools is not installed.
        NotToBeHad: This system does not allow so many sockets.
    """
    for module in ("uvicorn", "uvloop", "httptools"):
        try:
            __import__(module)
        except ImportError:
            raise MissingExtraError("this row", module, "bench") from None
    found = fresh(_served, pace.runs, pace.rate, pace.length, list(kinds))
    return {kind: Spread.of(ratios) for kind, ratios in found.items()}


def _served(
    runs: int, rate: float | None, length: int, kinds: list[str]
) -> dict[str, list[float]]:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_rounds(Pace(runs, rate, length), kinds))


async def _rounds(pace: Pace, kinds: list[str]) -> dict[str, list[float]]:
    import uvicorn

    listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
    config = uvicorn.Config(
        server(pace.agent),
        log_level="critical",
        lifespan="off",
        http="httptools",
        access_log=False,
    )
    serving = uvicorn.Server(config)
    task = asyncio.create_task(serving.serve([listening]))
    asked = listening.getsockname()[1], pace.runs
    reading = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-c", f"from {__name__} import read; read{asked!r}"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert reading.stdin is not None
    assert reading.stdout is not None
    # One round of runs that are flat out would be over before a clock ticks.
    turns = 3 if pace.rate is None else 1
    ratios: dict[str, list[float]] = {kind: [] for kind in kinds}
    try:
        for number in range(_ROUNDS + 1):
            took = {}
            for kind in ("bare", *kinds):
                begun = time.process_time()
                for _ in range(turns):
                    reading.stdin.write(f"{kind}\n".encode())
                    size = await reading.stdout.readline()
                    if int(size) < pace.runs * 50:
                        raise RuntimeError(f"{kind} answered with {size!r} bytes")
                took[kind] = time.process_time() - begun
            if number:  # the first is to warm up
                for kind in kinds:
                    ratios[kind].append(took["bare"] / took[kind])
    finally:
        with suppress(ProcessLookupError):
            reading.kill()
        await reading.wait()
        serving.force_exit = serving.should_exit = True
        await task
    return ratios


# -- the readers -----------------------------------------------------------------------


def read(port: int, runs: int) -> None:
    """Read so many responses at a time, of the kind that a line on standard input names.

    When all have ended, their bytes are told in a line on standard output.
    """
    _allow(runs + 100)
    for line in sys.stdin:
        selector = selectors.DefaultSelector()
        for _ in range(runs):
            reader = socket.create_connection(("127.0.0.1", port))
            reader.sendall(request_of(line.strip()))
            reader.setblocking(False)
            selector.register(reader, selectors.EVENT_READ)
        left, size = runs, 0
        while left:
            for key, _ in selector.select():
                source: Any = key.fileobj
                piece = source.recv(1 << 16)
                size += len(piece)
                if not piece:
                    selector.unregister(source)
                    source.close()
                    left -= 1
        os.write(1, b"%d\n" % size)


def _allow(sockets: int) -> None:
    try:
        import resource
    except ImportError:  # a system without, and without the limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft not in (resource.RLIM_INFINITY,) and soft < sockets:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (sockets, hard))
        except (ValueError, OSError):
            raise NotToBeHad(f"{sockets} open files are not allowed here") from None
