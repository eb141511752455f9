"""An agent served over HTTP, beside what one would serve it with otherwise.

All behind uvicorn, on this machine's own network, read by a client that only counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from tests.benchmarks import ratio
from tests.benchmarks._serving import PEERS, Server, application
from tests.benchmarks._workloads import deltas, objects
from tests.benchmarks.bounds import at_least, n

WAYS = {"rx_agui": application, **PEERS}


def events_of(response: bytes) -> Iterator[Any]:
    """The events of a response, whatever its chunks."""
    _, _, chunked = response.partition(b"\r\n\r\n")
    body = b""
    while chunked:
        size, _, chunked = chunked.partition(b"\r\n")
        body += chunked[: int(size, 16)]
        chunked = chunked[int(size, 16) + 2 :]
    for block in body.decode().replace("\r\n", "\n").split("\n\n"):
        for line in block.split("\n"):
            if line.startswith("data: "):
                yield orjson.loads(line[6:])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.benchmark(group="served over HTTP")
def test_serving(benchmark: Any, way: str) -> None:
    with Server(WAYS[way](objects(n(benchmark, 5_000)))) as server:
        benchmark(server.read)


@pytest.mark.parametrize("way", WAYS)
def test_all_serve_the_same(way: str) -> None:
    with Server(WAYS[way](objects(200))) as server:
        assert list(events_of(server.response())) == deltas(200)


# Guards, with room: how much is gained is for `rx-agui bench` to say.
@pytest.mark.parametrize(
    ("peer", "least"),
    list(zip(PEERS, (3.0, 5.0, 10.0), strict=True)),
    ids=list(PEERS),
)
def test_ours_serves_more_per_processor_second(peer: str, least: float) -> None:
    events = objects(3_000)
    with Server(application(events)) as we, Server(PEERS[peer](events)) as they:
        times = ratio(they.read, we.read)

    print(f"served, ours / {peer}: {times}")
    assert times.median >= at_least(least)
