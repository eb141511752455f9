"""One event that is too large leaves as several that say the same.

    in    S----|     S = a state of three megabytes
          split()
    out   (stu)|     s = its beginning,  t, u = patches that add the rest

A stock client refuses what is larger than 10 MiB, and until then searches all that has
come of an event for its end, again and again. Pieces also leave room for others: a
writer, a proxy and a reader's event loop get something to do between two of them.
"""

from __future__ import annotations

import logging

from rx_agui.agui.encoding import decode
from rx_agui.agui.pieces import Uncuttable, pieces_of
from rx_agui.engine import (
    Errors,
    Subscription,
    lift,
    operator,
)
from rx_agui.errors import StreamError, require_positive, require_whole
from rx_agui.frame import IDENTITY, Frame
from rx_agui.operators._rewrite import RewritingStage
from rx_agui.probe import PayloadTrace
from rx_agui.types import Item, Operator

__all__ = ["split"]

_log = logging.getLogger("rx_agui")


@operator
def split(
    max_event_size: int = 1024 * 1024, *, errors: Errors = None
) -> Operator[Item, Frame]:
    """Cut events that are larger than `max_event_size` into several that are not.

    >>> from rx_agui import from_iterable, unbatch
    >>> event = {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m1", "delta": "a b c d e"}
    >>> _ = from_iterable([event]).pipe(split(65), unbatch()).subscribe(print)
    {'type': 'TEXT_MESSAGE_CONTENT', 'messageId': 'm1', 'delta': 'a b c '}
    {'type': 'TEXT_MESSAGE_CONTENT', 'messageId': 'm1', 'delta': 'd e'}

    The pieces are ordinary AG-UI events, and any client ends with the same messages and
    state; it is called back more often, and sees a state grow.

    Text (`*_CONTENT`, `*_ARGS`, `*_CHUNK`) is cut between characters. A STATE_SNAPSHOT
    becomes one with the beginning of the state, and patches that add the rest in its
    order. A STATE_DELTA that sets one place is cut in the same way; one of several
    operations is not, since they must succeed or fail together. All pieces keep
    `timestamp` and `subagentRunId`. `metadata` and `rawEvent` are said once: of text
    with its last piece, when it is all there, and of a state with the snapshot or the
    patch that begins it, whose they are.

    What has no pieces passes whole, is counted as "split.whole" and told in the log
    once a stream: all other events, a patch of several operations, and any that has a
    number, since its pieces would need numbers of their own. So it stands before
    `sequence`. One string in a state is not cut: it goes in a patch of its own, however
    large.

    Args:
        max_event_size: Bytes an event may have. 1 MiB is read and applied without a
            pause that one could see; small pieces cost a client more than they save,
            since it copies the whole state for each.
        errors: Told of events that cannot be encoded, if this operator is the first.

    Raises:
        ConfigError: A setting makes no sense.
    """
    require_positive(max_event_size=max_event_size)
    require_whole(max_event_size=max_event_size)
    return lift(_Split, max_event_size, errors)


class _Split(RewritingStage):
    """Passes what is small enough, and cuts the rest."""

    __slots__ = ("_limit", "_told")
    word = "split"

    def __init__(self, subscription: Subscription, limit: int, errors: Errors) -> None:
        super().__init__(subscription, errors)
        self._limit = limit
        self._told: set[str] = set()

    def keeps(self, line: bytes) -> bool:
        return len(line) <= self._limit

    def rewrite(self, line: bytes) -> list[bytes]:
        return self._cut(line, 0)

    def send_pieces(self, frame: Frame, pieces: list[bytes]) -> None:
        self._send(frame, pieces)

    # -- frames -------------------------------------------------------------------------

    def next(self, frame: Frame) -> None:
        if len(frame.data) <= self._limit or frame.encoding != IDENTITY:
            self._pass(frame)
        elif frame.events == 1:
            self._send(frame, self._cut(frame.data, frame.last))
        else:
            self._send_several(frame)

    def _pass(self, frame: Frame) -> None:
        self.count_passed(frame.events)
        self.emit(frame)

    def _send(self, frame: Frame, pieces: list[bytes]) -> None:
        """Each piece by itself, so that what is behind may do something in between."""
        *created, last = pieces
        permit = frame.permit  # all of them share it
        for data in created:
            if self.subscription.disposed:
                break
            self.count_created(1)
            piece = frame.copy(data, permit)
            piece.crc32 = None
            if isinstance(piece.trace, PayloadTrace):
                piece.trace = None  # what is told of it is told when all is written
            self.emit(piece)
        if self.subscription.disposed:
            self.taken += 1
            self.count_drop("cancelled", 1)
            return
        if created:
            frame = frame.copy(last, permit)
            frame.crc32 = None
        self._pass(frame)

    def _send_several(self, frame: Frame) -> None:
        """Cut the large events of a payload, which stays one payload."""
        lines = [
            piece
            for line in frame.lines()
            for piece in (
                self._cut(line, frame.last) if len(line) > self._limit else [line]
            )
        ]
        created = len(lines) - frame.events
        self.count_passed(frame.events)
        self.count_created(created)
        if created:
            frame.data = b"\n".join(lines)
            frame.events = len(lines)
            frame.crc32 = None
        self.emit(frame)

    def _cut(self, line: bytes, number: int) -> list[bytes]:
        """Return the pieces of an event; itself, if it has none."""
        try:
            event = decode(line)
            kind = str(event.get("type", ""))
            if number:
                return self._leave_whole(line, kind, "it has a number already")
            pieces = pieces_of(event, self._limit)
        except StreamError:
            return self._leave_whole(line, "", "it is not JSON as we read it")
        except Uncuttable:
            return self._leave_whole(line, kind, "it has no pieces")
        if any(len(piece) > self._limit for piece in pieces):
            self._tell(kind, "a string in it is too large")
        return pieces

    def _leave_whole(self, line: bytes, kind: str, why: str) -> list[bytes]:
        self.count("split.whole", 1, kind)
        self._tell(kind, why)
        return [line]

    def _tell(self, kind: str, why: str) -> None:
        if kind not in self._told:
            self._told.add(kind)
            _log.warning(
                "an event of type %r is larger than %d bytes and %s: a client may refuse it",
                kind,
                self._limit,
                why,
            )
