"""What lies between a server and its readers, measured.

_probe      an ASGI application to mount: it says when it sent what
_measure    what came, and when
_diagnose   what that means, and what to type
_examine    the whole of it
"""

from rx_agui.doctor._diagnose import Diagnosis
from rx_agui.doctor._examine import Report, examine
from rx_agui.doctor._probe import probe

__all__ = ["Diagnosis", "Report", "examine", "probe"]
