"""SSEResponse, called by hand: what a request gets."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from by_hand import FINISHED, STARTED, Agent, get, run_of, step

from rx_agui.asgi import SSEResponse


def test_a_run_comes_whole_numbered_and_in_order() -> None:
    async def main() -> None:
        reader = await get(SSEResponse(Agent(run_of("a", "b"))))

        assert reader.status == 200
        assert reader.events == run_of("a", "b")
        assert reader.ids == ["1", "2", "3", "4"]
        assert reader.ended

    asyncio.run(main())


def test_an_agent_that_raises_ends_its_run_by_an_error_that_tells_no_internals() -> (
    None
):
    async def main() -> None:
        agent = Agent([STARTED, step("a")], then=KeyError("secret"))
        reader = await get(SSEResponse(agent))

        error: dict[str, Any] = reader.events[-1]
        assert (error["type"], error["code"]) == ("RUN_ERROR", "AGENT_ERROR")
        assert b"secret" not in reader.body
        assert reader.ids == ["1", "2", "3"]
        assert reader.ended

    asyncio.run(main())


def test_what_comes_behind_the_end_of_a_run_is_dropped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        agent = Agent([STARTED, FINISHED, step("late")])
        reader = await get(SSEResponse(agent))

        assert reader.events == [STARTED, FINISHED]
        assert agent.how == "finished"
        assert "stream r: 1 events behind the end of the run" in caplog.text

    asyncio.run(main())
