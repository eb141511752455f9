"""A run gets its end, once, whatever the agent does.

    in    S-a-b-x            S: RUN_STARTED, F: RUN_FINISHED, E: RUN_ERROR
    out   S-a-b-(E|)         the agent raised; its readers are told, and the stream ends well

    in    S-a-F-b-|
    out   S-a-F---|          what comes behind the end is dropped, counted and logged

An AG-UI client takes a stream that stops in the middle for a success, and one that is
broken off for a reason to end its process. So every run ends by an event, and it has a
number like any other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import orjson

from rx_agui.asgi._failure import ReaderGone, failure_of, run_error
from rx_agui.engine import Operator, Stage, Subscription, as_frame, lift
from rx_agui.flow import NO_PERMIT, Permit
from rx_agui.frame import IDENTITY, Frame, StreamChunk
from rx_agui.operators import _compress

__all__ = ["RunState", "ending"]

_log = logging.getLogger("rx_agui")

_ENDS: Final = ("RUN_FINISHED", "RUN_ERROR")

#: Bytes a chunk may decompress to, to be looked into.
_MAX_SIZE = 64 * 1024 * 1024


class RunState:
    """How far a run has come.

    Attributes:
        stream: What log lines call it.
        last: The highest number so far.
        began: Whether any event has passed.
        over: Whether its terminal event has passed, or its reader was told otherwise.
        error: What ended it, if not its terminal event.
        failed: Whether it ended without one of its own.
        numbered: Whether its events have numbers.
    """

    def __init__(self, stream: str, *, expose: bool, numbered: bool) -> None:
        self.stream = stream
        self.last = 0
        self.began = False
        self.over = False
        self.failed = False
        self.error: BaseException | None = None
        self.numbered = numbered
        self.expose = expose
        #: Called behind the terminal event, when it has been handed on.
        self.ended: Callable[[], object] = _nothing
        #: Called before what stands in for a terminal event is handed on.
        self.failing: Callable[[BaseException | None], object] = _ignore
        self._complained = False

    def passes(self, frame: Frame) -> int:
        """Note a payload. How many of its events belong to the run: none is its end's."""
        self.began = True
        lines = frame.lines() if b'"RUN_' in frame.data else ()
        for index, line in enumerate(lines):
            kind, event = _type_of(line)
            if kind == "RUN_STARTED" and not self.stream:
                self.stream = str(event.get("runId", ""))
            if kind in _ENDS:
                self.over = True
                return index + 1
        return frame.events

    def drops(self, events: int) -> None:
        """Say, once, that something came too late."""
        if not self._complained:
            self._complained = True
            _log.warning(
                "%s: %d events behind the end of the run, number %d, are dropped, "
                "and any that follow",
                self,
                events,
                self.last,
            )

    def fails(self, error: BaseException | None) -> Frame:
        """It ended without an end: here is one."""
        self.failed = self.over = True
        self.error = error
        self.failing(error)
        number = self.last + 1 if self.numbered or self.last else 0
        failure = failure_of(error, expose=self.expose)
        refused = not self.began and failure.status < 500  # a 404 is no alarm
        why = "the agent stopped without RUN_FINISHED or RUN_ERROR"
        _log.log(
            logging.INFO if refused else logging.ERROR,
            "%s: %s, behind number %d",
            self,
            why if error is None else f"the agent failed ({error!r})",
            self.last,
            exc_info=None if refused else error,
        )
        return self._end(run_error(failure.message, failure.code), number)

    def refusal(self) -> BaseException | None:
        """What the source raised before its first event, if it did."""
        return self.error if self.failed and not self.began else None

    def is_cancelled(self, why: str, code: str) -> Frame:
        """It is ended from outside: here is its end."""
        self.failed = self.over = True
        line = run_error(f"The run was cancelled: {why}.", code)
        return self._end(line, self.last + 1)

    def _end(self, line: bytes, number: int) -> Frame:
        self.last = number
        return Frame(line, NO_PERMIT, 1, number, number)

    def __str__(self) -> str:
        if not self.stream:
            return "a stream without a name"
        # A runId is anybody's text, and a log line is one line.
        shown = self.stream if self.stream.isprintable() else repr(self.stream)
        return f"stream {shown[:100]}"


def ending(course: RunState) -> Operator:
    """Give a run its end, and nothing behind it. Stands last, behind any operators."""
    return lift(_Ending, course)


