"""Events go in, chunks come out: what EventStream is, in a screen.

python examples/basic_streaming.py
"""

import threading

from ag_ui.core import (
    TextMessageContentEvent,
    TextMessageEndEvent,
    TextMessageStartEvent,
)

from rx_agui import EventStream, format_sse_chunk

ANSWER = "What the reader cannot take, the writer should not make."


def read(stream: EventStream) -> None:
    """In an application, the thread that answers a request."""
    for chunk in stream.receive_chunks():
        print(format_sse_chunk(chunk).decode(), end="")


with EventStream() as stream:  # leaving the block waits until all was read
    reader = threading.Thread(target=read, args=(stream,))
    reader.start()
    stream.send(TextMessageStartEvent(message_id="m1"))
    for word in ANSWER.split():
        stream.send(TextMessageContentEvent(message_id="m1", delta=f"{word} "))
    stream.send(TextMessageEndEvent(message_id="m1"))
reader.join()

metrics = stream.metrics()
assert metrics is not None
print(f"{metrics.events_processed} events in {metrics.total_batches} batch, ", end="")
print(f"{metrics.average_latency * 1000:.1f} ms from `send` until it was read")
