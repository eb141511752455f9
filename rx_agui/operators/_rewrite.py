"""What operators share that make other events of an event, before it is a frame or after.

head ──bytes──▶ rewrite ──bytes──▶ batch        fused: an event is never a frame
head ──frame──▶ rewrite ──frame──▶ ...          elsewhere, and behind `sequence`
"""

from __future__ import annotations

from rx_agui.engine import AnyStage, BatchSink, Errors, Stage, Subscription
from rx_agui.flow import Credit, Permit
from rx_agui.frame import Frame

__all__ = ["RewritingStage"]


class RewritingStage(Stage):
    """Makes of each event none, one or several.

    Where events are gathered further down before they are frames, it is no obstacle:
    it sees their bytes, and its count is made with the batch, in which `_extra` are now
    that came from no event of their own.
    """

    __slots__ = ("_above", "_extra", "_inner", "_target")

    def __init__(self, subscription: Subscription, errors: Errors) -> None:
        super().__init__(subscription, errors)
        self._above: tuple[AnyStage, ...] = ()
        self._target: AnyStage | None = None
        self._inner: BatchSink | None = None
        self._extra = 0

    # -- what a subclass says -----------------------------------------------------------

    def keeps(self, line: bytes) -> bool:
        """Return True if an event of these bytes passes as it is, without a look at it."""
        raise NotImplementedError

    def rewrite(self, line: bytes) -> list[bytes]:
        """Return the events that replace this one; none: it was dropped, and counted."""
        raise NotImplementedError

    def send_pieces(self, frame: Frame, pieces: list[bytes]) -> None:
        """Send several in place of the event of this frame."""
        raise NotImplementedError

    # -- events that are no frames yet --------------------------------------------------

    def request_fusion(self, above: tuple[AnyStage, ...]) -> BatchSink | None:
        if any(stage.word == "sequence" for stage in above):
            return None  # its numbers would come too late for us to see them
        target, passing = self.subscription.next_opaque(self)
        if target is None:
            return None
        self._inner = target.request_fusion((self, *passing))
        if self._inner is None:
            return None
        self._above, self._target = above, target
        self.emit = target.next
        for stage in (self, *passing):
            stage.fused_into = target
        return self

    def gather(self, line: bytes, credit: Credit) -> None:
        """Take one event, for which a credit was taken."""
        pieces = [line] if self.keeps(line) else self.rewrite(line)
        if len(pieces) == 1:
            self._inner.gather(pieces[0], credit)  # type: ignore[union-attr]
            return
        if not pieces:
            self.drop_above()
            credit.release(1)
            return
        permit = Permit(credit)
        try:
            self.send_pieces(Frame(line, permit), pieces)
        finally:
            permit.release()

    def gather_many(self, lines: list[bytes], size: int, credit: Credit) -> None:
        """Take several together, each with a credit."""
        if all(map(self.keeps, lines)):
            self._inner.gather_many(lines, size, credit)  # type: ignore[union-attr]
            return
        for n, line in enumerate(lines):
            if self._ended:
                credit.release(len(lines) - n)
                return
            self.gather(line, credit)

    def on_batch(self, payload: Frame) -> None:
        extra, self._extra = self._extra, 0
        self.passed += payload.events - extra
        self.sent += extra
        self._count_above(payload.events - extra)

    def drop_above(self) -> None:
        """Count an event with the stages above, since no batch will."""
        self._count_above(1)

    def _count_above(self, events: int) -> None:
        came = Frame(b"", events=events)
        for stage in self._above:
            stage.on_batch(came)

    @property
    def waiting(self) -> int:
        return 0 if self._target is None else self._target.waiting - self._extra

    @property
    def received(self) -> int:
        return self.passed + self.taken + self.waiting

    # -- counting -----------------------------------------------------------------------

    def count_passed(self, events: int) -> None:
        """Count events that go on as one each; fused, the batch does."""
        if self._target is None:
            self.passed += events

    def count_created(self, events: int) -> None:
        """Count events that came from no event of their own."""
        self.created += events
        if self._target is None:
            self.sent += events
        else:
            self._extra += events
