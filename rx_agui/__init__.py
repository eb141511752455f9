"""Reactive streams of AG-UI events, from an agent to a browser.

events.pipe(flow_control(), sequence(), batch(), compress(), chunk()).subscribe(SSEWriter(write))
"""

from rx_agui import telemetry as telemetry
from rx_agui.errors import (
    AlreadySubscribed,
    BackpressureTimeout,
    CompressionError,
    ConfigError,
    Corrupt,
    DrainTimeout,
    FlowControlError,
    Gap,
    Incomplete,
    MissingExtra,
    NotSubscribed,
    Overflow,
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
from rx_agui.metrics import FlowMetrics, SequenceMetrics, StreamMeter, StreamMetrics
from rx_agui.operators import (
    batch,
    chunk,
    compress,
    conflate,
    decompress,
    flow_control,
    reassemble,
    resequence,
    sequence,
    split,
    unbatch,
)
from rx_agui.pipeline import pipeline
from rx_agui.sse import format_sse_chunk, write_sse_chunk
from rx_agui.writer import SSEWriter

__all__ = [
    "AlreadySubscribed",
    "BackpressureTimeout",
    "CompressionError",
    "ConfigError",
    "Corrupt",
    "Credit",
    "DrainTimeout",
    "FlowControlError",
    "FlowMetrics",
    "Frame",
    "Gap",
    "Gate",
    "Incomplete",
    "MissingExtra",
    "NotSubscribed",
    "Overflow",
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
    "compress",
    "conflate",
    "decompress",
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
    "write_sse_chunk",
]

__version__ = "0.1.0"
