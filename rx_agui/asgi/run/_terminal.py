"""A run gets its end, once, whatever the agent does.

    in    S-a-b-x            S: RUN_STARTED, F: RUN_FINISHED, E: RUN_ERROR
    out   S-a-b-(cE|)        the agent raised; its readers are told, and the stream ends well;
                             c: closes the messages, tool calls and steps that are open

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

from rx_agui.agui.unfinished import Unfinished
from rx_agui.asgi._failure import ReaderGone, failure_of, run_error
from rx_agui.engine import Operator, Stage, Subscription, as_frame, lift
from rx_agui.errors import safe_repr
from rx_agui.flow import NO_PERMIT, Permit
from rx_agui.frame import IDENTITY, Frame, StreamChunk
from rx_agui.operators import _compress

__all__ = ["NEXT", "RunState", "TerminalStage", "ending"]

_log = logging.getLogger("rx_agui")

_ENDS: Final = ("RUN_FINISHED", "RUN_ERROR")

#: Bytes a chunk may decompress to, to be looked into.
_MAX_SIZE = 64 * 1024 * 1024


#: What a run does in which state, and its next state. Anything else changes nothing.
NEXT: Final = {
    ("new", "event"): "running",
    ("new", "end"): "finished",  # its terminal event
    ("running", "end"): "finished",
    ("new", "fail"): "refused",  # there is still time for a status
    ("running", "fail"): "failed",
    ("new", "cancel"): "cancelled",
    ("running", "cancel"): "cancelled",
}

_OVER: Final = frozenset(("finished", "refused", "failed", "cancelled"))


class RunState:
    """How far a run has come: a table of states and events, and its last number.

    Attributes:
        state: See `NEXT`.
        over: Whether its terminal event has passed, or what stands in for one.
        stream: What log lines call it.
        last: The highest number so far.
        error: What ended it, if not its terminal event.
        unfinished: The messages, calls and steps that are open; None for a reader's
            view of a run, which never has to close them.
    """

    def __init__(
        self, stream: str, *, expose: bool, unfinished: Unfinished | None = None
    ) -> None:
        self.state = "new"
        self.over = False
        self.stream = stream
        self.last = 0
        self.error: BaseException | None = None
        self.unfinished = unfinished
        self.expose = expose
        #: Whether the message of an agent's own RUN_ERROR is replaced.
        self.hides_errors = False
        #: Called behind the terminal event, when it has been handed on.
        self.ended: Callable[[], object] = _nothing
        #: Called before what stands in for a terminal event is handed on.
        self.failing: Callable[[BaseException | None], object] = _ignore
        self._complained = False

    def on(self, event: str) -> None:
        """Take the step that the table has for this event, if it has one."""
        self.state = NEXT.get((self.state, event), self.state)
        self.over = self.state in _OVER

    def passes(self, frame: Frame) -> int:
        """Look into a payload; return how many of its events belong to the run."""
        lines = frame.lines() if b'"RUN_' in frame.data else ()
        for index, line in enumerate(lines):
            if b'"RUN_' not in line:
                continue
            event = orjson.loads(line)
            kind = event.get("type", "")
            if kind == "RUN_STARTED" and not self.stream:
                self.stream = str(event.get("runId", ""))
            if kind in _ENDS:
                self.on("end")
                return index + 1
        self.on("event")
        if self.unfinished is not None:
            self.unfinished.note(frame.data, frame.last)
        return frame.events

    def drops(self, events: int, lines: list[bytes]) -> None:
        """Say, once, that something came too late; and what to do about another run."""
        if self._complained:
            return
        self._complained = True
        if any(b'"RUN_STARTED"' in line for line in lines):
            _log.error(
                "%s: its agent begins another run behind number %d. A response is one "
                "run, so that its readers can resume it: what follows is dropped. Give "
                "each run a request of its own, or make one run of them: leave out the "
                "RUN_FINISHED and RUN_STARTED between them",
                self,
                self.last,
            )
        else:
            _log.warning(
                "%s: %d events behind the end of the run, number %d, are dropped, "
                "and any that follow",
                self,
                events,
                self.last,
            )

    def fails(self, error: BaseException | None) -> Frame:
        """End a run that has no terminal event, and return one."""
        self.on("fail")
        self.error = error
        self.failing(error)
        failure = failure_of(error, expose=self.expose)
        refused = self.state == "refused" and failure.status < 500  # 404 is no alarm
        why = "the agent stopped without RUN_FINISHED or RUN_ERROR"
        _log.log(
            logging.INFO if refused else logging.ERROR,
            "%s: %s, behind number %d",
            self,
            why if error is None else f"the agent failed ({safe_repr(error)})",
            self.last,
            exc_info=None if refused else error,
        )
        return self._end(run_error(failure.message, failure.code), None)

    def refusal(self) -> BaseException | None:
        """Return what the source raised before its first event, if it did."""
        return self.error if self.state == "refused" else None

    def cancel(self, why: str, code: str, up_to: int | None = None) -> Frame:
        """End a run from outside, and return its end; `up_to` as in Unfinished.closing."""
        self.on("cancel")
        return self._end(run_error(f"The run was cancelled: {why}.", code), up_to)

    def _end(self, line: bytes, up_to: int | None) -> Frame:
        """Return the events that close what is open, and the terminal one, as a payload."""
        closing = [] if self.unfinished is None else self.unfinished.closing(up_to)
        lines = [*closing, line]
        first, self.last = self.last + 1, self.last + len(lines)
        return Frame(b"\n".join(lines), NO_PERMIT, len(lines), first, self.last)

    def __str__(self) -> str:
        if not self.stream:
            return "a stream without a name"
        # A runId is a client's text, and a log line is one line.
        shown = self.stream if self.stream.isprintable() else repr(self.stream)
        return f"stream {shown[:100]}"


def ending(state: RunState) -> Operator:
    """Give a run its end, and nothing behind it. Stands last, behind any operators."""
    return lift(TerminalStage, state)


class TerminalStage(Stage):
    __slots__ = ("_pieces", "_state")
    word = "ending"

    def __init__(self, subscription: Subscription, state: RunState) -> None:
        super().__init__(subscription)
        self._state = state
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
        state = self._state
        if state.over:
            self._drop_late(frame.events, frame.lines())
            return
        keep = state.passes(frame)
        if keep < frame.events:
            late, frame = frame, _cut(frame, keep)
            state.last = frame.last or state.last
            self._drop_late(late.events - keep, late.lines()[keep:])
        if state.hides_errors and state.over:
            frame = _without_message(frame)
        state.last = frame.last or state.last
        self.sent += frame.events
        self.emit(frame)
        if state.over:
            state.ended()

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
        state = self._state
        try:
            is_plain = payload.encoding == IDENTITY  # and was only cut
            plain = payload if is_plain else _compress._unpacked(payload, _MAX_SIZE)
        except Exception as error:  # whatever it is, its reader will say so
            _log.warning("%s: a payload cannot be looked into: %r", state, error)
            plain = Frame(b"", NO_PERMIT, payload.events, payload.first, payload.last)
        if state.over:
            self._drop_late(payload.events, plain.lines())
            return
        keep = state.passes(plain)
        if keep < payload.events:  # so it goes uncompressed, which all clients read
            late, plain = plain, _cut(plain, keep)
            state.last = plain.last or state.last
            self._drop_late(payload.events - keep, late.lines()[keep:])
            parts = [plain]
            payload = plain
        if state.hides_errors and state.over:
            payload = _without_message(plain)
            parts = [payload]
        state.last = payload.last or state.last
        self.sent += payload.events
        for part in parts:
            self.emit(part)
        if state.over:
            state.ended()

    def _drop_late(self, events: int, lines: list[bytes]) -> None:
        self.count_drop("after_end", events)
        self._state.drops(events, lines)

    def finish(self, error: Exception | None) -> None:
        self._lose_pieces()
        state = self._state
        if isinstance(error, ReaderGone):
            self.end(error)
            return
        if state.over:
            if error is not None:
                _log.error(
                    "%s: the agent failed behind the end of its run (%r)",
                    state,
                    error,
                    exc_info=error,
                )
        else:
            end = state.fails(error)
            self.created += end.events
            self.sent += end.events
            self.emit(end)
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


def _without_message(frame: Frame) -> Frame:
    """Replace the message of a RUN_ERROR that a payload ends with; its code stays."""
    lines = frame.lines()
    event = orjson.loads(lines[-1])
    if event.get("type") != "RUN_ERROR":
        return frame
    lines[-1] = run_error(failure_of(KeyError()).message, event.get("code"))
    hidden = frame.copy(data=b"\n".join(lines))
    hidden.crc32 = None
    hidden.encoding = IDENTITY
    return hidden


def _cut(frame: Frame, keep: int) -> Frame:
    """Return the first events of a payload."""
    numbers = tuple(frame.line_numbers())[:keep]
    cut = frame.copy(data=b"\n".join(frame.lines()[:keep]))
    cut.events, cut.last = keep, numbers[-1]
    cut.crc32 = None
    cut.encoding = IDENTITY
    if frame.numbers is not None:
        cut.numbers = numbers
    return cut
