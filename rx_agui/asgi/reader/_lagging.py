"""Fewer, larger events for a reader that lags: what has come meanwhile goes as one.

log       a b c d e f
writes    [a    ] [b c d    ] [e f ]     a write took long; what came goes together
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable

from rx_agui.agui.merge import MAX_EVENT_SIZE
from rx_agui.asgi._settings import Settings
from rx_agui.engine import Operator, Subscription, lift
from rx_agui.frame import Frame
from rx_agui.operators import conflate
from rx_agui.operators._batch import _join
from rx_agui.operators._conflate import _Conflate

__all__ = ["LAGGING", "conflate_for", "gathered"]

#: What a payload says that was gathered of several: see Frame.trigger.
LAGGING = "lagging"

#: Payloads and bytes that go together at most.
_PAYLOADS, _BYTES = 64, 256 * 1024

#: Seconds within which a payload was there already, and not waited for; and that one
#: reader may keep the loop.
_AT_ONCE, _SLICE = 0.0005, 0.001


def conflate_for(settings: Settings) -> tuple[Operator, ...]:
    """What merges the events of a reader's payloads, if anything does."""
    if settings.conflate == "never":
        return ()
    if settings.conflate == "always":
        return (conflate(),)
    return (lift(_ConflateLagging),)


class _ConflateLagging(_Conflate):
    """Only what was gathered because a reader lags; who keeps up sees every event."""

    __slots__ = ()

    def __init__(self, subscription: Subscription) -> None:
        super().__init__(
            subscription,
            raw_event="strip",
            patches="proven",
            max_event_size=MAX_EVENT_SIZE,
            errors=None,
        )

    def next(self, frame: Frame) -> None:
        if frame.trigger == LAGGING:
            super().next(frame)
        else:
            self.passed += frame.events
            self.emit(frame)


async def gathered(
    tail: AsyncIterator[Frame], keeps_up: Callable[[Frame], bool]
) -> AsyncGenerator[Frame, None]:
    """The payloads of a tail; those that are there already as one.

    Nothing is looked for ahead of a reader that keeps up, by the clock or since
    `keeps_up` says so of its next payload: it costs nothing more. Others on the loop have
    a turn, however much there is and however fast it is written.
    """
    loop = asyncio.get_running_loop()
    turn = loop.time()  # when others had theirs
    ahead: asyncio.Task[Frame | None] | None = None
    try:
        while True:
            asked = loop.time()
            if ahead is None:
                try:
                    first = await anext(tail)
                except StopAsyncIteration:
                    return
            elif (found := await ahead) is None:
                return
            else:
                first, ahead = found, None
            came = loop.time()
            was_there = came - asked <= _AT_ONCE
            if not was_there:
                turn = came
            elif came - turn > _SLICE:
                await asyncio.sleep(0)
                turn = loop.time()
            if keeps_up(first) or not was_there:
                yield first
                continue
            frames, size = [first], len(first.data)
            while len(frames) < _PAYLOADS and size < _BYTES:
                ahead = loop.create_task(_next(tail))
                await asyncio.sleep(0)
                if not ahead.done() or ahead.exception() is not None:
                    break  # what it raises is raised behind what has come
                more = ahead.result()
                if more is None:
                    break  # `ahead` says so again
                ahead = None
                frames.append(more)
                size += len(more.data)
            yield _all(frames)
    finally:
        if ahead is not None:
            ahead.cancel()  # and wait: what is being advanced cannot be closed
            await asyncio.gather(ahead, return_exceptions=True)
        close = getattr(tail, "aclose", None)
        if close is not None:
            await close()


async def _next(tail: AsyncIterator[Frame]) -> Frame | None:
    return await anext(tail, None)


def _all(frames: list[Frame]) -> Frame:
    if len(frames) == 1:
        return frames[0]
    payload = _join(frames)
    payload.trigger = LAGGING
    return payload
