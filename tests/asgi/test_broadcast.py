"""Many readers of one stream are sent the same bytes, which are made once."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rx_agui import Credit, Permit
from rx_agui.agui.encoding import encode
from rx_agui.asgi import CONTINUE, SSEResponse
from rx_agui.asgi.reader import _fan_out
from rx_agui.asgi.reader._fan_out import LAGGING, FanOutGroup, Subscriber
from rx_agui.asgi.run._window import RunWindow
from rx_agui.codecs._deflate import DeflateEncoder
from rx_agui.codecs.negotiation import encoder
from rx_agui.frame import Frame
from rx_agui.replay import MemoryLog, StreamKey
from rx_agui.sse import format_frame
from tests.support.by_hand import FINISHED, STARTED, Agent, Event, Reader, get, reading
from tests.support.stems import stem
from tests.support.virtual import play

STEM = "run-7/"


def payload(first: int, last: int) -> Frame:
    lines = [
        b'{"type":"TEXT_MESSAGE_CONTENT","messageId":"m","delta":"to be or not %d"}' % n
        for n in range(first, last + 1)
    ]
    return Frame(b"\n".join(lines), events=len(lines), first=first, last=last)


def numbers(reader: Reader) -> list[int]:
    return [int(id.rpartition("/")[2]) for id in reader.ids]


class Response:
    """Decodes what it is sent, as it comes."""

    def __init__(self, log: MemoryLog, coding: str, at: int = 0) -> None:
        self.seat = Subscriber(log)
        self.seat.join(StreamKey("run-7"))
        self.coding = self.seat.in_step(encoder(coding, 6))
        self.decoder = zlib.decompressobj(31 if coding == "gzip" else 15)
        self.is_plain = coding == "identity"
        self.at = at  # which payload is next
        self.bodies: list[bytes] = []
        self.is_sent(b":\n", self.coding.rest)

    def is_sent(self, data: bytes, encode: Callable[[bytes], bytes]) -> None:
        body = encode(data)
        self.bodies.append(body)
        assert (body if self.is_plain else self.decoder.decompress(body)) == data

    def reads(self, frame: Frame) -> None:
        wire = self.seat.format(frame, STEM)
        assert wire == format_frame(frame, STEM)
        self.is_sent(wire, self.coding.encode)

    def ends(self) -> None:
        self.seat.leave()
        end = self.coding.finish()
        if not self.is_plain:
            self.decoder.decompress(end)  # which looks at the checksum of the whole
            assert self.decoder.eof


def in_a_loop(test: Callable[[], None]) -> None:
    async def main() -> None:
        test()

    asyncio.run(main())


CODINGS = st.sampled_from(["gzip", "gzip", "deflate", "identity"])
STEPS = st.sampled_from(
    ["reads"] * 8
    + ["comes", "joins", "rests", "lags", "is cut", "skips", "speaks", "leaves"]
)


@given(
    st.lists(CODINGS, min_size=1, max_size=4),
    st.lists(st.tuples(STEPS, st.integers(0, 9), CODINGS), min_size=40, max_size=120),
)
@settings(deadline=None, max_examples=200)
def test_whoever_reads_whatever_when_it_decodes_as_it_comes(
    codings: list[str], steps: list[tuple[str, int, str]]
) -> None:
    """Each at its own pace, with words of its own in between, and some leave and join."""

    def main() -> None:
        log = MemoryLog()
        payloads = [payload(1, 3)]

        def more() -> Frame:
            last = payloads[-1].last
            payloads.append(payload(last + 1, last + 1 + last % 4))
            return payloads[-1]

        readers = [Response(log, coding) for coding in codings]
        for what, which, coding in steps:
            if what == "joins" or not readers:
                readers.append(Response(log, coding, at=len(payloads)))
                continue
            reader = readers[which % len(readers)]
            match what:
                case "reads":
                    frame = payloads[reader.at] if reader.at < len(payloads) else more()
                    reader.at += 1
                    reader.seat.keeps_up(frame)
                    reader.reads(frame)
                case "comes":
                    more()
                case "rests":
                    reader.is_sent(b":\n", reader.coding.rest)
                case "lags":
                    behind = payloads[reader.at :]
                    if behind:
                        together = payload(behind[0].first, behind[-1].last)
                        together.trigger = LAGGING
                        reader.at = len(payloads)
                        reader.reads(together)
                case "is cut":
                    frame = payloads[-1]
                    reader.at = len(payloads)
                    reader.reads(payload(frame.last, frame.last))
                case "skips":
                    reader.at = min(reader.at + 1, len(payloads))
                case "speaks":
                    reader.is_sent(b"retry: 1000\n", reader.coding.encode)
                case "leaves":
                    readers.remove(reader)
                    reader.ends()
        for reader in readers:
            reader.ends()
        assert not [key for key in FanOutGroup._groups if key[0] == id(log)]

    in_a_loop(main)


# -- once for all ------------------------------------------------------------------------


class Counted:
    """How often a function was called."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.calls = 0

    def __call__(self, *args: Any) -> Any:
        self.calls += 1
        return self.function(*args)


