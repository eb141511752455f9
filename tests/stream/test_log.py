"""What a stream says of itself: with its name and the number, and not too often."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from rx_agui import (
    BackpressureTimeoutError,
    DrainTimeoutError,
    EventStream,
    StreamConfig,
    ValidationError,
)
from rx_agui.stream import _log
from tests.support.patience import until
from tests.support.readers import Reading, event, value

SINGLE = StreamConfig(batch_enabled=False)
ORDERED = StreamConfig(ordering_required=True, batch_enabled=False)
TINY = replace(
    SINGLE, max_concurrent_events=1, event_buffer_size=1, backpressure_timeout=0.005
)


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(_log, "time", clock)
    return clock


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "rx_agui")
    return caplog


def lines(said: pytest.LogCaptureFixture, kind: str, stream: str = "") -> list[str]:
    """What was said; of this stream alone, since those of other tests may still end."""
    return [
        record.getMessage()
        for record in said.records
        if getattr(record, "kind", "") == kind
        and getattr(record, "stream", "") == (stream or record.__dict__["stream"])
    ]


def number(event: Any) -> int:
    return value(event)


def test_it_is_silent_unless_somebody_listens() -> None:
    script = (
        "from rx_agui import EventStream\n"
        "stream = EventStream()\n"
        "stream.start()\n"
        "try: stream.send({'type': object()})\n"
        "except ValueError: pass\n"
        "stream.close()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True)

    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_refusals_gaps_and_failures_are_said_with_stream_and_number(
    said: pytest.LogCaptureFixture,
) -> None:
    stream = EventStream(
        replace(ORDERED, out_of_order_buffer=1), number=number, name="chat"
    )
    stream.start()
    with pytest.raises(ValidationError):
        stream.send({"type": object()})
    stream.send({"type": "CUSTOM"})
    for n in (1, 3, 4, 2):
        stream.send(event(n))
    stream.close(drain=False)

    assert len(lines(said, "validation")) == 1
    assert len(lines(said, "processing")) == 1
    assert lines(said, "sequencing") == [
        "stream 'chat': number 2 never came and was given up",
        "stream 'chat': number 2 came after it was given up",
    ]
    gap = next(r for r in said.records if getattr(r, "kind", "") == "sequencing")
    assert (gap.__dict__["stream"], gap.__dict__["number"]) == ("chat", 2)


def test_a_sender_that_gave_up_and_one_that_is_stuck_are_said(
    said: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        stream = EventStream(TINY, name="chat")
        stream.start()
        while stream.try_send(event(1)):
            pass
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await stream.asend(event(2))
        await stream.aclose(drain=False)

    asyncio.run(main())
    stream = EventStream(TINY, name="talk")
    stream.start()
    while stream.try_send(event(1)):
        pass
    with pytest.raises(BackpressureTimeoutError):
        stream.send(event(2))
    stream.close(drain=False)

    assert "chat" in lines(said, "stall")[0]
    assert "talk" in lines(said, "flow_control")[0]


def test_how_it_ended_is_said_with_what_became_of_every_event(
    said: pytest.LogCaptureFixture,
) -> None:
    stream = EventStream(replace(SINGLE, drain_timeout=0.01), name="ends")
    stream.start()
    for n in range(3):
        stream.send(event(n))
    next(stream.receive_chunks())
    with pytest.raises(DrainTimeoutError):
        stream.close()

    assert lines(said, "drain", "ends") == [
        "stream 'ends': 2 events accepted but not written within 0.01 s"
    ]
    until(lambda: len(lines(said, "life", "ends")) > 1)  # by whoever gave up
    assert lines(said, "life", "ends") == [
        "stream 'ends': closing: 2 events are under way",
        "stream 'ends': ended: 3 events accepted, 1 delivered, 0 dropped",
    ]


def test_a_flood_of_drops_is_a_few_lines_a_second_and_then_how_many(
    said: pytest.LogCaptureFixture, clock: Clock
) -> None:
    stream = EventStream(ORDERED, number=number, name="chat")
    stream.start()
    for _ in range(1000):
        stream.send({"type": "CUSTOM"})
    clock.now += 1
    stream.send({"type": "CUSTOM"})
    for _ in range(7):
        stream.send({"type": "CUSTOM"})
    stream.close(drain=False)

    flood = lines(said, "processing")
    assert len(flood) == 10
    assert [line.count("more like it") for line in flood] == [0] * 5 + [1] + [0] * 4
    assert "(and 995 more like it)" in flood[5]
    assert lines(said, "unsaid") == [
        "stream 'chat': 3 more of kind processing were not logged"
    ]


def test_kinds_do_not_silence_each_other(
    said: pytest.LogCaptureFixture, clock: Clock
) -> None:
    stream = EventStream(ORDERED, number=number)
    stream.start()
    for _ in range(100):
        stream.send({"type": "CUSTOM"})
    stream.send(event(1))
    stream.send(event(1))
    stream.close(drain=False)

    assert len(lines(said, "sequencing")) == 1


def test_metrics_are_said_each_interval_to_whoever_wants_them(
    said: pytest.LogCaptureFixture,
) -> None:
    said.set_level(logging.DEBUG, "rx_agui")
    with EventStream(replace(SINGLE, metrics_interval=0.01)) as stream:
        reading = Reading(stream)
        stream.send(event(1))
        until(lambda: len(lines(said, "metrics")) >= 2)

    assert reading.all() == [1]
    assert "events_processed=1" in lines(said, "metrics")[-1]
