"""The operators. Each is one word, one file, one marble file, one test file.

flow_control        as many as the reader can take
split               a large event as several
sequence            numbers             resequence      and order
batch               many into one       unbatch         and back
conflate            fewer, and the reader cannot tell
compress            smaller             decompress      and back
chunk               pieces              reassemble      and back

each                a function of yours for every event
validate            only AG-UI
degrade             less, while the reader cannot keep up
circuit_breaker     nothing, while the sink fails
"""

from rx_agui.operators._batch import batch, unbatch
from rx_agui.operators._chunk import chunk, reassemble
from rx_agui.operators._circuit_breaker import circuit_breaker
from rx_agui.operators._compress import compress, decompress
from rx_agui.operators._conflate import conflate
from rx_agui.operators._degrade import degrade
from rx_agui.operators._each import each
from rx_agui.operators._flow_control import flow_control
from rx_agui.operators._sequence import resequence, sequence
from rx_agui.operators._split import split
from rx_agui.operators._validate import validate

__all__ = [
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
]
