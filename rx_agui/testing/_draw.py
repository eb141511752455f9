"""A drawing as a picture: the same lanes, for people who do not read code."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from xml.sax.saxutils import escape

from rx_agui.testing._marble import Drawing, Mark

__all__ = ["draw"]

_COLUMN, _ROW, _LABELS, _RADIUS = 26, 44, 84, 10

#: Readable on white and on black paper.
_STYLE = """\
text { font: 13px ui-monospace, monospace; fill: #24292f }
.name { font: 600 14px system-ui, sans-serif }
.label { fill: #57606a }
.time { stroke: #8c959f; stroke-width: 1.5; fill: none }
.event { fill: #ddf4ff; stroke: #0969da; stroke-width: 1.5 }
.out { fill: #dafbe1; stroke: #1a7f37 }
.ack { fill: #fff8c5; stroke: #9a6700 }
.end { stroke: #24292f; stroke-width: 2.5 }
.error { stroke: #cf222e; stroke-width: 2.5 }
.stage { fill: #f6f8fa; stroke: #8c959f }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .label { fill: #8d96a0 }
  .event { fill: #0c2d6b } .out { fill: #033a16 } .ack { fill: #4b2900 }
  .end { stroke: #e6edf3 } .stage { fill: #161b22 }
}"""

#: Lanes whose columns are marks on a line, from the top: before and behind the stages.
_BEFORE = ("in", "pull", "gate")
_BEHIND = ("out", "errors", "refused", "taken", "ack", "dispose")


def draw(drawing: Drawing) -> str:
    """The drawing as an SVG picture.

    >>> from rx_agui.testing import Drawing
    >>> one = Drawing("A batch", lanes={"in": "ab|", "out": "-(X|)"}, stages=["batch(2)"])
    >>> draw(one).startswith('<svg xmlns="http://www.w3.org/2000/svg"')
    True
    """
    rows: list[str] = []
    y = 24
    rows.append(_text(12, y, drawing.name, "name"))
    for lane in _BEFORE:
        if lane in drawing.lanes:
            y += _ROW
            rows += _lane(drawing, lane, y)
    y += 12
    for stage in drawing.stages:
        y += 30
        width = _width(drawing) - 24
        rows.append(
            f'<rect class="stage" x="12" y="{y - 18}" width="{width}" height="26" rx="5"/>'
        )
        rows.append(_text(_LABELS, y, stage))
    for lane in _BEHIND:
        if lane in drawing.lanes:
            y += _ROW
            rows += _lane(drawing, lane, y)
    for row in _legend(drawing):
        y += 24
        rows.append(_text(_LABELS, y + 12, row, "label"))
    size = f'width="{_width(drawing)}" height="{y + 30}"'
    body = "\n".join(rows)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">\n'
        f"<title>{escape(drawing.name)}</title>\n<style>\n{_STYLE}\n</style>\n{body}\n</svg>\n"
    )


def _width(drawing: Drawing) -> int:
    seconds = max((len(lane) for lane in drawing.lanes.values()), default=0)
    words = max(len(drawing.name) * 8, *(len(s) * 8 + 90 for s in drawing.stages), 0)
    return max(_LABELS + (seconds + 2) * _COLUMN, words + 40)


def _lane(drawing: Drawing, lane: str, y: int) -> Iterator[str]:
    yield _text(12, y + 4, lane, "label")
    right = _x(max(len(line) for line in drawing.lanes.values()))
    if lane == "pull":  # an order, not a time: where there is credit, it goes on
        marks = [Mark(i, sign) for i, (_, sign) in enumerate(drawing.marks(lane))]
    else:
        marks = drawing.marks(lane)
    yield f'<path class="time" d="M{_LABELS} {y}H{right}l-6 -4m6 4l-6 4"/>'
    for second, together in groupby(marks, key=lambda mark: mark.second):
        signs = [mark.sign for mark in together]
        gap = min(_COLUMN, 60 / len(signs)) if len(signs) > 1 else 0
        for i, sign in enumerate(signs):
            yield _sign(lane, sign, _x(second) + i * gap * 0.62, y)


def _x(second: float) -> float:
    return _LABELS + (second + 0.8) * _COLUMN


def _sign(lane: str, sign: str, x: float, y: int) -> str:
    if sign == "|":
        return f'<path class="end" d="M{x} {y - 12}V{y + 12}"/>'
    if sign == "#":
        return f'<path class="error" d="M{x - 7} {y - 7}l14 14m0 -14l-14 14"/>'
    kind = "event out" if lane == "out" else "event ack" if sign == "!" else "event"
    return (
        f'<circle class="{kind}" cx="{x}" cy="{y}" r="{_RADIUS}"/>'
        f'<text x="{x}" y="{y + 4.5}" text-anchor="middle">{escape(sign)}</text>'
    )


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


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    return f'<text class="{kind}" x="{x}" y="{y}">{escape(text)}</text>'
