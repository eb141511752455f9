"""The table of event kinds agrees with the protocol's own models."""

from __future__ import annotations

from typing import get_args

import pytest
from ag_ui import core
from pydantic import BaseModel

from rx_agui.agui.events import EVENTS, TERMINAL
from rx_agui.agui.reducer import Reducer
from rx_agui.agui.weight import weight_of

MODELS: dict[str, type[BaseModel]] = {
    str(get_args(model.model_fields["type"].annotation)[0].value): model
    for model in get_args(get_args(core.Event)[0])
}
COMMON = {"type", "timestamp", "rawEvent", "metadata", "subagentRunId"}


def test_it_has_every_kind_of_the_protocol_and_the_retired_ones() -> None:
    retired = {name for name, kind in EVENTS.items() if kind.is_retired}

    assert EVENTS.keys() - retired == MODELS.keys()
    assert all(name.startswith("THINKING_") for name in retired)


@pytest.mark.parametrize("name", MODELS)
def test_every_field_it_names_is_one_of_the_model(name: str) -> None:
    kind = EVENTS[name]
    fields = {field.alias or key for key, field in MODELS[name].model_fields.items()}

    assert {*kind.required, *kind.optional, kind.key} - {""} <= fields


@pytest.mark.parametrize(
    "name", [name for name, kind in EVENTS.items() if kind.optional or kind.required]
)
def test_of_a_kind_that_merges_it_names_every_field(name: str) -> None:
    if name not in MODELS:
        return
    kind = EVENTS[name]
    fields = {field.alias or key for key, field in MODELS[name].model_fields.items()}

    assert fields - COMMON == {*kind.required, *kind.optional, kind.key} - {""}


def test_every_bracket_has_both_its_ends() -> None:
    parts: dict[str, set[str]] = {}
    for kind in EVENTS.values():
        if kind.is_bracketed:
            parts.setdefault(kind.construct, set()).add(kind.part)

    assert all({"start", "end"} <= found for found in parts.values())


def test_a_run_ends_by_two_of_them() -> None:
    assert TERMINAL == ("RUN_FINISHED", "RUN_ERROR")


@pytest.mark.parametrize(
    "line",
    [
        b'{"type":"TOOL_CALL_RESULT","messageId":"m%d","toolCallId":"c%d","content":"%b"}',
        b'{"type":"STEP_STARTED","stepName":"s%d %d %b"}',
        b'{"type":"SUBAGENT_STARTED","subagentRunId":"s%d","name":"%d","pad":"%b"}',
        b'{"type":"REASONING_START","messageId":"m%d","x":%d,"pad":"%b"}',
        b'{"type":"TEXT_MESSAGE_START","messageId":"m%d","x":%d,"pad":"%b"}',
    ],
)
def test_no_more_is_held_than_a_reducer_says(line: bytes) -> None:
    reducer = Reducer()
    for n in range(100):
        reducer.add(line % (n, n, b"x" * 1000))

    assert 100_000 < weight_of(reducer) <= reducer.size
    assert reducer.weigh() == reducer.size == weight_of(reducer)
