"""Write SVG pictures: shapes with looks, on a background that suits light and dark pages.

    picture(120, 40, [rect("blue", 10, 10, 80, 12), text("note muted", 10, 34, "80")], "A bar")

A look is a class name, or several. A colour's name fills with it; `line-` and the colour
draws a line of it, `edge-` and the colour an outline. The rest is in `_SHAPES`. A picture
carries the style of the looks that it has, in both colour schemes, and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from xml.sax.saxutils import escape, quoteattr

__all__ = ["circle", "path", "picture", "rect", "text"]

#: Colours by name: on a light page, on a dark one.
_COLOURS: Final = {
    "paper": ("#ffffff", "#0d1117"),
    "faint": ("#f6f8fa", "#151b23"),
    "frame": ("#d8dee4", "#30363d"),
    "ink": ("#1f2328", "#e6edf3"),
    "muted": ("#59636e", "#9198a1"),
    "grey": ("#8c959f", "#656c76"),
    "blue": ("#0969da", "#4493f8"),
    "green": ("#1a7f37", "#3fb950"),
    "amber": ("#bf8700", "#d29922"),
    "red": ("#cf222e", "#f85149"),
    "purple": ("#8250df", "#ab7df8"),
    "teal": ("#1b7c83", "#39c5cf"),
    "pale-blue": ("#ddf4ff", "#0c2d6b"),
    "pale-green": ("#dafbe1", "#033a16"),
    "pale-amber": ("#fff8c5", "#4b2900"),
}

#: How colours are used, by the prefix of a look.
_USES: Final = {
    "line-": "stroke: {0}; fill: none",
    "edge-": "stroke: {0}",
    "halo-": "stroke: {0}; stroke-width: 5px; paint-order: stroke; stroke-linejoin: round",
    "": "fill: {0}",
}

#: Looks without a colour.
_SHAPES: Final = {
    "title": "font-size: 15px; font-weight: 600",
    "strong": "font-weight: 600",
    "note": "font-size: 11.5px",
    "mono": "font-family: ui-monospace, monospace",
    "thick": "stroke-width: 2.5",
    "firm": "stroke-width: 1.5",
    "dashed": "stroke-dasharray: 4 3",
    "dotted": "stroke-dasharray: 2 4",
}

_FONT = "svg { font: 13px system-ui, sans-serif }"


def text(look: str, x: float, y: float, words: str, anchor: str = "start") -> str:
    """Return a line of text, in the colour of ink unless the look has another.

    Args:
        look: Class names.
        x: Pixels from the left to the `anchor`.
        y: Pixels from the top to the baseline.
        words: What it says.
        anchor: "start", "middle" or "end".
    """
    look = look if _COLOURS.keys() & set(look.split()) else f"{look} ink".strip()
    place = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text class="{look}"{_at(x=x, y=y)}{place}>{escape(words)}</text>'


def rect(
    look: str, x: float, y: float, width: float, height: float, radius: float = 0
) -> str:
    """Return a rectangle, `radius` pixels round at its corners."""
    return (
        f'<rect class="{look}"{_at(x=x, y=y, width=width, height=height, rx=radius)}/>'
    )


def circle(look: str, x: float, y: float, radius: float) -> str:
    """Return a circle around a point."""
    return f'<circle class="{look}"{_at(cx=x, cy=y, r=radius)}/>'


def path(look: str, *steps: str | float) -> str:
    """Return a path: letters of SVG's path language and numbers, in pixels.

    >>> path("line-grey", "M", 1, 2, "H", 30.25)
    '<path class="line-grey" d="M1 2 H30.2"/>'
    """
    words = " ".join(each if isinstance(each, str) else _n(each) for each in steps)
    joined = re.sub(r"([A-Za-z]) (?=[-\d])", r"\1", words)
    return f'<path class="{look}" d="{joined}"/>'


def picture(width: float, height: float, shapes: Iterable[str], label: str) -> str:
    """Return an SVG document on a rounded background.

    Args:
        width: Pixels.
        height: Pixels.
        shapes: What the functions above return, the lowest first.
        label: One sentence for screen readers.
    """
    drawn = [rect("paper edge-frame", 0.5, 0.5, width - 1, height - 1, 10), *shapes]
    body = "\n".join(drawn)
    looks = sorted({name for found in _CLASS.findall(body) for name in found.split()})
    light, dark = ("\n".join(_rules(looks, scheme)) for scheme in (0, 1))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_n(width)} {_n(height)}" '
        f'width="{_n(width)}" height="{_n(height)}" role="img" '
        f"aria-label={quoteattr(label)}>\n<title>{escape(label)}</title>\n"
        f"<style>\n{_FONT}\n{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n"
        f"</style>\n{body}\n</svg>\n"
    )


_CLASS = re.compile(r'class="([^"]*)"')


def _rules(looks: Iterable[str], scheme: int) -> Iterable[str]:
    """Yield the style of each look; in the dark scheme, of those that have a colour."""
    for look in looks:
        if look in _SHAPES:
            if scheme == 0:
                yield f".{look} {{ {_SHAPES[look]} }}"
            continue
        prefix = next(p for p in _USES if look.startswith(p))
        colour = _COLOURS[look.removeprefix(prefix)][scheme]
        yield f".{look} {{ {_USES[prefix].format(colour)} }}"


def _at(**where: float) -> str:
    return "".join(f' {name}="{_n(value)}"' for name, value in where.items() if value)


def _n(value: float) -> str:
    """Format pixels, to a tenth."""
    return f"{value:.1f}".removesuffix(".0")
