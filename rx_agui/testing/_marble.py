"""Marble files: prose, and drawings set in by four spaces.

    in       ab--|                    a lane: one column is one second
             batch(batch_size=3)      what the lane goes through, top to bottom
    out      ----(X|)                 what comes out
    X        a b                      what a letter stands for

In a lane `-` is a second in which nothing happens, `|` the end, `#` an error, any
other character an event. `(` ... `)` holds what happens in one second, drawn as wide
as it is written, so that columns stay true; where there is no room for that, a letter
can stand for several signals: `P  = a b |`.

The lanes, of which a drawing has those it needs:

    in       pushed by an Observable that knows nothing of credit
    pull     taken from `from_iterable`, in this order, as there is credit
    gate     sent through a Gate with `try_send`
    out      what must come out, and when
    taken    when the events of `pull` must be taken
    refused  which events the gate must refuse
    errors   what the observer given as `errors=errors` must be told
    ack      the sink keeps what it gets; `!` releases the oldest, `#` fails it, and
             `~` fails it before any of it has gone out
    credit   how many credits must be free at the end of each second
    state    what a circuit breaker must be in then: closed, open or half-open
    level    at which level `degrade` must be then
    other    what the fallback of a circuit breaker, `fallback=other`, must be given
    work     how many seconds each job of a worker takes, one digit a job
    dispose  `!` is when the subscription is disposed of

What a letter stands for: an event as JSON (`a` alone stands for {"type":"a"}), or a
frame or chunk by the letters of its events, with as much about it as matters:

    X        1:a 2:b                  numbered 1 and 2
    X        a b (gzip) by:timeout    compressed; it left for this reason
    X        [2/3] a b                the second of three pieces of that payload
    X        2-3:a                    one event that covers the numbers 2 and 3
    E        Gap                      an error by its class (in `errors`)
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

__all__ = ["Drawing", "MarbleError", "Mark", "Meaning", "read", "write"]

_LABEL = 9  # columns
_LANES = frozenset(
    [
        "in",
        "pull",
        "gate",
        "out",
        "taken",
        "refused",
        "errors",
        "ack",
        "credit",
        "state",
        "level",
        "other",
        "work",
        "dispose",
    ]
)


class MarbleError(ValueError):
    """A drawing that cannot be read; says in which file and under which sentence."""


class Mark(NamedTuple):
    """Something that happens: an event's letter, `|` or `#`, and when."""

    second: float
    sign: str


@dataclass(frozen=True)
class Meaning:
    """What a letter stands for; None where the drawing does not say.

    Attributes:
        events: Letters of the events; empty if only the piece matters.
        numbers: First and last number each event covers.
        encoding, piece, trigger: As in Frame and StreamChunk.
    """

    events: tuple[str, ...] = ()
    numbers: tuple[tuple[int, int], ...] | None = None
    encoding: str | None = None
    piece: tuple[int, int] | None = None
    trigger: str | None = None


@dataclass
class Drawing:
    """One case: what goes in, what it goes through, what must come out."""

    name: str
    file: str = ""
    lanes: dict[str, str] = field(default_factory=dict)
    stages: list[str] = field(default_factory=list)
    events: dict[str, object] = field(default_factory=dict)
    meanings: dict[str, Meaning] = field(default_factory=dict)
    several: dict[str, str] = field(default_factory=dict)

    def marks(self, lane: str) -> list[Mark]:
        """Return the marks of a lane; none if there is no such lane."""
        return [
            Mark(second, each)
            for second, sign in _marks(self.lanes.get(lane, ""))
            for each in self.several.get(sign, sign)
        ]

    @property
    def letters(self) -> set[str]:
        """The letters that are said to stand for something."""
        return {*self.events, *self.meanings, *self.several}

    def event(self, letter: str) -> object:
        """Return the event a letter stands for."""
        return self.events.get(letter, {"type": letter})

    def meaning(self, letter: str) -> Meaning:
        """Return the frame that a letter stands for."""
        return self.meanings.get(letter) or Meaning((letter,))


