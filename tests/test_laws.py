"""What a pair of operators does and undoes is nothing, whatever lies in between.

    inverse(operator(events)) == events

Events are compared as a reader sees them, numbers as frames carry them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import combinations
from random import Random
from typing import Any
from unittest.mock import Mock, patch

import pytest
import reactivex as rx
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from reactivex import Observable
from reactivex.disposable import SerialDisposable

from rx_agui import (
    Frame,
    GapError,
    StreamChunk,
    StreamError,
    batch,
    chunk,
    compress,
    decompress,
    flow_control,
    format_sse_chunk,
    from_iterable,
    reassemble,
    resequence,
    sequence,
    unbatch,
)
from rx_agui.agui.encoding import decode, encode
from rx_agui.codecs.registry import PAYLOAD_CODECS
from rx_agui.engine import _stage
from rx_agui.probe import OperatorCounters, Probe, watching
from rx_agui.sse import Parser, read_chunk
from rx_agui.testing import MarbleScheduler
from rx_agui.types import AlgorithmName

Operator = Callable[[Observable[Any]], Observable[Any]]
Source = Callable[[Iterable[Any]], Observable[Any]]
Event = dict[str, Any]


def one_by_one(items: Iterable[Any]) -> Observable[Any]:
    """Pulled, and made only then: who pulls cannot know whether he will wait."""
    return from_iterable(lambda: (item for item in items))


#: Events of anybody's, and those that are pulled as there is credit: many at a time from
#: a list, and one by one.
SOURCES: list[Source] = [rx.from_iterable, from_iterable, one_by_one]
KINDS = ["pushed", "pulled", "one by one"]

laws = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)

#: What has broken somebody's text before: wide, joined, combining, and line ends
#: that are none on the wire.
NASTY = ["户枢不蠹", "👩‍🚀🏳️‍🌈", "é̂ e\u0301", "\u2028\u2029\x85", "\r\n\n", "\0", '"\\']

TEXT = st.text(max_size=20) | st.lists(st.sampled_from(NASTY), max_size=9).map("".join)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | TEXT,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3)
    ),
    max_leaves=4,
)
EVENT = st.builds(
    lambda delta, times, more: {"type": "X", "delta": delta * times, "more": more},
    TEXT,
    st.sampled_from([1, 1, 1, 30]),
    JSON,
)
EVENTS = st.lists(EVENT, max_size=12)

CODECS = st.sampled_from(sorted(PAYLOAD_CODECS)).flatmap(
    lambda name: st.tuples(
        st.just(name), st.sampled_from(list(PAYLOAD_CODECS[name].levels)[:13])
    )
)


# -- what comes out, and what is on it ------------------------------------------


def passed(
    items: Iterable[Any],
    *operators: Operator,
    work: list[float] | None = None,
    source: Source = rx.from_iterable,
) -> list[Any]:
    """What comes out when `items` go through, in virtual time, up to the end."""
    clock = MarbleScheduler(work)
    heard: list[Any] = []
    ends: list[str] = []
    chain = source(items)
    for operator in operators:
        chain = operator(chain)
    chain.subscribe(heard.append, raise_, lambda: ends.append("|"), scheduler=clock)
    clock.play()
    assert ends == ["|"]
    return heard


def raise_(error: Exception) -> None:
    raise error


def seen(events: Iterable[Event]) -> list[Event]:
    """Events as a reader sees them."""
    return [decode(encode(event)) for event in events]


def numbered(frames: Iterable[Frame]) -> list[tuple[int, Event]]:
    """Of each event, the last number it covers."""
    return [
        (number, decode(line))
        for frame in frames
        for number, line in zip(frame.line_numbers(), frame.lines(), strict=True)
    ]


def over_the_wire(chunks: Iterable[StreamChunk], cuts: Random) -> list[StreamChunk]:
    """The same, written and read again, in slices of any size."""
    parser = Parser()
    data = b"".join(map(format_sse_chunk, chunks))
    messages = []
    while data:
        size = cuts.choice([1, 2, 3, 50, 10_000])
        messages += parser.feed(data[:size])
        data = data[size:]
    assert parser.is_between_messages
    return [read_chunk(message) for message in messages]


def shuffled(chunks: list[StreamChunk], chance: Random) -> list[StreamChunk]:
    """The pieces of each payload in any order, and some of them twice."""
    payloads: dict[int, list[StreamChunk]] = {}
    for piece in chunks:
        payloads.setdefault(piece.sequence_num, []).append(piece)
    mixed: list[StreamChunk] = []
    for pieces in payloads.values():
        if not pieces[0].is_whole:
            pieces += chance.choices(pieces, k=2)
        mixed += chance.sample(pieces, len(pieces))
    return mixed


# -- pairs ------------------------------------------------------------------------


@laws
@given(EVENTS, st.integers(1, 9), st.none() | st.integers(1, 200))
def test_unbatch_undoes_batch(
    events: list[Event], size: int, max_bytes: int | None
) -> None:
    gathered = batch(size, max_bytes=max_bytes)

    assert passed(events, gathered, unbatch()) == seen(events)


@laws
@given(EVENTS, st.integers(1, 1000), st.randoms(use_true_random=False))
def test_resequence_undoes_any_disorder(
    events: list[Event], start: int, chance: Random
) -> None:
    frames = passed(events, sequence(start=start))

    again = passed(
        chance.sample(frames, len(frames)) + frames[: chance.randint(0, 3)],
        resequence(start=start),
    )

    assert numbered(again) == list(enumerate(seen(events), start))


@laws
@given(EVENTS, CODECS, st.sampled_from([0, 1, 100, 1024]))
def test_decompress_undoes_compress(
    events: list[Event], codec: tuple[AlgorithmName, int], min_size: int
) -> None:
    frames = passed(events, sequence(), batch(4))

    again = passed(frames, compress(*codec, min_size=min_size), decompress())

    assert numbered(again) == numbered(frames)


@laws
@given(EVENTS, st.integers(4, 60), st.randoms(use_true_random=False))
def test_reassemble_undoes_chunk_in_any_order_with_pieces_that_come_twice(
    events: list[Event], size: int, chance: Random
) -> None:
    frames = passed(events, sequence(), batch(4))

    again = passed(shuffled(passed(frames, chunk(size)), chance), reassemble())

    assert numbered(again) == numbered(frames)


@laws
@given(
    EVENTS, CODECS, st.lists(st.integers(0, 9), max_size=12), st.sampled_from([1, 2, 5])
)
def test_resequence_undoes_what_workers_overtook(
    events: list[Event],
    codec: tuple[AlgorithmName, int],
    work: list[float],
    workers: int,
) -> None:
    squeezed = compress(*codec, min_size=1, workers=workers, ordered=False)

    again = passed(
        events,
        sequence(),
        squeezed,
        decompress(),
        resequence(gap_timeout=1e6),
        work=work,
    )

    assert numbered(again) == list(enumerate(seen(events), 1))


# -- the whole pipe -----------------------------------------------------------------


@pytest.mark.parametrize("source", SOURCES, ids=KINDS)
@pytest.mark.parametrize("fusion", [True, False], ids=["fused", "unfused"])
@laws
@given(
    events=EVENTS,
    size=st.integers(1, 9),
    codec=CODECS,
    min_size=st.sampled_from([0, 1, 100, 1024]),
    chunk_size=st.sampled_from([4, 7, 64, 65536]),
    window=st.integers(1, 12),
)
def test_the_inverses_undo_the_whole_pipe(
    source: Source,
    fusion: bool,
    events: list[Event],
    size: int,
    codec: tuple[AlgorithmName, int],
    min_size: int,
    chunk_size: int,
    window: int,
) -> None:
    with patch.object(_stage, "FUSION", fusion):
        chunks = passed(
            events,
            flow_control(window),
            sequence(),
            batch(size),
            compress(*codec, min_size=min_size),
            chunk(chunk_size),
            source=source,
        )

    frames = passed(chunks, reassemble(), decompress(), resequence())
    assert numbered(frames) == list(enumerate(seen(events), 1))
    assert passed(frames, unbatch()) == seen(events)


FORWARD: dict[str, Callable[[], Operator]] = {
    "flow_control": lambda: flow_control(5),
    "sequence": sequence,
    "batch": lambda: batch(3),
    "compress": lambda: compress(min_size=1),
    "chunk": lambda: chunk(11),
}


@pytest.mark.parametrize("source", SOURCES, ids=KINDS)
@pytest.mark.parametrize(
    "left",
    [names for n in range(1, len(FORWARD) + 1) for names in combinations(FORWARD, n)],
    ids=" | ".join,
)
@settings(laws, max_examples=8)
@given(events=EVENTS)
def test_the_same_inverses_do_whichever_operators_were_left_out(
    source: Source, left: tuple[str, ...], events: list[Event]
) -> None:
    chunks = passed(events, *(FORWARD[name]() for name in left), source=source)

    assert passed(chunks, reassemble(), decompress(), unbatch()) == seen(events)


@pytest.mark.parametrize(
    ("profile", "squeezed", "cut"),
    [
        ("agui", compress("none"), chunk()),
        ("chunk", compress(min_size=1), chunk(20)),
        ("both", compress(min_size=100), chunk(100)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@laws
@given(
    events=EVENTS,
    start=st.none() | st.integers(1, 2**53),
    chance=st.randoms(use_true_random=False),
)
def test_the_wire_changes_nothing(
    profile: str,
    squeezed: Operator,
    cut: Operator,
    events: list[Event],
    start: int | None,
    chance: Random,
) -> None:
    numbers = [] if start is None else [sequence(start=start)]
    chunks = passed(events, *numbers, batch(3), squeezed, cut)

    frames = passed(over_the_wire(chunks, chance), reassemble(), decompress())

    if profile == "agui":
        assert not any(piece.event_type for piece in chunks)
    if start is None:
        assert passed(frames, unbatch()) == seen(events)
    else:
        assert numbered(frames) == list(enumerate(seen(events), start))


# -- numbers with holes ---------------------------------------------------------------

HOLEY = st.lists(st.integers(1, 60), unique=True, max_size=20).map(sorted)


@pytest.mark.parametrize("cut", [chunk(), chunk(15)], ids=["agui", "chunk"])
@laws
@given(numbers=HOLEY, size=st.integers(1, 5), chance=st.randoms(use_true_random=False))
@example(numbers=[2], size=1, chance=Random(0))
def test_numbers_with_holes_survive_everything(
    cut: Operator, numbers: list[int], size: int, chance: Random
) -> None:
    events = [{"type": "X", "n": number} for number in numbers]
    chance.shuffle(events)

    chunks = passed(events, sequence(number=lambda e: e["n"]), batch(size), cut)
    frames = passed(over_the_wire(chunks, chance), reassemble(), decompress())

    assert numbered(frames) == [(n, {"type": "X", "n": n}) for n in numbers]


@laws
@given(numbers=HOLEY, size=st.integers(1, 5))
def test_a_payload_covers_the_numbers_that_never_came(
    numbers: list[int], size: int
) -> None:
    events = [{"type": "X", "n": number} for number in numbers]
    told: list[StreamError] = []

    chunks = passed(
        events,
        sequence(number=lambda e: e["n"]),
        batch(size),
        compress(min_size=1),
        chunk(15),
    )
    frames = passed(chunks, reassemble(), decompress(), resequence(errors=told.append))

    covered = [n for frame in frames for n in range(frame.first, frame.last + 1)]
    assert covered == list(range(1, max(numbers, default=0) + 1))
    assert told == []


# -- sizes at the edge ------------------------------------------------------------------


@pytest.mark.parametrize("letter", ["a", "é", "户", "👩"])
@pytest.mark.parametrize("beyond", range(-4, 5))
def test_a_payload_about_as_large_as_a_piece_comes_back(
    letter: str, beyond: int
) -> None:
    event = {"type": "X", "delta": letter * 20}
    size = len(encode(event)) - beyond

    chunks = passed([event], chunk(size))

    assert len(chunks) == (1 if beyond <= 0 else 2)
    assert all(len(piece.data) <= size for piece in chunks)
    assert passed(chunks, reassemble(), unbatch()) == [event]


@pytest.mark.parametrize("algorithm", sorted(PAYLOAD_CODECS))
@pytest.mark.parametrize("beyond", [-1, 0, 1])
def test_a_payload_about_as_large_as_min_size_comes_back(
    algorithm: AlgorithmName, beyond: int
) -> None:
    event = {"type": "X", "delta": "a" * 500}
    min_size = len(encode(event)) - beyond

    (frame,) = passed([event], compress(algorithm, min_size=min_size))

    is_small = beyond < 0 or algorithm == "none"
    assert frame.encoding == ("identity" if is_small else algorithm)
    assert passed([frame], decompress(), unbatch()) == [event]


# -- what is lost is told -----------------------------------------------------------------


@laws
@given(numbers=HOLEY, chance=st.randoms(use_true_random=False))
def test_every_number_comes_or_is_told_as_a_gap_once(
    numbers: list[int], chance: Random
) -> None:
    told: list[StreamError] = []
    frames = [Frame(b'{"n":%d}' % n, first=n, last=n) for n in numbers]
    chance.shuffle(frames)

    again = passed(frames, resequence(errors=told.append))

    given_up: list[int] = []
    for gap in told:
        assert isinstance(gap, GapError)
        given_up += range(gap.first, gap.last + 1)
    came = [number for number, _ in numbered(again)]
    assert came == numbers
    assert sorted(given_up + came) == list(range(1, max(numbers, default=0) + 1))


# -- whatever comes in --------------------------------------------------------------------

FORGED = st.builds(
    lambda piece, **rest: StreamChunk(
        chunk_index=piece[0], total_chunks=piece[1], event_type="chunk", **rest
    ),
    piece=st.sampled_from([(0, 1), (0, 1), (0, 2), (1, 2), (2, 3)]),
    data=st.sampled_from(
        [b'{"n":1}', b'{"n":1}\n{"n":2}', b'{"n":1}\n{"n":2}\n{"n":3}', b"", b"\n\xff"]
    ),
    event_id=st.sampled_from(["", "5", "x"]),
    encoding=st.sampled_from(["identity", "identity", "gzip", "br"]),
    sequence_num=st.integers(0, 6),
    events=st.integers(1, 4),
    numbers=st.none() | st.lists(st.integers(0, 9), min_size=1, max_size=4).map(tuple),
    crc32=st.sampled_from([None, None, 1]),
)


@pytest.mark.parametrize("checked", [True, False])
@settings(laws, max_examples=200)
@given(forged=st.lists(FORGED, min_size=1, max_size=8))
def test_whatever_comes_in_is_told_and_counted_and_nothing_is_raised(
    checked: bool, forged: list[StreamChunk]
) -> None:
    told: list[StreamError] = []
    tallies: list[OperatorCounters] = []
    with watching(Mock(joined=tallies.append)):
        passed(
            forged,
            reassemble(max_size=60, max_partials=3, errors=told.append),
            *([decompress(errors=told.append)] if checked else []),
            resequence(out_of_order_buffer=4, errors=told.append),
            unbatch(errors=told.append),
        )

    # Without decompress nobody compares lines with what was said of them.
    assert not any(t.held for t in tallies if checked or t.name != "unbatch")
    assert all(gap.first <= gap.last for gap in told if isinstance(gap, GapError))


# -- many at a time, or one by one ------------------------------------------------


NO_EVENT = st.sampled_from([object(), "text", 7, None, [1], {1: 2}.keys()])


@pytest.mark.parametrize("fusion", [True, False], ids=["fused", "unfused"])
@laws
@given(
    items=st.lists(EVENT | NO_EVENT, max_size=40),
    size=st.integers(1, 9),
    max_bytes=st.sampled_from([None, 1, 150, 400]),
    window=st.integers(1, 40),
    told=st.booleans(),
    enough=st.integers(1, 50),
)
def test_events_that_come_together_fare_as_if_they_came_one_by_one(
    fusion: bool,
    items: list[Any],
    size: int,
    max_bytes: int | None,
    window: int,
    told: bool,
    enough: int,
) -> None:
    """The same payloads, errors, ends and counts, also if the reader has had enough."""

    def fare(source: Source) -> tuple[Any, ...]:
        errors: list[str] = []
        heard: list[Any] = []
        tallies: list[OperatorCounters] = []
        watch = Mock(spec=Probe)
        watch.is_awake.return_value = True
        watch.joined.side_effect = lambda _, tally: tallies.append(tally)

        def hear(frame: Frame) -> None:
            heard.append((frame.data, frame.first, frame.last, frame.trigger))
            if len(heard) == enough:
                subscription.dispose()

        clock = MarbleScheduler()
        tell = (lambda error: errors.append(type(error).__name__)) if told else None
        with patch.object(_stage, "FUSION", fusion), watching(watch):
            subscription = SerialDisposable()
            subscription.disposable = (
                source(items)
                .pipe(
                    flow_control(window, errors=tell),
                    sequence(),
                    batch(size, max_bytes=max_bytes),
                )
                .subscribe(
                    hear,
                    lambda error: heard.append(type(error).__name__),
                    lambda: heard.append("|"),
                    scheduler=clock,
                )
            )
            clock.play()
        for tally in tallies:
            assert tally.held == 0
        emitted = [(tally.name, tally.emitted) for tally in tallies]
        return heard, errors if len(heard) < enough else None, emitted

    assert fare(from_iterable) == fare(one_by_one)
