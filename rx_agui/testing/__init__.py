"""Marble drawings: read them, play them. For our tests, and for yours."""

from rx_agui.testing._marble import (
    Drawing,
    MarbleError,
    Mark,
    Meaning,
    read,
    write,
)
from rx_agui.testing._play import Played, play
from rx_agui.testing._scheduler import MarbleScheduler

__all__ = [
    "Drawing",
    "MarbleError",
    "MarbleScheduler",
    "Mark",
    "Meaning",
    "Played",
    "play",
    "read",
    "write",
]