@pytest.fixture
def formats(monkeypatch: pytest.MonkeyPatch) -> Counted:
    counted = Counted(format_frame)
    monkeypatch.setattr(_fan_out, "format_frame", counted)
    return counted


@pytest.fixture
def own_compressors(monkeypatch: pytest.MonkeyPatch) -> Counted:
    """Those that readers have for themselves."""
    counted = Counted(DeflateEncoder.encode)
    monkeypatch.setattr(
        DeflateEncoder, "encode", lambda self, data: counted(self, data)
    )
    return counted


def test_a_payload_is_formatted_and_compressed_once(
    formats: Counted, own_compressors: Counted
) -> None:
    def main() -> None:
        log = MemoryLog()
        readers = [Response(log, "gzip") for _ in range(10)]
        for number in range(1, 101):
            for reader in readers:
                reader.reads(payload(number, number))

        assert formats.calls == 100
        assert own_compressors.calls == 0
        assert len({tuple(reader.bodies) for reader in readers}) == 1

    in_a_loop(main)


def test_who_is_slow_takes_nothing_from_those_in_step(
    formats: Counted, own_compressors: Counted
) -> None:
    def main() -> None:
        log = MemoryLog()
        pack = [Response(log, "gzip") for _ in range(10)]
        slow = Response(log, "gzip")
        for number in range(2, 402, 2):
            for reader in pack[:5]:
                reader.reads(payload(number - 1, number))
            if number > 200:
                for back in range(100, 120, 2):
                    slow.reads(payload(number - back - 1, number - back))
                slow.reads(payload(number, number))  # it was cut within the payload
                for start in range(50, 60):
                    together = payload(start, number)
                    together.trigger = LAGGING
                    slow.reads(together)
            for reader in pack[5:]:
                reader.reads(payload(number - 1, number))

        assert len({tuple(reader.bodies) for reader in pack}) == 1
        of_the_slow = 100 * (10 + 1 + 10)
        assert formats.calls == 200 + of_the_slow
        assert own_compressors.calls == of_the_slow

    in_a_loop(main)


def test_who_comes_in_between_compresses_alone_until_all_begin_anew(
    own_compressors: Counted,
) -> None:
    def main() -> None:
        log = MemoryLog()
        readers = [Response(log, "gzip") for _ in range(100)]
        for number in range(1, 3):
            for reader in readers:
                reader.reads(payload(number, number))
        readers.append(Response(log, "gzip"))
        for number in range(3, 65):
            for reader in readers:
                reader.reads(payload(number, number))

        assert own_compressors.calls == 30  # numbers 3 to 32

    in_a_loop(main)


def test_when_many_came_in_between_all_begin_anew_at_once(
    own_compressors: Counted,
) -> None:
    def main() -> None:
        log = MemoryLog()
        readers = [Response(log, "gzip") for _ in range(2)]
        for number in range(1, 65):
            if number == 3:
                readers += [Response(log, "gzip") for _ in range(8)]
            for reader in readers:
                reader.reads(payload(number, number))

        assert own_compressors.calls == 2 * 8  # numbers 3 and 4

    in_a_loop(main)


