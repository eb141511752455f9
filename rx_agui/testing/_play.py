"""Play a drawing in virtual time: seconds on paper, no time on the clock."""

from __future__ import annotations

import ast
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from reactivex import Observable, Observer
from reactivex import operators as rx_operators
from reactivex.abc import DisposableBase, ObserverBase
from reactivex.disposable import Disposable

from rx_agui import operators
from rx_agui.agui.encoding import encode
from rx_agui.backoff import Backoff
from rx_agui.codecs.registry import PAYLOAD_CODECS
from rx_agui.errors import NotSentError, StreamError
from rx_agui.flow import Credit, Gate, Permit, from_iterable
from rx_agui.frame import IDENTITY, Frame, StreamChunk
from rx_agui.probe import OperatorCounters, Probe, StreamObservation, watching
from rx_agui.testing._marble import Drawing, MarbleError, Mark, Meaning, write
from rx_agui.testing._scheduler import MarbleScheduler

__all__ = ["Played", "play"]

Operator = Callable[[Observable[Any]], Observable[Any]]


@dataclass
class Played:
    """What really happened, lane by lane, and what the operators counted.

    Attributes:
        lanes: The same lanes as the drawing's that say what must happen.
        operators: Of each operator, from the source down.
        credit: The window, where there is a `flow_control`.
        notes: Of each lane with a sign for each second, what was noted: credits free,
            a breaker's state, a level.
    """

    drawing: Drawing
    lanes: dict[str, list[Mark]] = field(default_factory=dict)
    operators: list[OperatorCounters] = field(default_factory=list)
    credit: Credit | None = None
    notes: dict[str, str] = field(default_factory=dict)

    def differences(self) -> str:
        """Drawn above played for each lane that differs; empty if all is true."""
        rows: list[str] = []
        for lane, marks in self.lanes.items():
            drawn = self.drawing.marks(lane)
            if drawn != marks:
                rows += [
                    f"{lane:9}{write(drawn)}   drawn",
                    f"{'':9}{write(marks)}   played",
                ]
        for lane, noted in self.notes.items():
            drawn_notes = self.drawing.lanes[lane]
            if not noted.startswith(drawn_notes):
                rows += [
                    f"{lane:9}{drawn_notes}   drawn",
                    f"{'':9}{noted}   played",
                ]
        return "\n".join(rows)


def play(
    drawing: Drawing,
    operators_by_name: Mapping[str, Callable[..., Operator]] | None = None,
) -> Played:
    """Play a drawing, and return what happened.

    Args:
        operators_by_name: Operators the drawing may name besides rx_agui's own.

    Raises:
        MarbleError: The drawing says something that cannot be played.
    """
    return _Player(drawing, dict(operators_by_name or {})).play()


