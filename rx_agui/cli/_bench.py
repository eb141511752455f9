"""rx-agui bench: how fast it is on this machine, beside what one would take instead."""

from __future__ import annotations

import os
import platform
import sys
from argparse import Namespace
from pathlib import Path

from rx_agui.cli._pipes import UsageError
from rx_agui.errors import MissingExtra

__all__ = ["bench"]


def bench(asked: Namespace) -> None:
    """Do it: a line as each row is measured, then what was asked for."""
    from rx_agui.bench import GROWTHS, bars, curves, markdown, table

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
        except MissingExtra as missing:
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


def _say(row: object, measured: object) -> None:
    from rx_agui.bench import Measured, Row
    from rx_agui.bench._rows import figure

    assert isinstance(row, Row)
    assert isinstance(measured, Measured)
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
