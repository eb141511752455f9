"""Flow control: how a reader's pace reaches the producer.

_credit           the window: how many events may be in flight
_permit           what an event carries until it has been written
_ack              a permit that says how its frame fared
_downstream       how a source asks for room through operators of others
_gate             the way in for code that pushes
_pull             what sources that are pulled share
_iterable         an iterable, on the thread that brings credit
_async_iterable   an async iterable, in a task
_threaded         an iterable that may block, in threads of a loop
"""

from rx_agui.deprecation import aliases
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

__getattr__ = aliases(
    __name__,
    {
        "Bar": f"{__name__}:AdmissionBlock",
        "Link": f"{__name__}:Demand",
        "Paced": f"{__name__}:PullSource",
        "Receipt": f"{__name__}:AckPermit",
    },
)