class _Player(Probe):
    def __init__(
        self, drawing: Drawing, named: dict[str, Callable[..., Operator]]
    ) -> None:
        self.drawing = drawing
        self.named = named
        work = drawing.lanes.get("work", "")
        self.scheduler = MarbleScheduler([float(digit) for digit in work])
        self.played = Played(drawing)
        self.held: deque[Permit] = deque()
        for lane in ("out", "taken", "refused", "errors", "other"):
            if lane in drawing.lanes:
                self.played.lanes[lane] = []
        for lane in _NOTED:
            if lane in drawing.lanes:
                self.played.notes[lane] = ""

    def play(self) -> Played:
        drawing, scheduler = self.drawing, self.scheduler
        source = self._source()
        stages = [self._stage(text) for text in drawing.stages]
        with watching(self):
            subscription = source.pipe(*stages).subscribe(
                Observer(self._heard, lambda _: self._mark("out", "#"), self._ended),
                scheduler=scheduler,
            )
        self._schedule(subscription)
        scheduler.play()
        return self.played

    # -- the probe: who works, and with which credit --------------------------

    def joined(self, _: StreamObservation, tally: OperatorCounters) -> None:
        self.played.operators.insert(0, tally)
        self.played.credit = getattr(tally, "credit", self.played.credit)

    # -- what goes in -----------------------------------------------------------

    def _source(self) -> Observable[Any]:
        lanes = self.drawing.lanes
        if "in" in lanes:
            return _Hot(self.scheduler, self.drawing)
        if "pull" in lanes:
            return from_iterable(self._pulled)
        if "gate" in lanes:
            self.gate = Gate()
            return self.gate
        raise self._cannot("nothing goes in")

    def _pulled(self) -> Iterator[object]:
        for _, sign in self.drawing.marks("pull"):
            if sign == "|":
                return
            if sign == "#":
                raise StreamError("#")
            self._mark("taken", sign)
            yield _value(self.drawing, sign)

    def _schedule(self, subscription: DisposableBase) -> None:
        """Acts in the order of ties: sources first, then acks; dispose comes last."""
        scheduler = self.scheduler
        for second, sign in self._drawn("gate"):
            scheduler.at(second, self._send, sign)
        for second, sign in self._drawn("ack"):
            scheduler.at(second, self._ack, sign)
        for second, _ in self._drawn("dispose"):
            # Put off twice: behind the timers that are due in the same second.
            scheduler.at(
                second, scheduler.soon, lambda: scheduler.soon(subscription.dispose)
            )
        for lane in self.played.notes:
            for second in range(len(self.drawing.lanes[lane])):
                scheduler.at(second + 0.5, self._note, lane)

    def _drawn(self, lane: str) -> list[Mark]:
        return self.drawing.marks(lane)

    def _send(self, sign: str) -> None:
        if sign == "|":
            self.gate.close()
        elif not self.gate.try_send(_value(self.drawing, sign)):
            self._mark("refused", sign)

    def _ack(self, sign: str) -> None:
        if self.held:
            self.held.popleft().release(_FATES[sign])

    def _note(self, lane: str) -> None:
        self.played.notes[lane] += _NOTED[lane](self.played)

    # -- what comes out ---------------------------------------------------------

    def _heard(self, item: Any) -> None:
        self._mark("out", _letter(self.drawing, item))
        if "ack" in self.drawing.lanes:
            self.held.append(item.permit.hold())

    def _ended(self) -> None:
        self._mark("out", "|")

    def _diverted(self, item: Any) -> None:
        self._mark("other", _letter(self.drawing, item))

    def _told(self, error: StreamError) -> None:
        name = type(error).__name__
        meanings = self.drawing.meanings.items()
        letter = next((k for k, v in meanings if v.events == (name,)), f"«{name}»")
        self._mark("errors", letter)

    def _mark(self, lane: str, sign: str) -> None:
        if lane in self.played.lanes:
            second = self.scheduler.seconds
            at = int(second) if second == int(second) else second
            self.played.lanes[lane].append(Mark(at, sign))

    # -- what it goes through -----------------------------------------------------

    def _stage(self, text: str) -> Operator:
        """`batch(batch_size=3)` on paper is `operators.batch(batch_size=3)` here."""
        try:
            call = ast.parse(text, mode="eval").body
        except SyntaxError:
            call = None
        match call:
            case ast.Call(func=ast.Name(id=name), args=args, keywords=settings):
                rooms = (operators, rx_operators)  # ours, then RxPY's own
                found = (getattr(room, name, None) for room in rooms)
                make = self.named.get(name) or next(filter(None, found), None)
                if make is None:
                    raise self._cannot(f"no operator is called {name}")
                try:
                    return make(
                        *map(self._setting, args),
                        **{str(s.arg): self._setting(s.value) for s in settings},
                    )
                except (TypeError, ValueError) as error:
                    raise self._cannot(f"{text}: {error}") from error
        raise self._cannot(f"not an operator: {text}")

    def _setting(self, node: ast.expr) -> object:
        if isinstance(node, ast.Name):
            known = {"errors": self._told, "other": self._diverted, **_FUNCTIONS}
            if node.id not in known:
                raise ValueError(f"{node.id} is none of {', '.join(known)}")
            return known[node.id]
        return ast.literal_eval(node)

    def _cannot(self, why: str) -> MarbleError:
        return MarbleError(f"{self.drawing.file}: {self.drawing.name}: {why}")


class _Hot(Observable[Any]):
    """A hot source: pushes what is drawn to its subscribers, without credit."""

    def __init__(self, scheduler: MarbleScheduler, drawing: Drawing) -> None:
        super().__init__()
        self._observers: list[ObserverBase[Any]] = []
        self._drawing = drawing
        for second, sign in drawing.marks("in"):
            scheduler.at(second, self._push, sign)

    def _subscribe_core(
        self, observer: ObserverBase[Any], scheduler: object = None
    ) -> DisposableBase:
        self._observers.append(observer)
        return Disposable(lambda: self._observers.remove(observer))

    def _push(self, sign: str) -> None:
        for observer in list(self._observers):
            if sign == "|":
                observer.on_completed()
            elif sign == "#":
                observer.on_error(StreamError("#"))
            else:
                observer.on_next(_value(self._drawing, sign))


# -- letters to values and back -----------------------------------------------


def _value(drawing: Drawing, letter: str) -> Any:
    """Return what a letter stands for where it goes in."""
    meaning = drawing.meanings.get(letter)
    return drawing.event(letter) if meaning is None else _made(drawing, meaning)


