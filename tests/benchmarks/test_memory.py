"""Resident memory: of viewers that wait, and of the pipeline at full speed.

Each is measured in an interpreter of its own. Memory does not depend on who else uses
the machine, so what is promised is asserted always; the strict form has ten thousand
viewers in one process.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from os import cpu_count

import pytest

from tests.benchmarks import Spread, Viewers, peak_of_pipeline, viewers
from tests.benchmarks.bounds import STRICT

KB, MB = 1024, 1024 * 1024

KINDS = [
    (kind, coding)
    for kind in ("alone", "shared", "logged")
    for coding in ("identity", "gzip")
]

#: At most, of KB above a bare stream.
PROMISED = {"identity": 40, "gzip": 80}

#: At least, or nothing was measured. A reader of a run that others read has little of its
#: own: no more than Starlette's bare stream, within what a page of memory says.
FLOOR = {"alone": 5, "shared": -5, "logged": 5}


@pytest.fixture(scope="module")
def idle() -> dict[tuple[str, str], Viewers]:
    """Every kind, each in a process of its own."""
    n = 1_000 if STRICT else 150
    kinds = [("bare", "identity"), *KINDS]
    with ThreadPoolExecutor(cpu_count()) as pool:
        found = list(pool.map(lambda of: viewers(of[0], of[1], n), kinds))
    return dict(zip(kinds, found, strict=True))


@pytest.mark.parametrize(("kind", "coding"), KINDS)
def test_an_idle_viewer_takes_little_more_than_a_bare_stream(
    kind: str, coding: str, idle: dict[tuple[str, str], Viewers]
) -> None:
    above = idle[kind, coding].above(idle["bare", "identity"])

    print(f"{kind}, {coding}: {above.median:.1f} KB above a bare stream")
    assert FLOOR[kind] < above.median <= PROMISED[coding]


@pytest.mark.parametrize(("kind", "coding"), KINDS)
def test_an_idle_viewer_has_no_thread_and_no_timer(
    kind: str, coding: str, idle: dict[tuple[str, str], Viewers]
) -> None:
    found = idle[kind, coding]

    assert found.threads == 0
    assert found.timers == 0


def test_a_viewer_that_has_read_long_and_waits_has_all_of_its_gzip_in_use(
    idle: dict[tuple[str, str], Viewers],
) -> None:
    n, events = (1_000, 500) if STRICT else (150, 100)

    read = viewers("alone", "gzip", n, events=events)

    above = read.above(idle["bare", "identity"]).median
    print(f"alone, gzip, {events} events read: {above:.1f} KB above a bare stream")
    assert above > idle["alone", "gzip"].above(idle["bare", "identity"]).median
    assert above <= PROMISED["gzip"]


def test_a_viewer_whose_last_word_was_a_keep_alive_has_no_gzip_in_use(
    idle: dict[tuple[str, str], Viewers],
) -> None:
    n, events = (1_000, 500) if STRICT else (150, 100)

    rests = viewers("alone", "gzip", n, events=events, keep_alive=0.8, rest=1.1)

    above = rests.above(idle["bare", "identity"]).median
    print(f"alone, gzip, {events} events read, a keep-alive: {above:.1f} KB above bare")
    assert above <= PROMISED["identity"]


@pytest.mark.parametrize("coding", PROMISED)
def test_ten_thousand_idle_viewers_in_one_process(coding: str) -> None:
    n, wait = (10_000, 5.0) if STRICT else (250, 0.5)

    found = viewers("logged", coding, n, wait=wait, keep_alive=None)

    whole = found.bytes_each.median * n / MB
    print(f"{n} viewers, {coding}: {whole:.0f} MB, {found.cpu:.2%} of a processor")
    assert found.threads == 0
    assert found.timers == 0
    assert found.cpu <= (0.002 if STRICT else 0.02)
    # Bare ones are in it: it is about the process as an operator sees it.
    assert found.bytes_each.median <= (PROMISED[coding] + 10) * KB


def test_the_pipeline_at_full_speed_fits_in_64_mb_with_its_interpreter() -> None:
    peak = peak_of_pipeline(1_000_000 if STRICT else 100_000)

    print(f"peak: {peak.whole / MB:.1f} MB, {peak.before / MB:.1f} before it began")
    assert peak.whole <= 64 * MB
    assert 0 <= peak.whole - peak.before <= 2 * MB


def test_what_is_above_is_of_the_median_of_bare_ones() -> None:
    def found(median: float, least: float, most: float) -> Viewers:
        spread = Spread(median * KB, least * KB, most * KB)
        return Viewers("alone", "identity", 100, spread, 0.0, 0, 0)

    assert found(30, 29, 32).above(found(10, 5, 15)) == Spread(20, 19, 22)
