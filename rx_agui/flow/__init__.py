"""Flow control: how a reader's pace reaches the producer.

credit    what may be in flight, and who waits for more
permit    what an event carries until it has been written
receipt   a permit that says how its frame fared
gate      the way in for code that pushes
paced     the way in for code that is pulled
"""

from rx_agui.flow._credit import NO_PERMIT, Bar, Credit, Permit
from rx_agui.flow._gate import Gate
from rx_agui.flow._paced import Link, Paced, from_async_iterable, from_iterable
from rx_agui.flow._receipt import Receipt

__all__ = [
    "NO_PERMIT",
    "Bar",
    "Credit",
    "Gate",
    "Link",
    "Paced",
    "Permit",
    "Receipt",
    "from_async_iterable",
    "from_iterable",
]