class _Ending(Stage):
    __slots__ = ("_course", "_pieces")
    word = "ending"

    def __init__(self, subscription: Subscription, course: RunState) -> None:
        super().__init__(subscription)
        self._course = course
        self._pieces: list[tuple[StreamChunk, Permit]] = []  # of an unfinished payload

    def frame_of(self, item: Any) -> Any:
        if type(item) is StreamChunk and (item.compressed or not item.is_whole):
            return replace(item)  # our own: the entrance writes a permit on it
        return super().frame_of(item)

    def next(self, frame: Any) -> None:
        if type(frame) is StreamChunk:
            self._gather(frame)
            return
        self.taken += frame.events
        if frame.encoding == IDENTITY:
            self._pass(frame)
        else:
            self._pass_looked_into(frame, [frame])

    def _pass(self, frame: Frame) -> None:
        course = self._course
        if course.over:
            self._drop_late(frame.events)
            return
        keep = course.passes(frame)
        if keep < frame.events:
            late = frame.events - keep
            frame = _cut(frame, keep)
            self._drop_late(late)
        course.last = frame.last or course.last
        self.sent += frame.events
        self.emit(frame)
        if course.over:
            course.ended()

    def _gather(self, piece: StreamChunk) -> None:
        """Keep a piece until its payload is whole: `chunk` sends them in one go."""
        self._pieces.append((piece, piece.permit.hold()))
        if piece.chunk_index < piece.total_chunks - 1:
            return
        pieces, self._pieces = self._pieces, []
        chunks = [chunk for chunk, _ in pieces]
        self.taken += piece.events
        try:
            data = b"".join([chunk.data for chunk in chunks])
            whole = replace(piece, data=data, chunk_index=0, total_chunks=1)
            self._pass_looked_into(as_frame(whole), chunks)
        finally:
            for _, permit in pieces:
                permit.release()

    def _pass_looked_into(self, payload: Frame, parts: list[Any]) -> None:
        """Send a payload as it came, unless the run ends within it."""
        course = self._course
        try:
            is_plain = payload.encoding == IDENTITY  # and was only cut
            plain = payload if is_plain else _compress._unpacked(payload, _MAX_SIZE)
        except Exception as error:  # whatever it is, its reader will say so
            _log.warning("%s: a payload cannot be looked into: %r", course, error)
            plain = Frame(b"", NO_PERMIT, payload.events, payload.first, payload.last)
        if course.over:
            self._drop_late(payload.events)
            return
        keep = course.passes(plain)
        if keep < payload.events:  # so it goes uncompressed, which all clients read
            self._drop_late(payload.events - keep)
            parts = [_cut(plain, keep)]
            payload = parts[0]
        course.last = payload.last or course.last
        self.sent += payload.events
        for part in parts:
            self.emit(part)
        if course.over:
            course.ended()

    def _drop_late(self, events: int) -> None:
        self.count_drop("after_end", events)
        self._course.drops(events)

    def finish(self, error: Exception | None) -> None:
        self._lose_pieces()
        course = self._course
        if isinstance(error, ReaderGone):
            self.end(error)
            return
        if course.over:
            if error is not None:
                _log.error(
                    "%s: the agent failed behind the end of its run (%r)",
                    course,
                    error,
                    exc_info=error,
                )
        else:
            self.created += 1
            self.sent += 1
            self.emit(course.fails(error))
        self.end(None)

    def drop(self) -> None:
        self._lose_pieces()

    def _lose_pieces(self) -> None:
        pieces, self._pieces = self._pieces, []
        if pieces:
            self.taken += pieces[-1][0].events
            self.count_drop("incomplete", pieces[-1][0].events)
        for _, permit in pieces:
            permit.release()


def _nothing() -> None: ...


def _ignore(error: BaseException | None) -> None: ...


def _cut(frame: Frame, keep: int) -> Frame:
    """The first events of a payload."""
    numbers = tuple(frame.line_numbers())[:keep]
    cut = frame.copy(data=b"\n".join(frame.lines()[:keep]))
    cut.events, cut.last = keep, numbers[-1]
    cut.crc32 = None
    cut.encoding = IDENTITY
    if frame.numbers is not None:
        cut.numbers = numbers
    return cut


def _type_of(line: bytes) -> tuple[str, dict[str, Any]]:
    if b'"RUN_' not in line:
        return "", {}
    event = orjson.loads(line)
    return event.get("type", ""), event