def test_the_compressor_of_all_goes_with_the_first_keep_alive() -> None:
    def main() -> None:
        log = MemoryLog()
        one, other, behind = (Response(log, "gzip") for _ in range(3))
        for number in range(1, 4):
            for reader in (one, other, behind):
                if reader is not behind or number < 3:
                    reader.reads(payload(number, number))
        fan_out = one.seat.group.fan_out
        assert fan_out is not None
        (blocks,) = fan_out._streams.values()

        behind.is_sent(b":\n", behind.coding.rest)
        assert blocks._stream is not None
        other.is_sent(b":\n", other.coding.rest)
        assert blocks._stream is None

    in_a_loop(main)


def test_one_alone_shares_with_nobody_and_leaves_nothing(formats: Counted) -> None:
    def main() -> None:
        log = MemoryLog()
        one, other = Response(log, "gzip"), Response(log, "gzip")
        one.reads(payload(1, 2))
        fan_out = one.seat.group.fan_out
        assert fan_out is not None
        assert fan_out._wires
        other.ends()
        one.reads(payload(3, 4))

        assert one.seat.group.fan_out is None
        one.ends()
        assert not [key for key in FanOutGroup._groups if key[0] == id(log)]

    in_a_loop(main)


def test_what_is_kept_for_others_is_bounded() -> None:
    def main() -> None:
        log = MemoryLog()
        one, other = Response(log, "gzip"), Response(log, "deflate")
        for number in range(1, 1000):
            one.reads(payload(number, number))
        large = Frame(b'{"large":"%b"}' % (b"x" * 2_000_000), first=1000, last=1000)
        for reader in (one, other):
            reader.reads(large)
        fan_out = one.seat.group.fan_out
        assert fan_out is not None

        assert len(fan_out._wires) == len(fan_out._spans) == 1
        assert [len(blocks._made) for blocks in fan_out._streams.values()] == [1]

    in_a_loop(main)


def test_two_streams_share_nothing() -> None:
    """What compresses together can be told from lengths."""

    def main() -> None:
        log = MemoryLog()
        seats = [Subscriber(log) for _ in range(4)]
        for number, seat in enumerate(seats):
            seat.join(StreamKey(f"run-{number % 2}"))
        one, other = (seat.group.fan_out for seat in seats[:2])

        assert one is seats[2].group.fan_out
        assert one is not other

    in_a_loop(main)


class Unasked(set[Any]):
    """Readers whom nobody asks one by one."""

    def __iter__(self) -> Any:
        raise AssertionError("a thousand who ask a thousand are a million")


def test_who_was_sent_something_asks_no_other_reader() -> None:
    pace = RunWindow(100, CONTINUE)
    pace._readers = Unasked()
    credit = Credit(10)
    one, other = pace.attach(0.0, 0), pace.attach(0.0, 0)
    for number in range(1, 4):
        credit.wait(1.0)
        pace.stores(number, number, Permit(credit), 0.0)
    assert credit.in_flight == 3

    one.wrote(2)
    other.wrote(1)
    assert credit.in_flight == 1
    other.wrote(3)
    assert credit.in_flight == 0


def test_who_comes_with_everything_lets_the_run_go_on() -> None:
    """Another process has sent it, of those that share a log."""
    pace, credit = RunWindow(100, CONTINUE), Credit(10)
    pace.attach(0.0, 0)
    credit.wait(1.0)
    pace.stores(1, 1, Permit(credit), 0.0)
    assert credit.in_flight == 1

    pace.attach(0.0, 1)
    assert credit.in_flight == 0


# -- through the response -----------------------------------------------------------------


