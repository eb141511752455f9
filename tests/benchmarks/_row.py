"""A row of the table: what is measured, its promise, and how both are shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tests.benchmarks._measure import Spread

__all__ = ["Measured", "Row", "figure", "markdown"]


@dataclass(frozen=True, slots=True)
class Measured:
    """The figure of a row on this machine, now.

    Attributes:
        figure: The median and its spread.
        note: What stands beside it: the figures of peers.
        slowness: How many times slower this core is than the one that µs are promised for.
    """

    figure: Spread
    note: str = ""
    slowness: float = 1.0


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        group: The heading it stands under.
        what: What is measured.
        unit: "×", "µs", "ms", "k" (a thousand instructions), "B", "KB" or "MB".
        measure: Measures it. Raises MissingExtraError where a peer is not installed.
        least, most: The promise; one of them, or neither where the row only informs. µs
            are for an idle core; see _core.
    """

    group: str
    what: str
    unit: str
    measure: Callable[[], Measured]
    least: float | None = None
    most: float | None = None

    def reached(self, measured: Measured) -> bool | None:
        """Return True if the promise is kept; None if there is none."""
        value = measured.figure.median
        if self.least is not None:
            return value >= self.least
        return None if self.most is None else value <= self.most * measured.slowness

    @property
    def promise(self) -> str:
        """The promise as a row shows it: "≥ 5.0 ×"; "" if there is none."""
        if self.least is not None:
            return f"≥ {figure(self.least, self.unit)}"
        return "" if self.most is None else f"≤ {figure(self.most, self.unit)}"


def figure(value: float, unit: str) -> str:
    """Format a number with its unit, to two or three digits.

    >>> figure(5.234, "×"), figure(43.9, "µs"), figure(3954.2, "B")
    ('5.2 ×', '44 µs', '3,954 B')
    """
    digits = 0 if value >= 100 or unit == "B" else 1 if value >= 2 else 2
    if unit == "µs" and value >= 10:
        digits = 0
    return f"{value:,.{digits}f} {unit}"


def markdown(rows: Iterable[tuple[Row, Measured]]) -> str:
    """Return the table in Markdown."""
    lines = ["| | here | spread | promised |", "|---|---|---|---|"]
    for row, measured in rows:
        spread = measured.figure
        low, high = (
            figure(value, row.unit).removesuffix(f" {row.unit}")
            for value in (spread.least, spread.most)
        )
        between = f"{low} to {high}" if low != high else ""
        note = f" ({measured.note})" if measured.note else ""
        here = f"**{figure(spread.median, row.unit)}**"
        lines.append(f"| {row.what}{note} | {here} | {between} | {row.promise} |")
    return "\n".join(lines)
