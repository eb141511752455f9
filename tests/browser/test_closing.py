"""rx-agui.mjs closes what a broken run leaves open as the server does."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import orjson

from rx_agui.agui.events import TERMINAL
from rx_agui.agui.unfinished import Unfinished
from tests.support.legal_streams import Stream


def streams() -> list[list[dict[str, Any]]]:
    found = []
    for seed in range(150):
        events = Stream(seed).events
        sent = events[: 1 + seed * 7 % len(events)]
        if sent[-1]["type"] not in TERMINAL:
            found.append(sent)
    return found


def test_both_close_the_same_of_any_stream(node: Callable[..., str]) -> None:
    cut = streams()
    read = "\n".join(json.dumps(events) for events in cut)
    closed = [json.loads(line) for line in node("closing.mjs", read=read).splitlines()]

    assert len(closed) == len(cut)
    assert sum(len(events) for events in closed) > 2 * len(cut)
    for events, (*closing, end) in zip(cut, closed, strict=True):
        unfinished = Unfinished()
        unfinished.note(b"\n".join(map(orjson.dumps, events)))
        assert closing == [orjson.loads(line) for line in unfinished.closing()]
        assert (end["type"], end["code"]) == ("RUN_ERROR", "CUT")