def read(path: Path) -> Iterator[Drawing]:
    """Yield the drawings of a marble file, each named by the prose above it.

    Raises:
        MarbleError: A drawing cannot be read.
    """
    prose, drawing = path.stem, None
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise MarbleError(
            f"{path.name}: not a text in UTF-8 ({error.reason})"
        ) from None
    for row, line in enumerate(text.splitlines(), start=1):
        if line.startswith("    "):
            if drawing is None:
                drawing = Drawing(name=prose, file=path.name)
            try:
                _add(drawing, line[4:].rstrip())
            except ValueError as error:
                where = f"{path.name}:{row}"
                raise MarbleError(f"{where}: {error}: {line.strip()!r}") from None
        elif line:
            if drawing:
                yield drawing
            prose, drawing = line.rstrip("."), None
    if drawing:
        yield drawing


def write(marks: Iterable[Mark]) -> str:
    """Return the lane on which these marks are read: the inverse of `Drawing.marks`.

    What does not fit, because a group is wider than a second, is pushed aside behind
    a `+`; and what is not on the second has its time beside it.
    """
    lane = ""
    for second, together in groupby(marks, key=lambda mark: mark.second):
        signs = "".join(mark.sign for mark in together)
        if second != int(second):
            signs = f"{signs}@{second:g}"
        if len(lane) > second:
            lane += "+"
        lane = lane.ljust(int(second), "-")
        lane += signs if len(signs) == 1 else f"({signs})"
    return lane


def _add(drawing: Drawing, line: str) -> None:
    label, rest = line[:_LABEL].strip(), line[_LABEL:].strip()
    if label in drawing.lanes or label in drawing.letters:
        raise ValueError(f"{label!r} is drawn twice")
    if not label:
        drawing.stages.append(rest)
    elif len(label) > 1:
        if label not in _LANES:
            raise ValueError(f"{label!r} is no lane")
        _check_lane(label, rest)
        drawing.lanes[label] = rest
    elif rest.startswith("="):
        drawing.several[label] = "".join(rest[1:].split())
    elif _JSON.match(rest):
        drawing.events[label] = json.loads(rest)
    else:
        drawing.meanings[label] = _meaning(rest)


def _check_lane(label: str, lane: str) -> None:
    if label == "work":
        if not (lane.isascii() and lane.isdigit()):
            raise ValueError("a job takes as many seconds as its one digit says")
    elif not _LANE.fullmatch(lane):
        raise ValueError("each ( needs its own ) behind it")


_LANE = re.compile(r"(?:[^()]|\([^()]*\))*")

_JSON = re.compile(r'["{]|\[(?!\d+/\d+\])')

_WORD = re.compile(
    r"""  \[ (?P<index>\d+) / (?P<total>\d+) \]
        | \( (?P<encoding>\w+) \)
        | by: (?P<trigger>\w+)
        | (?: (?P<first>\d+) (?: - (?P<last>\d+) )? : )? (?P<event> \S | [A-Z]\w+ )
    """,
    re.VERBOSE,
)


def _meaning(text: str) -> Meaning:
    events: list[str] = []
    numbers: list[tuple[int, int]] = []
    encoding = trigger = piece = None
    for word in text.split():
        found = _WORD.fullmatch(word)
        if found is None:
            raise ValueError(f"{word!r} says nothing about a letter")
        if found["index"]:
            piece = int(found["index"]), int(found["total"])
            if not 1 <= piece[0] <= piece[1]:
                raise ValueError(f"there is no piece {piece[0]} of {piece[1]}")
        elif found["encoding"]:
            encoding = found["encoding"]
        elif found["trigger"]:
            trigger = found["trigger"]
        else:
            events.append(found["event"])
            if found["first"]:
                first = int(found["first"])
                numbers.append((first, int(found["last"] or first)))
    if numbers and len(numbers) != len(events):
        raise ValueError("number all events, or none")
    return Meaning(tuple(events), tuple(numbers) or None, encoding, piece, trigger)


def _marks(lane: str) -> Iterator[Mark]:
    opened: int | None = None
    for column, sign in enumerate(lane):
        if sign == "(":
            opened = column
        elif sign == ")":
            opened = None
        elif sign not in "- ":
            yield Mark(column if opened is None else opened, sign)
