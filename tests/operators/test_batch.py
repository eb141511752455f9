"""What a marble cannot show of `batch`: settings, laws, threads, RxPY's buffer beside it.

What it can show is in marbles/batch.marble.
"""

from __future__ import annotations

import threading
from itertools import accumulate
from math import inf, nan
from typing import Any
from unittest.mock import Mock, patch

import pytest
import reactivex as rx
from hypothesis import given, settings
from hypothesis import strategies as st
from reactivex import operators as ops
from reactivex.disposable import Disposable
from reactivex.subject import Subject

from rx_agui import (
    ConfigError,
    Frame,
    StreamError,
    WireError,
    batch,
    compress,
    flow_control,
    from_iterable,
    sequence,
    unbatch,
)
from rx_agui.engine import _stage
from rx_agui.probe import OperatorCounters, watching
from rx_agui.testing import MarbleScheduler
from rx_agui.types import Item

Event = dict[str, Any]
Schedule = list[float]

laws = settings(deadline=None, max_examples=60)


def _of(*items: Item) -> rx.Observable[Item]:
    return rx.from_iterable(items)


def event(n: int) -> Event:
    return {"type": "X", "n": n}


def compressed() -> Frame:
    """A payload that is compressed already."""
    heard: list[Frame] = []
    rx.just({"type": "X", "text": "a" * 2000}).pipe(compress()).subscribe(heard.append)
    return heard[0]


def numbers_in(frame: Frame) -> list[int]:
    numbers: list[int] = []
    rx.just(frame).pipe(unbatch()).subscribe(lambda e: numbers.append(e["n"]))
    return numbers


# -- settings -------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, -1, nan, True, "5"])
@pytest.mark.parametrize("setting", ["batch_size", "batch_timeout", "max_bytes"])
def test_a_setting_that_makes_no_sense_is_refused_where_it_is_written(
    setting: str, value: Any
) -> None:
    with pytest.raises(ConfigError) as refused:
        batch(**{setting: value})

    assert str(refused.value) == f"{setting} must be positive, got {value!r}"


