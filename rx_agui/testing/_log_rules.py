"""What the rules for logs are made of: a candidate, a run that counts, its payloads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import wraps

import orjson

from rx_agui.frame import Frame
from rx_agui.replay import Opened, ReplayLog, StreamKey

__all__ = [
    "LogCandidate",
    "LogRule",
    "event_line",
    "fill",
    "numbers_of",
    "opened",
    "payload",
    "rule",
    "word",
]

#: Seconds until what must happen is said never to happen.
PATIENCE = 20.0


@dataclass(frozen=True)
class LogCandidate:
    """A log that is to be held to the rules.

    Attributes:
        name: As people call it.
        make: Makes an empty one, on a running loop, which keeps the last so many
            events of a stream, however large and old they are; and ends it.
    """

    name: str
    make: Callable[[int], AbstractAsyncContextManager[ReplayLog]]


LogRule = Callable[[LogCandidate], None]
Written = Callable[[LogCandidate], Awaitable[None]]


def rule(written: Written) -> LogRule:
    @wraps(written)
    def checked(candidate: LogCandidate) -> None:
        async def patiently() -> None:
            try:
                await asyncio.wait_for(written(candidate), PATIENCE)
            except TimeoutError:
                raise AssertionError("what must happen did not") from None

        asyncio.run(patiently())

    return checked


def word(number: int) -> str:
    return f"{number}, "


def event_line(number: int) -> bytes:
    """Return a run of numbered events."""
    if number == 1:
        return b'{"type":"RUN_STARTED","threadId":"t","runId":"r"}'
    if number == 2:
        return b'{"type":"TEXT_MESSAGE_START","messageId":"m","role":"assistant"}'
    event = {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": word(number)}
    return orjson.dumps(event)


def payload(first: int, last: int | None = None) -> Frame:
    last = first if last is None else last
    lines = [event_line(number) for number in range(first, last + 1)]
    return Frame(b"\n".join(lines), events=len(lines), first=first, last=last)


async def fill(log: ReplayLog, stream: StreamKey, first: int, last: int) -> None:
    for number in range(first, last + 1):
        await log.append(stream, payload(number))


async def opened(log: ReplayLog, name: str) -> StreamKey:
    claim = await log.open(name)
    assert isinstance(claim, Opened), f"{name!r} is taken"
    return claim.stream


async def numbers_of(tail: AsyncIterator[Frame]) -> list[int]:
    """Yield a reader's events, checked one by one."""
    got: list[int] = []
    async for frame in tail:
        numbers = [*frame.line_numbers()]
        assert frame.lines() == [event_line(number) for number in numbers], f"{frame!r}"
        assert (frame.first, frame.last) == (numbers[0], numbers[-1]), f"{frame!r}"
        assert frame.events == len(numbers), f"{frame!r} has {len(numbers)} lines"
        got += numbers
    return got
