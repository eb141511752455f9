"""The operators. Each is one word, one file, one marble file, one test file.

flow_control        as many as the reader can take
sequence            numbers             resequence      and order
batch               many into one       unbatch         and back
compress            smaller             decompress      and back
chunk               pieces              reassemble      and back
"""

from rx_agui.operators._batch import batch, unbatch
from rx_agui.operators._chunk import chunk, reassemble
from rx_agui.operators._compress import compress, decompress
from rx_agui.operators._flow_control import flow_control
from rx_agui.operators._sequence import resequence, sequence

__all__ = [
    "batch",
    "chunk",
    "compress",
    "decompress",
    "flow_control",
    "reassemble",
    "resequence",
    "sequence",
    "unbatch",
]