def _made(drawing: Drawing, meaning: Meaning) -> Frame | StreamChunk:
    data = b"\n".join(encode(drawing.event(letter)) for letter in meaning.events)
    frame = Frame(data, events=len(meaning.events))
    if meaning.numbers is not None:
        frame.first, frame.last = meaning.numbers[0][0], meaning.numbers[-1][1]
        if frame.last - frame.first + 1 != frame.events:
            frame.numbers = tuple(last for _, last in meaning.numbers)
    frame.crc32 = zlib.crc32(data)
    if meaning.encoding is not None:
        frame.encoding = meaning.encoding
        frame.data = PAYLOAD_CODECS[meaning.encoding].packer(1)(data)
    return frame if meaning.piece is None else _piece(frame, *meaning.piece)


def _piece(frame: Frame, index: int, total: int) -> StreamChunk:
    size = -(-len(frame.data) // total)
    return StreamChunk(
        data=frame.data[(index - 1) * size : index * size],
        event_type="chunk",
        event_id=str(frame.last) if index == total and frame.last else "",
        encoding=frame.encoding,
        sequence_num=frame.first,
        events=frame.events,
        numbers=frame.numbers,
        chunk_index=index - 1,
        total_chunks=total,
        crc32=frame.crc32,
    )


def _letter(drawing: Drawing, item: Any) -> str:
    """Return the letter that stands for what came out."""
    seen = _seen(drawing, item)
    drawn = {mark.sign for lane in ("out", "other") for mark in drawing.marks(lane)}
    for letter, meaning in drawing.meanings.items():
        if letter in drawn and _agree(meaning, seen):
            return letter
    if len(seen.events) == 1:
        return seen.events[0]
    return f"«{' '.join(seen.events) or seen.piece}»"


def _seen(drawing: Drawing, item: Any) -> Meaning:
    if isinstance(item, StreamChunk):
        piece = item.chunk_index + 1, item.total_chunks
        if not item.is_whole:
            return Meaning(piece=piece)
        data, encoding, trigger = item.data, item.encoding, None
        first = item.sequence_num if item.event_id else 0
        numbers: tuple[int, ...] | range = item.numbers or range(
            first, first + item.events
        )
    elif isinstance(item, Frame):
        piece, data, encoding, trigger = None, item.data, item.encoding, item.trigger
        first, numbers = item.first, item.line_numbers()
    else:
        return Meaning((_event_letter(drawing, item),))
    if encoding != IDENTITY:
        data = PAYLOAD_CODECS[encoding].unpack(data, 2**20)
    letters = [_event_letter(drawing, orjson.loads(line)) for line in data.split(b"\n")]
    covered: list[tuple[int, int]] = []
    for number in numbers if first else ():
        covered.append((first, number))
        first = number + 1
    return Meaning(tuple(letters), tuple(covered) or None, encoding, piece, trigger)


def _event_letter(drawing: Drawing, event: object) -> str:
    known = (letter for letter, value in drawing.events.items() if value == event)
    default = event.get("type") if isinstance(event, dict) and len(event) == 1 else None
    return next(known, default or f"«{event}»")


def _agree(drawn: Meaning, seen: Meaning) -> bool:
    """Whether what is drawn is what is seen, as far as the drawing says."""
    return all(
        not wanted or wanted == there
        for wanted, there in (
            (drawn.events, seen.events if seen.events else drawn.events),
            (drawn.numbers, seen.numbers),
            (drawn.encoding, seen.encoding),
            (drawn.piece, seen.piece),
            (drawn.trigger, seen.trigger),
        )
    )


def _credit(played: Played) -> str:
    return "?" if played.credit is None else str(played.credit.free)


def _state(played: Played) -> str:
    """Return the first letter of the state a breaker is in."""
    for tally in played.operators:
        for (_, state), is_in in tally.states.items():
            if is_in:
                return state[0]
    return "?"


def _level(played: Played) -> str:
    found = (tally.levels.get("degrade.level") for tally in played.operators)
    return str(next((level for level in found if level is not None), "?"))


def _digit(event: Mapping[str, Any]) -> int:
    """Return the number of an event whose letter is a digit."""
    return int(event["type"])


def _spelled(event: dict[str, Any]) -> list[dict[str, Any]] | None:
    """Return a step for each letter, in capitals; "-" is dropped."""
    name = event["stepName"]
    return None if name == "-" else [{**event, "stepName": n.upper()} for n in name]


#: Lanes on which the end of each second is noted, and what of it.
_NOTED: Final[dict[str, Callable[[Played], str]]] = {
    "credit": _credit,
    "state": _state,
    "level": _level,
}

#: How the sink lets go of what it has.
_FATES: Final = {"!": None, "#": StreamError("#"), "~": NotSentError("~")}

#: What a setting may name.
_FUNCTIONS: Final[dict[str, object]] = {
    "digit": _digit,
    "spelled": _spelled,
    "twice": Backoff(2.0, jitter=0),  # 2 seconds, 4, 8 and so on
}
