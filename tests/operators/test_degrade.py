"""What a marble cannot show of `degrade`: codecs, threads, what is counted, who may pass.

What it can show is in marbles/degrade.marble.
"""

from __future__ import annotations

import json
import logging
import threading
import zlib
from collections import deque
from typing import Any

import pytest
from ag_ui.core import EventType
from hypothesis import given
from hypothesis import strategies as st
from reactivex import compose

from rx_agui import (
    ConfigError,
    Frame,
    Gate,
    OverloadedError,
    Permit,
    batch,
    compress,
    degrade,
    flow_control,
    from_iterable,
    sequence,
)
from rx_agui.agui.priority import must_pass, type_of, without_raw
from rx_agui.operators._degrade import STEPS
from rx_agui.probe import OperatorCounters, Probe, StreamObservation, watching
from rx_agui.testing import MarbleScheduler
from rx_agui.types import Step

Event = dict[str, Any]

DELTA: Event = {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": "Hi"}
RAW: Event = {"type": "RAW", "event": {"huge": "x" * 100}}
TRACED: Event = {**DELTA, "rawEvent": {"huge": "x" * 100}}
END: Event = {"type": "TEXT_MESSAGE_END", "messageId": "m"}


class Rig(Probe):
    """A gate, a chain with `degrade` in it, and a sink that keeps what it gets."""

    def __init__(self, chain: Any) -> None:
        self.clock = MarbleScheduler()
        self.gate = Gate()
        self.kept: deque[Frame] = deque()
        self.heard: list[Frame] = []
        self.operators: dict[str, OperatorCounters] = {}
        with watching(self):
            self.subscription = self.gate.pipe(chain).subscribe(
                self.keep, scheduler=self.clock
            )

    def joined(self, _: StreamObservation, tally: OperatorCounters) -> None:
        self.operators[tally.name] = tally

    def keep(self, frame: Frame) -> None:
        frame.permit.hold()
        self.kept.append(frame)
        self.heard.append(frame)

    def until(self, second: float) -> None:
        self.clock.play(until=second)
        self.clock.advance_to(second)

    def acknowledge(self) -> None:
        while self.kept:
            self.kept.popleft().permit.release()

    @property
    def level(self) -> int:
        return self.operators["degrade"].levels["degrade.level"]

    @property
    def lines(self) -> list[Event]:
        return [json.loads(line) for frame in self.heard for line in frame.lines()]


# -- settings -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "value", "must"),
    [
        ("steps", ("panic",), f"some of {', '.join(STEPS)}, in this order"),
        ("steps", ("shed", "batch"), f"some of {', '.join(STEPS)}, in this order"),
        ("max_age", 0, "positive"),
        ("relief", 0, "positive"),
        ("relief", 1, "a share below 1"),
        ("dwell", 0, "positive"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_where_it_is_written(
    setting: str, value: Any, must: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        degrade(**{setting: value})

    assert str(refused.value) == f"{setting} must be {must}, got {value!r}"


# -- who must pass ----------------------------------------------------------------


def test_whatever_begins_ends_or_answers_something_must_pass() -> None:
    may_wait = {
        kind.value
        for kind in EventType
        if not must_pass(json.dumps({"type": kind.value}).encode())
    }

    assert may_wait == {
        *("TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_CHUNK", "TOOL_CALL_ARGS"),
        *("TOOL_CALL_CHUNK", "REASONING_MESSAGE_CONTENT", "REASONING_MESSAGE_CHUNK"),
        *(
            "STATE_SNAPSHOT",
            "STATE_DELTA",
            "ACTIVITY_SNAPSHOT",
            "ACTIVITY_DELTA",
            "RAW",
        ),
    }


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b'{"type":"RAW","event":1}', b"RAW"),
        (b'{"delta":[{"type":"RAW"}],"type":"STATE_DELTA"}', b"STATE_DELTA"),
        (b'{ "type" : "RAW" }', b"RAW"),
        (b"not json", b""),
        (b"[1]", b""),
    ],
)
def test_the_type_is_the_events_own_wherever_it_stands(
    line: bytes, kind: bytes
) -> None:
    assert type_of(line) == kind


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=8)), st.booleans())
def test_only_raw_and_raw_event_are_taken_out(fields: Event, has_raw: bool) -> None:
    event = {**fields, "type": "CUSTOM"}
    line = json.dumps({**event, "rawEvent": 1} if has_raw else event).encode()

    lighter = without_raw(line)

    assert lighter is not None
    event.pop("rawEvent", None)
    assert json.loads(lighter) == event


