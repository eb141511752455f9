"""Measure rx_agui on this machine, beside its peers: python -m tests.benchmarks."""

from __future__ import annotations

import os
import platform
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path

from rx_agui.errors import ConfigError, MissingExtraError
from tests.benchmarks import GROWTHS, Measured, Row, bars, curves, markdown, table
from tests.benchmarks._row import figure

__all__ = ["main"]

_DESCRIPTION = """\
Measures rx_agui on this machine, beside what one would take instead, in under a
minute: RxPY's own operators, a bare loop, EventEncoder, Starlette, sse-starlette,
FastAPI. Ratios of processor time, medians of five with their spread.

    python -m tests.benchmarks
    python -m tests.benchmarks --only http
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
        help="measure only rows that say this word: http, telemetry, memory",
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
        "--growth",
        metavar="FILE",
        help="measure how costs grow as well, with events, streams and sizes, and draw "
        "that there; a few minutes more",
    )
    command.add_argument(
        "--short", action="store_true", help="with --growth: fewer points, in seconds"
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
    for row in rows:
        if row.group != group:
            group = row.group
            print(f"\n{group}")
        try:
            measured = row.measure()
        except MissingExtraError as missing:
            print(f"  {'-':>12}  {row.what}: {missing}")
            continue
        found.append((row, measured))
        _say(row, measured)
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
