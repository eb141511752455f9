"""The operators that a StreamConfig describes, and the buffers among them.

validate ─▶ flow_control ─▶ degrade ─▶ sequence ─▶ batch ─▶ conflate ─▶ compress ─▶ ...
             event_buffer              out_of_order   batch              workers

... reserve ─▶ chunk ─▶ circuit_breaker ─▶ chunk_buffer
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from rx_agui.backoff import Backoff
from rx_agui.config import StreamConfig
from rx_agui.engine import Operator
from rx_agui.errors import StreamError
from rx_agui.metrics import BufferMetrics
from rx_agui.operators import (
    batch,
    chunk,
    circuit_breaker,
    compress,
    conflate,
    degrade,
    flow_control,
    sequence,
    validate,
)
from rx_agui.probe import StreamObservation
from rx_agui.stream._outbox import ChunkBuffer, reserve

__all__ = ["buffers_of", "operators_of"]


def operators_of(
    config: StreamConfig,
    *,
    number: Callable[[Mapping[str, Any]], int] | None,
    name: str,
    outbox: ChunkBuffer,
    errors: Callable[[StreamError], object],
) -> list[Operator]:
    """Return the operators of a stream, in their order.

    Args:
        config: The settings, each of which belongs to one operator.
        number: Reads the producer's own number from an event.
        name: What telemetry calls the stream.
        outbox: Where the chunks wait for their reader.
        errors: Called with each error that costs an event and does not end the stream.
    """
    steps: list[Operator] = []
    if config.validation_enabled:
        steps.append(validate(errors=errors))
    steps.append(
        flow_control(
            config.max_concurrent_events,
            sender_buffer=config.event_buffer_size,
            sender_bytes=config.event_buffer_bytes,
            timeout=config.backpressure_timeout,
            errors=errors,
        )
    )
    if config.degradation_enabled:
        steps.append(degrade(max_age=config.degradation_max_age, errors=errors))
    if config.sequence_enabled:
        steps.append(
            sequence(
                number=number,
                out_of_order_buffer=config.out_of_order_buffer,
                out_of_order_bytes=config.out_of_order_bytes,
                gap_timeout=config.gap_timeout,
                errors=errors,
            )
        )
    if config.batch_enabled:
        steps.append(
            batch(
                config.batch_size,
                min(config.batch_timeout, config.flush_interval),
                max_batch_size=config.max_batch_size,
                max_bytes=config.max_batch_bytes,
                adaptive=config.adaptive_batching,
                errors=errors,
            )
        )
        if config.degradation_enabled:
            steps.append(conflate(errors=errors))  # from its level on
    if config.compression_enabled:
        steps.append(
            compress(
                config.compression_type,
                config.compression_level,
                min_size=config.min_compression_size,
                workers=config.worker_count,
                errors=errors,
            )
        )
    steps.append(reserve(outbox))
    steps.append(chunk(config.max_chunk_size, errors=errors))
    if config.circuit_breaker_enabled:
        delay = config.retry_delay
        steps.append(
            circuit_breaker(
                failure_rate_threshold=config.failure_rate_threshold,
                minimum_number_of_calls=config.breaker_minimum_calls,
                wait_in_open=Backoff(
                    config.breaker_wait, most=max(config.breaker_wait, 60.0)
                ),
                attempts=config.retry_attempts,
                backoff=Backoff(delay, most=max(delay, 5.0)),
                # More than can be in flight, or go on at once behind a gap.
                buffer_size=config.max_concurrent_events + config.out_of_order_buffer,
                name=name,
                errors=errors,
            )
        )
    return steps


def buffers_of(
    config: StreamConfig, watch: StreamObservation | None
) -> dict[str, BufferMetrics]:
    """Return what each buffer holds, beside what the config lets it hold."""
    found = {}
    for tally in () if watch is None else watch.operators:
        held, levels = max(tally.held, 0), tally.levels
        found[tally.name] = BufferMetrics(
            events=levels.get("flow_control.queue.size", held),
            bytes=levels.get("operator.buffer.usage", 0),
            chunks=levels.get("chunk_buffer.chunks"),
        )
    moves = config.adaptive_batching or config.degradation_enabled
    largest = config.max_batch_size if moves else config.batch_size
    bounds: dict[str, tuple[str, dict[str, int]]] = {
        "event_buffer": (
            "flow_control",
            {
                "max_events": config.event_buffer_size,
                "max_bytes": config.event_buffer_bytes,
            },
        ),
        "out_of_order_buffer": (
            "sequence",
            {
                "max_events": config.out_of_order_buffer,
                "max_bytes": config.out_of_order_bytes,
            },
        ),
        "batch": (
            "batch",
            {"max_events": largest, "max_bytes": config.max_batch_bytes},
        ),
        "workers": ("compress", {}),
        "reserve": ("reserve", {}),
        "chunk_buffer": (
            "chunk_buffer",
            {
                "max_chunks": config.chunk_buffer_size,
                "max_bytes": config.chunk_buffer_bytes,
            },
        ),
    }
    return {
        level: replace(found[name], **limits)
        for level, (name, limits) in bounds.items()
        if name in found
    }
