"""The rules of identity that a log is held to: owners, namespaces, epochs, requests."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from rx_agui.errors import UnknownStreamError
from rx_agui.frame import Frame
from rx_agui.replay import Asked, Conflict, Joined, Opened, StreamKey
from rx_agui.testing._log_rules import (
    LogCandidate,
    LogRule,
    fill,
    opened,
    payload,
    rule,
)

__all__ = ["IDENTITY_RULES"]


@rule
async def a_name_is_another_for_another_owner_or_namespace(
    candidate: LogCandidate,
) -> None:
    async with candidate.make(100) as log:
        places = [("", ""), ("ann", ""), ("bob", ""), ("ann", "b"), ("", "ann")]
        streams = []
        for i, (owner, space) in enumerate(places, start=1):
            claim = await log.open("run", owner=owner, namespace=space)
            assert isinstance(claim, Opened), f"of {owner!r} in {space!r}: {claim}"
            await log.append(claim.stream, payload(1, i))
            streams.append(claim.stream)
        assert len({one.epoch for one in streams}) == 5, f"epochs: {streams}"
        for i, ((owner, space), stream) in enumerate(
            zip(places, streams, strict=True), start=1
        ):
            found = await log.find(StreamKey("run", "", space, owner))
            assert found == stream, f"of {owner!r} in {space!r} it found {found}"
            place = await log.position(stream)
            last = None if place is None else place.last
            assert last == i, f"{stream} has come to {last}"
            for other, elsewhere in places:
                if (other, elsewhere) != (owner, space):
                    wrong = StreamKey("run", stream.epoch, elsewhere, other)
                    assert await log.position(wrong) is None, (
                        f"{wrong!r} has a position"
                    )
                    assert await log.find(wrong) is None, f"{wrong!r} is found"
                    with suppress(UnknownStreamError):
                        got = await anext(log.tail(wrong))
                        raise AssertionError(f"{wrong!r} read {got}")


@rule
async def a_stream_is_found_by_its_epoch_alone_in_its_namespace(
    candidate: LogCandidate,
) -> None:
    async with candidate.make(100) as log:
        claim = await log.open("run", owner="ann", namespace="here")
        stream = claim.stream
        assert len(stream.epoch) == 32, f"128 bits are 32 digits: {stream.epoch!r}"
        found = await log.find(stream._replace(owner=None))
        assert found == stream, f"by its epoch it found {found}"
        for wrong in (
            stream._replace(owner=None, namespace=""),
            stream._replace(owner=None, epoch=""),
            stream._replace(owner=None, name="ruin"),
            stream._replace(owner=None, epoch="0" * 32),
        ):
            assert await log.find(wrong) is None, f"{wrong!r} found something"


@rule
async def the_same_request_joins_and_another_waits_for_the_end(
    candidate: LogCandidate,
) -> None:
    user = {"id": "u", "role": "user", "content": "hi"}
    partial = {"id": "m", "role": "assistant", "content": "3, 4"}
    input_: dict[str, object] = {"runId": "run", "state": {}, "messages": [user]}
    asked = Asked.of(input_)
    again = Asked.of({**input_, "state": {"n": 1}, "messages": [user, partial]})
    more = Asked.of({**input_, "messages": [user, {**user, "id": "v"}]})
    other = Asked.of({**input_, "resume": [{"interruptId": "i"}]})
    async with candidate.make(100) as log:
        first = await log.open("run", asked=asked)
        assert isinstance(first, Opened), f"the first got {first}"
        await fill(log, first.stream, 1, 4)
        for one in (asked, again, None):
            claim = await log.open("run", asked=one)
            assert claim == Joined(first.stream), f"the same request got {claim}"
        for one in (other, more):
            claim = await log.open("run", asked=one)
            assert claim == Conflict(first.stream), (
                f"while it runs, another got {claim}"
            )
        end = b'{"type":"RUN_FINISHED","threadId":"t","runId":"r"}'
        await log.append(first.stream, Frame(end, first=5, last=5))
        second = await log.open("run", asked=other)
        assert isinstance(second, Opened), f"behind its end, another got {second}"
        assert second.stream.epoch != first.stream.epoch, "it has the old epoch"
        newest = await log.find(StreamKey("run"))
        assert newest == second.stream, f"the newest is {newest}"
        for one, wanted in ((other, second), (asked, first), (again, first)):
            claim = await log.open("run", asked=one)
            assert claim == Joined(wanted.stream), f"a repeated request got {claim}"
        await log.append(second.stream, payload(1))
        await log.close(first.stream)
        got = [frame.last async for frame in log.tail(first.stream, 3)]
        assert got[-1] == 5, f"the first run's reader got {got}"


@rule
async def it_says_how_the_run_ended(candidate: LogCandidate) -> None:
    ends = {
        "RUN_FINISHED": b'{"type":"RUN_FINISHED","threadId":"t","runId":"r"}',
        "RUN_ERROR": b'{"message":"no","type":"RUN_ERROR"}',
        "": b'{"type":"CUSTOM","name":"type","value":"RUN_ERROR"}',
    }
    async with candidate.make(100) as log:
        for name, line in ends.items():
            run = await opened(log, name)
            await log.append(run, payload(1))
            await log.append(run, Frame(line, first=2, last=2))
            await log.close(run)
            place = await log.position(run)
            assert place is not None, "it is forgotten"
            assert place.end == name, f"it says {place.end!r}, it was {name!r}"


#: In the order in which one would want to hear of a fault.
IDENTITY_RULES: Final[tuple[LogRule, ...]] = (
    a_name_is_another_for_another_owner_or_namespace,
    a_stream_is_found_by_its_epoch_alone_in_its_namespace,
    the_same_request_joins_and_another_waits_for_the_end,
    it_says_how_the_run_ended,
)
