"""`validate` lets through what the stock client's own schemas let through.

Where it stands and what it does to a stream is in marbles/validate.marble.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import reactivex as rx
from ag_ui import core
from pydantic import TypeAdapter
from reactivex import compose

from rx_agui import (
    Frame,
    Gate,
    StreamError,
    ValidationError,
    batch,
    compress,
    flow_control,
    from_iterable,
    sequence,
    unbatch,
    validate,
)
from rx_agui.agui import validation
from rx_agui.agui.validation import judge

Event = dict[str, Any]

SAMPLES = Path(__file__).parents[1] / "samples"
EVENTS: list[Event] = [
    json.loads(line)
    for line in (SAMPLES / "events.jsonl").read_bytes().split(b"\n")
    if line
]
GOOD: Event = {"type": "STEP_STARTED", "stepName": "think"}
BAD: Event = {"type": "STEP_STARTED", "stepName": None}


#: What may stand where something else should.
OTHERS: list[Any] = [None, 5, 1.5, "x", {}, [], True, ["x"]]


def paths(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where there is something in a JSON value."""
    inside: Any = {}
    if isinstance(value, dict):
        inside = value.items()
    elif isinstance(value, list):
        inside = enumerate(value)
    for key, part in inside:
        yield (*at, key)
        yield from paths(part, (*at, key))


def mutants(event: Event) -> Iterator[Event]:
    """The event with one thing in it taken away, or made into something else."""
    optional = "timestamp rawEvent metadata subagentRunId unknown name role code usage"
    optional += " result outcome delta parentMessageId replace source description"
    for field in set(optional.split()) - event.keys():
        for value in OTHERS[:5]:
            yield {**event, field: value}
    for *way, last in paths(event):
        for value in (*OTHERS, ...):
            mutant = copy.deepcopy(event)
            place: Any = mutant
            for step in way:
                place = place[step]
            if value is ...:
                del place[last]
            else:
                place[last] = value
            yield mutant


def verdict(event: Event) -> str:
    try:
        judge(event, json.dumps(event).encode())
    except ValidationError as error:
        return error.reason
    return "ok"


def test_it_agrees_with_the_clients_schemas_on_every_event_one_step_from_a_good_one(
    node: Callable[..., str],
) -> None:
    every = [*EVENTS, *(mutant for event in EVENTS for mutant in mutants(event))]

    said = node("validate.mjs", read="\n".join(map(json.dumps, every))).splitlines()

    differ = [
        (event, verdict(event), theirs)
        for event, theirs in zip(every, said, strict=True)
        if (verdict(event) == "ok") != (theirs == "ok")
    ]
    assert differ == []
    assert 1000 < said.count("ok") < len(every) - 1000


@pytest.mark.parametrize(
    "sample", sorted(SAMPLES.glob("*.jsonl")), ids=lambda p: p.stem
)
def test_recorded_runs_pass_as_mappings_as_bytes_and_as_objects(sample: Path) -> None:
    lines = [line for line in sample.read_bytes().split(b"\n") if line]
    events = [json.loads(line) for line in lines]
    adapter = TypeAdapter[core.BaseEvent](core.Event)
    heard: list[Event] = []

    for kind in (events, lines, [adapter.validate_python(event) for event in events]):
        heard.clear()
        from_iterable(kind).pipe(validate(), unbatch()).subscribe(heard.append)
        assert heard == events


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (BAD, "stepName: Input should be a valid string"),
        ({"type": "STEP_STARTED", "step_name": "x"}, "stepName: Field required"),
        ({"type": "THINKING_START"}, "unknown type"),
        ({"stepName": "x"}, "Unable to extract tag using discriminator 'type'"),
        (
            {**GOOD, "timestamp": None},
            "timestamp: null, where a field without a value is left out",
        ),
        (
            {"type": "REASONING_MESSAGE_START", "messageId": "m"},
            "role: Field required",
        ),
        (
            {
                "type": "MESSAGES_SNAPSHOT",
                "messages": [{"id": "m", "role": "user", "content": "", "name": None}],
            },
            "messages.0.name: null, where a field without a value is left out",
        ),
    ],
)
def test_the_reason_says_what_is_wrong_and_where(event: Event, reason: str) -> None:
    assert verdict(event) == reason


