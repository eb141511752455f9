"""Laws of `conflate`, and what a marble cannot show: settings, oddities, costs, queues.

What it can show is in marbles/conflate.marble and marbles/flow_control.marble. That a
stock client cannot tell, tests/clients/test_conflated.py asks the client itself.
"""

from __future__ import annotations

import asyncio
import threading
from time import process_time
from typing import Any

import pytest
import reactivex as rx
from hypothesis import given, settings
from hypothesis import strategies as st
from reactivex import operators as ops
from reactivex.subject import Subject

from rx_agui import (
    BackpressureTimeoutError,
    ConfigError,
    Credit,
    Frame,
    Gate,
    Permit,
    WouldBlockError,
    batch,
    compress,
    conflate,
    decompress,
    flow_control,
    from_iterable,
    pipeline,
    sequence,
    unbatch,
)
from rx_agui.agui.encoding import decode, encode
from rx_agui.agui.known_state import KnownState
from rx_agui.operators._conflate import MergingQueue, conflate_lines
from rx_agui.probe import OperatorCounters, Probe, watching
from rx_agui.testing import MarbleScheduler, random_stream, simulated_run

Event = dict[str, Any]
Lines = list[bytes]

laws = settings(deadline=None, max_examples=80)

STREAMS = st.builds(random_stream, st.integers(0, 2**32), st.integers(1, 60))
RAW_EVENTS = ["strip", "keep_last", "barrier"]
RULES = st.fixed_dictionaries(
    {
        "raw_event": st.sampled_from(RAW_EVENTS),
        "patches": st.sampled_from(["proven", "all"]),
    }
)
NUMBERED = st.booleans()

#: By what an event adds text, and to what.
TEXTS = {
    "TEXT_MESSAGE_CONTENT": "messageId",
    "REASONING_MESSAGE_CONTENT": "messageId",
    "TOOL_CALL_ARGS": "toolCallId",
}


def encoded(events: list[Event]) -> Lines:
    return [encode(event) for event in events]


def text(delta: str, id: str = "m", **more: Any) -> Event:
    return {"type": "TEXT_MESSAGE_CONTENT", "messageId": id, "delta": delta, **more}


def numbers_of(lines: Lines, numbered: bool) -> range | tuple[()]:
    return range(1, len(lines) + 1) if numbered else ()


