"""Reactive streams of AG-UI events, from an agent to a browser.

events.pipe(flow_control(), sequence(), batch(), compress(), chunk()).subscribe(SSEWriter(write))
"""

import logging
from typing import TYPE_CHECKING

from rx_agui import telemetry as telemetry
from rx_agui.deprecation import aliases, lazy
from rx_agui.errors import _RENAMED as _RENAMED_ERRORS
from rx_agui.errors import (
    AlreadyStartedError,
    AlreadySubscribedError,
    BackpressureTimeoutError,
    BrokenOffError,
    BufferOverflowError,
    CircuitOpenError,
    CompressionError,
    ConfigError,
    ConnectionLostError,
    CorruptError,
    DeadlineExceededError,
    DeliveryError,
    DrainTimeoutError,
    DuplicateError,
    FlowControlError,
    GapError,
    GoneError,
    IncompleteError,
    LateError,
    LogFullError,
    LostError,
    MissingExtraError,
    NotSentError,
    NotStartedError,
    NotSubscribedError,
    OverloadedError,
    PayloadError,
    PayloadTooLargeError,
    ProcessingError,
    RefusedError,
    ReplayError,
    SequencingError,
    StreamClosedError,
    StreamError,
    TransportError,
    TrimmedError,
    UnknownStreamError,
    ValidationError,
    WireError,
    WouldBlockError,
)
from rx_agui.pipeline import pipeline

if TYPE_CHECKING:
    from rx_agui.backoff import Backoff
    from rx_agui.config import StreamConfig
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
        each,
        flow_control,
        reassemble,
        resequence,
        sequence,
        split,
        unbatch,
        validate,
    )
    from rx_agui.sse import format_sse_chunk, from_sse, write_sse_chunk
    from rx_agui.stream import EventStream
    from rx_agui.types import Event, Item, Operator
    from rx_agui.writer import SSEWriter

__all__ = [
    "AlreadyStartedError",
    "AlreadySubscribedError",
    "Backoff",
    "BackpressureTimeoutError",
    "BrokenOffError",
    "BufferMetrics",
    "BufferOverflowError",
    "CircuitOpenError",
    "CompressionError",
    "ConfigError",
    "ConnectionLostError",
    "CorruptError",
    "Credit",
    "DeadlineExceededError",
    "DeliveryError",
    "DrainTimeoutError",
    "DuplicateError",
    "Event",
    "EventStream",
    "FlowControlError",
    "FlowMetrics",
    "Frame",
    "GapError",
    "Gate",
    "GoneError",
    "IncompleteError",
    "Item",
    "LateError",
    "LogFullError",
    "LostError",
    "MissingExtraError",
    "NotSentError",
    "NotStartedError",
    "NotSubscribedError",
    "Operator",
    "OverloadedError",
    "PayloadError",
    "PayloadTooLargeError",
    "Permit",
    "ProcessingError",
    "RefusedError",
    "ReplayError",
    "SSEWriter",
    "SequenceMetrics",
    "SequencingError",
    "StreamChunk",
    "StreamClosedError",
    "StreamConfig",
    "StreamError",
    "StreamMeter",
    "StreamMetrics",
    "TransportError",
    "TrimmedError",
    "UnknownStreamError",
    "ValidationError",
    "WireError",
    "WouldBlockError",
    "batch",
    "chunk",
    "circuit_breaker",
    "compress",
    "conflate",
    "decompress",
    "degrade",
    "each",
    "flow_control",
    "format_sse_chunk",
    "from_async_iterable",
    "from_iterable",
    "from_sse",
    "pipeline",
    "reassemble",
    "resequence",
    "sequence",
    "split",
    "unbatch",
    "validate",
    "write_sse_chunk",
]

__version__ = "0.2.0.dev0"

# Silent unless an application listens: Python would print warnings otherwise.
logging.getLogger("rx_agui").addHandler(logging.NullHandler())

#: Imported when they are first asked for: `import rx_agui` takes 0.04 s of processor time,
#: with all of these 0.4. Modules without names here are found by their own.
_LAZY = {
    "backoff": ["Backoff"],
    "config": ["StreamConfig"],
    "flow": ["Credit", "Gate", "Permit", "from_async_iterable", "from_iterable"],
    "frame": ["Frame", "StreamChunk"],
    "metrics": [
        "BufferMetrics",
        "FlowMetrics",
        "SequenceMetrics",
        "StreamMeter",
        "StreamMetrics",
    ],
    "operators": [
        "batch",
        "chunk",
        "circuit_breaker",
        "compress",
        "conflate",
        "decompress",
        "degrade",
        "each",
        "flow_control",
        "reassemble",
        "resequence",
        "sequence",
        "split",
        "unbatch",
        "validate",
    ],
    "sse": ["format_sse_chunk", "from_sse", "write_sse_chunk"],
    "stream": ["EventStream"],
    "types": ["Event", "Item", "Operator"],
    "writer": ["SSEWriter"],
    **dict.fromkeys(["agui", "asgi", "client", "codecs", "engine", "replay"], ()),
    **dict.fromkeys(
        ["browser", "clock", "doctor", "lint", "probe", "testing", "workers"], ()
    ),
}

__getattr__ = lazy(
    __name__,
    _LAZY,
    otherwise=aliases(
        __name__, {old: f"{__name__}:{new}" for old, new in _RENAMED_ERRORS.items()}
    ),
)
