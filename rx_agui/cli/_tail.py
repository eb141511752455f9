"""rx-agui tail: the events of a URL, one JSON object a line, as they come."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from concurrent.futures import Future, InvalidStateError, wait
from contextlib import suppress
from typing import Any

from rx_agui.cli._asking import Asking
from rx_agui.cli._pipes import json_line, shown, unbuffered, write_all
from rx_agui.client import Lost, Opened, Reconnect, connect

__all__ = ["tail"]


def tail(asked: Namespace) -> int:
    """Do it. What came is written, also where the stream broke off."""
    typed = Asking(asked)
    out = _Out(asked.stats)
    events = connect(
        typed.url,
        method=typed.method,
        content=typed.content,
        headers=typed.headers,
        last_event_id=asked.last_event_id,
        reconnect=Reconnect() if asked.resume else None,
        read_timeout=asked.read_timeout or None,
        watch=out.note,
    )
    # In a thread of its own, so that Ctrl-C is heard here while a pipe is full there.
    reading = events.subscribe(out.write, out.fail, out.complete)
    try:
        while not wait([out.done], timeout=0.25).done:
            pass
        out.done.result()
    finally:
        reading.dispose()
        out.tell_stats()
    return 3 if out.last == "RUN_ERROR" else 0


class _Out:
    """Standard output, and what passed there."""

    def __init__(self, stats: bool) -> None:
        self.done: Future[None] = Future()
        self.last = ""
        self._stdout = unbuffered(sys.stdout, "standard output")
        self._stats = stats
        self._begun = self._before = time.monotonic()
        self._first: float | None = None
        self._silence = 0.0
        self._events = self._bytes = self._reconnects = 0

    def write(self, event: dict[str, Any]) -> None:
        """Of an event, a line."""
        if self.done.done():
            return
        line = json_line(event)
        try:
            write_all(self._stdout, line)
        except (
            BaseException
        ) as error:  # there is no reader: that is for the main thread
            self.fail(error)
            return
        self.last = event["type"]
        self._count(len(line))

    def _count(self, size: int) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = now - self._begun
        else:
            self._silence = max(self._silence, now - self._before)
        self._before = now
        self._events += 1
        self._bytes += size

    def complete(self) -> None:
        """Report that the run has ended."""
        with suppress(InvalidStateError):
            self.done.set_result(None)

    def fail(self, error: BaseException) -> None:
        """Report that the connection broke off."""
        with suppress(InvalidStateError):
            self.done.set_exception(error)

    def note(self, what: Opened | Lost) -> None:
        """Tell of breaks, on standard error."""
        if isinstance(what, Lost):
            behind = f" behind {what.after}" if what.after else ""
            _say(f"lost{behind} ({what.why}); again in {what.retry_in:.1f} s")
        elif what.attempt:
            self._reconnects += 1
            behind = f" behind {what.after}" if what.after else ""
            _say(f"reconnected{behind}" + (f" ({what.replay})" if what.replay else ""))

    def tell_stats(self) -> None:
        """How it went, if that was asked for."""
        if not self._stats:
            return
        first = (
            "none came" if self._first is None else f"first after {self._first:.2f} s"
        )
        _say(
            f"{self._events} events ({first}), {self._bytes} bytes of JSON, "
            f"{time.monotonic() - self._begun:.2f} s, "
            f"longest silence {self._silence:.2f} s, {self._reconnects} reconnects"
        )


def _say(what: str) -> None:
    if sys.stderr is not None:
        print(f"rx-agui tail: {shown(what)}", file=sys.stderr, flush=True)
