"""Flow control: how a reader's pace reaches the producer.

credit    what may be in flight, and who waits for more
permit    what an event carries until it has been written
receipt   a permit that says how its frame fared
gate      the way in for code that pushes
paced     the way in for code that is pulled
"""

from rx_agui.flow._ack import AckPermit
from rx_agui.flow._async_iterable import from_async_iterable
from rx_agui.flow._credit import AdmissionBlock, Credit
from rx_agui.flow._gate import Gate
from rx_agui.flow._iterable import from_iterable
from rx_agui.flow._permit import NO_PERMIT, Permit
from rx_agui.flow._pull import Demand, PullSource

__all__ = [
    "NO_PERMIT",
    "AckPermit",
    "AdmissionBlock",
    "Credit",
    "Demand",
    "Gate",
    "Permit",
    "PullSource",
    "from_async_iterable",
    "from_iterable",
]
