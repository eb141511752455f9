"""The probe that speaks OpenTelemetry."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from threading import Lock
from typing import Any, Final, Literal, TypeVar

from opentelemetry import context as contexts
from opentelemetry import metrics, trace
from opentelemetry.trace import SpanKind

from rx_agui import probe
from rx_agui.errors import ConfigError, require_at_least, require_one_of
from rx_agui.probe import OperatorCounters, PayloadTrace, Probe, StreamObservation
from rx_agui.telemetry._instruments import ERROR, PIPELINE
from rx_agui.telemetry._metrics import Label, Meters, Series
from rx_agui.telemetry._scope import SCHEMA_URL, SCOPE, VERSION
from rx_agui.telemetry._spans import (
    Origin,
    begin_send,
    begin_stream,
    end_send,
    end_stream,
    under,
)

__all__ = ["Telemetry"]

Spans = Literal["off", "stream", "batch", "operator"]
Metrics = Literal["off", "counters", "full"]

_SPANS: Final = ("off", "stream", "batch", "operator")
_METRICS: Final = ("off", "counters", "full")
_PROPAGATE: Final = ("none", "envelope")


class Telemetry(Probe):
    """A probe that reports streams to OpenTelemetry providers.

    One with the defaults below observes every stream that is subscribed after the
    application has set a provider. `pipeline` takes another for one pipeline.

    >>> from rx_agui import flow_control, from_iterable, pipeline
    >>> events = [{"type": "STEP_STARTED", "stepName": "think"}]
    >>> quiet = Telemetry(spans="stream", metrics="counters")
    >>> _ = from_iterable(events).pipe(
    ...     pipeline("chat", flow_control(), telemetry=quiet)
    ... ).subscribe(print)
    Frame(1 events, 42 bytes, identity)

    Args:
        tracer_provider, meter_provider: Where to. The default is the global one.
        spans: How much: "off"; "stream", one span a stream; "batch", one a payload as
            well; "operator", one for each operator under that.
            RX_AGUI_TELEMETRY_SPANS says so for all that do not.
        metrics: "off"; "counters", which cost nothing; "full", histograms as well, about
            20 µs a payload. RX_AGUI_TELEMETRY_METRICS says so for all that do not.
        traced_per_second: Payloads a second, in this process, that become spans: a
            long run stays readable, and cheap. None: all. Errors always are.
        max_links: Producers' spans that a payload links to; each costs 5 µs to encode.
        propagate: "envelope" sends the payload's W3C context along in the chunk profile,
            for a reader to go on from. "none": it is not sent.
        fill_duration: Whether to record rx_agui.batch.fill.duration as well.

    Raises:
        ConfigError: A setting makes no sense.
    """

    def __init__(
        self,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
        *,
        spans: Spans | None = None,
        metrics: Metrics | None = None,
        traced_per_second: float | None = 20.0,
        max_links: int | None = None,
        propagate: Literal["none", "envelope"] | None = None,
        fill_duration: bool = False,
    ) -> None:
        self.spans = spans or _environ("SPANS", "operator")
        self.metrics = metrics or _environ("METRICS", "full")
        self.propagate = propagate or _environ("PROPAGATE", "none")
        links = os.environ.get("RX_AGUI_TELEMETRY_MAX_LINKS", "32")
        if max_links is None and not links.isdigit():
            raise ConfigError("RX_AGUI_TELEMETRY_MAX_LINKS", links, must="a number")
        self.max_links = int(links) if max_links is None else max_links
        require_one_of(_SPANS, spans=self.spans)
        require_one_of(_METRICS, metrics=self.metrics)
        require_one_of(_PROPAGATE, propagate=self.propagate)
        require_at_least(0, max_links=self.max_links)
        if traced_per_second is not None:
            require_at_least(0, traced_per_second=traced_per_second)
        self._tracer_provider = tracer_provider
        self._meter_provider = meter_provider
        self._traced_per_second = traced_per_second
        self._fill_duration = fill_duration

    # -- whether -------------------------------------------------------------------

    def is_awake(self) -> bool:
        if self._traces() is None and self._measures() is None:
            return False  # first, since without a provider most calls end here
        if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
            return False
        return not any(contexts.get_value(key) for key in _SUPPRESS)

    def _traces(self) -> trace.TracerProvider | None:
        """Return the provider for spans; None if they are off."""
        if self.spans == "off":
            return None
        return _real(self._tracer_provider or trace.get_tracer_provider())

    def _measures(self) -> metrics.MeterProvider | None:
        """Return the provider for metrics; None if they are off."""
        if self.metrics == "off":
            return None
        return _real(self._meter_provider or metrics.get_meter_provider())

    # -- what ------------------------------------------------------------------------

    def started(self, watch: StreamObservation) -> None:
        note = watch.notes[self] = _Note()
        meter_provider, tracer_provider = self._measures(), self._traces()
        if meter_provider is not None:
            note.meters = Meters.of(meter_provider)
            note.meters.start(watch)
            if self.metrics == "full":
                pipeline = PIPELINE, watch.pipeline
                note.age = note.meters.series("event.delivery.duration", pipeline)
                note.write = note.meters.series("sink.write.duration", pipeline)
        if tracer_provider is not None:
            note.tracer = trace.get_tracer(SCOPE, VERSION, tracer_provider, SCHEMA_URL)
            span = begin_stream(note.tracer, watch, contexts.get_current())
            note.span, note.inside = span, under(span)
            # An unsampled stream costs no more than its one span.
            note.tells_sends = span.is_recording() and self.spans != "stream"
        if note.tells_sends:
            watch.origin = _ORIGIN.here
            watch.wants_steps = True
            watch.propagates = self.propagate == "envelope"

    def joined(self, watch: StreamObservation, tally: OperatorCounters) -> None:
        note = watch.notes[self]
        if note.meters is not None:
            note.meters.join(watch, tally)

    def sending(self, send: PayloadTrace) -> None:
        note: _Note = send.watch.notes[self]
        if send.trigger and note.meters is not None and note.age is not None:
            self._measure_batch(note.meters, send)
        wanted = note.tells_sends and send.watch.propagates
        if not wanted or not _BUDGET.spend(self._traced_per_second):
            return
        span = begin_send(
            note.tracer, note.inside, send, self.max_links, SpanKind.PRODUCER
        )
        context = span.get_span_context()
        flags = f"{int(context.trace_flags):02x}"
        send.context = f"00-{context.trace_id:032x}-{context.span_id:016x}-{flags}"
        note.under_way[send] = span

    def sent(self, send: PayloadTrace) -> None:
        watch = send.watch
        note: _Note = watch.notes[self]
        if send.error is None and note.meters is not None and note.age is not None:
            note.meters.keep(note.age, (send.ended - send.begun) / 1e9)
            # A coarse clock has several payloads written in the same moment.
            if send.ended == watch.first_sent and not note.told_first:
                note.told_first = True
                first = (send.ended - watch.begun) / 1e9
                self._record(watch, "session.time_to_first_event", first)
        if not note.tells_sends:
            return
        span = note.under_way.pop(send, None)
        if span is None:
            propagated = watch.propagates and send.error is None
            if propagated or not (
                send.error is not None or _BUDGET.spend(self._traced_per_second)
            ):
                return
            span = begin_send(
                note.tracer, note.inside, send, self.max_links, SpanKind.INTERNAL
            )
        ended = end_send(note.tracer, span, send, by_operator=self.spans == "operator")
        note.ended = max(note.ended, ended)

    def _measure_batch(self, meters: Meters, send: PayloadTrace) -> None:
        labels = (PIPELINE, send.watch.pipeline), (_TRIGGER, send.trigger)
        meters.record("batch.size", send.events, *labels)
        if self._fill_duration:
            filled = (time.time_ns() - send.begun) / 1e9
            meters.record("batch.fill.duration", filled, *labels)

    def waited(self, watch: StreamObservation, wait: int, outcome: str) -> None:
        self._record(
            watch,
            "flow_control.wait.duration",
            wait / 1e9,
            ("rx_agui.flow_control.wait.outcome", outcome),
        )

    def reordered(self, watch: StreamObservation, seconds: float) -> None:
        self._record(watch, "sequence.reorder.duration", seconds)

    def wrote(
        self, watch: StreamObservation, duration: int, error: BaseException | None
    ) -> None:
        note: _Note = watch.notes[self]
        if error is None and note.meters is not None and note.write is not None:
            note.meters.keep(note.write, duration / 1e9)
        else:
            self._record(watch, "sink.write.duration", duration / 1e9, *_error(error))

    def transitioned(
        self, watch: StreamObservation, name: str, before: str, after: str
    ) -> None:
        note: _Note = watch.notes[self]
        breaker = "rx_agui.circuit_breaker"
        change = {f"{breaker}.state.from": before, f"{breaker}.state.to": after}
        if note.meters is not None:
            note.meters.transitions.add(1, {f"{breaker}.name": name, **change})
        if note.span is not None:
            note.span.add_event(
                f"{breaker}.transition", {f"{breaker}.name": name, **change}
            )

    def ended(self, watch: StreamObservation) -> None:
        note: _Note = watch.notes[self]
        now = time.time_ns()
        self._record(
            watch,
            "session.duration",
            (now - watch.begun) / 1e9,
            ("rx_agui.session.close.reason", watch.reason),
            *_error(watch.error),
        )
        if note.meters is not None:
            note.meters.end(watch)
        if note.span is not None:
            end_stream(note.span, watch, max(now, note.ended))

    def _record(
        self, watch: StreamObservation, word: str, value: float, *labels: Label
    ) -> None:
        note: _Note = watch.notes[self]
        if note.meters is not None and self.metrics == "full":
            note.meters.record(word, value, (PIPELINE, watch.pipeline), *labels)


class _Note:
    """State of one observed stream."""

    __slots__ = (
        "age",
        "ended",
        "inside",
        "meters",
        "span",
        "tells_sends",
        "told_first",
        "tracer",
        "under_way",
        "write",
    )

    def __init__(self) -> None:
        self.meters: Meters | None = None
        self.age: Series | None = None  # None: no histograms, or no metrics at all
        self.write: Series | None = None
        self.tracer: Any = None
        self.span: Any = None
        self.inside: Any = None  # the context of its children
        self.ended = 0  # when the last payload's span ended
        self.tells_sends = False
        self.told_first = False
        self.under_way: dict[PayloadTrace, Any] = {}


class _Budget:
    """A rate limit on traced payloads: so many a second, a second's worth at once.

    Streams with the same rate share one limit; other rates do not use it up.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._mutex = Lock()
        self._left: dict[float, tuple[float, float]] = {}  # and since when

    def spend(self, per_second: float | None) -> bool:
        """Take one payload from the limit; return False if none is left."""
        if per_second is None:
            return True
        with self._mutex:
            now = self._clock()
            most = max(per_second, 1.0) if per_second else 0.0
            left, since = self._left.get(per_second, (most, now))
            left = min(most, left + (now - since) * per_second)
            self._left[per_second] = (left - 1 if left >= 1 else left), now
            return left >= 1


