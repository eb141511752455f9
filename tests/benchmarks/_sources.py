"""The same events from each kind of source, through the same five operators.

    list, Gate.send, send_many, EventStream.send, asend, RxPY's Subject ──▶ bytes

Each function takes events, sends them, and returns when the last byte is written. One
event's cost is the difference between many and few, divided by how many more there are.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from typing import Any

from reactivex.subject import Subject

from rx_agui import EventStream, StreamConfig
from rx_agui.flow import Gate, from_async_iterable, from_iterable
from rx_agui.operators import batch, chunk, compress, flow_control, sequence
from rx_agui.writer import SSEWriter

__all__ = ["SOURCES"]

Events = list[dict[str, Any]]


def _pipe(source: Any, size: int = 100) -> SSEWriter:
    writer = SSEWriter(_ignore)
    source.pipe(
        flow_control(1000), sequence(), batch(size), compress("gzip", 1), chunk()
    ).subscribe(writer)
    return writer


def from_list(events: Events) -> None:
    """A list, which is pulled."""
    _pipe(from_iterable(events)).done.result(600)


def gate_send(events: Events) -> None:
    """`Gate.send` from a thread."""
    gate = Gate()
    writer = _pipe(gate)
    send = gate.send
    for event in events:
        send(event)
    gate.close()
    writer.done.result(600)


def gate_send_many(events: Events) -> None:
    """`Gate.send_many` of 50 events."""
    gate = Gate()
    writer = _pipe(gate)
    for n in range(0, len(events), 50):
        gate.send_many(events[n : n + 50])
    gate.close()
    writer.done.result(600)


def subject(events: Events) -> None:
    """RxPY's Subject, whose thread waits."""
    source: Subject[Any] = Subject()
    writer = _pipe(source)
    for event in events:
        source.on_next(event)
    source.on_completed()
    writer.done.result(600)


def stream_send(events: Events) -> None:
    """`EventStream.send` from a thread, and a thread that reads."""
    with EventStream(_config()) as stream:
        reader = threading.Thread(target=_read, args=(stream,))
        reader.start()
        send = stream.send
        for event in events:
            send(event)
        stream.complete()
        reader.join()


def stream_asend(events: Events) -> None:
    """`EventStream.asend` from a task, and a task that reads."""

    async def main() -> None:
        async with EventStream(_config()) as stream:
            task = asyncio.create_task(_aread(stream))
            for event in events:
                await stream.asend(event)
            stream.complete()
            await task

    asyncio.run(main())


def async_generator(events: Events) -> None:
    """An async generator that never waits."""

    async def main() -> None:
        async def agent() -> Any:
            for event in events:
                yield event

        await _pipe(from_async_iterable(agent)).done

    asyncio.run(main())


def _config() -> StreamConfig:
    return StreamConfig(batch_size=100, compression_level=1)


def _read(stream: EventStream) -> None:
    for _ in stream.receive_chunks():
        pass


async def _aread(stream: EventStream) -> None:
    async for _ in stream.receive_chunks():
        pass


def _ignore(_: bytes) -> None:
    """Take bytes, as a fast reader does."""


SOURCES: Mapping[str, Callable[[Events], None]] = {
    "a list": from_list,
    "Gate.send": gate_send,
    "Gate.send_many of 50": gate_send_many,
    "RxPY's Subject": subject,
    "EventStream.send": stream_send,
    "EventStream.asend": stream_asend,
    "an async generator": async_generator,
}
