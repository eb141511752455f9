"""Whatever write fails: each event that came in was written or is counted as dropped.

processed + dropped = accepted, and of a payload in pieces none follows one that failed.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import product
from typing import Any

import pytest

from rx_agui import (
    EventStream,
    NotSentError,
    SSEWriter,
    StreamConfig,
    StreamError,
    StreamMeter,
    batch,
    chunk,
    circuit_breaker,
    flow_control,
    from_iterable,
    pipeline,
    sequence,
)
from rx_agui.engine import Operator

FAILURES = [OSError("gone"), NotSentError("not yet")]
WRITES = range(1, 9)


class Writes:
    """Fails at one write, or from it on."""

    def __init__(self, at: int, error: Exception, forever: bool) -> None:
        self.at, self.error, self.forever = at, error, forever
        self.calls = 0
        self.written: list[bytes] = []

    def __call__(self, data: bytes) -> None:
        self.calls += 1
        if self.calls == self.at or (self.forever and self.calls > self.at):
            raise self.error
        self.written.append(data)

    async def awaited(self, data: bytes) -> None:
        self(data)


def events(n: int) -> list[dict[str, Any]]:
    return [{"type": "RAW", "event": "x" * (1500 if i % 2 else 10)} for i in range(n)]


# A breaker whose sink fails for ever waits in its open circuit: tests of it do that.
@pytest.mark.parametrize(
    ("breaker", "forever"), [(False, False), (False, True), (True, False)]
)
@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("error", FAILURES, ids=["unknown", "not sent"])
def test_in_an_event_stream(
    error: Exception, breaker: bool, batched: bool, forever: bool
) -> None:
    for at, size in product(WRITES, (1000, 65536)):
        stream = EventStream(
            StreamConfig(
                circuit_breaker_enabled=breaker,
                compression_enabled=False,
                max_chunk_size=size,
                batch_enabled=batched,
                drain_timeout=1.0,
            )
        )
        stream.start()
        stream.receive_chunks().subscribe(SSEWriter(Writes(at, error, forever)))
        with suppress(StreamError, OSError):
            for event in events(6):
                stream.send(event)
        with suppress(StreamError, OSError):
            stream.close()

        got = stream.metrics()
        assert got is not None
        numbers = got.total_events, got.events_processed, got.events_dropped
        assert numbers[0] == numbers[1] + numbers[2], f"{numbers} at write {at}"
        assert min(numbers) >= 0


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("breaker", [False, True])
@pytest.mark.parametrize("error", FAILURES, ids=["unknown", "not sent"])
def test_behind_operators(error: Exception, breaker: bool, is_async: bool) -> None:
    async def run(at: int, size: int, forever: bool) -> None:
        meter, writes = StreamMeter(), Writes(at, error, forever)
        chain: list[Operator] = [
            flow_control(20), sequence(), batch(2, 0.001), chunk(size)
        ]  # fmt: skip
        if breaker:
            chain.append(circuit_breaker(backoff=0.001))
        writer = SSEWriter(writes.awaited if is_async else writes)
        piped = pipeline("p", *chain, telemetry=meter)
        from_iterable(events(6)).pipe(piped).subscribe(writer)
        with suppress(StreamError, OSError):
            await asyncio.wait_for(writer.done, 20)

        got = meter.metrics()
        numbers = got.total_events, got.events_processed, got.events_dropped
        assert numbers[0] == numbers[1] + numbers[2], f"{numbers} at write {at}"

    async def main() -> None:
        for at, size, forever in product(WRITES, (1000, 65536), (False, True)):
            if not (breaker and forever):
                await run(at, size, forever)

    asyncio.run(main())


@pytest.mark.parametrize("breaker", [False, True])
def test_no_piece_follows_one_that_failed(breaker: bool) -> None:
    writes = Writes(2, OSError("gone"), forever=False)
    chain: list[Operator] = [flow_control(), sequence(), chunk(1000)]
    if breaker:
        chain.append(circuit_breaker())
    big = {"type": "RAW", "event": "x" * 4500}
    from_iterable([big]).pipe(*chain).subscribe(SSEWriter(writes))

    assert writes.calls == 2
    assert not any(b"\nid: 1\n" in data for data in writes.written)