def deltas(n: int) -> list[Event]:
    start = {"type": "TEXT_MESSAGE_START", "messageId": "m", "role": "assistant"}
    said = [
        {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": f"{k} "}
        for k in range(n)
    ]
    end = {"type": "TEXT_MESSAGE_END", "messageId": "m"}
    return [STARTED, start, *said, end, FINISHED]


class Place:
    """One run, kept in a log; each event is a payload."""

    def __init__(self, events: list[Event], **settings: Any) -> None:
        self.agent = Agent(events)
        self.log = MemoryLog()
        self.settings = {"batch_size": 1, **settings}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        response = SSEResponse(
            self.agent, log=self.log, stream="run-7", **self.settings
        )
        await response(scope, receive, send)


def text(reader: Reader) -> str:
    return "".join(event.get("delta", "") for event in reader.events)


def test_all_are_sent_the_run_whatever_they_accept() -> None:
    async def main() -> None:
        place = Place(deltas(200))
        place.agent.stops_at = 100
        codings = ["gzip", "gzip", "deflate", "identity", "br", "zstd", "gzip"]
        async with AsyncExitStack() as stack:
            readers: list[Reader] = []
            for coding in codings:
                asked = {"Accept-Encoding": coding}
                readers.append(
                    await stack.enter_async_context(reading(place, headers=asked))
                )
                await readers[-1].until(lambda: len(readers[-1].sent) > 1)
            place.agent.may_go_on.set()
            for reader in readers:
                await reader.until(partial(getattr, reader, "ended"))

            for reader in readers:
                assert text(reader) == "".join(f"{k} " for k in range(200))
                assert reader.types[-1] == "RUN_FINISHED"
        assert not [key for key in FanOutGroup._groups if key[0] == id(place.log)]

    play(main())


def test_many_may_come_back_at_once_to_a_run_that_is_over() -> None:
    async def main() -> None:
        place = Place(deltas(500))
        await get(place)
        cursor = {
            "Last-Event-ID": f"{stem(place.log, 'run-7')}/20",
            "Accept-Encoding": "gzip",
        }
        back = await asyncio.gather(*[get(place, headers=cursor) for _ in range(5)])

        rest = "".join(f"{k} " for k in range(18, 500))
        assert {text(reader) for reader in back} == {rest}
        assert max(len(reader.ids) for reader in back) < 50  # it was all there

    play(main())


def test_among_many_who_is_a_little_behind_is_sent_what_the_others_were() -> None:
    async def main() -> None:
        place = Place(deltas(4))
        place.agent.stops_at = 1
        async with reading(place) as fast, reading(place) as slow:
            await slow.until(lambda: len(slow.sent) > 1)
            slow.pause()
            place.agent.stops_at = 7
            place.agent.may_go_on.set()
            await fast.until(lambda: 7 in numbers(fast))
            slow.go_on()
            await slow.until(lambda: 7 in numbers(slow))
            place.agent.may_go_on.set()

            assert slow.ids == fast.ids
            assert numbers(slow) == [*range(1, 8)]

    play(main())


def test_among_many_who_is_far_behind_is_sent_fewer_events() -> None:
    async def main() -> None:
        place = Place(deltas(500))
        place.agent.stops_at = 1
        async with reading(place) as fast, reading(place) as slow:
            await slow.until(lambda: len(slow.sent) > 1)
            slow.pause()
            place.agent.stops_at = 503
            place.agent.may_go_on.set()
            await fast.until(lambda: 503 in numbers(fast))
            slow.go_on()
            await slow.until(lambda: 503 in numbers(slow))

            assert text(slow) == text(fast)
            assert len(slow.ids) < 50
            assert len(fast.ids) == 503

    play(main())


def test_readers_of_a_log_that_another_process_fills_share_as_well() -> None:
    async def main() -> None:
        log = MemoryLog()
        await log.open("run-7")

        async def app(scope: Any, receive: Any, send: Any) -> None:
            async def agent() -> AsyncIterator[Event]:
                raise AssertionError("the log knows the stream")
                yield {}

            response = SSEResponse(agent, log=log, stream="run-7", batch_size=1)
            await response(scope, receive, send)

        async with reading(app) as one, reading(app) as other:
            await log.append("run-7", Frame(encode(STARTED), first=1, last=1))
            await log.append("run-7", Frame(encode(FINISHED), first=2, last=2))
            await log.close("run-7")
            for reader in (one, other):
                await reader.until(partial(getattr, reader, "ended"))
                assert reader.types == ["RUN_STARTED", "RUN_FINISHED"]

    play(main())
