"""The same run of an agent, squeezed by each algorithm: what it saves, what it costs.

python examples/compression_comparison.py
"""

import time

from rx_agui import EventStream, StreamConfig
from rx_agui.testing import simulated_run

EVENTS = list(simulated_run(words=2000))


def measure(name: str, config: StreamConfig) -> None:
    stream = EventStream(config)
    stream.start()
    sizes: list[int] = []
    stream.receive_chunks().subscribe(lambda chunk: sizes.append(len(chunk.data)))
    begun = time.process_time()
    for event in EVENTS:
        stream.send(event)
    stream.close()
    seconds = time.process_time() - begun
    metrics = stream.metrics()
    assert metrics is not None
    print(
        f"{name:<12} {sum(sizes):>9,} bytes  saved {metrics.bytes_saved:>9,}"
        f"  ratio {metrics.compression_ratio or 1:.3f}"
        f"  {seconds / len(EVENTS) * 1e6:>5.1f} µs an event"
    )


print(f"{len(EVENTS):,} events, in batches of 50:")
measure("none", StreamConfig(compression_enabled=False))
for algorithm, level in (("lz4", 0), ("gzip", 1), ("gzip", 6), ("deflate", 9)):
    config = StreamConfig(
        compression_type=algorithm,
        compression_level=level,
        worker_count=1,  # small payloads: the way to another thread costs more
    )
    measure(f"{algorithm} {level}", config)
