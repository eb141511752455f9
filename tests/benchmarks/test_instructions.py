"""Instructions of the processor, held a tenth above what was reached.

They have no noise, so what becomes dearer by a tenth is found in the change that did it.
`python -m tests.benchmarks --only instructions` has all of them beside their peers; a figure
that fell for good is written down here.
"""

from __future__ import annotations

import platform
import sys

import pytest

from tests.benchmarks._callgrind import instructions, is_available
from tests.benchmarks._cases import CASES

#: A thousand instructions for an event or a run, as CPython 3.11 takes them.
REACHED = {
    "list of dicts": 4.7,
    "list of JSON bytes": 7.3,
    "Gate.send": 10.0,
    "Gate.send_many": 5.4,
    "async generator": 13.1,
    "dicts flat out": 31.5,  # 25 to 31: when a payload leaves is up to the clock
    "run of two": 1_090,
    "run of two, log and gzip": 1_914,
    "RxPY Subject": 19.6,
    "encode(object)": 6.9,
}

_CAN_COUNT = is_available() and sys.version_info[:2] == (3, 11)


@pytest.mark.skipif(not _CAN_COUNT, reason="needs valgrind, x86-64 and CPython 3.11")
def test_nothing_takes_a_tenth_more_instructions_than_it_did() -> None:
    counted = instructions(REACHED)

    found = {name: round(counted[name] / 1000, 2) for name in REACHED}
    print(f"thousands of instructions: {found}, {platform.python_version()}")
    dearer = {
        name: (found[name], reached)
        for name, reached in REACHED.items()
        if found[name] > reached * 1.1
    }
    assert dearer == {}


def test_every_figure_is_of_a_case_that_exists() -> None:
    assert REACHED.keys() <= CASES.keys()
