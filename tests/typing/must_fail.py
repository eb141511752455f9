"""What must be an error in mypy and in pyright: each line with `# error` behind it."""

from __future__ import annotations

import reactivex as rx

from rx_agui import (
    EventStream,
    Gate,
    StreamConfig,
    batch,
    chunk,
    circuit_breaker,
    compress,
    conflate,
    degrade,
    flow_control,
    from_iterable,
    pipeline,
    sequence,
    unbatch,
)
from rx_agui.asgi import SSEResponse
from rx_agui.client import connect

events = [{"type": "STEP_STARTED", "stepName": "think"}]
source = from_iterable(events)

source.pipe(batch(), chunk()).subscribe(lambda piece: piece.no_such_attribute)  # error
source.pipe(batch()).subscribe(lambda frame: frame.chunk_index)  # error
source.pipe(pipeline("chat")).subscribe(lambda piece: piece.first)  # error
source.pipe(batch(), unbatch()).subscribe(lambda event: event.type)  # error
source.pipe(circuit_breaker()).subscribe(lambda item: item.numbered)  # error

rx.of("text").pipe(batch())  # error
rx.of(1).pipe(flow_control())  # error
rx.of(object()).pipe(chunk())  # error
Gate().send("text")  # error
EventStream(StreamConfig()).send(None)  # error

flow_control(overflow="drop_oldset")  # error
sequence(on_gap="ignore")  # error
compress("gzpi")  # error
conflate(raw="stripped")  # error
conflate(patches="most")  # error
circuit_breaker(sliding_window="calls")  # error
circuit_breaker(when_open="block")  # error
degrade(("compress", "shedd"))  # error
StreamConfig(compression_type="snappy")  # error
SSEResponse(source, profile="chunks")  # error
SSEResponse(source, conflate="sometimes")  # error
connect("http://127.0.0.1/", on_trimmed="ignore")  # error

# Not called, it is no operator.
source.pipe(flow_control)  # error
batch(batch_sise=3)  # error
