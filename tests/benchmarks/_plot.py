"""Pictures of figures: bars for ratios, curves for what grows, a field for each pace."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil, floor, log10

from rx_agui.testing._svg import circle as dot
from rx_agui.testing._svg import path, picture, rect, text
from tests.benchmarks._growth import Curve, Growth
from tests.benchmarks._row import Measured, Row, figure
from tests.benchmarks._waiting import LENGTHS, RATES, Cell

__all__ = ["bars", "curves", "fields"]

_WIDTH, _LABELS, _ROW = 900, 500, 30


def bars(rows: Iterable[tuple[Row, Measured]]) -> str:
    """Draw ratios to peers, on a logarithmic axis: twice as good is twice as far."""
    ratios = [(row, found) for row, found in rows if row.unit == "×" and _is_gain(row)]
    top = ceil(log10(max([found.figure.most for _, found in ratios], default=10)))
    low = floor(log10(min([found.figure.least for _, found in ratios], default=1)))
    span = _WIDTH - _LABELS - 70

    def x(value: float) -> float:
        return _LABELS + span * (log10(value) - low) / max(1, top - low)

    drawn, y, group = [], 0.0, ""
    for row, found in ratios:
        if row.group != group:
            group = row.group
            y += _ROW + 6  # further from what it ends than from what it heads
            drawn.append(text("strong", 12, y, group))
            y += 4
        y += _ROW - 8
        of = found.figure
        start, end = sorted((x(1), x(of.median)))
        colour = "blue" if of.median >= 1 else "amber"
        drawn.append(text("note", 24, y, row.what))
        drawn.append(rect(colour, start, y - 12, max(1, end - start), 15, 2))
        drawn.append(path("line-ink firm", "M", x(of.least), y - 4.5, "H", x(of.most)))
        beyond = x(max(of.most, 1)) + 8
        drawn.append(text("", beyond, y, figure(of.median, row.unit)))
    height = y + 64
    axis = []
    for power in range(low, top + 1):
        at = x(10**power)
        look = "line-grey" if power == 0 else "line-frame"
        axis.append(path(f"{look} dashed", "M", at, 22, "V", height - 50))
        axis.append(text("note muted", at, height - 34, f"{10**power:g} ×", "middle"))
    said = "times as good as the peer: logarithmic; the peer is at 1 ×"
    axis.append(text("note muted", _WIDTH - 16, height - 14, said, "end"))
    return picture(
        _WIDTH, height, [*axis, *drawn], "Ratios to what one would take instead"
    )


def _is_gain(row: Row) -> bool:
    return row.most is None


def curves(grown: Iterable[tuple[Growth, Curve]]) -> str:
    """Draw how costs grow, one plot beside the other, from zero up."""
    drawn, at, width, height = [], 0, 300, 270
    for growth, curve in grown:
        drawn += _curve(growth, curve, at + 50, 50, width - 80, height - 130)
        at += width
    return picture(at or width, height, drawn, "How costs grow")


def _curve(
    growth: Growth, curve: Curve, left: float, top: float, width: float, height: float
) -> list[str]:
    most = max(cost.most for _, cost in curve.points) * 1.15
    first, last = log10(curve.points[0][0]), log10(curve.points[-1][0])
    bottom = top + height

    def x(value: int) -> float:
        return left + width * (log10(value) - first) / ((last - first) or 1)

    def y(cost: float) -> float:
        return top + height * (1 - cost / most)

    points = [(x(n), cost) for n, cost in curve.points]
    steps = [
        ("L" if at else "M", px, y(cost.median)) for at, (px, cost) in enumerate(points)
    ]
    drawn = [
        text("strong", left - 34, top - 22, growth.name),
        text("note muted", left - 34, top - 6, growth.y),
        path("line-grey", "M", left, top, "V", bottom, "H", left + width),
        path("line-blue firm", *[part for step in steps for part in step]),
        text("note muted", left, bottom + 38, f"{growth.x} (logarithmic)"),
    ]
    for (px, cost), (n, _) in zip(points, curve.points, strict=True):
        drawn.append(path("line-ink firm", "M", px, y(cost.least), "V", y(cost.most)))
        drawn.append(dot("blue", px, y(cost.median), 3))
        if log10(n) == int(log10(n)):
            drawn.append(text("note muted", px - 8, bottom + 18, _short(n)))
    drawn += [
        text("note muted", left - 34, y(mark) + 4, f"{mark:.2g}")
        for mark in (most / 2.3, most / 1.15)
    ]
    return drawn


def fields(cells: Sequence[Cell]) -> str:
    """Draw the grid of rates and lengths: a field is blue where ours takes less.

    In each: events per second of processor time beside a bare response, and the ms that
    half of the events wait.
    """
    left, top, width, height = 120, 96, 128, 56
    found = {(cell.rate, cell.length): cell for cell in cells}
    drawn = [
        text("title", 24, 32, "SSEResponse beside StreamingResponse, one reader a run"),
        text(
            "note muted",
            24,
            52,
            "events per CPU second, bare = 1; below it the median wait for company",
        ),
    ]
    for column, length in enumerate(LENGTHS):
        middle = left + (column + 0.5) * width
        drawn.append(
            text("note muted", middle, top - 12, f"{length:,} events", "middle")
        )
    for line, rate in enumerate(RATES):
        y = top + line * height
        drawn.append(text("", left - 12, y + 32, _pace(rate), "end"))
        for column, length in enumerate(LENGTHS):
            cell = found.get((rate, length))
            if cell is None:
                continue
            gain, x = cell.gain.median, left + column * width
            colour = "pale-blue edge-blue" if gain >= 1 else "pale-amber edge-amber"
            drawn.append(rect(colour, x + 3, y + 3, width - 6, height - 6, 4))
            drawn.append(
                text("strong", x + width / 2, y + 26, f"{gain:.2f} ×", "middle")
            )
            wait = f"{cell.waits:.0f} ms"
            drawn.append(text("note muted", x + width / 2, y + 42, wait, "middle"))
    size = left + len(LENGTHS) * width + 24, top + len(RATES) * height + 24
    return picture(*size, drawn, "Processor time and waiting at each pace and length")


def _pace(rate: float | None) -> str:
    return "flat out" if rate is None else f"{rate:g} a second"


def _short(n: int) -> str:
    """1, 1k, 1M, as axes say it."""
    for size, unit in ((1_000_000, "M"), (1_000, "k")):
        if n >= size:
            return f"{n // size}{unit}"
    return str(n)
