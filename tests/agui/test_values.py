"""Values that are not JSON cost themselves, where no client builds anything of them."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from ag_ui.core import CustomEvent
from pydantic import BaseModel, Field
from reactivex import operators as ops

from rx_agui import ValidationError, flow_control, from_iterable, unbatch
from rx_agui.agui.encoding import encode
from rx_agui.asgi import SSEResponse
from rx_agui.replay import MemoryLog
from tests.support.by_hand import FINISHED, STARTED, Agent, get, step
from tests.support.virtual import play

BAD: list[Any] = [
    {"type": "RAW", "event": {"o": object()}},
    {"type": "RAW", "event": b"\xff"},
    {"type": "CUSTOM", "name": "n", "value": object()},
    CustomEvent(name="n", value=object()),
]


@pytest.mark.parametrize("bad", BAD, ids=["RAW", "RAW bytes", "CUSTOM", "model"])
def test_a_run_goes_on_without_what_is_not_json(
    bad: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        agent = Agent([STARTED, step("a"), bad, step("b"), FINISHED])
        reader = await get(SSEResponse(agent))
        assert reader.types[-1] == "RUN_FINISHED"
        assert reader.types.count("STEP_STARTED") == 2
        assert len(reader.events) == 4

    with caplog.at_level(logging.WARNING, "rx_agui"):
        play(main())
    assert "left out, and the stream goes on" in caplog.text


@pytest.mark.parametrize("bad", BAD, ids=["RAW", "RAW bytes", "CUSTOM", "model"])
def test_errors_is_told_of_it(bad: Any) -> None:
    told: list[Any] = []
    events = [step("a"), bad, step("b")]

    out = from_iterable(events).pipe(
        flow_control(errors=told.append), unbatch(), ops.to_list()
    )

    assert out.run() == [step("a"), step("b")]
    assert [type(error) for error in told] == [ValidationError]


def test_a_delta_that_is_not_json_still_ends_the_stream() -> None:
    bad = {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": object()}

    with pytest.raises(ValidationError):
        from_iterable([step("a"), bad]).pipe(flow_control(), unbatch()).run()


class Delta(BaseModel):
    type: str = "TEXT_MESSAGE_CONTENT"
    message_id: str = "m"
    delta: str = "a"


class Named(Delta):
    message_id: str = Field("m", alias="messageId")


def test_a_model_of_ones_own_by_its_python_names_is_told_the_alias() -> None:
    """It was sent as it is, and failed far away, in the client."""
    with pytest.raises(ValidationError, match='give it alias="messageId"'):
        encode(Delta())
    assert encode(Named(messageId="m")) == (
        b'{"type":"TEXT_MESSAGE_CONTENT","messageId":"m","delta":"a"}'
    )


@pytest.mark.parametrize("log", [True, False])
def test_a_response_can_leave_out_what_no_client_builds_anything_of(log: bool) -> None:
    """The shape of LangGraph's runs: a RAW behind every token, and the same in each."""

    async def main() -> None:
        said: dict[str, Any] = {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m"}
        said["delta"] = "a"
        raw: dict[str, Any] = {"type": "RAW", "event": {"huge": 1}}
        run = [STARTED, *([{**said, "rawEvent": 1}, raw] * 9), FINISHED]
        more: Any = {"conflate": "never"} | (
            {"log": MemoryLog(), "owner": ""} if log else {}
        )
        reader = await get(SSEResponse(Agent(run), raw="drop", **more))
        assert reader.events == [STARTED, *([said] * 9), FINISHED]
        numbers = [int(id.rpartition("/")[2]) for id in reader.ids]
        assert numbers == [*range(1, 12)]

    play(main())
