"""Events come out in the order they were let in, whatever the workers do meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from rx_agui import EventStream, StreamConfig
from rx_agui.codecs.codec import Codec
from rx_agui.codecs.registry import PAYLOAD_CODECS
from rx_agui.operators import _compress
from rx_agui.types import AlgorithmName
from rx_agui.workers import COMPUTE
from tests.support.patience import SOON
from tests.support.readers import Reading, event, value, values

CODECS: tuple[AlgorithmName | None, ...] = ("gzip", "deflate", "lz4", None)
MODES = {
    f"{batched}, {order}, {codec or 'not compressed'}": StreamConfig(
        batch_enabled=batched != "single",
        batch_size=7,
        batch_timeout=0.005,
        sequence_enabled=order != "no numbers",
        ordering_required=order == "ordered",
        compression_enabled=codec is not None,
        compression_type=codec or "gzip",
        min_compression_size=1,
        adaptive_batching=batched == "adaptive",
        worker_count=4,
    )
    for batched in ("batched", "single", "adaptive")
    for order in ("no numbers", "unordered", "ordered")
    for codec in CODECS
}


@pytest.fixture
def workers_take_as_long_as_they_like(
    monkeypatch: pytest.MonkeyPatch,
) -> list[int]:
    """Four threads, random times, and a record of how many were at it at a time."""
    random, pause = Random(5), threading.Event()
    busy: list[int] = []
    mutex = threading.Lock()
    now = 0

    def dawdling(pack: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
        def work(data: bytes) -> bytes:
            nonlocal now
            with mutex:
                now += 1
                busy.append(now)
                seconds = random.choice((0, 0, 0.001, 0.004))
            pause.wait(seconds)
            with mutex:
                now -= 1
            return pack(data)

        return work

    def slow(algorithm: Codec) -> Codec:
        packer = algorithm.packer
        return replace(algorithm, packer=lambda level: dawdling(packer(level)))

    monkeypatch.setattr(COMPUTE, "limit", 8)
    slowed = {name: slow(a) for name, a in PAYLOAD_CODECS.items()}
    monkeypatch.setattr(_compress, "PAYLOAD_CODECS", slowed)
    return busy


@pytest.mark.parametrize("config", MODES.values(), ids=MODES)
def test_four_workers_with_random_times_keep_the_order_and_lose_nothing(
    config: StreamConfig, workers_take_as_long_as_they_like: list[int]
) -> None:
    stream = EventStream(config, number=number if config.ordering_required else None)
    with stream:
        reading = Reading(stream)
        for n in range(400):
            stream.send(event(n, text="a" * 60))

    assert reading.all() == list(range(400))
    if config.compression_enabled:
        assert max(workers_take_as_long_as_they_like) <= config.worker_count


def number(event: Any) -> int:
    return value(event) + 1


def test_as_many_workers_as_asked_for_are_at_it_side_by_side(
    workers_take_as_long_as_they_like: list[int],
) -> None:
    for workers in (1, 2, 4):
        workers_take_as_long_as_they_like.clear()
        config = StreamConfig(
            batch_size=5, min_compression_size=1, worker_count=workers
        )
        with EventStream(config) as stream:
            reading = Reading(stream)
            for n in range(600):
                stream.send(event(n, text="a" * 60))

        assert reading.all() == list(range(600))
        assert max(workers_take_as_long_as_they_like) == workers


def test_four_producers_that_drift_apart_by_five_hundred_come_out_in_order() -> None:
    """A window of 100, and numbers that come up to 500 places late."""
    config = StreamConfig(
        ordering_required=True,
        max_concurrent_events=100,
        event_buffer_size=1,
        gap_timeout=SOON,
        batch_timeout=0.002,
    )
    total, block = 4000, 200
    random = Random(7)
    drawn = sorted(range(total), key=lambda n: n + random.uniform(0, 300))
    together = threading.Barrier(4)  # so that none drifts by more than a block besides
    with EventStream(config, number=number) as stream:
        reading = Reading(stream)

        def produce(which: int) -> None:
            for begin in range(0, total, block):
                for n in drawn[begin + which : begin + block : 4]:
                    stream.send(event(n))
                together.wait(SOON)

        producers = [threading.Thread(target=produce, args=(i,)) for i in range(4)]
        for producer in producers:
            producer.start()
        for producer in producers:
            producer.join()
    metrics = stream.metrics()

    assert reading.all() == list(range(total))
    assert metrics is not None
    assert metrics.events_dropped == metrics.sequencing_errors == 0
    assert metrics.sequencing.out_of_order_events > 1000


def test_without_ordering_the_numbers_say_in_which_order_events_were_let_in() -> None:
    with EventStream(StreamConfig(batch_enabled=False)) as stream:
        reading = Reading(stream)
        for n in (3, 1, 2):
            stream.send(event(n))

    assert reading.all() == [3, 1, 2]
    assert [chunk.event_id for chunk in reading.chunks] == ["1", "2", "3"]


def test_without_sequence_there_are_no_numbers_and_no_cost_of_them() -> None:
    config = StreamConfig(batch_enabled=False, sequence_enabled=False)
    with EventStream(config) as stream:
        reading = Reading(stream)
        stream.send(event(1))

    assert reading.all() == [1]
    assert reading.chunks[0].event_id == ""


def test_what_was_held_for_order_is_bounded_again_once_it_goes_on() -> None:
    """Else a reader who is stuck would let a stream of late numbers grow for ever."""
    config = StreamConfig(
        ordering_required=True,
        max_concurrent_events=10,
        event_buffer_size=1,
        out_of_order_buffer=100,
        gap_timeout=SOON,
    )
    with EventStream(config, number=number) as stream:
        rounds = 0
        for rounds in range(100):
            base = rounds * 50
            block = [*range(base + 1, base + 50), base]  # the first comes last
            if not all(stream.try_send(event(n)) for n in block):
                break
        accepted = stream._accepted
        reading = Reading(stream)

    assert accepted <= 10 + 1 + 100 + 50, f"{rounds} rounds went in"
    assert len(values(reading.chunks)) == accepted