def test_null_is_a_value_where_any_json_must_be() -> None:
    assert verdict({"type": "CUSTOM", "name": "x", "value": None}) == "ok"
    assert verdict({"type": "STATE_SNAPSHOT", "snapshot": {"a": [None]}}) == "ok"


def test_what_may_be_any_json_is_not_looked_at_however_large() -> None:
    large = {"items": [{"a": None}] * 1000}

    assert verdict({"type": "STATE_SNAPSHOT", "snapshot": large}) == "ok"
    assert verdict({"type": "RUN_ERROR", "message": "", "snapshot": large}) == "ok"
    assert verdict({"type": "STATE_DELTA", "delta": large}).startswith("delta: ")
    activity = {"type": "ACTIVITY_SNAPSHOT", "messageId": "m", "activityType": "x"}
    assert verdict({**activity, "content": large}) == "ok"
    assert verdict({**activity, "content": "x" * 9999}).startswith("content: ")
    assert verdict({"type": "RAW", "event": large, "source": None}).startswith("source")
    assert verdict({"type": "RAW", "source": "x" * 9999}) == "event: Field required"


def test_an_event_object_is_not_checked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("it was judged")

    monkeypatch.setattr(validation, "judge", never)
    heard: list[Event] = []

    events = [core.StepStartedEvent(step_name="think")]
    from_iterable(events).pipe(
        validate(), flow_control(), sequence(), batch(), unbatch()
    ).subscribe(heard.append)

    assert heard == [GOOD]


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("first", [True, False], ids=["first", "behind flow_control"])
def test_what_is_refused_leaves_no_gap_in_numbers_and_no_credit(first: bool) -> None:
    told: list[StreamError] = []
    heard: list[Frame] = []
    gate = validate(errors=told.append)
    front = (gate, flow_control(2)) if first else (flow_control(2), gate)
    events = [GOOD, BAD, {"type": "NO"}, GOOD, BAD, BAD, GOOD]

    from_iterable(events).pipe(*front, sequence(), batch(2)).subscribe(heard.append)

    assert [(f.first, f.last, f.events) for f in heard] == [(1, 2, 2), (3, 3, 1)]
    assert [type(error) for error in told] == [ValidationError] * 4


def test_a_gate_raises_at_whoever_sends() -> None:
    told: list[StreamError] = []
    gate = Gate()
    gate.pipe(validate(errors=told.append), flow_control(1)).subscribe(print)

    for _ in range(3):
        with pytest.raises(ValidationError, match="stepName"):
            gate.send(BAD)

    assert told == []


@pytest.mark.parametrize("is_first", [True, False], ids=["first", "behind"])
def test_of_a_payload_the_rest_goes_on_with_its_numbers(is_first: bool) -> None:
    line = [json.dumps(event).encode() for event in (GOOD, BAD, GOOD, BAD)]
    payload = Frame(b"\n".join(line), events=4, first=5, last=8)
    told: list[StreamError] = []
    heard: list[Frame] = []

    gate = validate(errors=told.append)
    chain = gate if is_first else compose(flow_control(), gate)
    rx.of(payload).pipe(chain).subscribe(heard.append)

    assert [f.line_numbers() for f in heard] == [(5, 7)]
    assert [(f.events, f.first, f.last) for f in heard] == [(2, 5, 7)]
    assert len(told) == 2
    assert payload.events == 4, "it is somebody else's too"


def test_a_payload_of_which_nothing_is_left_is_not_sent() -> None:
    told: list[StreamError] = []
    heard: list[Frame] = []
    payload = Frame(
        json.dumps(BAD).encode() + b"\n" + json.dumps(BAD).encode(), events=2
    )

    rx.of(payload).pipe(validate(errors=told.append)).subscribe(heard.append)
    rx.of(payload).pipe(flow_control(), validate(errors=told.append)).subscribe(
        heard.append
    )

    assert heard == []
    assert len(told) == 4


def test_a_compressed_payload_passes_unseen() -> None:
    packed: list[Frame] = []
    big = {"type": "NO", "text": "a" * 2000}
    rx.of(big).pipe(compress()).subscribe(packed.append)
    heard: list[Frame] = []

    rx.of(packed[0]).pipe(validate()).subscribe(heard.append)

    assert [frame.encoding for frame in heard] == ["gzip"]
