"""OpenTelemetry for streams: metrics for every event, spans for some payloads.

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
across `on_next`, a scheduler or an `await` shows up under unrelated events.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from rx_agui.deprecation import lazy
from rx_agui.probe import deferred

if TYPE_CHECKING:
    from rx_agui.telemetry._probe import Telemetry
    from rx_agui.telemetry._setup import setup_otlp

__all__ = ["Telemetry", "setup_otlp"]

__getattr__ = lazy(__name__, {"_probe": ["Telemetry"], "_setup": ["setup_otlp"]})

#: A provider is set by a function of one of these, or by the environment.
_API = {"opentelemetry.trace", "opentelemetry.metrics"}
_ENVIRONMENT = {"OTEL_PYTHON_TRACER_PROVIDER", "OTEL_PYTHON_METER_PROVIDER"}


def _install_if_used() -> bool:
    """Watch streams once OpenTelemetry's API is imported; importing it takes 0.1 s."""
    modules, environ = sys.modules, os.environ  # isdisjoint would walk through them
    is_used = any(name in modules for name in _API)
    if not is_used and not any(name in environ for name in _ENVIRONMENT):
        return False
    from rx_agui.telemetry import _probe  # installs itself, the first time

    return _probe is not None


deferred.append(_install_if_used)
