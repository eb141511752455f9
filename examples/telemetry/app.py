"""A simulated agent, its stream, and both in Jaeger: which words went out in which batch.

docker compose -f examples/telemetry/compose.yaml up --detach --wait
python examples/telemetry/app.py

OTEL_EXPORTER_OTLP_ENDPOINT says where the collector is, if not on this machine.
"""

import asyncio
import os
import socket
import sys
from urllib.parse import urlsplit

from opentelemetry import trace

from rx_agui import Gate, SSEWriter, pipeline
from rx_agui.operators import batch, chunk, compress, flow_control, sequence
from rx_agui.telemetry import setup_otlp
from rx_agui.testing import simulated_run

START = "docker compose -f examples/telemetry/compose.yaml up --detach --wait"

tracer = trace.get_tracer("agent")
chat = pipeline(
    "chat",
    flow_control(max_concurrent_events=50),  # the agent is never further ahead
    sequence(),
    batch(batch_size=40, batch_timeout=0.05),
    compress(),
    chunk(),
)


async def agent(gate: Gate) -> None:
    """Yours, or anybody's. Its own spans are what the batches link to."""
    step = trace.get_current_span()
    for event in simulated_run(words=120):
        if event["type"] == "STEP_STARTED":
            step = tracer.start_span(f"agent {event['stepName']}")
        with trace.use_span(step):
            await gate.asend(event)  # waits while the reader is behind
        if event["type"] == "STEP_FINISHED":
            step.end()
        await asyncio.sleep(0.001)  # a model types


async def write(data: bytes) -> None:
    """In an application, the `send` of ASGI."""
    await asyncio.sleep(0.06)  # a reader who is not the fastest
    is_chunk = data.startswith(b"event: chunk")
    what = "a compressed chunk" if is_chunk else f"{data.count(b'data: ')} plain events"
    print(f"wrote {len(data):5,} bytes: {what}")


async def stream() -> int:
    """One request. Returns the id of its trace."""
    with tracer.start_as_current_span("POST /agent") as span:
        gate, writer = Gate(), SSEWriter(write)
        gate.pipe(chat).subscribe(writer)
        await agent(gate)
        await gate.aclose()
        await writer.done
        return span.get_span_context().trace_id


if __name__ == "__main__":
    collector = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4317")
    address = urlsplit(collector).hostname, urlsplit(collector).port or 4317
    try:
        socket.create_connection(address, timeout=2).close()
    except OSError:
        sys.exit(f"No collector listens at {collector}. To start Jaeger: {START}")
    flush = setup_otlp("rx_agui demo", metrics=False)  # Jaeger takes traces alone
    trace_id = asyncio.run(stream())
    flush()
    print(f"Look at it: http://localhost:16686/trace/{trace_id:032x}")
