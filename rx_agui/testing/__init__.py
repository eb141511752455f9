"""What our tests are made of, for yours.

marble drawings      read them, play them on virtual time
the contract         rules that every operator is held to; others for logs
simulated runs       AG-UI events as an agent would send them
random streams       legal AG-UI events as no agent would send them
"""

from rx_agui.testing._agent import simulated_deltas, simulated_run
from rx_agui.testing._contract import RULES, Candidate, Rule
from rx_agui.testing._draw import draw
from rx_agui.testing._log_contract import LOG_RULES, LogCandidate, LogRule
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
from rx_agui.testing._streams import random_stream

__all__ = [
    "LOG_RULES",
    "RULES",
    "Candidate",
    "Drawing",
    "LogCandidate",
    "LogRule",
    "MarbleError",
    "MarbleScheduler",
    "Mark",
    "Meaning",
    "Played",
    "Rule",
    "draw",
    "play",
    "random_stream",
    "read",
    "simulated_deltas",
    "simulated_run",
    "write",
]
