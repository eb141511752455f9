"""Measure rx_agui on this machine, beside its peers: python -m tests.benchmarks."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from rx_agui.errors import ConfigError, MissingExtraError
from tests.benchmarks import GROWTHS, Measured, Row, bars, curves, markdown, table
from tests.benchmarks._callgrind import instructions
from tests.benchmarks._cases import CASES
from tests.benchmarks._plot import fields
from tests.benchmarks._row import figure
from tests.benchmarks._waiting import GRID, LENGTHS, cell

__all__ = ["main"]

T = TypeVar("T")

_DESCRIPTION = """\
Measures rx_agui on this machine, beside what one would take instead: StreamingResponse
with EventEncoder, RxPY's own operators, a bare loop, sse-starlette, FastAPI. Ratios of
processor time, medians of five with their spread; instructions by callgrind, where
valgrind is installed. All of it takes some ten minutes.

    python -m tests.benchmarks
    python -m tests.benchmarks --only pace
    python -m tests.benchmarks --only instructions --python /path/to/python3.13
    python -m tests.benchmarks --only wire --recording run.jsonl

What is not installed is left out: pip install "rx-agui[bench]" has all of it, and
npm install @ag-ui/client the client that runs in Node."""


class UsageError(Exception):
    """The arguments match no row."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit status: 1 for a file, 2 for the arguments."""
    command = ArgumentParser(
        prog="python -m tests.benchmarks",
        description=_DESCRIPTION,
        formatter_class=RawDescriptionHelpFormatter,
    )
    _add_options(command)
    try:
        bench(command.parse_args(argv))
    except ConfigError as error:
        return _complain(f"--{error.name}{str(error).removeprefix(error.name)}", 2)
    except UsageError as error:
        return _complain(str(error), 2)
    except OSError as error:
        return _complain(error.strerror or str(error), 1)
    return 0


def _complain(why: str, status: int) -> int:
    print(f"tests.benchmarks: {why}", file=sys.stderr)
    return status


def _add_options(command: ArgumentParser) -> None:
    command.add_argument(
        "--only",
        type=str.lower,
        default="",
        metavar="WORD",
        help="measure only rows that say this word: pace, instructions, http, memory",
    )
    command.add_argument(
        "--recording",
        type=Path,
        metavar="FILE",
        help="count the bytes of a run of yours, one JSON event a line, instead of a "
        "simulated one: each arrives at its `timestamp`, or 2,000 a second",
    )
    command.add_argument(
        "--node-modules",
        type=Path,
        metavar="DIR",
        help="the folder where you typed `npm install @ag-ui/client`; without it the "
        "current one, or what RX_AGUI_NODE_MODULES says",
    )
    command.add_argument(
        "--markdown", metavar="FILE", help="write the table there, as a README has it"
    )
    command.add_argument(
        "--svg", metavar="FILE", help="draw the ratios there, as a picture"
    )
    command.add_argument(
        "--grid",
        metavar="FILE",
        help="measure every pace and length of run as well, and draw that there; three "
        "minutes more",
    )
    command.add_argument(
        "--python",
        action="append",
        default=[],
        metavar="PYTHON",
        help="count instructions with this interpreter as well, beside the one that runs; "
        "it needs rx-agui[bench] installed. May be given more than once",
    )
    command.add_argument(
        "--growth",
        metavar="FILE",
        help="measure how costs grow as well, with events, streams and sizes, and draw "
        "that there; a few minutes more",
    )
    command.add_argument(
        "--short",
        action="store_true",
        help="with --growth or --grid: fewer points, in seconds",
    )


