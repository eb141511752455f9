"""Frames to text/event-stream and back, in both wire profiles, without I/O.

agui     one AG-UI event object per `data:` line; any AG-UI client reads it
chunk    compressed or cut payloads under `event: chunk`; our clients read it
"""

from rx_agui.deprecation import aliases
from rx_agui.sse._format import comment, format_frame, format_sse_chunk, write_sse_chunk
from rx_agui.sse._parse import Message, Parser, read_chunk
from rx_agui.sse._source import FrameReader, from_sse

__all__ = [
    "FrameReader",
    "Message",
    "Parser",
    "comment",
    "format_frame",
    "format_sse_chunk",
    "from_sse",
    "read_chunk",
    "write_sse_chunk",
]

__getattr__ = aliases(
    __name__,
    {"Finding": "rx_agui.lint:Finding", "lint": "rx_agui.lint:lint"},
)
