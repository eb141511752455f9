"""OTLP for demos and small applications, and the entry for `opentelemetry-instrument`."""

from __future__ import annotations

import os
import socket
import warnings
from collections.abc import Callable, Collection
from functools import partial
from importlib import import_module
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from rx_agui.errors import MissingExtraError, require_one_of, require_positive

__all__ = ["RxAguiInstrumentor", "setup_otlp"]

Protocol = Literal["grpc", "http/protobuf"]
Exporter = Callable[..., Any]
#: The signal, its exporter, and what shuts its provider down.
Shutdown = tuple[str, Any, Callable[[], object]]

_PROTOCOLS: Final = ("grpc", "http/protobuf")


def setup_otlp(
    service_name: str = "rx_agui",
    endpoint: str | None = None,
    protocol: Protocol = "grpc",
    *,
    metrics: bool = True,
    metric_interval: float = 10.0,
) -> Callable[[], None]:
    """Send traces and metrics to a collector or to Jaeger, by OTLP.

    It sets the global providers, which a library must not do by itself: an application
    of any size sets up its own. A provider that is set already stays. The standard
    variables win over what is given here: OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES,
    OTEL_EXPORTER_OTLP_ENDPOINT, _PROTOCOL and their kin for one signal alone,
    OTEL_TRACES_EXPORTER=none, OTEL_TRACES_SAMPLER and the rest.

    Args:
        service_name: What Jaeger lists the traces under.
        endpoint: Where to; the default is the protocol's own port on this machine,
            http://localhost:4317 for gRPC and http://localhost:4318 for HTTP.
        protocol: "grpc" or "http/protobuf".
        metrics: Whether to send metrics too. Jaeger takes traces alone.
        metric_interval: Seconds between two collections.

    Returns:
        A function to call at the end: it sends what is left, and gives a collector
        elsewhere that is gone OTEL_EXPORTER_OTLP_TIMEOUT, 10 seconds, to come back. For
        one on this machine that does not listen, it warns at once. A second call does
        nothing.

    Raises:
        MissingExtraError: The SDK or the exporter is not installed.
        ConfigError: The protocol is neither, or the interval is not positive.
    """
    require_positive(metric_interval=metric_interval)
    signals = ("traces", "metrics") if metrics else ("traces",)
    ours = [
        signal
        for signal in signals
        if os.environ.get(f"OTEL_{signal.upper()}_EXPORTER") != "none"
    ]
    protocols = {signal: _otlp(signal, "PROTOCOL") or protocol for signal in ours}
    for spoken in (protocol, *protocols.values()):
        require_one_of(_PROTOCOLS, protocol=spoken)
    try:
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource

        exporters = {
            signal: _exporter(signal, protocols[signal], endpoint) for signal in ours
        }
    except ImportError as error:
        raise MissingExtraError(
            "setup_otlp", "opentelemetry-sdk and opentelemetry-exporter-otlp", "otel"
        ) from error
    resource = Resource.create()
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: service_name}))
    shutdowns: list[Shutdown] = []
    if "traces" in exporters:
        shutdowns += _set_tracing(exporters["traces"], resource)
    if "metrics" in exporters:
        shutdowns += _set_metering(exporters["metrics"], resource, metric_interval)

    def shut_down() -> None:
        while shutdowns:
            signal, exporter, shutdown = shutdowns.pop(0)
            if missed := _silent_here(exporter):
                text = f"no OTLP collector listens at {missed}: {signal} are not sent"
                warnings.warn(text, stacklevel=2)
                exporter.shutdown()  # or each export is retried until its time-out
            shutdown()

    return shut_down


def _set_tracing(make_exporter: Exporter, resource: Any) -> list[Shutdown]:
    """Set the global tracer provider, unless there is one; return its shutdown."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return []
    provider = TracerProvider(resource=resource)
    exporter = make_exporter()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return [("traces", exporter, provider.shutdown)]


def _set_metering(
    make_exporter: Exporter, resource: Any, interval: float
) -> list[Shutdown]:
    """Set the global meter provider, unless there is one; return its shutdown."""
    from opentelemetry import metrics
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    # The API has no public name for "none was set".
    if type(metrics.get_meter_provider()).__name__ != "_ProxyMeterProvider":
        return []
    is_set = "OTEL_METRIC_EXPORT_INTERVAL" in os.environ
    exporter = make_exporter()
    reader = PeriodicExportingMetricReader(
        exporter, export_interval_millis=None if is_set else interval * 1000
    )
    provider = MeterProvider(metric_readers=[reader], resource=resource)
    metrics.set_meter_provider(provider)
    return [("metrics", exporter, provider.shutdown)]


def _silent_here(exporter: Any) -> str:
    """Return the exporter's endpoint if it is on this machine and refuses connections."""
    endpoint = str(getattr(exporter, "_endpoint", ""))
    url = urlsplit(endpoint if "://" in endpoint else f"//{endpoint}")
    if url.hostname not in ("localhost", "127.0.0.1", "::1") or url.port is None:
        return ""
    try:
        socket.create_connection((url.hostname, url.port), timeout=1.0).close()
    except OSError:
        return endpoint
    return ""


def _exporter(signal: str, protocol: str, endpoint: str | None) -> Exporter:
    """Return a factory of the signal's exporter. The environment's endpoint wins."""
    if _otlp(signal, "ENDPOINT"):
        endpoint = None
    name = "OTLPSpanExporter" if signal == "traces" else "OTLPMetricExporter"
    kind = "trace_exporter" if signal == "traces" else "metric_exporter"
    transport = "grpc" if protocol == "grpc" else "http"
    package = f"opentelemetry.exporter.otlp.proto.{transport}"
    make: Exporter = getattr(import_module(f"{package}.{kind}"), name)
    if endpoint is None:
        return make
    if transport == "http":
        return partial(make, endpoint=f"{endpoint.rstrip('/')}/v1/{signal}")
    if _otlp(signal, "INSECURE"):
        return partial(make, endpoint=endpoint)
    return partial(
        make, endpoint=endpoint, insecure=not endpoint.startswith("https://")
    )


def _otlp(signal: str, what: str) -> str | None:
    """Read OTEL_EXPORTER_OTLP_<SIGNAL>_<WHAT>, else OTEL_EXPORTER_OTLP_<WHAT>."""
    for_all = os.environ.get(f"OTEL_EXPORTER_OTLP_{what}")
    return os.environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_{what}") or for_all


class RxAguiInstrumentor:
    """Entry point of `opentelemetry-instrument`.

    rx_agui is instrumented without it, so it only has to import the package;
    OTEL_PYTHON_DISABLED_INSTRUMENTATIONS keeps it from doing so.
    """

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return the packages it instruments: none but rx_agui."""
        return ()

    def instrument(self, **_: Any) -> None:
        """Observe every stream, with the defaults."""
        from rx_agui.telemetry._probe import install

        install()

    def uninstrument(self, **_: Any) -> None:
        """Stop observing streams, except those with a probe of their own."""
        from rx_agui.telemetry._probe import uninstall

        uninstall()
