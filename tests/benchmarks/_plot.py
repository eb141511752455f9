"""Pictures of figures: bars for ratios, curves for what grows. SVG, and no library."""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil, floor, log10
from xml.sax.saxutils import escape

from tests.benchmarks._growth import Curve, Growth
from tests.benchmarks._row import Measured, Row, figure

__all__ = ["bars", "curves"]

#: Readable on white and on black paper.
_STYLE = """\
text { font: 13px system-ui, sans-serif; fill: #24292f }
.name { font-weight: 600; font-size: 14px }
.axis { fill: #57606a; font-size: 12px }
.bar { fill: #0969da }
.spread { stroke: #24292f; stroke-width: 1.5 }
.one { stroke: #8c959f; stroke-dasharray: 3 3 }
.curve { stroke: #0969da; stroke-width: 2; fill: none }
.dot { fill: #0969da }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .axis { fill: #8d96a0 }
  .bar, .dot { fill: #4493f8 } .curve { stroke: #4493f8 } .spread { stroke: #e6edf3 }
}"""

_WIDTH, _LABELS, _ROW = 860, 470, 30


def bars(rows: Iterable[tuple[Row, Measured]]) -> str:
    """Ratios to what one would take instead, on a scale where twice is twice as far."""
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
            drawn.append(_text(12, y, group, "name"))
            y += 4
        y += _ROW - 8
        of = found.figure
        start, end = sorted((x(1), x(of.median)))
        drawn.append(_text(24, y, row.what))
        drawn.append(
            f'<rect class="bar" x="{start:.1f}" y="{y - 12:.1f}" '
            f'width="{max(1, end - start):.1f}" height="15" rx="2"/>'
        )
        drawn.append(
            f'<path class="spread" d="M{x(of.least):.1f} {y - 4.5:.1f}'
            f'H{x(of.most):.1f}"/>'
        )
        beyond = x(max(of.most, 1)) + 8
        drawn.append(_text(beyond, y, figure(of.median, row.unit)))
    height = y + 34
    drawn.append(f'<path class="one" d="M{x(1):.1f} 22V{height - 24:.1f}"/>')
    drawn.append(_text(x(1) - 4, height - 8, "1 ×", "axis"))
    return _picture(_WIDTH, height, drawn)


def _is_gain(row: Row) -> bool:
    return row.most is None


def curves(grown: Iterable[tuple[Growth, Curve]]) -> str:
    """How costs grow, one plot beside the other, from zero up."""
    drawn, at, width, height = [], 0, 300, 250
    for growth, curve in grown:
        drawn += _curve(growth, curve, at + 50, 50, width - 80, height - 110)
        at += width
    return _picture(at, height, drawn)


def _curve(
    growth: Growth, curve: Curve, left: float, top: float, width: float, height: float
) -> list[str]:
    most = max(cost.most for _, cost in curve.points) * 1.15
    first, last = log10(curve.points[0][0]), log10(curve.points[-1][0])

    def x(value: int) -> float:
        return left + width * (log10(value) - first) / ((last - first) or 1)

    def y(cost: float) -> float:
        return top + height * (1 - cost / most)

    points = [(x(n), cost) for n, cost in curve.points]
    path = " ".join(f"{px:.1f},{y(cost.median):.1f}" for px, cost in points)
    drawn = [
        _text(left - 34, top - 22, growth.name, "name"),
        _text(left - 34, top - 6, growth.y, "axis"),
        f'<path class="one" d="M{left} {top}V{top + height}H{left + width}"/>',
        f'<polyline class="curve" points="{path}"/>',
        _text(left, top + height + 38, growth.x, "axis"),
    ]
    for (px, cost), (n, _) in zip(points, curve.points, strict=True):
        drawn.append(
            f'<path class="spread" d="M{px:.1f} {y(cost.least):.1f}V{y(cost.most):.1f}"/>'
        )
        drawn.append(
            f'<circle class="dot" cx="{px:.1f}" cy="{y(cost.median):.1f}" r="3"/>'
        )
        if log10(n) == int(log10(n)):
            drawn.append(_text(px - 8, top + height + 18, _short(n), "axis"))
    drawn += [
        _text(left - 34, y(mark) + 4, f"{mark:.2g}", "axis")
        for mark in (most / 2.3, most / 1.15)
    ]
    return drawn


def _short(n: int) -> str:
    """1, 1k, 1M, as axes say it."""
    for size, unit in ((1_000_000, "M"), (1_000, "k")):
        if n >= size:
            return f"{n // size}{unit}"
    return str(n)


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    cls = f' class="{kind}"' if kind else ""
    return f'<text{cls} x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def _picture(width: float, height: float, drawn: list[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" '
        f'height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}">\n'
        f"<style>{_STYLE}</style>\n" + "\n".join(drawn) + "\n</svg>\n"
    )
