"""Whether events are gathered, and for how long: what a reader sees of it.

python examples/batching.py
"""

import asyncio
import time

from rx_agui import EventStream, StreamConfig
from rx_agui.testing import simulated_deltas

WORDS = list(simulated_deltas(150))


async def measure(name: str, config: StreamConfig) -> None:
    async with EventStream(config) as stream:

        async def type_like_a_model() -> None:
            for event in WORDS:
                await stream.asend(event)
                await asyncio.sleep(0.001)
            await stream.aclose()

        begun = time.monotonic()
        typing = asyncio.create_task(type_like_a_model())
        first: float | None = None
        sizes: list[int] = []
        async for chunk in stream.receive_chunks():
            first = first or time.monotonic() - begun
            sizes.append(chunk.events)
        await typing
    metrics = stream.metrics()
    assert metrics is not None
    print(
        f"{name:<22} {len(sizes):>4} chunks of {sum(sizes) / len(sizes):>5.1f} events;"
        f" the first after {(first or 0) * 1000:>5.1f} ms,"
        f" each after {metrics.average_latency * 1000:>5.1f} ms at average"
    )


async def main() -> None:
    print(f"{len(WORDS)} words, one a millisecond:")
    await measure("not gathered", StreamConfig(batch_enabled=False))
    await measure("for 10 ms", StreamConfig(batch_timeout=0.01))
    await measure("for 50 ms (default)", StreamConfig())
    await measure("for 5 s, flushed", StreamConfig(batch_timeout=5, flush_interval=0.1))
    await measure("as the rate wants it", StreamConfig(adaptive_batching=True))


asyncio.run(main())
