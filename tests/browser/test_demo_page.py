"""The demo's page in a real Chromium, while the line is cut under it."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from rx_agui.demo import Demo
from rx_agui.testing import simulated_run
from tests.support.serving import served

WORDS = 300


def said(kind: str, field: str = "delta") -> str:
    """What the demo's first run says in events of a kind."""
    run = simulated_run(WORDS, seed=1)
    return "".join(event[field] for event in run if event["type"] == kind)


@pytest.mark.parametrize("profile", ["agui", "chunk"])
def test_a_page_whose_line_is_cut_twice_shows_what_was_sent(
    profile: str, node: Callable[..., str], chromium: str
) -> None:
    with served(Demo(rate=50, words=WORDS)) as url:
        seen = json.loads(node("cut_page.mjs", chromium, url, profile))

    answer = said("TEXT_MESSAGE_CONTENT")
    assert (seen["error"], seen["says"]) == (None, "the run is complete")
    assert seen["answer"] == answer
    assert seen["thought"] == said("REASONING_MESSAGE_CONTENT")
    assert seen["call"] == said("TOOL_CALL_ARGS")
    assert seen["state"]["written"] == WORDS // 20 * 20
    assert seen["state"]["sources"] == [said("TOOL_CALL_RESULT", "content")]
    assert f"{len(answer):,} of {len(answer):,}" in seen["proof"]
    assert "as the server’s" in seen["proof"]
    assert "the line was cut twice" in seen["timeline"]
    assert seen["elsewhere"] == 0
    # Chromium tells of a connection that was lost, and of nothing else.
    assert [told for told in seen["complaints"] if "net::ERR" not in told] == []
