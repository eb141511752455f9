"""Reactive streams of AG-UI events, from an agent to a browser.

events.pipe(flow_control(), sequence(), batch(), compress(), chunk()).subscribe(SSEWriter(write))
"""

import logging

from rx_agui import telemetry as telemetry
from rx_agui.backoff import Backoff
from rx_agui.config import StreamConfig
from rx_agui.errors import (
    AlreadyStarted,
    AlreadySubscribed,
    BackpressureTimeout,
    CircuitOpen,
    CompressionError,
    ConfigError,
    Corrupt,
    DeliveryError,
    DrainTimeout,
    Duplicate,
    FlowControlError,
    Gap,
    Incomplete,
    Late,
    Lost,
    MissingExtra,
    NotSent,
    NotStarted,
    NotSubscribed,
    Overflow,
    Overloaded,
    PayloadError,
    PayloadTooLarge,
    ProcessingError,
    ReplayError,
    SequencingError,
    StreamClosed,
    StreamError,
    Trimmed,
    UnknownStream,
    ValidationError,
    WireError,
    WouldBlock,
)
from rx_agui.flow import Credit, Gate, Permit, from_async_iterable, from_iterable
from rx_agui.frame import Frame, StreamChunk
from rx_agui.metrics import (
    BufferMetrics,
    FlowMetrics,
    SequenceMetrics,
    StreamMeter,
    StreamMetrics,
)
from rx_agui.operators import (
    batch,
    chunk,
    circuit_breaker,
    compress,
    conflate,
    decompress,
    degrade,
    flow_control,
    reassemble,
    resequence,
    sequence,
    split,
    unbatch,
    validate,
)
from rx_agui.pipeline import pipeline
from rx_agui.sse import format_sse_chunk, write_sse_chunk
from rx_agui.stream import EventStream
from rx_agui.writer import SSEWriter

__all__ = [
    "AlreadyStarted",
    "AlreadySubscribed",
    "Backoff",
    "BackpressureTimeout",
    "BufferMetrics",
    "CircuitOpen",
    "CompressionError",
    "ConfigError",
    "Corrupt",
    "Credit",
    "DeliveryError",
    "DrainTimeout",
    "Duplicate",
    "EventStream",
    "FlowControlError",
    "FlowMetrics",
    "Frame",
    "Gap",
    "Gate",
    "Incomplete",
    "Late",
    "Lost",
    "MissingExtra",
    "NotSent",
    "NotStarted",
    "NotSubscribed",
    "Overflow",
    "Overloaded",
    "PayloadError",
    "PayloadTooLarge",
    "Permit",
    "ProcessingError",
    "ReplayError",
    "SSEWriter",
    "SequenceMetrics",
    "SequencingError",
    "StreamChunk",
    "StreamClosed",
    "StreamConfig",
    "StreamError",
    "StreamMeter",
    "StreamMetrics",
    "Trimmed",
    "UnknownStream",
    "ValidationError",
    "WireError",
    "WouldBlock",
    "batch",
    "chunk",
    "circuit_breaker",
    "compress",
    "conflate",
    "decompress",
    "degrade",
    "flow_control",
    "format_sse_chunk",
    "from_async_iterable",
    "from_iterable",
    "pipeline",
    "reassemble",
    "resequence",
    "sequence",
    "split",
    "unbatch",
    "validate",
    "write_sse_chunk",
]

__version__ = "0.1.0"

# Silent unless an application listens: Python would print warnings otherwise.
logging.getLogger("rx_agui").addHandler(logging.NullHandler())
