"""OTLP for demos and small applications, and the entry for `opentelemetry-instrument`."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from typing import Any, Literal

from rx_agui.errors import MissingExtra, require_one_of

__all__ = ["RxAguiInstrumentor", "setup_otlp"]

Protocol = Literal["grpc", "http/protobuf"]


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
    of any size sets up its own. The standard variables win over what is given here:
    OTEL_SERVICE_NAME, OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_PROTOCOL,
    OTEL_TRACES_SAMPLER and the rest.

    Args:
        service_name: What Jaeger lists the traces under.
        endpoint: Where to; the default is the protocol's own port on this machine,
            4317 for gRPC and 4318 for HTTP.
        protocol: "grpc" or "http/protobuf".
        metrics: Whether to send metrics too. Jaeger takes traces alone.
        metric_interval: Seconds between two collections.

    Returns:
        What to call in the end: it sends what is left.

    Raises:
        MissingExtra: The SDK or the exporter is not installed.
        ConfigError: The protocol is neither.
    """
    protocol = os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)  # type: ignore[assignment]
    require_one_of(("grpc", "http/protobuf"), protocol=protocol)
    try:
        from opentelemetry import metrics as metrics_api
        from opentelemetry import trace as trace_api
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        make_span_exporter, make_metric_exporter = _exporters(protocol, endpoint)
    except ImportError:
        raise MissingExtra(
            "setup_otlp", "opentelemetry-sdk and opentelemetry-exporter-otlp", "otel"
        ) from None
    name = os.environ.get("OTEL_SERVICE_NAME", service_name)
    resource = Resource.create({"service.name": name})
    tracer_provider = TracerProvider(resource=resource)
    tracer_provider.add_span_processor(BatchSpanProcessor(make_span_exporter()))
    trace_api.set_tracer_provider(tracer_provider)
    shutdowns: list[Callable[[], object]] = [tracer_provider.shutdown]
    if metrics:
        reader = PeriodicExportingMetricReader(
            make_metric_exporter(),
            export_interval_millis=float(
                os.environ.get("OTEL_METRIC_EXPORT_INTERVAL", metric_interval * 1000)
            ),
        )
        meter_provider = MeterProvider(metric_readers=[reader], resource=resource)
        metrics_api.set_meter_provider(meter_provider)
        shutdowns.append(meter_provider.shutdown)

    def shut_down() -> None:
        for shutdown in shutdowns:
            shutdown()

    return shut_down


def _exporters(protocol: str, endpoint: str | None) -> tuple[Any, Any]:
    """What makes the exporters of this protocol. The environment's endpoint wins."""
    if "OTEL_EXPORTER_OTLP_ENDPOINT" in os.environ:
        endpoint = None
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import (
            OTLPMetricExporter,
        )
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (
            OTLPSpanExporter,
        )

        insecure = None if endpoint is None else not endpoint.startswith("https")
        return (
            lambda: OTLPSpanExporter(endpoint=endpoint, insecure=insecure),
            lambda: OTLPMetricExporter(endpoint=endpoint, insecure=insecure),
        )
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import (
        OTLPMetricExporter as HTTPMetricExporter,
    )
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (
        OTLPSpanExporter as HTTPSpanExporter,
    )

    def at(path: str) -> str | None:
        return None if endpoint is None else f"{endpoint.rstrip('/')}/v1/{path}"

    return (
        lambda: HTTPSpanExporter(endpoint=at("traces")),
        lambda: HTTPMetricExporter(endpoint=at("metrics")),
    )


class RxAguiInstrumentor:
    """What `opentelemetry-instrument` finds.

    We are instrumented from birth, so it only has to import us; it can be told not to
    by OTEL_PYTHON_DISABLED_INSTRUMENTATIONS.
    """

    def instrumentation_dependencies(self) -> Collection[str]:
        """Nothing but ourselves."""
        return ()

    def instrument(self, **_: Any) -> None:
        """Watch streams, with the defaults."""
        from rx_agui.telemetry._probe import install

        install()

    def uninstrument(self, **_: Any) -> None:
        """Watch streams no more, unless a pipeline says otherwise."""
        from rx_agui.telemetry._probe import uninstall

        uninstall()
