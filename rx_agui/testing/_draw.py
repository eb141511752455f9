"""Draw a marble drawing as a picture: the same lanes, for people who do not read code."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from rx_agui.testing._marble import Drawing, Mark
from rx_agui.testing._svg import circle, path, picture, rect, text

__all__ = ["draw"]

_COLUMN, _ROW, _LABELS, _RADIUS = 26, 44, 84, 10

#: Lanes whose columns are marks on a line, from the top: before and behind the stages.
_BEFORE = ("in", "pull", "gate")
_BEHIND = ("out", "errors", "refused", "taken", "ack", "dispose")


def draw(drawing: Drawing) -> str:
    """Return the drawing as an SVG picture.

    >>> from rx_agui.testing import Drawing
    >>> one = Drawing("A batch", lanes={"in": "ab|", "out": "-(X|)"}, stages=["batch(2)"])
    >>> draw(one).startswith('<svg xmlns="http://www.w3.org/2000/svg"')
    True
    """
    rows: list[str] = []
    y = 24
    rows.append(text("title", 12, y, drawing.name))
    for lane in _BEFORE:
        if lane in drawing.lanes:
            y += _ROW
            rows += _lane(drawing, lane, y)
    y += 12
    for stage in drawing.stages:
        y += 30
        width = _width(drawing) - 24
        rows.append(rect("faint edge-grey", 12, y - 18, width, 26, 5))
        rows.append(text("mono", _LABELS, y, stage))
    for lane in _BEHIND:
        if lane in drawing.lanes:
            y += _ROW
            rows += _lane(drawing, lane, y)
    for row in _legend(drawing):
        y += 24
        rows.append(text("mono muted", _LABELS, y + 12, row))
    return picture(_width(drawing), y + 30, rows, drawing.name)


def _width(drawing: Drawing) -> int:
    seconds = max((len(lane) for lane in drawing.lanes.values()), default=0)
    words = max(
        round(len(drawing.name) * 8.6), *(len(s) * 8 + 90 for s in drawing.stages), 0
    )
    return max(_LABELS + (seconds + 2) * _COLUMN, words + 40)


def _lane(drawing: Drawing, lane: str, y: int) -> Iterator[str]:
    yield text("mono muted", 12, y + 4, lane)
    right = _x(max(len(line) for line in drawing.lanes.values()))
    if lane == "pull":  # an order, not a time: where there is credit, it goes on
        marks = [Mark(i, sign) for i, (_, sign) in enumerate(drawing.marks(lane))]
    else:
        marks = drawing.marks(lane)
    arrow = ("l", -6, -4, "m", 6, 4, "l", -6, 4)
    yield path("line-grey firm", "M", _LABELS, y, "H", right, *arrow)
    for second, together in groupby(marks, key=lambda mark: mark.second):
        signs = [mark.sign for mark in together]
        gap = min(_COLUMN, 60 / len(signs)) if len(signs) > 1 else 0
        for i, sign in enumerate(signs):
            yield _sign(lane, sign, _x(second) + i * gap * 0.62, y)


def _x(second: float) -> float:
    return _LABELS + (second + 0.8) * _COLUMN


def _sign(lane: str, sign: str, x: float, y: int) -> str:
    if sign == "|":
        return path("line-ink thick", "M", x, y - 12, "V", y + 12)
    if sign == "#":
        cross = ("l", 14, 14, "m", 0, -14, "l", -14, 14)
        return path("line-red thick", "M", x - 7, y - 7, *cross)
    colour = "green" if lane == "out" else "amber" if sign == "!" else "blue"
    marble = circle(f"pale-{colour} edge-{colour} firm", x, y, _RADIUS)
    return marble + text("mono", x, y + 4.5, sign, "middle")


def _legend(drawing: Drawing) -> Iterator[str]:
    for letter, meaning in drawing.meanings.items():
        events = " ".join(meaning.events)
        if meaning.numbers is not None:
            numbered = zip(meaning.numbers, meaning.events, strict=True)
            events = " ".join(
                f"{first}:{event}" if first == last else f"{first}-{last}:{event}"
                for (first, last), event in numbered
            )
        piece = (
            "" if meaning.piece is None else "piece {} of {} ".format(*meaning.piece)
        )
        encoding = f" ({meaning.encoding})" if meaning.encoding else ""
        trigger = f", left by {meaning.trigger}" if meaning.trigger else ""
        yield f"{letter} = {piece}{events}{encoding}{trigger}"
