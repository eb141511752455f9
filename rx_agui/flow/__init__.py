"""Flow control: how a reader's pace reaches the producer.

credit    what may be in flight, and who waits for more
permit    what an event carries until it has been written
gate      the way in for code that pushes
paced     the way in for code that is pulled
"""

from rx_agui.flow._credit import NO_PERMIT, Credit, Permit
from rx_agui.flow._gate import Gate
from rx_agui.flow._paced import Link, Paced, from_async_iterable, from_iterable

__all__ = [
    "NO_PERMIT",
    "Credit",
    "Gate",
    "Link",
    "Paced",
    "Permit",
    "from_async_iterable",
    "from_iterable",
]
