"""A simulated agent says what a strict client accepts."""

from itertools import islice, pairwise
from typing import Any

import ag_ui.core
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from rx_agui.agui.encoding import encode
from rx_agui.errors import ConfigError
from rx_agui.testing import simulated_deltas, simulated_run

AnyEvent: TypeAdapter[ag_ui.core.BaseEvent] = TypeAdapter(ag_ui.core.Event)

runs = st.builds(
    lambda **arguments: list(simulated_run(**arguments)),
    words=st.integers(1, 60),
    seed=st.integers(),
    messages=st.integers(1, 4),
)


@settings(deadline=None, max_examples=20)
@given(runs)
def test_a_simulated_run_is_made_of_events_of_ag_ui(run: list[dict[str, Any]]) -> None:
    for event in run:
        assert encode(AnyEvent.validate_python(event)) == encode(event)


@settings(deadline=None)
@given(runs)
def test_whatever_a_simulated_run_opens_it_closes(run: list[dict[str, Any]]) -> None:
    open_ones: set[str] = set()
    for event in run:
        kind, _, does = event["type"].rpartition("_")
        id = event.get("messageId") or event.get("toolCallId") or event.get("stepName")
        what = f"{kind} {id}"
        match does:
            case "START" | "STARTED":
                assert what not in open_ones
                open_ones.add(what)
            case "CONTENT" | "ARGS":
                assert what in open_ones
            case "END":
                open_ones.remove(what)
            case "FINISHED":
                assert what.startswith("STEP") or open_ones == {what}
                open_ones.remove(what)
    assert [run[0]["type"], run[-1]["type"]] == ["RUN_STARTED", "RUN_FINISHED"]
    assert not open_ones


@settings(deadline=None)
@given(st.integers(1, 100), st.integers(1, 3))
def test_a_simulated_run_has_as_many_words_as_were_asked_for(
    words: int, messages: int
) -> None:
    run = list(simulated_run(words, messages=messages))

    types = [event["type"] for event in run]
    assert types.count("TEXT_MESSAGE_CONTENT") == words
    assert types.count("TEXT_MESSAGE_START") == messages


def test_messages_that_are_written_at_the_same_time_interleave() -> None:
    ids = [event.get("messageId") for event in simulated_run(100, messages=2)]
    words = [id for id in ids if id in ("run-1-message-1", "run-1-message-2")]

    switches = sum(a != b for a, b in pairwise(words))
    assert switches > 10


def test_another_seed_says_something_else_and_the_same_one_the_same() -> None:
    assert list(simulated_run(seed=1)) == list(simulated_run(seed=1))
    assert list(simulated_run(seed=1)) != list(simulated_run(seed=2))


def test_no_id_of_one_run_is_used_by_another() -> None:
    def ids(run_id: str) -> set[str]:
        return {
            event[name]
            for event in simulated_run(run_id=run_id)
            for name in ("messageId", "toolCallId", "runId")
            if name in event
        }

    assert not ids("run-1") & ids("run-2")


@pytest.mark.parametrize("setting", ["words", "messages"])
def test_a_setting_that_makes_no_sense_is_refused_where_it_is_written(
    setting: str,
) -> None:
    with pytest.raises(ConfigError, match=f"{setting} must be positive, got 0"):
        simulated_run(**{setting: 0})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="n must be at least 0, got -1"):
        simulated_deltas(-1)


def test_simulated_deltas_are_events_of_about_100_bytes_and_count_themselves() -> None:
    deltas = list(islice(simulated_deltas(10**9), 9_999, 10_020))

    for number, event in enumerate(deltas, 10_000):
        assert 90 <= len(encode(AnyEvent.validate_python(event))) <= 110
        assert f" {number} " in event["delta"]
    assert len(list(simulated_deltas(7))) == 7
