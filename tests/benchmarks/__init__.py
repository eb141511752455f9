"""How fast it is, beside what one would take instead: on this machine, now.

    rx-agui bench                 the table of the README, in under a minute
    rx-agui bench --growth FILE   how costs grow, with plots; a few minutes

_measure                          processor time, in turns; medians and spread
_core                             what µs are promised for, and how far this one is
_workloads                        what is sent: deltas, arguments, snapshots, a run
_pipelines                        who sends it: we, RxPY's operators, a bare loop
_cores                            what a second core is worth
_serving                          who serves it: we, Starlette, sse-starlette, FastAPI
_audience                         the same before a thousand readers of one run
_watching                         what telemetry adds, beside the bare SDK
_latency, _idle, _growth          one event's way; those who wait; what becomes of many
_fresh, _peak, _viewers           memory, in interpreters of its own
_wire, _client                    what a run weighs, and what it costs who reads it
_rows, _plot                      the table, and pictures

tests/benchmarks measures the same with pytest-benchmark, and guards it.
"""

from tests.benchmarks._core import slowness
from tests.benchmarks._cores import worth_of_two_cores
from tests.benchmarks._growth import GROWTHS, Curve, Growth
from tests.benchmarks._idle import (
    Idle,
    bytes_per_subscription,
    idle_streams,
    subscribing,
)
from tests.benchmarks._latency import Latency, latency_of_send
from tests.benchmarks._measure import Spread, in_turns, ratio, seconds
from tests.benchmarks._peak import Peak, peak_of_pipeline
from tests.benchmarks._plot import bars, curves
from tests.benchmarks._row import Measured, Row, markdown
from tests.benchmarks._rows import ROWS, table
from tests.benchmarks._viewers import Viewers, viewers

__all__ = [
    "GROWTHS",
    "ROWS",
    "Curve",
    "Growth",
    "Idle",
    "Latency",
    "Measured",
    "Peak",
    "Row",
    "Spread",
    "Viewers",
    "bars",
    "bytes_per_subscription",
    "curves",
    "idle_streams",
    "in_turns",
    "latency_of_send",
    "markdown",
    "peak_of_pipeline",
    "ratio",
    "seconds",
    "slowness",
    "subscribing",
    "table",
    "viewers",
    "worth_of_two_cores",
]
