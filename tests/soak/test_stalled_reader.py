"""A reader who stops reading for long: the agent stands still, and so does memory.

    RX_AGUI_SOAK_SECONDS=60 pytest tests/soak

runs it at full length; without the variable it is two seconds.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "asgi"))
from tests.support.servers import serving

SECONDS = float(os.environ.get("RX_AGUI_SOAK_SECONDS", "2"))


@pytest.mark.parametrize("log", ["name", "log"], ids=["alone", "in a log"])
def test_a_reader_who_does_not_read_holds_back_the_agent_and_memory_is_flat(
    log: str,
) -> None:
    path = f"/flood?{log}=run&staleness=1000&stuck=1000"  # nobody gives it up
    with serving("uvicorn") as server, server.connect(path, buffer=4096) as client:
        client.recv(1000)
        rest = server.come_to_rest("run")
        deadline, memory = time.monotonic() + SECONDS, [rest["resident"]]
        while time.monotonic() < deadline:
            time.sleep(0.05)
            state = server.state()
            assert state["given"] == rest["given"]
            memory.append(state["resident"])

    grown = max(memory) - memory[0]
    assert grown < 2 * 1024 * 1024, f"{grown / 1e6:.1f} MB more while nobody read"
