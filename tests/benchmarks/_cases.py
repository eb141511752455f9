"""What is counted in instructions: sources of the pipeline, runs of a response, encoders.

Of the pipeline: five operators and a writer, batch 100, gzip 1, per event. Of a response:
called as a server calls it, with a `send` that takes everything, so that neither uvicorn
nor a socket is in the figure.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson
from reactivex.subject import Subject

from rx_agui.agui.encoding import encode
from rx_agui.asgi import SSEResponse
from rx_agui.config import StreamConfig
from rx_agui.flow import Gate, from_async_iterable
from rx_agui.operators import batch, chunk, compress, flow_control, sequence
from rx_agui.replay import MemoryLog
from rx_agui.stream import EventStream
from rx_agui.writer import SSEWriter
from tests.benchmarks._pipelines import bare, ours, rxpys
from tests.benchmarks._workloads import Event, deltas, objects

__all__ = ["CASES", "Case"]

Run = Callable[[int], object]
Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    """Something to count.

    Attributes:
        prepare: Makes what is needed; returns the function that does `n` units.
        units: How many to count at least; a case is counted at this and at three times it.
    """

    prepare: Callable[[], Run]
    units: int = 1_000


def _ignore(_: object) -> None: ...


#: Seconds for a batch: callgrind takes fifty times as long, and on a busy machine the
#: usual 50 ms would be over before a batch is full, which made a figure dearer by a fifth.
_LONG = 60.0


def _operators() -> list[Any]:
    return [
        flow_control(100),
        sequence(),
        batch(100, _LONG),
        compress("gzip", 1),
        chunk(),
    ]


def _subscribe(source: Any) -> SSEWriter:
    writer = SSEWriter(_ignore)
    source.pipe(*_operators()).subscribe(writer)
    return writer


async def _subscribe_here(source: Any) -> None:
    await _subscribe(source).done


# -- sources ---------------------------------------------------------------------------


def _prepared(make: Callable[[int], list[Any]], send: Callable[..., Any]) -> Run:
    made = {n: make(n) for n in (1_000, 3_000)}
    return lambda n: send(made[n])


def _bytes(n: int) -> list[bytes]:
    return [orjson.dumps(event) for event in deltas(n)]


def _gate() -> Run:
    events = deltas(3_000)

    def run(n: int) -> None:
        gate = Gate()
        writer = _subscribe(gate)
        send = gate.send
        for event in events[:n]:
            send(event)
        gate.close()
        writer.done.result(60)

    return run


def _gate_many() -> Run:
    events = deltas(3_000)

    def run(n: int) -> None:
        gate: Any = Gate()
        writer = _subscribe(gate)
        for at in range(0, n, 50):
            gate.send_many(events[at : at + 50])
        gate.close()
        writer.done.result(60)

    return run


def _subject() -> Run:
    events = deltas(3_000)

    def run(n: int) -> None:
        subject: Subject[Event] = Subject()
        writer = _subscribe(subject)
        for event in events[:n]:
            subject.on_next(event)
        subject.on_completed()
        writer.done.result(60)

    return run


def _in_loop(make: Callable[[list[Event]], Awaitable[object]]) -> Run:
    events = deltas(3_000)
    loop = asyncio.new_event_loop()

    async def run(n: int) -> None:
        await make(events[:n])

    return lambda n: loop.run_until_complete(run(n))


async def _generator(events: list[Event]) -> None:
    async def agent() -> AsyncIterator[Event]:
        for event in events:
            yield event

    await _subscribe_here(from_async_iterable(agent))


async def _waiting_loop(events: list[Event]) -> None:
    """The same events read by a bare loop: what the queue and its feeder cost."""
    async with _fed(events) as agent:
        async for _ in agent():
            pass


async def _waiting_generator(events: list[Event]) -> None:
    async with _fed(events) as agent:
        await _subscribe_here(from_async_iterable(agent))


@asynccontextmanager
async def _fed(
    events: list[Event],
) -> AsyncIterator[Callable[[], AsyncIterator[Event]]]:
    """An agent that waits for each event, as a task puts it into a queue."""
    queue: asyncio.Queue[Event | None] = asyncio.Queue()

    async def agent() -> AsyncIterator[Event]:
        while (event := await queue.get()) is not None:
            yield event

    async def feed() -> None:
        for event in (*events, None):
            queue.put_nowait(event)
            await asyncio.sleep(0)  # so that the agent waits for each

    feeding = asyncio.ensure_future(feed())
    yield agent
    await feeding


def _stream() -> EventStream:
    config = StreamConfig(batch_size=100, compression_level=1)
    return EventStream(config)


def _stream_send() -> Run:
    events = deltas(3_000)

    def run(n: int) -> None:
        stream = _stream()
        writer = SSEWriter(_ignore)
        stream.start()
        stream.receive_chunks().subscribe(writer)
        for event in events[:n]:
            stream.send(event)
        stream.close()
        writer.done.result(60)

    return run


async def _stream_asend(events: list[Event]) -> None:
    stream = _stream()
    writer = SSEWriter(_ignore)
    stream.start()
    stream.receive_chunks().subscribe(writer)
    for event in events:
        await stream.asend(event)
    await stream.aclose()
    await writer.done


# -- responses -------------------------------------------------------------------------

Application = Callable[[Any, Any, Any], Awaitable[None]]

#: The request, as uvicorn hands it on.
_SCOPE: Message = {
    "type": "http",
    "method": "POST",
    "path": "/run",
    "query_string": b"",
    "http_version": "1.1",
    "asgi": {"version": "3.0", "spec_version": "2.3"},
}


def answering(make: Callable[[int], Application], coding: str = "identity") -> Run:
    """Return a function that makes and answers `n` responses, one after the other.

    Args:
        make: Makes the response of the nth request.
        coding: What the client accepts.
    """
    loop = asyncio.new_event_loop()
    scope = {**_SCOPE, "headers": [(b"accept-encoding", coding.encode())]}
    asked = [0]

    async def send(_: Message) -> None: ...

    async def receive() -> Message:
        await loop.create_future()  # the client says nothing
        raise AssertionError

    async def run(n: int) -> None:
        for _ in range(n):
            asked[0] += 1
            await make(asked[0])(dict(scope), receive, send)

    return lambda n: loop.run_until_complete(run(n))


def _agent(events: list[Any]) -> Callable[[], AsyncIterator[Any]]:
    async def agent() -> AsyncIterator[Any]:
        for event in events:
            yield event

    return agent


def _streaming(events: list[Any], encoder: Callable[[Any], Any]) -> Application:
    from starlette.responses import StreamingResponse

    async def body() -> AsyncIterator[Any]:
        async for event in _agent(events)():
            yield encoder(event)

    return StreamingResponse(body(), media_type="text/event-stream")


def _dumped(event: Event) -> bytes:
    return b"data: %b\n\n" % orjson.dumps(event)


def _two() -> list[Any]:
    from ag_ui.core import RunFinishedEvent, RunStartedEvent

    return [
        RunStartedEvent(thread_id="t", run_id="r"),
        RunFinishedEvent(thread_id="t", run_id="r"),
    ]


def _bare_run() -> Run:
    from ag_ui.encoder import EventEncoder

    events, encoder = _two(), EventEncoder()
    return answering(lambda _: _streaming(events, encoder.encode))


def _our_run() -> Run:
    agent = _agent(_two())
    return answering(lambda _: SSEResponse(agent))


def _our_logged_run() -> Run:
    agent, log = _agent(_two()), MemoryLog()
    return answering(lambda n: SSEResponse(agent, log=log, stream=f"run-{n}"), "gzip")


def _flat_out(make: Callable[[list[Event]], Application]) -> Run:
    """Return a function that answers one request with `n` dicts."""
    made = {n: deltas(n) for n in (1_000, 3_000)}
    current: list[list[Event]] = [[]]
    answer = answering(lambda _: make(current[0]))

    def run(n: int) -> None:
        current[0] = made[n]
        answer(1)

    return run


def _only_the_agent() -> Run:
    made = {n: deltas(n) for n in (1_000, 3_000)}
    loop = asyncio.new_event_loop()

    async def run(n: int) -> None:
        async for _ in _agent(made[n])():
            pass

    return lambda n: loop.run_until_complete(run(n))


# -- encoders --------------------------------------------------------------------------


def _encoding(by: Callable[[], Callable[[Any], object]]) -> Run:
    events, encoder = objects(3_000), by()

    def run(n: int) -> None:
        for event in events[:n]:
            encoder(event)

    return run


def _event_encoder() -> Callable[[Any], object]:
    from ag_ui.encoder import EventEncoder

    return EventEncoder().encode


CASES: dict[str, Case] = {
    "bare loop": Case(
        lambda: _prepared(deltas, lambda events: bare(events, _ignore, level=1))
    ),
    "RxPY's own": Case(
        lambda: _prepared(deltas, lambda events: rxpys(events, _ignore))
    ),
    "list of dicts": Case(
        lambda: _prepared(deltas, lambda events: ours(events, _ignore, level=1))
    ),
    "list of JSON bytes": Case(
        lambda: _prepared(_bytes, lambda events: ours(events, _ignore, level=1))
    ),
    "list of objects": Case(
        lambda: _prepared(objects, lambda events: ours(events, _ignore, level=1))
    ),
    "Gate.send": Case(_gate),
    "Gate.send_many": Case(_gate_many),
    "async generator": Case(lambda: _in_loop(_generator)),
    "async generator that waits": Case(lambda: _in_loop(_waiting_generator)),
    "the queue it waits on": Case(lambda: _in_loop(_waiting_loop)),
    "EventStream.send": Case(_stream_send, 500),
    "EventStream.asend": Case(lambda: _in_loop(_stream_asend), 500),
    "RxPY Subject": Case(_subject),
    "run of two, bare": Case(_bare_run, 10),
    "run of two": Case(_our_run, 10),
    "run of two, log and gzip": Case(_our_logged_run, 10),
    "the agent": Case(_only_the_agent),
    "dicts flat out, bare": Case(
        lambda: _flat_out(lambda events: _streaming(events, _dumped))
    ),
    "dicts flat out": Case(
        lambda: _flat_out(lambda events: SSEResponse(_agent(events)))
    ),
    "encode(object)": Case(lambda: _encoding(lambda: encode)),
    "EventEncoder": Case(lambda: _encoding(_event_encoder)),
    "orjson of fields": Case(
        lambda: _encoding(lambda: lambda model: orjson.dumps(model.__dict__))
    ),
}