# -- settings ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "value", "must"),
    [
        ("raw", "barrier", "one of keep, strip, drop"),
        ("patches", None, "one of proven, all"),
        ("max_event_size", 0, "positive"),
        ("max_event_size", 1.5, "a whole number"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_where_it_is_written(
    setting: str, value: Any, must: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        conflate(**{setting: value})

    assert str(refused.value) == f"{setting} must be {must}, got {value!r}"


@pytest.mark.parametrize(
    ("old", "new"), [("strip", {"raw": "strip"}), ("keep_last", {"raw": "keep"})]
)
def test_the_older_name_of_a_setting_works_and_warns(old: Any, new: Any) -> None:
    events = [text("a", rawEvent=1), text("b", rawEvent=2)]
    with pytest.warns(DeprecationWarning, match="raw_event= is raw= now"):
        renamed = conflate(raw_event=old)

    made = [
        from_iterable(events).pipe(batch(), one, unbatch(), ops.to_list()).run()
        for one in (renamed, conflate(**new))
    ]

    assert made[0] == made[1]


def test_a_raw_event_behind_every_token_hinders_no_merging() -> None:
    """The shape of LangGraph's streams, where nothing merged before."""
    lines = encoded(
        [e for n in range(200) for e in ({"type": "RAW", "event": n}, text(f"{n} "))]
    )

    merged, _ = conflate_lines(lines)

    raw = [line for line in merged if line.startswith(b'{"type":"RAW"')]
    assert raw == lines[::2]
    assert len(merged) == 201
    assert texts(merged) == texts(lines)


def test_what_is_dropped_as_raw_is_counted_and_a_payload_of_it_alone_is_gone() -> None:
    events: list[Event] = [{"type": "RAW", "event": 1}, text("a", rawEvent=2)]

    out = from_iterable(events).pipe(conflate(raw="drop"), unbatch(), ops.to_list())

    assert out.run() == [text("a")]


# -- laws ----------------------------------------------------------------------------


@laws
@given(STREAMS, RULES, NUMBERED)
def test_conflated_twice_is_conflated_once(
    events: list[Event], rules: Any, numbered: bool
) -> None:
    lines = encoded(events)
    once, numbers = conflate_lines(lines, numbers_of(lines, numbered), **rules)

    assert conflate_lines(once, numbers, **rules) == (once, numbers)


@laws
@given(STREAMS, st.sampled_from(RAW_EVENTS), NUMBERED, st.integers(0, 60))
def test_conflated_in_parts_and_again_is_conflated_at_once(
    events: list[Event], raw_event: str, numbered: bool, cut: int
) -> None:
    rules: Any = {"raw_event": raw_event}
    lines = encoded(events)
    numbers = numbers_of(lines, numbered)

    first, seen = conflate_lines(lines[:cut], numbers[:cut], **rules)
    second, left = conflate_lines(lines[cut:], numbers[cut:], **rules)
    parts, covered = conflate_lines(first + second, seen + left, **rules)

    whole, wanted = conflate_lines(lines, numbers, **rules)
    assert covered == wanted
    assert list(map(decode, parts)) == list(map(decode, whole))


@laws
@given(STREAMS, RULES, NUMBERED)
def test_the_text_of_everything_is_the_same_to_the_character(
    events: list[Event], rules: Any, numbered: bool
) -> None:
    lines = encoded(events)

    fewer, _ = conflate_lines(lines, numbers_of(lines, numbered), **rules)

    assert texts(lines) == texts(fewer)


def texts(lines: Lines) -> dict[tuple[str, str], str]:
    said: dict[tuple[str, str], str] = {}
    for event in map(decode, lines):
        name = TEXTS.get(event["type"])
        if name is not None:
            key = event["type"], event[name]
            said[key] = said.get(key, "") + event["delta"]
    return said


@laws
@given(STREAMS, RULES, NUMBERED)
def test_what_begins_or_ends_something_is_not_touched_nor_moved(
    events: list[Event], rules: Any, numbered: bool
) -> None:
    lines = encoded(events)

    fewer, _ = conflate_lines(lines, numbers_of(lines, numbered), **rules)

    assert walls(lines) == walls(fewer)


def walls(lines: Lines) -> list[bytes | tuple[str, ...]]:
    """What never merges, byte for byte, and whose deltas stand between."""
    found: list[Any] = []
    for line in lines:
        event = decode(line)
        kind = event["type"]
        if kind.startswith(("STATE_", "ACTIVITY_")):  # one may make others obsolete
            continue
        if kind in TEXTS or kind.endswith("_CHUNK"):
            if not found or type(found[-1]) is not set:
                found.append(set())
            found[-1].add(event.get(TEXTS.get(kind, ""), kind))
        else:
            found.append(line)
    return found


@laws
@given(STREAMS, RULES, st.integers(1, 1000))
def test_each_event_says_what_the_numbers_it_covers_said(
    events: list[Event], rules: Any, start: int
) -> None:
    lines = encoded(events)

    fewer, numbers = conflate_lines(lines, range(start, start + len(lines)), **rules)

    assert numbers == sorted(set(numbers))
    assert numbers[-1] == start + len(lines) - 1
    seen = 0
    for line, number in zip(fewer, numbers, strict=True):
        covered = lines[seen : number - start + 1]
        assert conflate_lines(covered, **rules)[0] == [line]
        seen += len(covered)


@laws
@given(STREAMS, NUMBERED)
def test_what_merges_with_nothing_is_byte_for_byte_what_came(
    events: list[Event], numbered: bool
) -> None:
    spaced = [line.replace(b'":', b'" : ', 1) for line in encoded(events)]

    fewer, _ = conflate_lines(spaced, numbers_of(spaced, numbered))

    for line in set(fewer) - set(spaced):
        assert line.startswith(b'{"type":"')  # written anew


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("numbered", [True, False])
def test_a_run_goes_through_the_pipe_in_fewer_events(numbered: bool) -> None:
    run = list(simulated_run(words=100, messages=3))
    numbers = [sequence()] if numbered else []
    operators = [flow_control(), *numbers, batch(50), conflate(), compress()]
    frames: list[Frame] = []
    tallies: list[OperatorCounters] = []

    class Listen(Probe):
        def joined(self, _: Any, tally: OperatorCounters) -> None:
            tallies.append(tally)

    with watching(Listen()):
        rx.of(*run).pipe(pipeline("test", *operators)).subscribe(frames.append)

    heard: list[Event] = []
    rx.of(*frames).pipe(decompress(), unbatch()).subscribe(heard.append)
    assert texts(encoded(heard)) == texts(encoded(run))
    assert len(heard) < len(run) * 0.9
    if numbered:
        assert frames[-1].last == len(run)
        assert all(len(f.line_numbers()) == f.events for f in frames)
    (tally,) = [tally for tally in tallies if tally.name == "conflate"]
    assert tally.received == len(run)
    assert tally.emitted == len(heard)
    assert tally.merged == len(run) - len(heard)


# -- oddities ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "odd",
    [
        b"",
        b"[]",
        b"not JSON",
        b'{"type":"TEXT_MESSAGE_CONTENT","messageId":"m","delta":null}',
        b'{"type":"TEXT_MESSAGE_CONTENT","messageId":7,"delta":"a"}',
        b'{"type":"TEXT_MESSAGE_CONTENT","messageId":"m","delta":"a","metadata":null}',
        b'{"type":"TEXT_MESSAGE_CONTENT","messageId":"m","delta":"a","timestamp":null}',
        b'{"type":"TEXT_MESSAGE_CONTENT","messageId":"m","delta":"a","subagentRunId":null}',
        b'{"type":"TEXT_MESSAGE_CONTENT","messageId":"m","delta":"a","seq":1}',
        b'{"type":"SOMETHING_NEW","messageId":"m","delta":"a"}',
        b'{"type":["TEXT_MESSAGE_CONTENT"]}',
        b'{"no":"type"}',
    ],
)
def test_what_is_not_understood_passes_untouched_and_nothing_passes_it(
    odd: bytes,
) -> None:
    lines = [encode(text("a")), odd, odd, encode(text("b"))]

    assert conflate_lines(lines)[0] == lines


def test_what_is_nested_deeper_than_can_be_written_passes_untouched() -> None:
    deep: Any = 1
    for _ in range(280):
        deep = [deep]
    line = (
        b'{"type":"STATE_DELTA","delta":[{"op":"replace","path":"/a","value":%b}]}'
        % (str(deep).encode())
    )

    assert conflate_lines([line, line])[0] == [line, line]


def test_an_event_grows_no_larger_than_it_may() -> None:
    lines = encoded([text("0123456789")] * 1000)

    fewer, numbers = conflate_lines(lines, range(1, 1001), max_event_size=500)

    assert max(map(len, fewer)) <= 500
    assert len(fewer) < 1000 / 35
    assert texts(fewer) == texts(lines)
    assert numbers[-1] == 1000


@pytest.mark.parametrize("events", [2, 4])
def test_a_payload_that_is_not_what_it_says_passes_untouched(events: int) -> None:
    data = b"\n".join(encoded([text("a"), text("b"), text("c")]))
    heard: list[Frame] = []

    rx.of(Frame(data, events=events)).pipe(conflate()).subscribe(heard.append)

    assert (heard[0].data, heard[0].events) == (data, events)


def test_a_checksum_does_not_outlive_what_it_was_of() -> None:
    frame = Frame(b"\n".join(encoded([text("a"), text("b")])), events=2)
    frame.crc32 = 7
    heard: list[Frame] = []

    rx.of(frame).pipe(conflate()).subscribe(heard.append)

    assert heard[0].crc32 is None


def test_many_deltas_cost_in_proportion() -> None:
    def cost(n: int) -> float:
        lines = encoded([text("delta ")] * n)
        begun = process_time()
        conflate_lines(lines, max_event_size=10**9)
        return process_time() - begun

    few = min(cost(2_000) for _ in range(3))
    assert cost(40_000) < 20 * few * 5  # joined anew each time it were 400 times


# -- what is known of the state --------------------------------------------------------


def snapshot(state: Any) -> bytes:
    return encode({"type": "STATE_SNAPSHOT", "snapshot": state})


def patch(*ops: tuple[str, str]) -> bytes:
    said = [{"op": op, "path": path, "value": 1} for op, path in ops]
    return encode({"type": "STATE_DELTA", "delta": said})


def test_a_patch_of_a_state_that_was_told_is_known_to_succeed_or_not() -> None:
    known = KnownState(1000)
    told = [
        patch(("replace", "/n")),  # of a state that nobody has told
        snapshot({"n": 0}),
        patch(("replace", "/n")),
        patch(("replace", "/n"), ("replace", "/m")),
        patch(("add", "/m")),
        patch(("replace", "/m"), ("test", "/n")),
        encode(text('"STATE_DELTA"')),
        patch(("replace", "/m")),
    ]

    seen = [known.tell(line) for line in told]

    assert seen == [False, False, True, False, True, True, False, True]


@pytest.mark.parametrize(
    "loses_it",
    [
        snapshot({"text": "x" * 1000}),
        b'{"type":"STATE_SNAPSHOT","snapshot":"\\ud800"}',
        b'{"type":"STATE_SNAPSHOT"}',
        b'{"type":"STATE_DELTA","delta":[{"op":"add","path":"/m","value":"\\ud800"}]}',
        patch(("replace", "/constructor")),
    ],
    ids=["too large", "half a character", "nothing", "half in a patch", "a trap"],
)
def test_what_is_not_understood_makes_the_state_unknown_up_to_the_next_snapshot(
    loses_it: bytes,
) -> None:
    known = KnownState(1000)
    known.tell(snapshot({"n": 0}))

    known.tell(loses_it)

    assert not known.tell(patch(("replace", "/n")))
    assert not known.tell(patch(("replace", "/n")))
    known.tell(snapshot({"n": 0}))
    assert known.tell(patch(("replace", "/n")))


def test_a_state_that_grows_beyond_its_worth_is_forgotten() -> None:
    known = KnownState(1000)
    known.tell(snapshot({"l": []}))

    seen = [known.tell(patch(("add", "/l/-"))) for _ in range(1500)]

    assert seen[:400] == [True] * 400
    assert seen[-1] is False


def test_one_that_only_changes_is_not() -> None:
    known = KnownState(1000)
    known.tell(snapshot({"n": 0}))

    assert all(known.tell(patch(("replace", "/n"))) for _ in range(500))


def test_the_state_is_known_though_single_events_and_compressed_ones_went_by() -> None:
    heard: list[Frame] = []
    source: Subject[Frame] = Subject()
    source.pipe(conflate()).subscribe(heard.append)
    both = b"\n".join([patch(("replace", "/n")), patch(("replace", "/m"))])

    source.on_next(Frame(snapshot({"n": 0, "m": 0})))
    source.on_next(Frame(both, events=2))
    zipped = Frame(b"...", events=2)
    zipped.encoding = "gzip"  # it may say anything
    source.on_next(zipped)
    source.on_next(Frame(both, events=2))

    assert [frame.events for frame in heard] == [1, 1, 2, 2]


# -- what queues ----------------------------------------------------------------------


def custom(name: str) -> Event:
    return {"type": "CUSTOM", "name": name, "value": None}


class Slow:
    """A reader who keeps all he gets until he is told to let go."""

    def __init__(self) -> None:
        self.heard: list[Event] = []
        self.frames: list[Frame] = []
        self.held: list[Permit] = []

    def __call__(self, frame: Frame) -> None:
        self.frames.append(frame)
        self.heard += map(decode, frame.lines())
        self.held.append(frame.permit.hold())

    def let_go(self, n: int = 1) -> None:
        for _ in range(n):
            self.held.pop(0).release()


def test_in_a_full_queue_a_thread_waits_behind_the_others() -> None:
    source: Subject[Event] = Subject()
    reader = Slow()
    source.pipe(flow_control(1, buffer_size=1, overflow="conflate")).subscribe(reader)
    source.on_next(custom("in flight"))
    source.on_next(custom("queued"))
    sender = threading.Thread(target=source.on_next, args=(custom("waits"),))
    sender.start()
    while len(reader.frames) < 3:
        if reader.held:
            reader.let_go()
    sender.join(10)

    assert [event["name"] for event in reader.heard] == ["in flight", "queued", "waits"]


def test_in_a_full_queue_a_thread_waits_no_longer_than_it_may() -> None:
    source: Subject[Event] = Subject()
    reader = Slow()
    slow = flow_control(1, buffer_size=1, overflow="conflate", timeout=0.01)
    source.pipe(slow).subscribe(reader)
    source.on_next(custom("in flight"))
    source.on_next(text("queued"))
    source.on_next(text(", and more"))  # merges, so it need not wait

    with pytest.raises(BackpressureTimeoutError):
        source.on_next(custom("one too many"))

    reader.let_go()
    assert reader.heard[1:] == [text("queued, and more")]


def test_a_gate_sends_into_the_queue_and_waits_only_when_it_is_full() -> None:
    gate = Gate()
    reader = Slow()
    gate.pipe(flow_control(1, buffer_size=1, overflow="conflate")).subscribe(reader)
    for delta in "abc":
        gate.send(text(delta))
    assert not gate.try_send(custom("full"))
    with pytest.raises(BackpressureTimeoutError):
        gate.send(custom("full"), timeout=0.01)
    sender = threading.Thread(target=gate.send, args=(custom("in time"),))
    sender.start()
    while len(reader.frames) < 3:
        if reader.held:
            reader.let_go()
    sender.join(10)

    assert reader.heard == [text("a"), text("bc"), custom("in time")]


async def one_that_awaits() -> None:
    gate = Gate()
    reader = Slow()
    gate.pipe(flow_control(1, buffer_size=1, overflow="conflate")).subscribe(reader)
    for delta in "abc":
        await gate.asend(text(delta))
    with pytest.raises(WouldBlockError):
        gate.send(custom("full"))
    sending = asyncio.ensure_future(gate.asend(custom("in time")))
    await asyncio.sleep(0)
    assert not sending.done()
    reader.let_go()
    reader.let_go()
    await sending

    assert reader.heard == [text("a"), text("bc"), custom("in time")]


def test_a_coroutine_awaits_only_when_the_queue_is_full() -> None:
    asyncio.run(one_that_awaits())


def test_what_merged_brings_home_the_credit_of_a_window_further_up() -> None:
    credit = Credit(64)
    source: Subject[Frame] = Subject()
    reader = Slow()
    source.pipe(flow_control(1, overflow="conflate")).subscribe(
        reader, scheduler=MarbleScheduler()
    )
    snapshots = [{"type": "STATE_SNAPSHOT", "snapshot": n} for n in range(3)]
    for event in [text("a"), text("b"), *snapshots, text("c"), custom("d")]:
        assert credit.acquire()
        permit = Permit(credit)
        source.on_next(Frame(encode(event), permit))
        permit.release()

    # In flight: a. Waiting: b c, which is one; the last snapshot; d.
    assert credit.in_flight == 7
    reader.let_go()
    assert credit.in_flight == 6
    reader.let_go()
    assert credit.in_flight == 4
    reader.let_go(2)
    assert credit.in_flight == 0
    assert reader.heard == [text("a"), text("bc"), snapshots[2], custom("d")]


def test_disposal_gives_back_what_merged_as_well() -> None:
    credit = Credit(64)
    source: Subject[Frame] = Subject()
    reader = Slow()
    subscription = source.pipe(flow_control(1, overflow="conflate")).subscribe(
        reader, scheduler=MarbleScheduler()
    )
    for delta in "abcd":
        assert credit.acquire()
        permit = Permit(credit)
        source.on_next(Frame(encode(text(delta)), permit))
        permit.release()

    subscription.dispose()
    reader.let_go()

    assert credit.in_flight == 0


def test_what_queued_with_numbers_covers_them() -> None:
    queue = MergingQueue()
    for number, event in enumerate(
        [text("a"), text("b"), text("x", "n"), text("c"), custom("d")], 5
    ):
        queue.append(Frame(encode(event), first=number, last=number), room=True)

    left = [queue.popleft() for _ in range(len(queue))]

    assert [(f.first, f.last, *f.line_numbers()) for f in left] == [
        (5, 6, 6),
        (7, 7, 7),
        (8, 8, 8),
        (9, 9, 9),
    ]


def test_a_payload_of_several_events_waits_as_it_is() -> None:
    queue = MergingQueue()
    payload = Frame(b"\n".join(encoded([text("b"), text("c")])), events=2)
    for frame in (Frame(encode(text("a"))), payload, Frame(encode(text("d")))):
        queue.append(frame, room=True)

    assert [queue.popleft().events for _ in range(3)] == [1, 2, 1]


def test_what_has_left_is_joined_by_nothing() -> None:
    queue = MergingQueue()
    queue.append(Frame(encode(text("a"))), room=True)
    first = queue.popleft()
    queue.append(Frame(encode(text("b"))), room=True)

    assert decode(first.data) == text("a")
    assert decode(queue.popleft().data) == text("b")


@laws
@given(STREAMS, st.lists(st.integers(0, 5), max_size=60))
def test_a_queue_loses_nothing_whenever_it_is_emptied(
    events: list[Event], leaves: list[int]
) -> None:
    queue = MergingQueue()
    left: Lines = []
    merged = 0
    for line, leave in zip(encoded(events), leaves + [0] * len(events), strict=False):
        merged += queue.append(Frame(line), room=True) or 0
        for _ in range(min(leave, len(queue))):
            left.append(queue.popleft().data)
    while queue:
        left.append(queue.popleft().data)

    assert len(left) + merged == len(events)
    assert texts(left) == texts(encoded(events))
    assert queue.size == 0
