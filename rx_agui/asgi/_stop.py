"""Stopping a run from outside, in code and over HTTP."""

from __future__ import annotations

from rx_agui.asgi.run._run import Run
from rx_agui.replay import ReplayLog, StreamKey

__all__ = ["STOPPED", "stop", "stopped"]

#: What the reader of a run that was stopped is told.
STOPPED = "its client stopped it"


async def stop(
    log: ReplayLog, stream: StreamKey | str, *, namespace: str = "", owner: str = ""
) -> bool:
    """End a run: its agent is cancelled, its readers are told; return if it was running.

    >>> import asyncio
    >>> from rx_agui.replay import MemoryLog
    >>> asyncio.run(stop(MemoryLog(), "run-7"))
    False

    Args:
        log: The log that keeps the run, which may be of any thread of this process.
        stream: Its name, for the newest run of it; or the stream itself.
        namespace, owner: Of a name.
    """
    if isinstance(stream, str):
        stream = StreamKey(stream, "", namespace, owner)
    return await stopped(log, await log.find(stream)) == 202


async def stopped(log: ReplayLog, stream: StreamKey | None) -> int:
    """Stop a stream's run; return 202, 204 if it has ended, 404 if it is unknown."""
    position = None if stream is None else await log.position(stream)
    if stream is None or position is None:
        return 404
    if position.finished or position.end:
        return 204
    run = Run.anywhere(log, stream)
    if run is None:
        return 404  # it is another process's
    run.loop.call_soon_threadsafe(run.cancel, STOPPED, "CANCELLED")
    return 202