#: One for the process: what matters is what the exporter and the reader bear.
_BUDGET: Final = _Budget()

#: Under these, who instruments must not: an exporter that streams by us, say.
_SUPPRESS: Final = (
    "suppress_instrumentation",
    getattr(contexts, "_SUPPRESS_INSTRUMENTATION_KEY", "suppress_instrumentation"),
)

_ORIGIN: Final = Origin()

_TRIGGER: Final = "rx_agui.batch.trigger"

#: What there is before an application has set a provider. By name, since to ask for
#: the one of metrics may set it.
_UNREAL: Final = ("ProxyTracerProvider", "_ProxyMeterProvider")

P = TypeVar("P")


def _real(provider: P) -> P | None:
    if type(provider).__name__ in _UNREAL:
        return None
    is_idle = isinstance(provider, trace.NoOpTracerProvider | metrics.NoOpMeterProvider)
    return None if is_idle else provider


def _environ(name: str, default: str) -> Any:
    return os.environ.get(f"RX_AGUI_TELEMETRY_{name}", default)


def _error(error: BaseException | None) -> tuple[Label, ...]:
    return () if error is None else ((ERROR, type(error).__qualname__),)


def install() -> None:
    """Observe every stream, with the defaults."""
    if not any(isinstance(listener, Telemetry) for listener in probe.listeners):
        probe.listeners.append(Telemetry())


def uninstall() -> None:
    """Stop observing streams, except those with a probe of their own."""
    probe.listeners[:] = [
        listener for listener in probe.listeners if not isinstance(listener, Telemetry)
    ]


install()