# -- what its steps do to others --------------------------------------------------------


def test_compression_is_at_its_cheapest_while_the_level_says_so() -> None:
    text = " ".join(str(n * n) for n in range(2000))
    snapshot = {"type": "STATE_SNAPSHOT", "snapshot": text}
    rig = Rig(
        compose(
            flow_control(),
            degrade(("compress",), dwell=4),
            compress("deflate", 9, min_size=1),
        )
    )

    rig.gate.send(snapshot)
    rig.until(9)
    rig.gate.send(snapshot)
    rig.acknowledge()
    rig.until(30)
    rig.gate.send(snapshot)

    normal, cheap, again = (len(frame.data) for frame in rig.heard)
    assert cheap > normal == again
    assert {zlib.decompress(frame.data) for frame in rig.heard} == {
        json.dumps(snapshot, separators=(",", ":")).encode()
    }
    rig.subscription.dispose()


def test_an_adaptive_batch_waits_for_longer_while_the_level_says_so() -> None:
    rig = Rig(
        compose(
            flow_control(500),
            degrade(("batch",), dwell=4),
            batch(batch_timeout=1.0, adaptive=True),
        )
    )
    rig.gate.send(DELTA)
    rig.until(8.9)
    sent = 1
    while rig.level:  # two a second, which a tenth of a second is too short for
        rig.acknowledge()
        rig.gate.send(DELTA)
        sent += 1
        rig.until(8.9 + sent / 4)
    rig.gate.close()

    assert sum(frame.events for frame in rig.heard) == sent
    assert max(frame.events for frame in rig.heard) > 1


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("framed", [False, True], ids=["bytes", "frames"])
@pytest.mark.parametrize("many", [False, True], ids=["one by one", "together"])
def test_what_is_shed_gives_its_credit_back_and_everything_is_counted(
    many: bool, framed: bool
) -> None:
    class Origin(Probe):
        def started(self, watch: StreamObservation) -> None:
            if framed:
                watch.origin = lambda: "a span"

    clock, heard, tallies = MarbleScheduler(), list[Frame](), list[OperatorCounters]()
    held: list[Permit] = []

    class Tallies(Probe):
        def joined(self, _: StreamObservation, tally: OperatorCounters) -> None:
            tallies.append(tally)

    def hear(frame: Frame) -> None:
        heard.append(frame)
        held.append(frame.permit.hold())

    events = [DELTA, *[RAW] * 3, TRACED, END, RAW]
    source = [DELTA] * 4 + events * 3
    with watching(Tallies()), watching(Origin()):
        from_iterable(source if many else lambda: iter(source)).pipe(
            flow_control(4), degrade(("shed",), dwell=1), sequence(), batch(4, 1.0)
        ).subscribe(hear, scheduler=clock)
    clock.play(until=10)  # the first four are in flight, and grow old
    while held:
        held.pop().release()
        clock.play(until=10)
    clock.play()

    lines = [json.loads(line) for frame in heard for line in frame.lines()]
    assert lines == [DELTA] * 4 + [DELTA, DELTA, END] * 3
    numbers = [n for frame in heard for n in frame.line_numbers()]
    assert numbers == list(range(1, 14))
    by_name = {tally.name: tally for tally in tallies}
    assert by_name["degrade"].dropped == {"shed": 12}
    assert by_name["degrade"].more[("degrade.shed.size", "")] > 12 * 100
    for tally in tallies:
        assert tally.held == 0, tally.name
    assert by_name["flow_control"].received == len(source)
    assert by_name["sequence"].received == 13
    assert by_name["flow_control"].levels["flow_control.inflight"] == 0


# -- who is refused ------------------------------------------------------------------------


def test_a_gate_raises_overloaded_and_lets_in_what_must_pass() -> None:
    rig = Rig(compose(flow_control(9), degrade(("refuse",), dwell=4)))
    rig.gate.send(DELTA)
    rig.until(9)

    with pytest.raises(OverloadedError, match="the reader is 8 s behind") as told:
        rig.gate.send(DELTA)
    assert not rig.gate.try_send(DELTA)
    assert rig.gate.try_send(END)
    rig.gate.send(END)

    assert told.value.age == 8
    assert rig.lines == [DELTA, END, END]
    rig.acknowledge()
    rig.until(20)
    rig.gate.send(DELTA)
    assert rig.level == 0


