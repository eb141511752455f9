"""EventStream: one object that is a whole pipeline, for those who do not compose one.

_stream      the composition, and its life: start, send, read, close
_outbox      chunks that wait for the reader
_chunks      what the reader holds
_faults      errors that cost an event and not the stream
_log         what is said in the log, and how often
"""

from rx_agui.stream._stream import EventStream

__all__ = ["EventStream"]
