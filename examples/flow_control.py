"""A reader that is slow, and one that stops: what senders feel of it.

python examples/flow_control.py
"""

import threading
import time

from rx_agui import EventStream, StreamConfig
from rx_agui.errors import BackpressureTimeoutError, DrainTimeoutError
from rx_agui.testing import simulated_deltas

config = StreamConfig(
    event_buffer_size=20,
    max_concurrent_events=10,
    chunk_buffer_size=5,
    backpressure_timeout=0.1,
    drain_timeout=0.2,
    batch_enabled=False,
)
stream = EventStream(config)
stream.start()
enough = threading.Event()


def read_slowly() -> None:
    for _chunk in stream.receive_chunks():
        time.sleep(0.002)
        if enough.is_set():  # it leaves, and nobody comes instead
            return


reader = threading.Thread(target=read_slowly)
reader.start()
begun = time.monotonic()
sent = 0
try:
    for event in simulated_deltas(1000):
        stream.send(event)
        sent += 1
        if sent == 200:
            pace = (time.monotonic() - begun) / sent
            print(f"{sent} events at the reader's pace: {pace * 1000:.1f} ms each")
            enough.set()
except BackpressureTimeoutError as error:
    print(f"after {sent} events: {error}")
reader.join()

metrics = stream.metrics()
assert metrics is not None
flow = metrics.flow_control
print(f"senders waited {flow.backpressure_events} times, ", end="")
print(f"{flow.average_wait_time * 1000:.1f} ms at average; in flight: ", end="")
print(f"{flow.current_concurrent}; in front of that: ", end="")
print(metrics.buffers["event_buffer"].events)
try:
    stream.close()
except DrainTimeoutError as error:
    print(f"closing: {error}")
