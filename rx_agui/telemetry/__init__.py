"""What operators did, in OpenTelemetry: metrics for every event, spans for some.

    stream chat                       one span for a stream, from subscribe to its end
      send chat                       one for a payload, from its first event to its last
        flow_control                  byte; links to the spans its events came from
        sequence
        batch                         one for each operator it went through
        compress
        chunk
        sink.write

It needs no wiring: a stream that is subscribed after the application has set a
tracer or meter provider is told to it. The core depends on the API alone; without an
SDK, or before one is set, nothing is made and nothing is counted twice. This package
never sets a global; `setup_otlp` does, for demos and small applications that ask.

Metrics are read, not sent: instruments are asynchronous and look at the integers
that operators keep anyway, one set of callbacks for each MeterProvider. Spans are
made afterwards, from timestamps, and never are current: a context that is attached
across `on_next`, a scheduler or an `await` shows up under somebody else's events.
"""

from rx_agui.telemetry._probe import Telemetry
from rx_agui.telemetry._setup import setup_otlp

__all__ = ["Telemetry", "setup_otlp"]
