"""A server that remembers every run as a list, written down as the wire says and no more.

    POST /run              a run by its runId: begun, or joined
    ... Last-Event-ID      the tail behind it

What `SSEResponse` answers is tested where it is made. Here the reader's side is tested,
against something else than our own other half.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

from rx_agui.testing import simulated_run

__all__ = ["Remembering"]

Event = dict[str, Any]


class Run:
    def __init__(self, name: str, events: Iterable[Event], pause: float) -> None:
        self.name = name
        self.lines: list[bytes] = []
        self.is_over = False
        self.more = asyncio.Condition()
        self.agent = asyncio.create_task(self._produce(events, pause))

    async def _produce(self, events: Iterable[Event], pause: float) -> None:
        for event in events:
            await asyncio.sleep(pause)
            self.lines.append(json.dumps(event, ensure_ascii=False).encode())
            await self._tell()
        self.is_over = True
        await self._tell()

    async def _tell(self) -> None:
        async with self.more:
            self.more.notify_all()

    async def has_more_than(self, taken: int) -> bool:
        async with self.more:
            await self.more.wait_for(lambda: self.is_over or len(self.lines) > taken)
        return len(self.lines) > taken

    def written(self, taken: int) -> bytes:
        """What is behind `taken`."""
        return b"".join(
            b"id: %b/%d\ndata: %b\n\n" % (self.name.encode(), number, line)
            for number, line in enumerate(self.lines[taken:], taken + 1)
        )


class Remembering:
    """The app.

    Args:
        events: What the agent says in a run of this name.
        pause: Seconds between two events.

    Attributes:
        runs: By name. How often an agent was started is how many there are.
        asked: How often each run was asked for.
    """

    def __init__(
        self,
        events: Callable[[str], Iterable[Event]] = lambda name: simulated_run(
            run_id=name
        ),
        pause: float = 0.0,
    ) -> None:
        self._events = events
        self._pause = pause
        self.runs: dict[str, Run] = {}
        self.asked: dict[str, int] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        name = json.loads(body)["runId"]
        cursor = (
            dict(scope["headers"]).get(b"last-event-id", b"").decode()
            or (parse_qs(scope["query_string"].decode()).get("last_event_id", [""])[0])
        )
        run = self.runs.get(name)
        if run is None:
            run = self.runs[name] = Run(name, self._events(name), self._pause)
        self.asked[name] = self.asked.get(name, 0) + 1
        number = int(cursor.rpartition("/")[2]) if cursor else 0
        replay = b"tail" if self.asked[name] > 1 else b"live"
        if cursor and run.is_over and number == len(run.lines):
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        headers = [(b"content-type", b"text/event-stream"), (b"rx-agui-replay", replay)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        while await run.has_more_than(number):
            body = run.written(number)
            number = len(run.lines)
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
