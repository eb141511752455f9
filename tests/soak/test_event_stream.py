"""A stream with faults in every stage, for a long time.

Each event is delivered once, or told of once, and memory stays where it is.

    RX_AGUI_SOAK_EVENTS=10000000 pytest tests/soak/test_event_stream.py -s

runs it at full length; without the variable it is a few seconds.
"""

from __future__ import annotations

import logging
import os
import time
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest

from rx_agui import (
    BackpressureTimeoutError,
    CircuitOpenError,
    CompressionError,
    DuplicateError,
    EventStream,
    GapError,
    LateError,
    LostError,
    NotSentError,
    ProcessingError,
    StreamChunk,
    StreamConfig,
    StreamError,
    ValidationError,
)
from rx_agui.codecs.codec import Pack
from rx_agui.codecs.registry import PAYLOAD_CODECS
from rx_agui.engine import Sink
from rx_agui.operators import _compress

EVENTS = int(os.environ.get("RX_AGUI_SOAK_EVENTS", "60000"))
SEED = 41

#: What became of a number, in one byte: delivered and lost are counted.
DELIVERED, LOST, GAVE_UP = 1, 16, 64

#: Places after which a withheld number is sent after all: it was given up long before.
WITHHELD = 300


def resident() -> int:
    """Bytes of this process in memory; 0 where the system does not say."""
    status = Path("/proc/self/statm")
    if not status.exists():
        return 0
    return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def number(event: Any) -> int:
    value: int = event["value"]
    return value


