"""A pipeline is its operators, under a name."""

from __future__ import annotations

from typing import Any

import pytest
import reactivex as rx
from hypothesis import given
from hypothesis import strategies as st
from reactivex import operators as ops

from rx_agui import (
    SSEWriter,
    batch,
    chunk,
    compress,
    decompress,
    flow_control,
    from_iterable,
    pipeline,
    reassemble,
    resequence,
    sequence,
    unbatch,
)
from rx_agui.errors import ConfigError
from rx_agui.probe import Probe, StreamObservation, watching
from rx_agui.testing import MarbleScheduler, simulated_run

EVENTS = list(simulated_run(words=60))
BACK = [reassemble(), decompress(), resequence(), unbatch()]


class Names(Probe):
    """What the streams it hears of are called."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def started(self, watch: StreamObservation) -> None:
        self.heard.append(watch.pipeline)


def bytes_of(*operators: Any) -> bytes:
    written: list[bytes] = []
    writer = SSEWriter(written.append)
    from_iterable(EVENTS).pipe(*operators).subscribe(writer)
    writer.done.result(10)
    return b"".join(written)


@given(words=st.integers(1, 80), seed=st.integers(0, 5))
def test_what_went_through_the_default_pipeline_comes_back(
    words: int, seed: int
) -> None:
    events = list(simulated_run(words, seed=seed))
    heard: list[Any] = []
    from_iterable(events).pipe(pipeline("chat"), *BACK).subscribe(heard.append)

    assert heard == events


def test_no_operators_means_the_five_with_their_defaults() -> None:
    by_hand = flow_control(), sequence(), batch(), compress(), chunk()

    assert (
        bytes_of(pipeline())
        == bytes_of(pipeline("chat", *by_hand))
        == bytes_of(*by_hand)
    )


def test_a_pipeline_takes_more_operators_than_pipe_is_typed_for() -> None:
    five = flow_control(), sequence(), batch(), compress(), chunk()
    heard: list[Any] = []
    from_iterable(EVENTS).pipe(
        pipeline("there and back", *five, *BACK, ops.map(lambda event: event))
    ).subscribe(heard.append)

    assert heard == EVENTS


def test_each_subscription_is_a_stream_of_that_name() -> None:
    names = Names()
    chat = from_iterable(EVENTS).pipe(pipeline("chat", telemetry=names))
    chat.subscribe()
    chat.subscribe()

    assert names.heard == ["chat", "chat"]


def test_a_stream_without_a_name_is_called_default() -> None:
    names = Names()
    with watching(names):
        from_iterable(EVENTS).pipe(batch()).subscribe()
        from_iterable(EVENTS).pipe(pipeline()).subscribe()

    assert names.heard == ["default", "default"]


def test_a_name_is_for_its_own_stream_and_not_for_the_next() -> None:
    names = Names()
    with watching(names):
        from_iterable(EVENTS).pipe(pipeline("chat")).subscribe()
        from_iterable(EVENTS).pipe(batch()).subscribe()

    assert names.heard == ["chat", "default"]


def test_the_inner_of_two_pipelines_gives_the_name() -> None:
    names = Names()
    with watching(names):
        from_iterable(EVENTS).pipe(
            pipeline("outer", pipeline("inner", batch()))
        ).subscribe()

    assert names.heard == ["inner"]


def test_a_pipeline_passes_on_the_scheduler_it_is_subscribed_with() -> None:
    clock = MarbleScheduler()
    heard: list[float] = []
    rx.concat(rx.of({"n": 1}), rx.never()).pipe(
        pipeline("chat", batch(2, 5.0))
    ).subscribe(lambda frame: heard.append(clock.seconds), scheduler=clock)
    clock.play()

    assert heard == [5.0]


def test_disposing_of_a_pipeline_disposes_of_its_source() -> None:
    disposed: list[str] = []
    source = rx.never().pipe(ops.finally_action(lambda: disposed.append("source")))
    source.pipe(pipeline("chat")).subscribe().dispose()

    assert disposed == ["source"]


def test_a_pipeline_must_have_a_name() -> None:
    with pytest.raises(ConfigError, match="name must be not empty, got ''"):
        pipeline("")
