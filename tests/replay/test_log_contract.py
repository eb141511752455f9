"""Every log keeps every promise, and every rule can tell when one does not.

A new log is one more line in LOGS.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

import pytest

from rx_agui.errors import (
    ReplayError,
    StreamClosedError,
    TrimmedError,
    UnknownStreamError,
)
from rx_agui.frame import Frame
from rx_agui.replay import Joined, MemoryLog, Opened, Position, ReplayLog, StreamKey
from rx_agui.testing import LOG_RULES, LogCandidate, LogRule, _log_identity, _log_rules
from rx_agui.testing import _log_contract as rules


def made(
    log: Callable[..., Any],
) -> Callable[[int], AbstractAsyncContextManager[ReplayLog]]:
    @asynccontextmanager
    async def make(max_events: int) -> AsyncIterator[ReplayLog]:
        yield log(max_events=max_events)

    return make


LOGS = [LogCandidate("memory", made(MemoryLog))]


@pytest.mark.parametrize("rule", LOG_RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("log", LOGS, ids=lambda log: log.name)
def test_a_log_keeps_the_rule(log: LogCandidate, rule: LogRule) -> None:
    rule(log)


# -- one log per rule that breaks it ---------------------------------------------


class ClaimsLate(MemoryLog):
    """Looks, thinks, and then takes."""

    async def open(self, name: str, **more: Any) -> Any:
        known = await self.find(StreamKey(name))
        await asyncio.sleep(0)
        claim = await super().open(name, **more)
        return Joined(known) if known else Opened(claim.stream)


class JoinsLate(MemoryLog):
    """Reads what is kept, and then what comes, with a gap between."""

    async def tail(self, stream: Any, after: int = 0) -> AsyncIterator[Frame]:  # type: ignore[override]
        there = await self.position(stream)
        if there is None:
            raise UnknownStreamError(stream)
        async for frame in super().tail(stream, after):
            yield frame
            if frame.last >= there.last:
                break
        await asyncio.sleep(0)
        there = await self.position(stream)
        assert there is not None
        async for frame in super().tail(stream, there.last):
            yield frame


class GivesWhole(MemoryLog):
    async def tail(self, stream: Any, after: int = 0) -> AsyncIterator[Frame]:  # type: ignore[override]
        async for frame in super().tail(stream):
            if frame.last > after:
                yield frame


class CutsByCounting(MemoryLog):
    async def tail(self, stream: Any, after: int = 0) -> AsyncIterator[Frame]:  # type: ignore[override]
        async for frame in super().tail(stream):
            lines = frame.lines()[max(0, after + 1 - frame.first) :]
            if frame.last > after:
                yield Frame(
                    b"\n".join(lines),
                    events=len(lines),
                    first=after + 1,
                    last=frame.last,
                )


class SkipsWhatIsGone(MemoryLog):
    async def tail(self, stream: Any, after: int = 0) -> AsyncIterator[Frame]:  # type: ignore[override]
        there = await self.position(stream)
        if there is None:
            raise UnknownStreamError(stream)
        while True:
            try:
                async for frame in super().tail(stream, after):
                    after = frame.last
                    yield frame
                return
            except TrimmedError as error:
                after = error.first - 1


class NeverWaits(MemoryLog):
    async def tail(self, stream: Any, after: int = 0) -> AsyncIterator[Frame]:  # type: ignore[override]
        there = await self.position(stream)
        if there is None:
            raise UnknownStreamError(stream)
        if there.last <= after:
            return
        async for frame in super().tail(stream, after):
            yield frame


class WaitsForTheCursor(MemoryLog):
    async def tail(self, stream: Any, after: int = 0) -> AsyncIterator[Frame]:  # type: ignore[override]
        there = await self.position(stream)
        async for frame in super().tail(stream, min(after, there.last if there else 0)):
            if frame.last > after:
                yield frame


class TakesMoreWhenClosed(MemoryLog):
    async def append(self, stream: Any, frame: Frame) -> None:
        with suppress(StreamClosedError):
            await super().append(stream, frame)


class KnowsEverybody(MemoryLog):
    async def position(self, stream: Any) -> Position | None:
        return await super().position(stream) or Position(1, 0, True)


class ForgetsNothing(MemoryLog):
    async def forget(self, stream: Any) -> None: ...


class TakesAnything(MemoryLog):
    async def append(self, stream: Any, frame: Frame) -> None:
        with suppress(ReplayError):
            await super().append(stream, frame)


class SharesFrames(MemoryLog):
    frames: dict[int, Frame] = {}  # noqa: RUF012

    async def tail(self, stream: Any, after: int = 0) -> AsyncIterator[Frame]:  # type: ignore[override]
        async for frame in super().tail(stream, after):
            yield self.frames.setdefault(frame.last, frame)


class KeepsReaders(MemoryLog):
    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.readers: list[Any] = []

    def tail(self, stream: Any, after: int = 0) -> Any:
        self.readers.append(super().tail(stream, after))
        return self.readers[-1]


class CountsTooLate(MemoryLog):
    """Asks for the number when the content was read long ago."""

    async def prelude(self, stream: Any) -> Frame:
        prelude = await super().prelude(stream)
        await asyncio.sleep(0)
        there = await self.position(stream)
        if there is not None and prelude.events:
            prelude.last = there.last
            prelude.numbers = (*(prelude.numbers or (0,))[:-1], there.last)
        return prelude


class TellsWhatIsKept(MemoryLog):
    async def prelude(self, stream: Any) -> Frame:
        there = await self.position(stream)
        if there is None:
            raise UnknownStreamError(stream)
        lines = []
        async for frame in self.tail(stream, there.first - 1):
            lines += frame.lines()
            if frame.last == there.last:
                break
        prelude = Frame(b"\n".join(lines), events=len(lines), last=there.last)
        prelude.numbers = (*(0,) * (len(lines) - 1), there.last)
        return prelude


class SplitsNames(MemoryLog):
    async def open(self, name: str, **more: Any) -> Any:
        return await super().open(name.split("/")[0], **more)


class KnowsNoOwner(MemoryLog):
    async def open(self, name: str, **more: Any) -> Any:
        return await super().open(name, **{**more, "owner": ""})


class FindsNamesOfAnyOwner(MemoryLog):
    async def find(self, stream: Any) -> Any:
        return await super().find(stream._replace(owner=stream.owner or ""))


class JoinsAnyRequest(MemoryLog):
    async def open(self, name: str, **more: Any) -> Any:
        return await super().open(name, **{**more, "asked": None})


class EndsWell(MemoryLog):
    async def position(self, stream: Any) -> Position | None:
        place = await super().position(stream)
        return place and place._replace(end="RUN_FINISHED")


BROKEN: dict[LogRule, type[MemoryLog]] = {
    rules.a_stream_is_claimed_once: ClaimsLate,
    rules.every_reader_gets_every_event_once_whenever_it_joins: JoinsLate,
    rules.a_payload_that_spans_the_cursor_is_cut: GivesWhole,
    rules.an_event_that_covers_several_numbers_is_not_cut: CutsByCounting,
    rules.what_was_trimmed_is_told: SkipsWhatIsGone,
    rules.a_reader_that_is_overtaken_is_told: SkipsWhatIsGone,
    rules.a_cursor_at_the_end_waits_for_what_comes: NeverWaits,
    rules.a_cursor_beyond_the_end_is_told: WaitsForTheCursor,
    rules.closing_ends_readers_behind_the_last_event: TakesMoreWhenClosed,
    rules.a_stream_that_was_never_opened_is_told: KnowsEverybody,
    rules.a_forgotten_stream_may_be_opened_again: ForgetsNothing,
    rules.only_numbers_that_follow_are_kept: TakesAnything,
    rules.what_a_reader_gets_is_its_own: SharesFrames,
    rules.readers_that_go_leave_nothing_behind: KeepsReaders,
    rules.a_prelude_and_the_tail_behind_it_meet: CountsTooLate,
    rules.a_prelude_exists_however_much_was_trimmed: TellsWhatIsKept,
    rules.a_name_may_be_anything: SplitsNames,
    _log_identity.a_name_is_another_for_another_owner_or_namespace: KnowsNoOwner,
    _log_identity.a_stream_is_found_by_its_epoch_alone_in_its_namespace: FindsNamesOfAnyOwner,
    _log_identity.the_same_request_joins_and_another_waits_for_the_end: JoinsAnyRequest,
    _log_identity.it_says_how_the_run_ended: EndsWell,
}


@pytest.mark.parametrize("rule", LOG_RULES, ids=lambda rule: rule.__name__)
def test_a_rule_can_tell_a_log_that_breaks_it(
    rule: LogRule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_log_rules, "PATIENCE", 2.0)

    with pytest.raises(AssertionError):
        rule(LogCandidate("broken", made(BROKEN[rule])))
