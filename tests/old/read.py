"""Read runs as the Python client of 71184ab did: a program of its own.

    python read.py    {"url": "http://...", "runs": ["run-1"], "headers": {}, "after": []}

prints for each run what came of it, as a line of JSON. `after` has an id for each run, to
go on behind, or none at all.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any


async def read(url: str, name: str, headers: dict[str, str], after: str) -> Any:
    """Read one run over as many connections as it takes."""
    from rx_agui.client import Reconnect, connect
    from rx_agui.errors import TransportError

    told: list[Any] = []
    again = Reconnect(attempts=1000, base=0.001, longest=0.001)
    connection = connect(
        url,
        json={"threadId": "t", "runId": name},
        headers=headers,
        last_event_id=after,
        reconnect=again,
        watch=told.append,
    )
    events: list[Any] = []
    error = None
    async with connection.read() as reading:
        try:
            async for event in reading:
                events.append(event)  # noqa: PERF401
        except TransportError as why:
            error = f"{type(why).__name__}: {why}"
        last = reading.last_event_id
    answers = [one.replay for one in told if hasattr(one, "replay")]
    return {
        "runId": name,
        "events": events,
        "answers": answers,
        "last": last,
        "error": error,
    }


async def main() -> None:
    """Read the runs one after the other."""
    sys.path.insert(0, str(Path(__file__).parent / "rx_agui-71184ab.zip"))
    asked = json.loads(sys.stdin.readline())
    runs = asked["runs"]
    for name, after in zip(runs, asked["after"] or [""] * len(runs), strict=True):
        made = await read(asked["url"], name, asked["headers"], after)
        print(json.dumps(made), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
