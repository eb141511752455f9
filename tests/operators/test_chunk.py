"""What a marble cannot show of `chunk` and `reassemble`: bytes, bounds, contradictions.

What it can show is in marbles/chunk.marble.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import fields, replace
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
    CorruptError,
    Frame,
    IncompleteError,
    PayloadTooLargeError,
    StreamChunk,
    StreamError,
    ValidationError,
    batch,
    chunk,
    compress,
    decompress,
    flow_control,
    from_iterable,
    reassemble,
    sequence,
    unbatch,
)
from rx_agui.probe import OperatorCounters, Probe, StreamObservation, watching
from rx_agui.testing import MarbleScheduler
from rx_agui.types import AlgorithmName

Operator = Callable[[Observable[Any]], Observable[Any]]

laws = settings(deadline=None, max_examples=60)


def event(text: str = "forty letters and some more") -> dict[str, Any]:
    return {"type": "X", "text": text}


def cut(*events: Any, size: int = 15, number: bool = True) -> list[StreamChunk]:
    """The pieces of one payload with these events."""
    heard: list[StreamChunk] = []
    numbers = [sequence()] if number else []
    chain: Observable[Any] = rx.of(*events)
    for operator in (*numbers, batch(len(events)), chunk(size)):
        chain = operator(chain)
    chain.subscribe(heard.append, raise_)
    return heard


def raise_(error: Exception) -> None:
    raise error


class Played(Probe):
    """Pieces through `reassemble`, in virtual time, with what it counted."""

    def __init__(self, **settings: Any) -> None:
        self.told: list[StreamError] = []
        self.clock = MarbleScheduler()
        self.source: Subject[Any] = Subject()
        self.heard: list[Any] = []
        with watching(self):
            operator = reassemble(errors=self.told.append, **settings)
            self.source.pipe(operator).subscribe(
                self.heard.append, raise_, scheduler=self.clock
            )

    def joined(self, _: StreamObservation, tally: OperatorCounters) -> None:
        self.tally = tally

    def push(self, *items: Any) -> Played:
        for item in items:
            self.source.on_next(item)
        return self

    def complete(self) -> Played:
        self.source.on_completed()
        self.clock.play()
        assert self.tally.held == 0, "an event is not accounted for"
        return self


# -- settings ----------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, -1, 3, nan, True, "65536"])
def test_a_piece_must_have_room_for_the_longest_character(value: Any) -> None:
    with pytest.raises(ConfigError) as refused:
        chunk(value)

    assert str(refused.value) == f"max_chunk_size must be at least 4, got {value!r}"


@pytest.mark.parametrize("value", [0, -1, nan, True, "5"])
@pytest.mark.parametrize("setting", ["max_size", "timeout", "max_partials"])
def test_a_setting_that_makes_no_sense_is_refused_where_it_is_written(
    setting: str, value: Any
) -> None:
    with pytest.raises(ConfigError) as refused:
        reassemble(**{setting: value})

    assert str(refused.value) == f"{setting} must be positive, got {value!r}"


@pytest.mark.parametrize(
    ("operator", "setting", "value", "must"),
    [
        (chunk, "max_chunk_size", None, "at least 4"),
        (chunk, "max_chunk_size", 4.5, "a whole number"),
        (decompress, "max_size", None, "positive"),
        (decompress, "max_size", 4.5, "a whole number"),
        (reassemble, "max_size", None, "positive"),
        (reassemble, "max_size", 4.5, "a whole number"),
        (reassemble, "max_partials", None, "positive"),
        (reassemble, "max_partials", 4.5, "a whole number"),
        (reassemble, "timeout", None, "positive"),
    ],
)
def test_nothing_is_no_setting_and_nobody_counts_by_halves(
    operator: Any, setting: str, value: Any, must: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        operator(**{setting: value})

    assert str(refused.value) == f"{setting} must be {must}, got {value!r}"


# -- chunk -----------------------------------------------------------------------------

TEXT = st.text(st.sampled_from('aé户👩\u0301\u2028"\\'), max_size=60)


@laws
@given(st.lists(TEXT, min_size=1, max_size=4), st.integers(4, 70))
def test_no_piece_is_too_large_and_none_splits_a_character(
    texts: list[str], size: int
) -> None:
    pieces = cut(*map(event, texts), size=size)

    total = len(pieces)
    assert [p.chunk_index for p in pieces] == list(range(total))
    assert {p.total_chunks for p in pieces} == {total}
    for piece in pieces:
        assert 1 <= len(piece.data) <= size
        piece.data.decode()
    # None is smaller than it must: at most a character's rest is left over.
    assert all(len(p.data) > size - 4 for p in pieces[:-1])


@laws
@given(st.integers(4, 70), st.sampled_from(["gzip", "lz4"]))
def test_what_is_compressed_is_cut_anywhere_and_evenly(
    size: int, algorithm: AlgorithmName
) -> None:
    pieces: list[StreamChunk] = []
    rx.just(event("ab" * 1000)).pipe(compress(algorithm), chunk(size)).subscribe(
        pieces.append
    )

    assert all(len(p.data) == size for p in pieces[:-1])
    assert all(p.compressed and p.encoding == algorithm for p in pieces)
    assert all(p.event_type == "chunk" for p in pieces)


def test_only_the_last_piece_has_the_id_a_reader_resumes_from() -> None:
    pieces = cut(*map(event, "abc"))

    assert len(pieces) > 2
    assert [p.event_id for p in pieces] == [""] * (len(pieces) - 1) + ["3"]
    assert {p.sequence_num for p in pieces} == {1}
    assert {p.events for p in pieces} == {3}
    assert len({p.crc32 for p in pieces}) == 1


def test_without_numbers_there_is_no_id_and_payloads_are_numbered() -> None:
    heard: list[StreamChunk] = []
    rx.of(event(), event()).pipe(chunk(30)).subscribe(heard.append)

    assert [p.event_id for p in heard] == [""] * 4
    assert [p.sequence_num for p in heard] == [1, 1, 2, 2]


def test_a_payload_that_fits_is_not_copied_and_needs_no_crc() -> None:
    frame = Frame(b'{"type":"X"}', first=7, last=7)
    heard: list[StreamChunk] = []
    rx.just(frame).pipe(chunk()).subscribe(heard.append)

    (piece,) = heard
    assert piece.data is frame.data
    assert (piece.event_type, piece.event_id, piece.crc32) == ("", "7", None)


def test_bytes_that_are_no_text_are_cut_all_the_same() -> None:
    junk = Frame(b"abcd" + b"\x80" * 100)
    heard: list[StreamChunk] = []
    rx.just(junk).pipe(chunk(4)).subscribe(heard.append)

    assert b"".join(p.data for p in heard) == junk.data
    assert all(1 <= len(p.data) <= 4 for p in heard)


def test_pieces_share_one_permit_which_the_last_who_holds_it_gives_back() -> None:
    held: list[StreamChunk] = []
    taken: list[int] = []

    def pulled() -> Any:
        for n in range(3):
            taken.append(n)
            yield event()

    def keep(piece: StreamChunk) -> None:
        piece.permit.hold()
        held.append(piece)

    from_iterable(pulled).pipe(flow_control(1), chunk(30)).subscribe(keep)
    assert len(held) == 2
    assert taken == [0]

    held[0].permit.release()
    assert taken == [0]
    held[1].permit.release()
    assert taken == [0, 1]


# -- reassemble ---------------------------------------------------------------------------


@laws
@given(
    st.lists(st.integers(1, 200), min_size=1, max_size=6),
    st.integers(4, 50),
    st.randoms(use_true_random=False),
)
def test_payloads_come_back_whatever_the_order_of_all_their_pieces(
    lengths: list[int], size: int, chance: Random
) -> None:
    pieces: list[StreamChunk] = []
    events = [event("户" * length) for length in lengths]
    rx.of(*events).pipe(sequence(), chunk(size)).subscribe(pieces.append)
    cut_up = [piece for piece in pieces if not piece.is_whole]
    mixed = pieces + chance.sample(cut_up, min(5, len(cut_up)))  # some come twice
    chance.shuffle(mixed)

    played = Played().push(*mixed).complete()

    came = {frame.last: json.loads(frame.data) for frame in played.heard}
    assert came == dict(enumerate(events, 1))
    assert len(played.heard) == len(events)
    assert played.told == []


def test_what_is_whole_or_was_given_up_is_not_begun_again() -> None:
    whole, given_up = cut(event("a" * 60)), cut(event("b" * 60))

    played = Played(timeout=5.0).push(*whole, *given_up[:-1])
    played.clock.play()
    assert [type(error) for error in played.told] == [IncompleteError]
    played.push(*whole, *given_up).complete()

    assert len(played.heard) == 1
    assert [str(error) for error in played.told] == [
        f"payload 1: {len(given_up) - 1} of {len(given_up)} pieces arrived"
    ]


def test_a_payload_that_grows_too_large_is_given_up_and_its_room_is_free_again() -> (
    None
):
    large, small = cut(event("a" * 200)), cut(event("b" * 60))

    played = Played(max_size=120).push(*large, *small, *large).complete()

    assert [json.loads(f.data) for f in played.heard] == [event("b" * 60)]
    (error,) = played.told
    assert isinstance(error, PayloadTooLargeError)
    assert error.limit == 120
    assert played.tally.dropped == {"too_large": 1}


def test_a_payload_too_large_from_its_first_piece_is_counted_as_it_was_sent() -> None:
    piece = StreamChunk(data=b"x" * 99, encoding="gzip", events=50, sequence_num=1)

    played = Played(max_size=98).push(piece, piece).complete()

    assert played.tally.received == 50
    assert played.tally.dropped == {"too_large": 50}
    assert len(played.told) == 1


def test_a_piece_that_comes_again_and_again_takes_no_room() -> None:
    pieces = cut(event("a" * 60))
    size = sum(len(piece.data) for piece in pieces)

    played = Played(max_size=size).push(*pieces[:1] * 20, *pieces).complete()

    assert len(played.heard) == 1
    assert played.told == []


def test_memory_is_bounded_however_many_payloads_are_begun() -> None:
    played = Played(max_partials=8, max_size=200)

    for n in range(1, 3000):
        piece = replace(cut(event("a" * 60))[0], sequence_num=n, crc32=n)
        played.push(piece)
        stage: Any = played.tally
        assert len(stage._partials) <= 8
        assert stage._size <= 200
        assert len(stage._settled) <= 1024
        assert played.tally.held <= 8
    played.complete()

    assert played.heard == []
    assert len(played.told) == 2999


def test_one_timer_gives_up_each_payload_in_its_time() -> None:
    made = 0

    class Counting(MarbleScheduler):
        def schedule_relative(self, *args: Any, **kwargs: Any) -> Any:
            nonlocal made
            made += 1
            return super().schedule_relative(*args, **kwargs)

    clock, source = Counting(), Subject[Any]()
    told: list[tuple[float, int]] = []

    def tell(error: StreamError) -> None:
        assert isinstance(error, IncompleteError)
        told.append((clock.seconds, error.number))

    source.pipe(reassemble(timeout=5.0, errors=tell)).subscribe(scheduler=clock)
    piece = cut(event("a" * 60))[0]
    for n in range(1, 51):
        clock.at(n / 10, source.on_next, replace(piece, sequence_num=n))
    clock.play()

    assert told == [(5 + n / 10, n) for n in range(1, 51)]
    assert made <= 51


@pytest.mark.parametrize(
    "wrong",
    [{"events": 9}, {"encoding": "gzip"}, {"numbers": (4, 5)}],
    ids=lambda wrong: next(iter(wrong)),
)
@pytest.mark.parametrize("which", [0, 1, -1])
def test_pieces_that_contradict_each_other_are_no_payload(
    which: int, wrong: dict[str, Any]
) -> None:
    pieces = cut(event("a" * 60), event("b"))
    pieces[which] = replace(pieces[which], **wrong)

    played = Played().push(*pieces, *cut(event())).complete()

    assert [type(error) for error in played.told] == [CorruptError]
    assert str(played.told[0]) == "payload 1: its pieces contradict each other"
    assert len(played.heard) == 1


def test_a_chunk_that_was_given_is_never_changed() -> None:
    pieces = [
        *cut(event("a" * 60)),
        *cut(event()),
        *cut(event(), number=False, size=999),
    ]
    before = [copy.copy(piece) for piece in pieces]

    for _ in range(2):
        rx.of(*pieces).pipe(
            reassemble(), flow_control(9), decompress(), sequence(start=50), batch()
        ).subscribe()

    for piece, was in zip(pieces, before, strict=True):
        for field in fields(StreamChunk):
            assert getattr(piece, field.name) is getattr(was, field.name), field.name


def test_a_piece_that_is_not_reassembled_says_what_must_go_first() -> None:
    told: list[Any] = []

    rx.of(*cut(event())).pipe(batch()).subscribe(on_error=told.append)

    (error,) = told
    assert isinstance(error, ValidationError)
    assert str(error).startswith("a piece of a payload: reassemble() must go first")


@pytest.mark.parametrize("window", [1, 2, 100])
def test_a_relay_may_let_in_what_it_reassembles(window: int) -> None:
    events = [event("a" * n) for n in (1, 60, 200)]
    pieces: list[StreamChunk] = []
    rx.of(*events).pipe(sequence(), compress(min_size=50), chunk(20)).subscribe(
        pieces.append
    )
    heard: list[Any] = []

    from_iterable(pieces).pipe(
        reassemble(), decompress(), flow_control(window), unbatch()
    ).subscribe(heard.append, raise_)

    assert heard == events
