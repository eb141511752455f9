"""A run that is exported, as a program of its own: setup_otlp sets what is global.

    python one_run.py SERVICE ENDPOINT PROTOCOL

100 events from two steps of an agent leave in batches of 40, 40 and 20.
"""

import os
import sys

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider

from rx_agui import (
    Gate,
    SSEWriter,
    batch,
    chunk,
    compress,
    flow_control,
    pipeline,
    sequence,
)
from rx_agui.telemetry import setup_otlp
from rx_agui.testing import simulated_deltas

STEPS = {"think": 30, "answer": 70}


def main(service: str, endpoint: str, protocol: str) -> None:
    """One run, and all that is known of it is sent."""
    shut_down = setup_otlp(service, endpoint or None, protocol)  # type: ignore[arg-type]
    tracer = trace.get_tracer("agent")
    with tracer.start_as_current_span("run"):
        gate = Gate()
        gate.pipe(
            pipeline(
                "chat",
                flow_control(),
                sequence(),
                batch(40, batch_timeout=9),
                compress(),
                chunk(),
            )
        ).subscribe(SSEWriter(lambda data: None))
        for step, events in STEPS.items():
            with tracer.start_as_current_span(step):
                for event in simulated_deltas(events):
                    gate.send(event)
        provider = metrics.get_meter_provider()
        if isinstance(provider, MeterProvider):
            provider.force_flush()  # what goes up and down, while it is up
        gate.close()
    shut_down()
    shut_down()  # which does nothing


if __name__ == "__main__":
    main(*sys.argv[1:])
    os._exit(0)  # what the SDK would send at exit comes too late