@pytest.mark.parametrize(
    ("setting", "value", "must"),
    [
        ("batch_size", None, "positive"),
        ("batch_size", 2.5, "a whole number"),
        ("batch_timeout", None, "positive"),
        ("max_bytes", 2.5, "a whole number"),
    ],
)
def test_nothing_is_no_setting_and_nobody_counts_by_halves(
    setting: str, value: Any, must: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        batch(**{setting: value})

    assert str(refused.value) == f"{setting} must be {must}, got {value!r}"


# -- beside RxPY's own ------------------------------------------------------------

#: Seconds from each event to the next, and from the last to the end.
GAPS = st.lists(st.sampled_from([0.0, 1.0, 1.0, 2.0, 5.0, 11.0]), min_size=1)


def groups(operator: Any, gaps: Schedule, ending: str = "|") -> list[tuple[float, Any]]:
    """What comes out when, as lists of numbers, in virtual time."""
    clock = MarbleScheduler()
    source: Subject[Event] = Subject()
    heard: list[tuple[float, Any]] = []

    def hear(group: Frame | list[Event]) -> None:
        if isinstance(group, Frame):
            heard.append((clock.seconds, numbers_in(group)))
        else:
            heard.append((clock.seconds, [e["n"] for e in group]))

    *moments, end = accumulate(gaps)
    for n, moment in enumerate(moments):
        clock.at(moment, source.on_next, event(n))
    if ending == "|":
        clock.at(end, source.on_completed)
    else:
        clock.at(end, source.on_error, StreamError("#"))
    source.pipe(operator).subscribe(
        hear,
        lambda _: heard.append((clock.seconds, "#")),
        lambda: heard.append((clock.seconds, "|")),
        scheduler=clock,
    )
    clock.play(until=sum(gaps))
    return heard


@laws
@given(GAPS, st.integers(1, 5))
def test_it_groups_as_rxpy_does_while_no_timer_is_due(
    gaps: Schedule, size: int
) -> None:
    later = sum(gaps) + 1

    ours = groups(batch(size, later), gaps)
    theirs = groups(ops.buffer_with_time_or_count(later, size), gaps)

    assert ours == [(moment, group) for moment, group in theirs if group]


@laws
@given(GAPS, st.integers(1, 5), st.sampled_from([1.0, 2.0, 3.0, 7.0]))
def test_it_holds_the_events_rxpy_holds_whatever_is_due(
    gaps: Schedule, size: int, timeout: float
) -> None:
    ours = groups(batch(size, timeout), gaps)
    theirs = groups(ops.buffer_with_time_or_count(timeout, size), gaps)

    def flat(heard: list[tuple[float, Any]]) -> list[int]:
        return [n for _, group in heard if group != "|" for n in group]

    assert flat(ours) == flat(theirs) == list(range(len(gaps) - 1))


def test_unlike_rxpys_it_says_nothing_while_nothing_comes() -> None:
    gaps = [12.0]

    assert groups(ops.buffer_with_time_or_count(5.0, 9), gaps) == [
        (5, []), (10, []), (12, []), (12, "|"),
    ]  # fmt: skip
    assert groups(batch(9, 5.0), gaps) == [(12, "|")]


def test_unlike_rxpys_its_timer_is_armed_by_the_first_event() -> None:
    gaps = [4.0, 16.0]

    theirs = groups(ops.buffer_with_time_or_count(5.0, 9), gaps)
    assert [heard for heard in theirs if heard[1]] == [(5, [0]), (20, "|")]
    assert groups(batch(9, 5.0), gaps) == [(9, [0]), (20, "|")]


def test_unlike_rxpys_it_delivers_before_an_error() -> None:
    gaps = [1.0, 1.0, 1.0]

    assert groups(ops.buffer_with_time_or_count(5.0, 9), gaps, "#") == [(3, "#")]
    assert groups(batch(9, 5.0), gaps, "#") == [(3, [0, 1]), (3, "#")]


def test_unlike_rxpys_it_takes_no_thread_per_window() -> None:
    def threads_of_twenty(operator: Any) -> int:
        before = threading.active_count()
        subscriptions = []
        for _ in range(20):
            source: Subject[Event] = Subject()
            subscriptions.append(source.pipe(operator).subscribe())
            source.on_next(event(1))
        try:
            return threading.active_count() - before
        finally:
            for subscription in subscriptions:
                subscription.dispose()

    assert threads_of_twenty(ops.buffer_with_time_or_count(30.0, 9)) >= 20
    assert threads_of_twenty(batch(9, 30.0)) <= 1


# -- the contract -------------------------------------------------------------------


def model(gaps: Schedule, size: int, timeout: float) -> list[tuple[float, Any]]:
    """The contract in a dozen lines."""
    *moments, end = accumulate(gaps)
    heard: list[tuple[float, Any]] = []
    waiting: list[int] = []
    due = inf
    for n, moment in enumerate([*moments, end]):
        if waiting and due < moment:
            heard.append((due, waiting))
            waiting = []
        if n == len(moments):
            break
        if not waiting:
            due = moment + timeout
        waiting.append(n)
        if len(waiting) == size:
            heard.append((moment, waiting))
            waiting = []
    return [*heard, *[(end, waiting)] * bool(waiting), (end, "|")]


@laws
@given(GAPS, st.integers(1, 5), st.sampled_from([1.0, 2.0, 3.0, 7.0]))
def test_each_event_leaves_when_the_contract_says(
    gaps: Schedule, size: int, timeout: float
) -> None:
    assert groups(batch(size, timeout), gaps) == model(gaps, size, timeout)


PAYLOADS = st.lists(
    st.tuples(st.integers(1, 4), st.integers(0, 40)).map(
        lambda shape: Frame(
            b"\n".join([b'{"n":"%b"}' % (b"x" * shape[1])] * shape[0]), events=shape[0]
        )
    ),
    max_size=15,
)


@laws
@given(PAYLOADS, st.integers(1, 6), st.none() | st.integers(1, 120))
def test_no_batch_is_empty_or_larger_than_was_said_unless_it_is_alone(
    payloads: list[Frame], size: int, max_bytes: int | None
) -> None:
    heard: list[Frame] = []
    rx.of(*payloads).pipe(batch(size, max_bytes=max_bytes)).subscribe(heard.append)

    lines = [line for payload in payloads for line in payload.lines()]
    assert [line for frame in heard for line in frame.lines()] == lines
    alone = {payload.data for payload in payloads}
    for frame in heard:
        assert frame.events == len(frame.lines()) >= 1
        if frame.data not in alone:
            assert frame.events <= size
            assert max_bytes is None or len(frame.data) <= max_bytes


@laws
@given(PAYLOADS, st.integers(1, 6), st.integers(1, 120))
def test_a_batch_leaves_no_sooner_than_it_must(
    payloads: list[Frame], size: int, max_bytes: int
) -> None:
    heard: list[Frame] = []
    rx.of(*payloads).pipe(batch(size, max_bytes=max_bytes)).subscribe(heard.append)

    # Payloads stay in one piece, so the next one's first is what did not fit.
    starts = iter(payloads)
    firsts = []
    for frame in heard:
        firsts.append(next(starts))
        events = firsts[-1].events
        while events < frame.events:
            events += next(starts).events
    for frame, first in zip(heard, firsts[1:], strict=False):
        too_many = frame.events + first.events > size
        too_large = len(frame.data) + 1 + len(first.data) > max_bytes
        assert too_many or too_large


def test_a_payload_that_is_compressed_passes_alone_and_in_order() -> None:
    heard: list[Frame] = []
    x, y, z = [compressed() for _ in range(3)]
    plain = [event(1), event(2)]

    _of(*plain, x, *plain, y, z).pipe(batch(9)).subscribe(heard.append)

    said = [(frame.encoding, frame.events) for frame in heard]
    pair, alone = ("identity", 2), ("gzip", 1)
    assert said == [pair, alone, pair, alone, alone]


def test_a_payload_that_says_in_its_own_words_that_it_is_plain_is_plain() -> None:
    frame = Frame(b'{"type":"X"}')
    frame.encoding = (
        b"identity".decode()
    )  # as it comes from a wire: equal, not the same
    heard: list[Frame] = []

    _of(event(1), frame, event(2)).pipe(batch(3)).subscribe(heard.append)

    assert [f.events for f in heard] == [3]


ITEMS = st.lists(
    st.sampled_from(
        [
            event(1),
            event(2),
            event(3),
            Frame(b'{"n":4}'),
            Frame(b'{"n":5}', first=9, last=9),
            Frame(b'{"n":6}\n{"n":7}\n{"n":8}', events=3),
            compressed(),
        ]
    ),
    max_size=15,
)


@laws
@given(ITEMS, st.integers(1, 6), st.integers(1, 6), st.sampled_from([None, 1, 30]))
def test_what_is_done_once_per_batch_is_done_as_for_each_event(
    items: list[Any], window: int, size: int, max_bytes: int | None
) -> None:
    def said(fusion: bool) -> list[Any]:
        heard: list[Any] = []
        tallies: list[OperatorCounters] = []
        watch = Mock(joined=tallies.append)
        gathered = batch(size, max_bytes=max_bytes)
        with patch.object(_stage, "FUSION", fusion), watching(watch):
            from_iterable(items).pipe(
                flow_control(window), sequence(), gathered
            ).subscribe(
                lambda f: heard.append(
                    (f.data, f.events, f.first, f.last, f.numbers, f.trigger)
                )
            )
        counts = [(t.name, t.received, t.emitted, t.dropped) for t in tallies]
        return [*heard, counts]

    assert said(fusion=True) == said(fusion=False)


def test_frames_that_others_have_seen_are_not_changed() -> None:
    frames = [Frame(b'{"n":%d}' % n, first=n, last=n) for n in (1, 2)]

    rx.of(*frames).pipe(batch(1)).subscribe()
    rx.of(*frames).pipe(batch(2)).subscribe()

    assert [(f.data, f.trigger) for f in frames] == [(b'{"n":1}', ""), (b'{"n":2}', "")]


# -- its timer ------------------------------------------------------------------------


class Counting(MarbleScheduler):
    """Virtual time that counts the timers that are out."""

    out = most = made = 0

    def schedule_relative(self, duetime: Any, action: Any, state: Any = None) -> Any:
        self.out += 1
        self.made += 1
        self.most = max(self.most, self.out)

        def ring(*args: Any) -> Any:
            self.out -= 1
            return action(*args)

        timer = super().schedule_relative(duetime, ring, state)

        def cancel() -> None:
            self.out -= 1
            timer.dispose()

        return Disposable(cancel)


def test_one_timer_is_out_at_most_and_few_are_made() -> None:
    clock = Counting()
    source: Subject[Event] = Subject()
    batches = 0

    def count(_: object) -> None:
        nonlocal batches
        batches += 1

    for n in range(20_000):
        clock.at(n / 1000, source.on_next, event(n))
    source.pipe(batch(10, 0.05)).subscribe(count, scheduler=clock)
    clock.play()

    assert batches == 2000
    assert clock.most == 1
    assert clock.made <= 20 / 0.05 + 1  # not one a batch: one per batch_timeout
    assert clock.out == 0


def test_disposal_and_the_end_leave_no_timer() -> None:
    for ending in ("dispose", "complete"):
        clock = Counting()
        source: Subject[Event] = Subject()
        subscription = source.pipe(batch(9, 5.0)).subscribe(scheduler=clock)
        source.on_next(event(1))
        assert clock.out == 1

        if ending == "dispose":
            subscription.dispose()
        else:
            source.on_completed()

        assert clock.out == 0


def test_an_event_pushed_while_a_batch_leaves_joins_the_next_one() -> None:
    source: Subject[Event] = Subject()
    heard: list[list[int]] = []

    def echo_once(frame: Frame) -> None:
        heard.append(numbers_in(frame))
        if len(heard) == 1:
            source.on_next(event(99))

    source.pipe(batch(2)).subscribe(echo_once)
    for n in (1, 2):
        source.on_next(event(n))
    source.on_completed()

    assert heard == [[1, 2], [99]]


def test_size_and_timer_race_without_loss_in_real_time() -> None:
    source: Subject[Event] = Subject()
    heard: list[int] = []
    ended, breathe = threading.Event(), threading.Event()

    source.pipe(batch(3, 0.001)).subscribe(
        lambda frame: heard.extend(numbers_in(frame)), on_completed=ended.set
    )
    for n in range(2000):
        source.on_next(event(n))
        if n % 20 == 0:
            breathe.wait(0.001)
    source.on_completed()

    assert ended.wait(5)
    assert heard == list(range(2000))


def test_a_batch_carries_the_credit_of_its_events_until_it_is_written() -> None:
    held: list[Frame] = []
    taken: list[int] = []

    def pulled() -> Any:
        for n in range(8):
            taken.append(n)
            yield event(n)

    def keep(frame: Frame) -> None:
        frame.permit.hold()
        held.append(frame)

    line = from_iterable(pulled).pipe(flow_control(4), batch(2, 60.0)).subscribe(keep)
    assert taken == [0, 1, 2, 3]
    assert [frame.permit.credits for frame in held] == [2, 2]

    held[0].permit.release()

    assert taken == [0, 1, 2, 3, 4, 5]
    line.dispose()


# -- unbatch ----------------------------------------------------------------------------


def test_unbatch_tells_of_each_line_that_is_no_event() -> None:
    told: list[StreamError] = []
    heard: list[Event] = []
    payload = Frame(b'{"n":1}\nnot json\n{"n":2}\n[3]\n{"n":4}', events=5)

    rx.just(payload).pipe(unbatch(errors=told.append)).subscribe(heard.append)

    assert heard == [{"n": 1}, {"n": 2}, {"n": 4}]
    assert [type(error) for error in told] == [WireError, WireError]


def test_without_anybody_to_tell_unbatch_ends_behind_the_others_of_the_payload() -> (
    None
):
    heard: list[Any] = []
    payload = Frame(b'{"n":1}\nnot json\n{"n":2}', events=3)

    _of(payload, event(3)).pipe(unbatch()).subscribe(heard.append, heard.append)

    assert heard[:2] == [{"n": 1}, {"n": 2}]
    assert [type(error) for error in heard[2:]] == [WireError]


def test_unbatch_says_what_must_go_before_it() -> None:
    heard: list[Any] = []
    zipped = compress(min_size=1)

    rx.just({"type": "X", "text": "a" * 500}).pipe(zipped, unbatch()).subscribe(
        heard.append, heard.append
    )

    (error,) = heard
    assert isinstance(error, WireError)
    assert str(error) == "a gzip payload: decompress() must go before unbatch()"


def test_unbatch_stops_where_it_is_disposed_of() -> None:
    heard: list[Event] = []
    payload = Frame(b'{"n":1}\n{"n":2}\n{"n":3}', events=3)

    rx.just(payload).pipe(unbatch(), ops.take(1)).subscribe(heard.append)

    assert heard == [{"n": 1}]


def test_numbers_are_listed_only_where_they_are_not_consecutive() -> None:
    heard: list[Frame] = []
    own = sequence(number=lambda e: e["n"])

    rx.of(*map(event, [1, 2, 3, 7])).pipe(own, batch(2)).subscribe(heard.append)

    assert [(f.first, f.last, f.numbers) for f in heard] == [
        (1, 2, None),
        (3, 7, (3, 7)),
    ]


def test_a_batch_of_snapshots_is_no_larger_than_a_megabyte_unless_told_otherwise() -> (
    None
):
    snapshots = [{"type": "S", "n": n, "text": "x" * 400_000} for n in range(5)]
    heard: list[tuple[int, str]] = []

    from_iterable(snapshots).pipe(flow_control(), batch()).subscribe(
        lambda payload: heard.append((payload.events, payload.trigger))
    )

    assert heard == [(2, "bytes"), (2, "bytes"), (1, "completed")]
