"""The endpoint of examples/copilotkit, with the client that CopilotKit's runtime pins.

`npm test` in that folder has the runtime itself between the two.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import AG_UI_CLIENTS
from tests.support.cutting import cutting
from tests.support.serving import served

EXAMPLE = Path(__file__).parent.parent / "examples" / "copilotkit"
INPUT: dict[str, Any] = {
    "threadId": "t",
    "runId": "run-1",
    "state": {},
    "messages": [{"id": "1", "role": "user", "content": "ask"}],
    "tools": [],
    "context": [],
    "forwardedProps": {},
}


@pytest.fixture
def example() -> Any:
    spec = importlib.util.spec_from_file_location("copilotkit_app", EXAMPLE / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_two_cuts_lose_nothing(node: Callable[..., str], example: Any) -> None:
    pinned = json.loads((EXAMPLE / "package.json").read_text("utf-8"))
    client = AG_UI_CLIENTS[pinned["dependencies"]["@ag-ui/client"]]
    with served(example.app) as server, cutting(server, [800, 700]) as line:
        said = node("cut_runs.mjs", client, f"{line.url}/agent", read="run-1")

    assert line.cuts == 2
    (message,) = json.loads(said.splitlines()[0])["messages"]
    assert message["content"].strip() == example.STORY.strip()
    assert example.told["begun"] == [""]


def test_an_answer_under_the_interrupted_run_id_arrives(example: Any) -> None:
    answer = {"interruptId": "i", "status": "resolved", "payload": "yes"}
    with served(example.app) as server:
        asked = httpx.post(f"{server}/agent", json=INPUT)
        answered = httpx.post(f"{server}/agent", json={**INPUT, "resume": [answer]})

    assert "Sure?" in asked.text
    assert "yes" in answered.text
    assert answered.headers["rx-agui-replay"] == "live"
    assert example.told == {"begun": ["ask", "answered"], "closed": ["ask", "ask"]}