def bench(asked: Namespace) -> None:
    """Print a line as each row is measured, then write the files asked for."""
    print(_machine())
    whole = table(recording=asked.recording, node_modules=asked.node_modules)
    rows = [row for row in whole if asked.only in row.group.lower() + row.what.lower()]
    if not rows:
        groups = ", ".join(dict.fromkeys(row.group for row in whole))
        raise UsageError(f"no row says {asked.only!r}; they are about: {groups}")
    found, group = [], ""
    for row, progress in _with_progress(rows):
        if row.group != group:
            group = row.group
            print(f"\n{group}")
        progress(row.what)
        try:
            measured = row.measure()
        except MissingExtraError as missing:
            progress("")
            print(f"  {'-':>12}  {row.what}: {missing}")
            continue
        progress("")
        found.append((row, measured))
        _say(row, measured)
    for python in asked.python:
        _compare(python)
    if asked.grid is not None:
        _measure_grid(Path(asked.grid), short=asked.short)
    if asked.markdown is not None:
        Path(asked.markdown).write_text(markdown(found) + "\n", "utf-8")
    if asked.svg is not None:
        Path(asked.svg).write_text(bars(found), "utf-8")
    if asked.growth is not None:
        print("\nAs it grows")
        grown = []
        for growth in GROWTHS:
            grown.append((growth, growth.curve(short=asked.short)))
            curve = grown[-1][1]
            each = "  ".join(f"{x:,}: {cost.median:.2f}" for x, cost in curve.points)
            print(f"  {growth.name}, {growth.y} by {growth.x}\n    {each}")
            print(f"    the highest beside the lowest: {curve.growth:.2f}", flush=True)
        Path(asked.growth).write_text(curves(grown), "utf-8")


def _with_progress(rows: Sequence[T]) -> Iterator[tuple[T, Callable[[str], None]]]:
    """Yield each row with a function that shows what runs now, and the time left.

    On a terminal only; an empty text clears the line. The time left supposes that a row
    takes as long as those before did.
    """
    begun = time.monotonic()
    for n, row in enumerate(rows):
        left = (time.monotonic() - begun) / n * (len(rows) - n) if n else 0.0

        def show(what: str, n: int = n, left: float = left) -> None:
            if not sys.stderr.isatty():
                return
            about = f", about {left / 60:.0f} min left" if left >= 60 else ""
            width = shutil.get_terminal_size().columns - 1
            line = f"[{n + 1} of {len(rows)}{about}] {what}"[:width] if what else ""
            print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)

        yield row, show


def _compare(python: str) -> None:
    """Print the instructions of each case with this interpreter and another."""
    here, there = instructions(CASES), instructions(CASES, python)
    print(f"\nInstructions: k here, k with {python}, there beside here")
    for name in CASES:
        a, b = here[name] / 1000, there[name] / 1000
        print(f"  {a:10,.1f} {b:10,.1f} {b / a:6.2f}  {name}", flush=True)


def _measure_grid(file: Path, *, short: bool) -> None:
    """Measure every pace and length, print them, and draw them."""
    print("\nEvery pace: events per CPU second, bare = 1; ms that half of them wait")
    paces = [pace for pace in GRID if not short or pace[1] == LENGTHS[1]]
    cells = []
    for (rate, length), progress in _with_progress(paces):
        pace = "flat out" if rate is None else f"{rate:g} a second"
        progress(f"{length:,} events, {pace}")
        one = cell(rate, length, rounds=1 if short else 5)
        progress("")
        gain = one.gain
        spread = f"[{gain.least:.2f} to {gain.most:.2f}]"
        print(
            f"  {length:6,} events, {pace:12} {gain.median:5.2f} × {spread:16} "
            f"{one.waits:5.0f} ms",
            flush=True,
        )
        cells.append(one)
    file.write_text(fields(cells), "utf-8")


def _say(row: Row, measured: Measured) -> None:
    here = figure(measured.figure.median, row.unit)
    spread = measured.figure
    between = (
        f" [{spread.least:,.2f} to {spread.most:,.2f}]"
        if spread.least != spread.most
        else ""
    )
    promise = f"  (promised {row.promise})" if row.promise else ""
    if promise and measured.slowness > 1:
        slower = f" on an idle core; this one is {measured.slowness:.1f} times slower)"
        promise = promise[:-1] + slower
    missed = "  NOT REACHED" if row.reached(measured) is False else ""
    note = f"; {measured.note}" if measured.note else ""
    print(f"  {here:>12}  {row.what}{between}{note}{promise}{missed}", flush=True)


def _machine() -> str:
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return (
        f"{python}, {platform.machine()}, {os.cpu_count()} processors, {sys.platform}"
    )


if __name__ == "__main__":
    sys.exit(main())