def test_a_thread_that_waits_for_credit_is_refused_when_the_level_is_reached() -> None:
    gate, heard, kept = Gate(), list[Exception](), list[Permit]()
    subscription = gate.pipe(
        flow_control(1), degrade(("refuse",), max_age=0.01, dwell=0.01)
    ).subscribe(lambda frame: kept.append(frame.permit.hold()))
    gate.send(DELTA)

    def send(event: Event) -> None:
        try:
            gate.send(event, timeout=30)
        except Exception as error:
            heard.append(error)

    senders = [threading.Thread(target=send, args=(event,)) for event in (DELTA, END)]
    for sender in senders:
        sender.start()
    senders[0].join(20)
    assert [type(error) for error in heard] == [OverloadedError]

    kept.pop().release()  # and the one whose event must pass gets the credit
    senders[1].join(20)
    assert len(heard) == 1
    assert len(kept) == 1
    subscription.dispose()


def test_disposal_lets_everybody_in_again_who_has_a_window_further_up() -> None:
    rig = Rig(compose(flow_control(9), degrade(("refuse",), dwell=4)))
    rig.gate.send(DELTA)
    rig.until(9)
    link = rig.gate._link
    assert link is not None
    assert link.credit._blocks

    rig.subscription.dispose()

    assert not link.credit._blocks


# -- what it tells -----------------------------------------------------------------------------


def test_each_level_is_told_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    told: list[tuple[int, str]] = []

    def tell(level: int, step: str) -> None:
        told.append((level, step))
        if step == "shed":
            raise KeyError("who listens is broken")

    steps: tuple[Step, ...] = ("batch", "shed")
    with caplog.at_level(logging.INFO, "rx_agui"):
        rig = Rig(compose(flow_control(9), degrade(steps, dwell=4, on_level=tell)))
        rig.gate.send(DELTA)
        rig.until(20)
        rig.acknowledge()
        rig.until(40)

    assert told == [(1, "batch"), (2, "shed"), (1, "batch"), (0, "normal")]
    assert [
        record.getMessage() for record in caplog.records if not record.exc_info
    ] == [
        "degrade: level 1 (batch), was 0",
        "degrade: level 2 (shed), was 1",
        "degrade: level 1 (batch), was 2",
        "degrade: level 0 (normal), was 1",
    ]
    assert [r.levelname for r in caplog.records] == [
        *("WARNING", "WARNING", "ERROR", "INFO", "INFO"),
    ]


def test_two_subscribers_have_a_level_each() -> None:
    chain = compose(flow_control(9), degrade(dwell=4))
    slow, quick = Rig(chain), Rig(chain)

    for rig in (slow, quick):
        rig.gate.send(DELTA)
    quick.acknowledge()
    for rig in (slow, quick):
        rig.until(20)

    assert (slow.level > 0, quick.level) == (True, 0)
    slow.subscription.dispose()


def test_no_timer_is_left_when_nothing_is_in_flight() -> None:
    rig = Rig(compose(flow_control(9), degrade(dwell=4)))
    rig.gate.send(DELTA)
    rig.acknowledge()

    rig.clock.play()

    assert rig.operators["degrade"]._timer is None  # type: ignore[attr-defined]


@given(
    gaps=st.lists(st.floats(0, 0.4), min_size=1, max_size=200),
    lag=st.floats(0, 5),
)
def test_the_age_is_that_of_the_oldest_but_for_a_look_and_costs_little_to_know(
    gaps: list[float], lag: float
) -> None:
    rig = Rig(compose(flow_control(10_000), degrade(max_age=99, dwell=1)))
    stage: Any = rig.operators["degrade"]
    now, came, acks = 0.0, list[float](), list[float]()
    for gap in gaps:
        now += gap
        rig.until(now)
        while came and came[0] + lag <= now:
            acks.append(came.pop(0))
            rig.kept.popleft().permit.release()
        rig.gate.send(DELTA)
        came.append(now)
        rig.until(now)
        age = stage._age(now, len(came))
        assert age <= now - came[0] + 1e-6
        assert age >= now - came[0] - 0.25 - 1e-6
        assert len(stage._samples) <= len(came) + 1
    rig.subscription.dispose()
