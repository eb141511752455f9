"""A function of one's own sees every event, and numbers, credit and fusion stay."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from reactivex import operators as ops

from rx_agui import (
    ConfigError,
    Frame,
    SSEWriter,
    ValidationError,
    WireError,
    batch,
    compress,
    each,
    flow_control,
    from_iterable,
    sequence,
    unbatch,
)
from rx_agui.engine import Operator
from rx_agui.replay._payload import slice_after

EVENTS: list[dict[str, Any]] = [
    {"type": "STEP_STARTED", "stepName": name} for name in "abcdef"
]


def doubled(event: dict[str, Any]) -> list[dict[str, Any]]:
    return [event, {**event, "stepName": event["stepName"] * 2}]


def without_b(event: dict[str, Any]) -> dict[str, Any] | None:
    return None if event["stepName"] == "b" else event


def frames_of(*chain: Operator) -> list[Frame]:
    made: list[Frame] = []
    from_iterable(EVENTS).pipe(*chain).subscribe(made.append)
    return made


def test_of_several_with_one_number_the_last_has_the_id() -> None:
    written: list[bytes] = []
    chain: list[Operator] = [sequence(), batch(2), each(doubled)]
    writer = SSEWriter(written.append)
    from_iterable(EVENTS[:2]).pipe(*chain).subscribe(writer)

    blocks = b"".join(written).split(b"\n\n")[:-1]

    assert [block.startswith(b"id:") for block in blocks] == [False, True, False, True]
    assert blocks[1].startswith(b"id: 1\n")
    assert blocks[3].startswith(b"id: 2\n")


def test_who_comes_back_gets_all_that_was_made_of_the_next_event() -> None:
    (payload,) = frames_of(sequence(), batch(6), each(doubled))

    rest = slice_after(payload, 4)

    assert rest.first == 5
    assert [*rest.line_numbers()] == [5, 5, 6, 6]


def test_a_number_that_is_dropped_is_covered_by_the_next() -> None:
    first, *others = frames_of(sequence(), each(without_b))

    assert (first.first, first.last) == (1, 1)
    assert (others[0].first, others[0].last) == (2, 3)
    assert [*others[0].line_numbers()] == [3]
    assert (others[1].first, others[1].last) == (4, 4)


def test_at_the_end_of_a_payload_it_is_covered_by_the_last_that_is_left() -> None:
    first, *_ = frames_of(sequence(), batch(2), each(without_b))

    assert (first.first, first.last, [*first.line_numbers()]) == (1, 2, [2])


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("fn", [doubled, without_b, lambda event: event])
@pytest.mark.parametrize(
    "chain",
    {
        "first": lambda fn: [each(fn), flow_control(3), sequence(), batch(4)],
        "behind flow_control": lambda fn: [flow_control(3), each(fn), batch(4)],
        "behind sequence": lambda fn: [flow_control(3), sequence(), each(fn), batch(4)],
        "behind batch": lambda fn: [flow_control(3), sequence(), batch(4), each(fn)],
    }.values(),
)
def test_wherever_it_stands_the_events_are_the_same(
    chain: Callable[[Any], list[Operator]], fn: Callable[[Any], Any]
) -> None:
    seen: list[Any] = []
    whole: list[Operator] = [*chain(fn), unbatch()]
    from_iterable(EVENTS).pipe(*whole).subscribe(seen.append)

    wanted: list[Any] = []
    for event in EVENTS:
        made = fn({**event})
        wanted += made if isinstance(made, list) else [made] if made else []
    assert seen == wanted


def test_a_generator_makes_several_and_a_model_is_one() -> None:
    ag_ui = pytest.importorskip("ag_ui.core")

    def model(event: dict[str, Any]) -> Any:
        return ag_ui.StepStartedEvent(step_name=event["stepName"])

    def generated(event: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield event
        yield event

    assert [frame.events for frame in frames_of(each(model))] == [1] * 6
    assert [frame.events for frame in frames_of(each(generated))] == [2] * 6


def test_what_cannot_be_encoded_or_read_is_told() -> None:
    told: list[Exception] = []

    from_iterable(EVENTS[:1]).pipe(
        each(lambda event: {**event, "raw": object()}, errors=told.append)
    ).subscribe()
    from_iterable(EVENTS).pipe(
        batch(6), compress(min_size=1), each(doubled, errors=told.append)
    ).subscribe()

    assert [type(error) for error in told] == [ValidationError, WireError]
    assert "each() must go before compress()" in str(told[1])


async def awaited(event: dict[str, Any]) -> dict[str, Any]:
    return event


@pytest.mark.parametrize("fn", [None, "redact", awaited])
def test_a_function_is_needed_and_one_that_does_not_wait(fn: Any) -> None:
    with pytest.raises(ConfigError, match="fn must be a plain function of one event"):
        each(fn)


@pytest.mark.parametrize(
    "fn", [lambda event: event.get("type"), lambda event: event["type"]]
)
def test_who_maps_frames_is_told_what_to_write(fn: Callable[[Any], Any]) -> None:
    told: list[Exception] = []

    from_iterable(EVENTS).pipe(flow_control(), ops.map(fn)).subscribe(
        on_error=told.append
    )

    assert "rx_agui.each(fn) calls fn with each of them" in str(told[0])
