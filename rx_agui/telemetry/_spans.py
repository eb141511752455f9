"""Spans, made afterwards from timestamps; none is ever current.

stream chat  ├────────────────────────────────────────────────────▶
  send chat       ├──────────────────────────┤       links: agent's spans
    flow_control  ├──┤                               waited for credit
    sequence         ┆
    batch            ├──────────┤                    filled
    compress                    ├───┤
    chunk                           ├┤
    sink.write                        ├──────┤       the reader's pace
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode

from rx_agui.probe import PayloadTrace, Step, StreamObservation
from rx_agui.telemetry._instruments import ERROR, OPERATOR, PIPELINE

__all__ = ["Origin", "begin_send", "begin_stream", "end_send", "end_stream", "under"]

#: OpenTelemetry's own names for what operators call these facts.
_FACTS = {
    "size": "rx_agui.batch.size",
    "algorithm": "rx_agui.compress.algorithm",
    "input_size": "rx_agui.compress.input.size",
    "output_size": "rx_agui.compress.output.size",
    "outcome": "rx_agui.compress.outcome",
    "count": "rx_agui.chunk.count",
    "merged": "rx_agui.conflate.merged",
    "state": "rx_agui.circuit_breaker.state",
}


#: contexts.get_current, without the two calls in between: it is asked for every event.
_variable = getattr(
    getattr(contexts, "_RUNTIME_CONTEXT", None), "_current_context", None
)
_current: Callable[[], contexts.Context] = (
    _variable.get if isinstance(_variable, ContextVar) else contexts.get_current
)

#: The resolution of Jaeger, in ns.
_MICROSECOND = 1000


class Origin:
    """The span an event comes from, looked up only when the context has changed."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        # One value, as other threads look in between.
        self._last: tuple[contexts.Context | None, SpanContext | None] = None, None

    def here(self) -> SpanContext | None:
        """Return the current span of this thread or task; None if it has none."""
        now = _current()
        seen, origin = self._last
        if now is not seen:
            span = trace.get_current_span(now).get_span_context()
            origin = span if span.is_valid else None
            self._last = now, origin
        return origin


def begin_stream(
    tracer: trace.Tracer, watch: StreamObservation, parent: contexts.Context | None
) -> Span:
    """Start the span of a stream, under the span in which it was subscribed."""
    return tracer.start_span(
        f"stream {watch.pipeline}",
        context=parent,
        start_time=watch.begun,
        attributes={PIPELINE: watch.pipeline},
    )


def end_stream(span: Span, watch: StreamObservation, now: int) -> None:
    """End the span of a stream."""
    span.set_attribute("rx_agui.session.close.reason", watch.reason)
    _fail(span, watch.error)
    span.end(end_time=now)


def under(span: Span) -> contexts.Context:
    """Return a context for children of the span, with nothing else in it."""
    return trace.set_span_in_context(span, contexts.Context())


def begin_send(
    tracer: trace.Tracer,
    parent: contexts.Context,
    send: PayloadTrace,
    max_links: int,
    kind: SpanKind,
) -> Span:
    """Start the span of a payload, linked to the spans its events came from."""
    producers: dict[tuple[int, int], tuple[SpanContext, int]] = {}
    for origin, events in send.origins:
        key = origin.trace_id, origin.span_id  # a SpanContext cannot be hashed
        known = producers.get(key)
        producers[key] = origin, events + (known[1] if known else 0)
    links = [
        Link(origin, {"rx_agui.event.count": events})
        for origin, events in list(producers.values())[:max_links]
    ]
    attributes: dict[str, Any] = {
        PIPELINE: send.watch.pipeline,
        "rx_agui.batch.size": send.events,
        "rx_agui.batch.producer.count": len(producers),
    }
    if send.trigger:
        attributes["rx_agui.batch.trigger"] = send.trigger
    if send.last:
        attributes["rx_agui.sequence.first"] = send.first
        attributes["rx_agui.sequence.last"] = send.last
    return tracer.start_span(
        f"send {send.watch.pipeline}",
        context=parent,
        kind=kind,
        links=links,
        # A pulled source waits for credit before there is an event.
        start_time=min([send.begun, *[step.begun for step in send.steps]]),
        attributes=attributes,
    )


def end_send(
    tracer: trace.Tracer, span: Span, send: PayloadTrace, *, by_operator: bool
) -> int:
    """End the span of a payload, with a child for each operator; return when it ends."""
    _fail(span, send.error)
    ended = send.ended
    if by_operator:
        inside = under(span)
        before = shown = 0
        for step in send.steps:
            # Jaeger keeps microseconds and sorts by them: steps that begin in the same
            # one would stand in any order.
            in_order = step.begun >= before
            before = step.begun
            shown = max(shown + _MICROSECOND, before) if in_order else before
            ended = max(ended, shown)
            _add_step(tracer, inside, step, send, shown)
    span.end(end_time=ended)
    return ended


def _add_step(
    tracer: trace.Tracer,
    inside: contexts.Context,
    step: Step,
    send: PayloadTrace,
    begun: int,
) -> None:
    attributes: dict[str, Any] = {OPERATOR: step.name}
    for fact, value in step.facts.items():
        if fact == "wait":
            attributes["rx_agui.flow_control.wait"] = value / 1e9
        elif step.name == "sink.write":
            attributes["rx_agui.sink.size"] = value
        else:
            attributes[_FACTS[fact]] = value
    if step.name == "sequence" and send.last:
        attributes["rx_agui.sequence.first"] = send.first
        attributes["rx_agui.sequence.last"] = send.last
    if step.name == "batch" and send.trigger:
        attributes["rx_agui.batch.trigger"] = send.trigger
    child = tracer.start_span(
        step.name, context=inside, start_time=begun, attributes=attributes
    )
    if step.name == "sink.write":  # others do not pass on what fails in them
        _fail(child, send.error)
    child.end(end_time=max(step.ended, begun))


def _fail(span: Span, error: BaseException | None) -> None:
    if error is not None:
        span.set_attribute(ERROR, type(error).__qualname__)
        span.set_status(Status(StatusCode.ERROR, str(error)))
