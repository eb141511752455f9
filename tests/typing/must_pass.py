"""What must pass mypy and pyright, both strict: every line as users write it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, TypedDict, assert_type

import msgspec
import reactivex as rx
from ag_ui.core import BaseEvent, TextMessageContentEvent
from ag_ui.core import Event as AgUiEvent
from reactivex import Observable
from reactivex import operators as ops

from rx_agui import (
    Event,
    EventStream,
    Frame,
    Gate,
    Item,
    Operator,
    SSEWriter,
    StreamChunk,
    StreamConfig,
    batch,
    chunk,
    circuit_breaker,
    compress,
    conflate,
    decompress,
    degrade,
    flow_control,
    from_async_iterable,
    from_iterable,
    pipeline,
    reassemble,
    resequence,
    sequence,
    split,
    unbatch,
    validate,
)


@dataclass
class Note:
    text: str


class Struct(msgspec.Struct):
    text: str


class Step(TypedDict):
    type: str
    stepName: str


# -- what counts as an event ----------------------------------------------------------

step: Step = {"type": "STEP_STARTED", "stepName": "think"}
mapping: Mapping[str, int] = {"n": 1}
model: BaseEvent = TextMessageContentEvent(message_id="m1", delta="Hi")
events: list[Event] = [step, mapping, model, Note("a"), Struct("b"), b"{}"]
events += [{"type": "RAW", "event": None}, bytearray(b"{}"), memoryview(b"{}")]


async def agent() -> AsyncIterator[AgUiEvent]:
    yield TextMessageContentEvent(message_id="m1", delta="Hi")


# -- sources keep their type; operators give frames, chunks and mappings ----------------

assert_type(from_iterable(events), Observable[Event])
assert_type(from_iterable(lambda: [step]), Observable[Step])
assert_type(from_async_iterable(agent), Observable[AgUiEvent])

assert_type(from_iterable(events).pipe(flow_control()), Observable[Frame])
assert_type(rx.of(step).pipe(batch()), Observable[Frame])
assert_type(rx.of(model).pipe(batch(), chunk()), Observable[StreamChunk])
assert_type(Gate().pipe(batch(), unbatch()), Observable[dict[str, Any]])
assert_type(
    rx.of(step).pipe(validate(), split(), flow_control(), degrade(), sequence()),
    Observable[Frame],
)
assert_type(
    rx.of(step).pipe(batch(), conflate(), compress("zstd", 3), chunk(1024)),
    Observable[StreamChunk],
)
assert_type(
    rx.of(step).pipe(batch(), chunk(), reassemble(), decompress(), resequence()),
    Observable[Frame],
)
assert_type(rx.of(step).pipe(pipeline("chat")), Observable[StreamChunk])
assert_type(rx.of(step).pipe(pipeline("chat", batch())), Observable[Frame])

# -- they mix with RxPY's own --------------------------------------------------------------


def is_not_raw(event: AgUiEvent) -> bool:
    return event.type != "RAW"


def count(frame: Frame) -> int:
    return frame.events


assert_type(
    from_async_iterable(agent).pipe(
        ops.filter(is_not_raw),
        batch(),
        ops.map(count),
    ),
    Observable[int],
)
batch_only: Operator[Item, Frame] = batch()
anything: Operator = ops.take(3)  # of anything, to anything
rx.of(step).pipe(batch_only, anything)

# -- sinks ------------------------------------------------------------------------------------

writer = SSEWriter(print)
rx.of(step).pipe(flow_control(), circuit_breaker()).subscribe(writer)
rx.of(step).pipe(batch(), chunk()).subscribe(lambda piece: print(piece.event_id))
Gate().send(model)
EventStream(StreamConfig(compression_type="lz4")).try_send(step)

# -- modes are words ------------------------------------------------------------------------

flow_control(overflow="drop_oldest")
sequence(number=lambda event: event["value"], on_gap="error")
circuit_breaker(sliding_window="time", when_open="wait")
degrade(("batch", "conflate"))
conflate(raw="keep", patches="all")
