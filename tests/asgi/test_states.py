"""The tables of states and events are drawn in docs/architecture.md, as they are."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from rx_agui.asgi import _connection
from rx_agui.asgi.run import _terminal
from rx_agui.operators import _circuit

PAGE = Path(__file__).parents[2] / "docs" / "architecture.md"

MACHINES: dict[str, Mapping[tuple[str, str], str]] = {
    "the body of a response (asgi/_connection.py)": _connection.NEXT,
    "a run (asgi/run/_terminal.py)": _terminal.NEXT,
    "a circuit breaker (operators/_circuit.py)": _circuit.NEXT,
}


def drawn(table: Mapping[tuple[str, str], str]) -> str:
    """One line a transition: the state, the event, the next state."""
    wide = max(len(state) for state, _ in table)
    long = max(len(event) for _, event in table)
    return "\n".join(
        f"{state:<{wide}} ── {event} {'─' * (long - len(event))}──▶ {after}"
        for (state, event), after in table.items()
    )


def section() -> str:
    parts = [
        f"\n**State machine of {name}**\n\n```text\n{drawn(table)}\n```\n"
        for name, table in MACHINES.items()
    ]
    return "".join(parts)


def test_the_page_draws_the_tables_as_they_are() -> None:
    text = PAGE.read_text()
    found = re.search(r"<!-- states -->\n(.*?)<!-- /states -->", text, flags=re.S)
    assert found, "docs/architecture.md has no section between the marks of `states`"
    if os.environ.get("RX_AGUI_DRAW"):
        PAGE.write_text(text[: found.start(1)] + section() + text[found.end(1) :])
    assert found[1] == section(), "draw it with RX_AGUI_DRAW=1"


@pytest.mark.parametrize("name", MACHINES)
def test_each_state_can_be_reached_and_each_event_changes_it(name: str) -> None:
    table = MACHINES[name]
    first = next(iter(table))[0]
    reached, changed = {first}, True
    while changed:
        more = {after for (state, _), after in table.items() if state in reached}
        changed = not more <= reached
        reached |= more
    assert reached == {state for state, _ in table} | set(table.values())
    assert all(state != after for (state, _), after in table.items())
