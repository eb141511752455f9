"""The whole pipeline beside the same steps made of RxPY's own operators, and a loop.

    pytest tests/benchmarks --benchmark-enable

All encode, number, gather, compress, cut and write the chunk profile; all are given the
same events and end with the same. Only ours has flow control. Times mean nothing across
machines, so what is asserted is a ratio of two medians taken in turns in one process.
"""

from __future__ import annotations

import zlib
from base64 import b64decode
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from tests.benchmarks import ratio
from tests.benchmarks._pipelines import bare, ours, rxpys
from tests.benchmarks._workloads import Event, arguments, deltas, run, snapshots
from tests.benchmarks.bounds import at_least, n

WORKLOADS: dict[str, Callable[[int], list[Event]]] = {
    "deltas": deltas,
    "arguments": arguments,
    "a run": run,
    "snapshots of 135 KB": lambda n: snapshots(max(1, n // 200), 135_000),
    "snapshots of 1.4 MB": lambda n: snapshots(max(1, n // 2000), 1_400_000),
}


def ignore(_: bytes) -> None: ...


def written(send: Any, events: list[Event], **settings: Any) -> list[bytes]:
    pieces: list[bytes] = []
    send(events, pieces.append, **settings)
    return pieces


def read(pieces: list[bytes]) -> list[tuple[int, Any]]:
    """What a reader of the chunk profile gets: events, with their numbers."""
    events = []
    for block in b"".join(pieces).split(b"\n\n")[:-1]:
        envelope = orjson.loads(block.partition(b"\ndata: ")[2])
        payload = zlib.decompress(b64decode(envelope["data"]), 31)
        assert zlib.crc32(payload) == envelope["crc32"]
        for at, line in enumerate(payload.split(b"\n")):
            events.append((envelope["sequenceNum"] + at, orjson.loads(line)))
    return events


@pytest.mark.parametrize("send", [ours, rxpys, bare], ids=["rx_agui", "RxPY", "loop"])
@pytest.mark.parametrize("workload", WORKLOADS)
@pytest.mark.benchmark(group="whole pipeline, batch 100, gzip 6")
def test_the_whole_pipeline(benchmark: Any, workload: str, send: Any) -> None:
    events = WORKLOADS[workload](n(benchmark, 20_000))
    benchmark(send, events, ignore, **({"level": 6} if send is bare else {}))


@pytest.mark.parametrize("send", [ours, rxpys, bare], ids=["rx_agui", "RxPY", "loop"])
@pytest.mark.parametrize("size", [1, 10, 100, 500])
@pytest.mark.benchmark(group="deltas by batch, gzip 6")
def test_by_batch(benchmark: Any, size: int, send: Any) -> None:
    events = deltas(n(benchmark, 20_000))
    benchmark(send, events, ignore, size=size, **({"level": 6} if send is bare else {}))


@pytest.mark.parametrize("send", [ours, bare], ids=["rx_agui", "loop"])
@pytest.mark.parametrize(
    ("algorithm", "level"),
    [("none", 0), ("gzip", 1), ("gzip", 6), ("lz4", 0), ("zstd", 3)],
)
@pytest.mark.benchmark(group="deltas by codec, batch 100")
def test_by_codec(benchmark: Any, algorithm: str, level: int, send: Any) -> None:
    events = deltas(n(benchmark, 20_000))
    benchmark(send, events, ignore, algorithm=algorithm, level=level)


@pytest.mark.benchmark(group="deltas by source, batch 100, gzip 6")
@pytest.mark.parametrize("source", ["a list", "a generator"])
def test_by_source(benchmark: Any, source: str) -> None:
    events = deltas(n(benchmark, 20_000))
    made: Any = lambda: (event for event in events)  # noqa: E731  # a factory
    benchmark(ours, events if source == "a list" else made, ignore)


@pytest.mark.parametrize("workload", ["deltas", "arguments", "a run"])
def test_all_send_the_same(workload: str) -> None:
    events = WORKLOADS[workload](1_000)

    sent = [read(written(send, events)) for send in (ours, rxpys, bare)]

    assert sent[0] == sent[1] == sent[2]
    assert [event for _, event in sent[0]] == events
    assert [number for number, _ in sent[0]] == list(range(1, 1001))


def test_ours_is_at_least_five_times_as_fast_as_rxpys() -> None:
    events = deltas(20_000)

    times = ratio(lambda: rxpys(events, ignore), lambda: ours(events, ignore))

    print(f"the whole pipeline, ours / RxPY's: {times}")
    assert times.median >= at_least(5)


def test_nor_is_it_larger_by_more_than_a_tenth() -> None:
    events = deltas(20_000)

    own, theirs = (sum(map(len, written(send, events))) for send in (ours, rxpys))

    assert own <= theirs * 1.1


def test_ours_is_at_least_two_fifths_as_fast_as_a_bare_loop() -> None:
    events = deltas(20_000)

    times = ratio(
        lambda: bare(events, ignore, level=1), lambda: ours(events, ignore, level=1)
    )

    print(f"gzip 1, ours / a bare loop: {times}")
    assert times.median >= at_least(0.4)
