"""What a marble cannot show of `sequence` and `resequence`: settings, laws, bounds.

What it can show is in marbles/sequence.marble.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import nan
from random import Random
from typing import Any

import pytest
import reactivex as rx
from hypothesis import given, settings
from hypothesis import strategies as st
from reactivex import Observable
from reactivex.subject import Subject

from rx_agui import (
    ConfigError,
    Credit,
    Frame,
    GapError,
    Permit,
    ProcessingError,
    StreamError,
    batch,
    resequence,
    sequence,
)
from rx_agui.probe import OperatorCounters, Probe, StreamObservation, watching
from rx_agui.testing import MarbleScheduler

Operator = Callable[[Observable[Any]], Observable[Any]]

laws = settings(deadline=None, max_examples=80)


def frame(first: int, last: int | None = None) -> Frame:
    """A payload of the events `first` to `last`."""
    numbers = range(first, (last or first) + 1)
    data = b"\n".join(b'{"n":%d}' % n for n in numbers)
    return Frame(data, events=len(numbers), first=first, last=numbers[-1])


def event(n: int) -> dict[str, Any]:
    return {"type": "X", "n": n}


def number(of: Mapping[str, Any]) -> int:
    return int(of["n"])


def lines(frames: Iterable[Frame]) -> list[bytes]:
    return [line for frame in frames for line in frame.lines()]


class Played(Probe):
    """Some input through one operator, in virtual time, with what it counted."""

    def __init__(self, operator: Operator) -> None:
        self.clock = MarbleScheduler()
        self.source: Subject[Any] = Subject()
        self.heard: list[Any] = []
        self.ends: list[Exception | None] = []
        self.operators: list[OperatorCounters] = []
        with watching(self):
            self.subscription = self.source.pipe(operator).subscribe(
                self.heard.append,
                self.ends.append,
                lambda: self.ends.append(None),
                scheduler=self.clock,
            )

    def joined(self, _: StreamObservation, tally: OperatorCounters) -> None:
        self.operators.append(tally)

    def push(self, *items: Any) -> Played:
        for item in items:
            self.source.on_next(item)
        return self

    def complete(self) -> Played:
        self.source.on_completed()
        self.clock.play()
        return self

    @property
    def dropped(self) -> dict[str, int]:
        return self.operators[0].dropped


# -- settings ---------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, -1, nan, True, "5"])
@pytest.mark.parametrize("setting", ["start", "out_of_order_buffer", "gap_timeout"])
@pytest.mark.parametrize("operator", [sequence, resequence])
def test_a_setting_that_makes_no_sense_is_refused_where_it_is_written(
    operator: Any, setting: str, value: Any
) -> None:
    with pytest.raises(ConfigError) as refused:
        operator(**{setting: value})

    must = "at least 1" if setting == "start" else "positive"
    assert str(refused.value) == f"{setting} must be {must}, got {value!r}"


@pytest.mark.parametrize("value", ["", "ignore", "SKIP", None, True, 1, nan])
@pytest.mark.parametrize("operator", [sequence, resequence])
def test_on_gap_is_one_of_two_words(operator: Any, value: Any) -> None:
    with pytest.raises(ConfigError) as refused:
        operator(on_gap=value)

    assert str(refused.value) == f"on_gap must be one of skip, error, got {value!r}"


@pytest.mark.parametrize("value", ["n", 7, {"n": 1}])
def test_what_reads_a_number_must_be_a_function(value: Any) -> None:
    with pytest.raises(ConfigError) as refused:
        sequence(number=value)

    assert str(refused.value) == f"number must be a function, got {value!r}"


@pytest.mark.parametrize(
    ("setting", "value", "must"),
    [
        ("start", None, "at least 1"),
        ("start", 1.5, "a whole number"),
        ("out_of_order_buffer", None, "positive"),
        ("out_of_order_buffer", 1.5, "a whole number"),
        ("gap_timeout", None, "positive"),
    ],
)
@pytest.mark.parametrize("operator", [sequence, resequence])
def test_nothing_is_no_setting_and_nobody_counts_by_halves(
    operator: Any, setting: str, value: Any, must: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        operator(**{setting: value})

    assert str(refused.value) == f"{setting} must be {must}, got {value!r}"


# -- numbers by counting ------------------------------------------------------------


@laws
@given(st.lists(st.integers(1, 5)), st.integers(1, 2**53))
def test_numbers_are_given_without_holes(sizes: list[int], start: int) -> None:
    payloads = [frame(7, 6 + size) for size in sizes]
    heard: list[Frame] = []

    rx.of(*payloads).pipe(sequence(start=start)).subscribe(heard.append)

    given = [n for f in heard for n in f.line_numbers()]
    assert given == list(range(start, start + sum(sizes)))
    assert [n for f in heard for n in range(f.first, f.last + 1)] == given


def test_new_numbers_replace_those_with_holes() -> None:
    own = sequence(number=number)
    heard: list[Frame] = []

    rx.of(event(1), event(5)).pipe(own, batch(2), sequence(start=10)).subscribe(
        heard.append
    )

    assert [(f.first, f.last, f.numbers) for f in heard] == [(10, 11, None)]


def test_own_numbers_replace_those_with_holes_too() -> None:
    heard: list[Frame] = []
    counted = sequence(number=lambda e: number(e) + 9, start=10)

    rx.of(event(1), event(5)).pipe(
        sequence(number=number), batch(2), counted
    ).subscribe(heard.append)

    assert [(f.first, f.last, list(f.line_numbers())) for f in heard] == [
        (10, 11, [10, 11])
    ]


# -- order, from any disorder ---------------------------------------------------------

DISORDER = st.integers(1, 30).flatmap(
    lambda n: st.tuples(
        st.permutations(range(1, n + 1)), st.randoms(use_true_random=False)
    )
)


@laws
@given(DISORDER)
def test_any_disorder_within_the_buffer_becomes_order(
    disorder: tuple[list[int], Random],
) -> None:
    numbers, chance = disorder
    twice = chance.choices(numbers, k=5)
    chance.shuffle(mixed := [*numbers, *twice])

    played = Played(sequence(number=number)).push(*map(event, mixed)).complete()

    assert lines(played.heard) == [b'{"type":"X","n":%d}' % n for n in sorted(numbers)]
    assert played.dropped == {"duplicate": len(twice)}
    assert played.ends == [None]


#: How two connections might cut the same events, and in which order it all came.
CUTS = st.lists(st.integers(1, 4), min_size=1, max_size=12)


@laws
@given(CUTS, CUTS, st.randoms(use_true_random=False), st.integers(3, 40))
def test_connections_that_overlap_in_any_way_give_every_event_once(
    cuts: list[int], other_cuts: list[int], chance: Random, buffer: int
) -> None:
    payloads = []
    for sizes in (cuts, other_cuts):
        first = 1
        for size in sizes:
            payloads.append(frame(first, first + size - 1))
            first += size
    chance.shuffle(payloads)
    told: list[StreamError] = []
    operator = resequence(out_of_order_buffer=buffer, errors=told.append)

    played = Played(operator).push(*payloads).complete()

    top = max(sum(cuts), sum(other_cuts))
    came = [n for f in played.heard for n in f.line_numbers()]
    assert lines(played.heard) == [b'{"n":%d}' % n for n in came]
    assert came == sorted(set(came)), "sorted, each once"
    covered = [n for f in played.heard for n in range(f.first, f.last + 1)]
    assert covered == list(range(1, top + 1)), "a reader sees no hole"
    given_up = [n for gap in told for n in given_up_by(gap)]
    assert sorted([*came, *given_up]) == list(range(1, top + 1))
    assert played.operators[0].held == 0
    lost = sum(f.events for f in payloads) - len(came)
    assert sum(played.dropped.values()) == lost
    if buffer >= sum(f.events for f in payloads):
        assert told == []
        assert set(played.dropped) <= {"duplicate"}


def given_up_by(gap: StreamError) -> range:
    assert isinstance(gap, GapError)
    assert gap.first <= gap.last
    return range(gap.first, gap.last + 1)


@laws
@given(st.lists(st.integers(1, 400), unique=True, max_size=60), st.integers(1, 20))
def test_no_more_is_held_than_the_buffer_has_room_for(
    numbers: list[int], buffer: int
) -> None:
    played = Played(sequence(number=number, out_of_order_buffer=buffer))
    for n in numbers:
        played.push(event(n))
        assert played.operators[0].held <= buffer
    played.complete()

    came = [f.last for f in played.heard]
    assert came == sorted(came)
    late = [n for n in numbers if n not in came]
    assert sum(played.dropped.values()) == len(late)


def test_late_is_not_double() -> None:
    played = Played(sequence(number=number, gap_timeout=5.0))
    played.push(event(1), event(1), event(3), event(3))
    played.clock.at(10, played.push, event(2), event(2), event(1), event(3), event(4))
    played.clock.play()

    assert [f.last for f in played.heard] == [1, 3, 4]
    assert played.dropped == {"duplicate": 4, "late": 2}


def test_a_gap_is_told_once_and_where_nobody_is_told_it_is_covered_all_the_same() -> (
    None
):
    told: list[StreamError] = []
    for errors in (told.append, None):
        operator = resequence(gap_timeout=5.0, errors=errors)
        played = Played(operator).push(frame(1), frame(4, 5), frame(9)).complete()

        assert [(f.first, f.last) for f in played.heard] == [(1, 1), (2, 5), (6, 9)]
        assert [tuple(f.line_numbers()) for f in played.heard] == [(1,), (4, 5), (9,)]

    assert [
        (str(gap), gap.first, gap.last) for gap in told if isinstance(gap, GapError)
    ] == [
        ("numbers 2 to 3 never came and were given up", 2, 3),
        ("numbers 6 to 8 never came and were given up", 6, 8),
    ]


@pytest.mark.parametrize("given_up_by", ["time", "room", "end"])
def test_on_gap_error_ends_with_the_gap_and_counts_what_was_behind_it(
    given_up_by: str,
) -> None:
    room = 2 if given_up_by == "room" else 1000
    told: list[StreamError] = []
    operator = resequence(
        gap_timeout=5.0, on_gap="error", out_of_order_buffer=room, errors=told.append
    )
    played = Played(operator).push(frame(1), frame(3), frame(4, 5))

    if given_up_by == "end":
        played.complete()
    else:
        played.clock.play()

    assert lines(played.heard) == [b'{"n":1}']
    (gap,) = played.ends
    assert isinstance(gap, GapError)
    assert (gap.first, gap.last) == (2, 2)
    assert played.dropped == {"behind_gap": 3}
    assert told == []


def test_the_error_of_the_source_is_worth_more_than_the_gap() -> None:
    error = StreamError("the agent broke")
    played = Played(resequence(on_gap="error")).push(frame(1), frame(3))

    played.source.on_error(error)

    assert played.ends == [error]


# -- the producer's own numbers ----------------------------------------------------------


@pytest.mark.parametrize(
    ("read", "says"),
    [
        (lambda e: e["nothing"], "number raised KeyError('nothing') for {'type': 'X'"),
        (lambda e: str(e["n"]), "a number must be an int, got '2'"),
        (lambda e: e["n"] / 1, "a number must be an int, got 2.0"),
        (lambda e: e["n"] > 0, "a number must be an int, got True"),
        (lambda _: None, "a number must be an int, got None"),
    ],
    ids=["raises", "str", "float", "bool", "None"],
)
def test_a_number_that_cannot_be_read_says_why(
    read: Callable[[Mapping[str, Any]], Any], says: str
) -> None:
    def number(e: Mapping[str, Any]) -> Any:
        return read(e) if e["n"] == 2 else e["n"] - (e["n"] > 2)

    told: list[StreamError] = []
    played = Played(sequence(number=number, errors=told.append))
    played.push(*map(event, (1, 2, 3))).complete()

    assert [f.last for f in played.heard] == [1, 2]
    assert played.ends == [None]
    assert played.dropped == {"invalid": 1}
    (error,) = told
    assert isinstance(error, ProcessingError)
    assert says in str(error)
    assert error.event == event(2)

    played = Played(sequence(number=number)).push(*map(event, (1, 2, 3)))
    assert [f.last for f in played.heard] == [1]
    assert [type(end) for end in played.ends] == [ProcessingError]


def test_a_number_that_fails_as_its_stream_is_disposed_of_harms_nobody() -> None:
    def failing(of: Mapping[str, Any]) -> int:
        played.subscription.dispose()
        raise ValueError("no number")

    played = Played(sequence(number=failing))
    played.push(event(1))

    assert played.dropped == {"invalid": 1}
    assert played.ends == []


def test_a_frame_that_is_no_json_costs_itself_alone() -> None:
    told: list[StreamError] = []

    played = Played(sequence(number=number, errors=told.append))
    played.push(event(1), Frame(b"\xff\xfe"), event(2)).complete()

    assert [f.last for f in played.heard] == [1, 2]
    assert len(told) == 1
    assert played.dropped == {"invalid": 1}


def test_who_reads_a_number_may_not_change_the_event() -> None:
    def greedy(e: Any) -> int:
        return int(e.pop("n"))

    played = Played(sequence(number=greedy)).push(event(1)).complete()

    assert lines(played.heard) == [b'{"type":"X","n":1}']


# -- credit, memory, timers -----------------------------------------------------------------


def test_what_is_stored_for_order_brings_its_credit_home_at_once() -> None:
    credit = Credit(5)
    played = Played(resequence())
    for n in (5, 4, 3, 2):
        assert credit.acquire()
        early = frame(n)
        early.permit = permit = Permit(credit)
        played.push(early)
        permit.release()
        assert credit.in_flight == 0

    played.push(frame(1))

    assert [f.last for f in played.heard] == [1, 2, 3, 4, 5]
    assert credit.in_flight == 0  # what went on was in flight again, and was consumed


def test_a_flood_in_reverse_takes_one_timer_and_little_time() -> None:
    made = 0

    class Counting(MarbleScheduler):
        def schedule_relative(self, *args: Any, **kwargs: Any) -> Any:
            nonlocal made
            made += 1
            return super().schedule_relative(*args, **kwargs)

    source: Subject[Any] = Subject()
    heard: list[Frame] = []
    source.pipe(resequence(out_of_order_buffer=20_000)).subscribe(
        heard.append, scheduler=Counting()
    )
    for n in range(20_000, 0, -1):
        source.on_next(frame(n))

    assert [f.last for f in heard] == list(range(1, 20_001))
    assert made == 1


def test_frames_that_others_have_seen_are_not_changed() -> None:
    frames = [frame(1), frame(4, 6), frame(9)]

    for operator in (resequence(), sequence(start=70)):
        Played(operator).push(*frames).complete()

    assert [(f.first, f.last, f.numbers) for f in frames] == [
        (1, 1, None),
        (4, 6, None),
        (9, 9, None),
    ]