class Story:
    """What is sent, with every fault a producer can have; and what must come of it."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.invalid = self.nameless = self.double = self.late = 0
        self._random = Random(SEED)

    def __iter__(self) -> Iterator[Any]:
        random = self._random
        withheld: list[tuple[int, int]] = []
        block: list[int] = []
        for n in range(1, self.total + 1):
            while withheld and withheld[0][0] <= n:
                self.late += 1
                yield event(withheld.pop(0)[1])
            chance = random.random()
            # The last few are plain, so that everything is given up or has come.
            fault = chance if n < self.total - 2 * WITHHELD else 1.0
            if fault < 0.0005:
                continue  # it is never sent: a gap
            if fault < 0.001:
                withheld.append((n + WITHHELD, n))
                continue
            if fault < 0.002:
                self.invalid += 1
                yield {"type": "CUSTOM", "value": object()}
            elif fault < 0.003:
                self.nameless += 1
                yield {"type": "CUSTOM", "name": "no value"}
            elif fault < 0.004 and len(block) > 1:
                self.double += 1
                block.append(block[0])
            block.append(n)
            if len(block) >= 10:
                if chance > 0.5:
                    random.shuffle(block)
                yield from map(event, block)
                block.clear()
        yield from map(event, block)


def event(n: int) -> dict[str, Any]:
    return {"type": "CUSTOM", "name": "n", "value": n, "text": "a stream has no end"}


class FaultyReader(Sink):
    """Takes what it is given; now and then a write fails, or cannot be begun."""

    def __init__(self, seen: bytearray) -> None:
        self.events = self.failures = self.not_begun = 0
        self._seen = seen
        self._random = Random(SEED + 1)
        self._pieces: list[bytes] = []
        self._fault: Exception | None = None
        self._down = 0
        self._payloads = 0

    def on_next(self, chunk: StreamChunk) -> None:
        chunk.permit.hold()
        if chunk.chunk_index == 0:
            self._fault = self._choose()
            self._pieces = []
        self._pieces.append(chunk.data)
        is_last = chunk.chunk_index == chunk.total_chunks - 1
        if is_last and self._fault is None:
            self._read(chunk)
        chunk.permit.release(self._fault)

    def _choose(self) -> Exception | None:
        chance = self._random.random()
        if self._down:
            self._down -= 1
            self.failures += 1
            return OSError("down")
        if chance < 0.002:
            self.failures += 1
            return OSError("a hiccup")
        if chance < 0.004:
            self.not_begun += 1
            return NotSentError("not now")
        self._payloads += 1
        if self._payloads % 1500 == 0:
            self._down = 20  # enough to open the breaker
        return None

    def _read(self, chunk: StreamChunk) -> None:
        data = b"".join(self._pieces)
        if chunk.encoding != "identity":
            data = PAYLOAD_CODECS[chunk.encoding].unpack(data, 1 << 24)
        if chunk.crc32 is not None:
            assert zlib.crc32(data) == chunk.crc32
        for line in data.split(b"\n"):
            self._seen[orjson.loads(line)["value"]] += DELIVERED
            self.events += 1

    def on_error(self, error: Exception) -> None:
        raise AssertionError("the stream did not survive") from error

    def on_completed(self) -> None: ...


def test_with_faults_in_every_stage_each_event_is_delivered_once_or_told_of_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "rx_agui")  # which keeps what is said, for ever
    codec_random = Random(SEED + 2)
    codec_failures = 0

    def fragile(level: int) -> Pack:
        pack = PAYLOAD_CODECS["gzip"].packer(level)

        def compress(data: bytes) -> bytes:
            nonlocal codec_failures
            if codec_random.random() < 0.003:
                codec_failures += 1
                raise MemoryError("no room")
            return pack(data)

        return compress

    algorithms = dict(PAYLOAD_CODECS)
    algorithms["gzip"] = replace(algorithms["gzip"], packer=fragile)
    monkeypatch.setattr(_compress, "PAYLOAD_CODECS", algorithms)

    seen = bytearray(EVENTS + 1)
    seen[::1024] = bytes(
        len(seen[::1024])
    )  # in memory from the start, and not bit by bit
    told: dict[type[StreamError], int] = {}
    lost: list[bool] = []

    def hear(error: StreamError) -> None:
        told[type(error)] = told.get(type(error), 0) + 1
        match error:
            case GapError():
                for n in range(error.first, error.last + 1):
                    seen[n] += GAVE_UP
            case LostError():
                # One that was not sent is lost too if the next has overtaken it meanwhile.
                lost.append(not isinstance(error.__cause__, NotSentError))
                for n in range(error.first, error.last + 1):
                    if not seen[n] & GAVE_UP:
                        seen[n] += LOST

    config = StreamConfig(
        ordering_required=True,
        out_of_order_buffer=100,
        gap_timeout=30.0,
        event_buffer_size=200,
        batch_size=20,
        batch_timeout=0.002,
        max_chunk_size=300,
        min_compression_size=600,
        compression_level=1,
        worker_count=2,
        chunk_buffer_size=8,
        circuit_breaker_enabled=True,
        breaker_wait=0.002,
        retry_delay=0.0005,
    )
    stream = EventStream(config, number=number, name="soak")
    stream.errors.subscribe(hear)
    reader = FaultyReader(seen)
    stream.start()
    stream.receive_chunks().subscribe(reader)
    story = Story(EVENTS)
    memory: list[int] = []
    invalid = refused = waited_too_long = sent = 0
    begun = time.monotonic()
    for each in story:
        if sent % (EVENTS // 10) == 0:
            memory.append(resident())
        sent += 1
        while True:
            try:
                # A few are in a hurry, and come again.
                stream.send(each, 0.00001 if sent % 1000 == 0 else 30.0)
            except ValidationError:
                invalid += 1
            except CircuitOpenError as error:
                refused += 1
                time.sleep(min(error.retry_in, 0.001))
                continue
            except BackpressureTimeoutError:
                waited_too_long += 1
                continue
            break
    stream.close()
    memory.append(resident())
    seconds = time.monotonic() - begun
    metrics = stream.metrics()

    print(
        f"\n{sent:,} events in {seconds:.0f} s, {sent / seconds:,.0f} a second; "
        f"{reader.events:,} delivered; told of: "
        + ", ".join(
            f"{kind.__name__} {n:,}" for kind, n in sorted(told.items(), key=str)
        )
        + f"; at the sender: {invalid:,} invalid, {refused:,} CircuitOpenError, "
        f"{waited_too_long:,} BackpressureTimeoutError; "
        f"resident {[m // 1024 // 1024 for m in memory]} MiB"
    )
    outcomes = {outcome: seen[1:].count(outcome) for outcome in set(seen[1:])}
    assert set(outcomes) <= {DELIVERED, LOST, GAVE_UP}
    assert outcomes[DELIVERED] == reader.events
    assert invalid == story.invalid
    assert told[ProcessingError] == story.nameless
    assert told[DuplicateError] + told[LateError] == story.double + story.late
    assert told[CompressionError] == codec_failures > 0
    assert sum(lost) == reader.failures > 0
    assert told[LostError] - sum(lost) <= reader.not_begun
    assert reader.not_begun > 0
    assert refused > 0
    assert metrics is not None
    assert metrics.events_processed == reader.events
    first = memory[1]
    allowed = first * 0.05 if EVENTS >= 1_000_000 else 16 * 1024 * 1024
    assert memory[-1] - first < allowed, f"{(memory[-1] - first) / 1e6:.1f} MB more"
