"""A stream with all that can be turned, and two producers that share one run.

python examples/everything_tuned.py
RX_AGUI_BATCH_SIZE=10 RX_AGUI_COMPRESSION_TYPE=lz4 python examples/everything_tuned.py
"""

import logging
import sys
import threading

from rx_agui import EventStream, StreamConfig, StreamError
from rx_agui.testing import simulated_deltas

logging.basicConfig(format="%(name)s: %(message)s", stream=sys.stdout)
logging.getLogger("rx_agui").setLevel(logging.INFO)

config = StreamConfig.load(  # what is written here, unless the environment says more
    event_buffer_size=1000,
    chunk_buffer_size=200,
    flush_interval=0.05,
    max_batch_size=1000,
    max_concurrent_events=200,
    ordering_required=True,
    out_of_order_buffer=2000,
    worker_count=8,
    metrics_interval=5.0,
)
words = list(enumerate(simulated_deltas(4000), start=1))
errors: list[StreamError] = []


def produce(stream: EventStream, which: int) -> None:
    for number, event in words[which::2]:
        if number != 1234:  # one gets lost on its way to us
            stream.send({**event, "metadata": {"n": number}})


stream = EventStream(config, number=lambda event: event["metadata"]["n"], name="chat")
stream.errors.subscribe(errors.append)
read = 0
with stream:
    producers = [threading.Thread(target=produce, args=(stream, i)) for i in (0, 1)]
    for producer in producers:
        producer.start()
    threading.Thread(
        target=lambda: [p.join() for p in producers] and stream.close()
    ).start()
    for chunk in stream.receive_chunks():
        read += chunk.events if chunk.event_id else 0

metrics = stream.metrics()
assert metrics is not None
print(f"{read:,} events were read; told of: {[str(error) for error in errors]}")
print(
    f"ratio {metrics.compression_ratio:.3f}, saved {metrics.bytes_saved:,} bytes; ",
    end="",
)
print(f"{metrics.sequencing.out_of_order_events:,} came out of order; ", end="")
print(f"{metrics.average_batch_size:.0f} events in a batch")
