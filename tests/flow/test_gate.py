"""Whatever a Gate accepts is delivered or told of, whoever sends and however it ends."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as ops
from reactivex.subject import Subject

from rx_agui import (
    AlreadySubscribedError,
    BackpressureTimeoutError,
    BufferOverflowError,
    Credit,
    DrainTimeoutError,
    Frame,
    Gate,
    NotSubscribedError,
    Permit,
    SSEWriter,
    StreamClosedError,
    StreamError,
    ValidationError,
    WouldBlockError,
    batch,
    chunk,
    clock,
    compress,
    flow_control,
    sequence,
    unbatch,
)
from rx_agui.agui.encoding import encode
from rx_agui.clock import ThreadClock
from rx_agui.probe import Probe, StreamObservation, watching
from rx_agui.serial import SerialExecutor
from rx_agui.sse import Parser
from rx_agui.testing import MarbleScheduler
from rx_agui.types import Overflow
from tests.support.patience import SOON, auntil, in_thread, until


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run `main`, not longer than a test may take, and see that it leaves no task."""

    async def alone() -> None:
        async with asyncio.timeout(3 * SOON):
            await main
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(alone())


def others_at_work() -> bool:
    return len(asyncio.all_tasks()) > 1


def event(value: Any = 0) -> dict[str, Any]:
    return {"type": "CUSTOM", "name": "n", "value": value}


def credit_of(gate: Gate) -> Credit:
    assert gate._link is not None
    return gate._link.credit


def values(written: list[bytes]) -> list[Any]:
    """What a reader of the chunk profile makes of what was written."""
    lines: list[bytes] = []
    for message in Parser().feed(b"".join(written)):
        if message.event != "chunk":
            lines.append(message.data)
            continue
        envelope = json.loads(message.data)
        assert envelope["totalChunks"] == 1
        data = base64.b64decode(envelope["data"])
        if envelope["encoding"] == "gzip":
            data = zlib.decompress(data, 31)
        lines += data.split(b"\n")
    return [json.loads(line)["value"] for line in lines]


class Reader:
    """A sink that takes its time: it holds what came until it is told to let go."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.permits: list[Permit] = []
        self.ended: list[Exception | None] = []

    def on_next(self, frame: Any) -> None:
        self.frames.append(frame)
        self.permits.append(frame.permit.hold())

    def subscribe(self, source: rx.Observable[Any], **how: Any) -> Any:
        return source.subscribe(
            self.on_next, self.ended.append, lambda: self.ended.append(None), **how
        )

    def let_go(self, n: int = 1) -> None:
        for _ in range(n):
            self.permits.pop(0).release()

    @property
    def events(self) -> int:
        return sum(frame.events for frame in self.frames)


def opened(*operators: Any) -> tuple[Gate, Reader]:
    """A gate whose reader is slow."""
    gate, reader = Gate(), Reader()
    reader.subscribe(gate.pipe(*operators))
    return gate, reader


# -- send ---------------------------------------------------------------------------


def test_send_blocks_its_thread_until_there_is_room() -> None:
    gate, reader = opened(flow_control(2))
    gate.send(event())
    gate.send(event())

    third = in_thread(lambda: gate.send(event()))
    until(lambda: credit_of(gate)._waiters)
    assert reader.events == 2
    reader.let_go()

    third.result(SOON)
    assert reader.events == 3


def test_send_gives_up_after_its_timeout_and_the_event_may_be_sent_again() -> None:
    gate, reader = opened(flow_control(1, timeout=0.01))
    gate.send(event(1))

    for timeout in ({}, {"timeout": 0.02}, {"timeout": 0.0}):
        with pytest.raises(
            BackpressureTimeoutError, match="all 1 credits are in flight"
        ):
            gate.send(event(2), **timeout)
    assert reader.events == 1

    reader.let_go()
    gate.send(event(2))
    assert reader.events == 2
    assert credit_of(gate).in_flight == 1


def test_send_waits_as_long_as_it_takes_when_told_so() -> None:
    gate, reader = opened(flow_control(1, timeout=0.001))
    gate.send(event())
    sends = in_thread(lambda: gate.send(event(), timeout=None))
    until(lambda: credit_of(gate)._waiters)

    reader.let_go()

    sends.result(SOON)


def test_send_never_waits_on_a_running_loop_and_says_what_to_call() -> None:
    async def main() -> None:
        gate, reader = opened(flow_control(1, timeout=60))
        gate.send(event())
        with pytest.raises(WouldBlockError, match=r"await asend\(event\)"):
            gate.send(event())
        assert reader.events == 1

    run(main())


def test_send_never_waits_on_a_loop_for_a_stream_of_threads() -> None:
    gate, _ = opened(flow_control(1, timeout=60))
    gate.send(event())

    async def main() -> None:
        with pytest.raises(WouldBlockError, match="asend"):
            gate.send(event())

    run(main())


def test_send_never_waits_inside_on_next_and_says_what_to_call() -> None:
    gate = Gate()
    refused: list[Exception] = []

    def echo(frame: Frame) -> None:
        try:
            gate.send(event("echo"))
        except WouldBlockError as error:
            refused.append(error)

    gate.pipe(flow_control(1, timeout=60)).subscribe(echo)
    in_thread(lambda: gate.send(event())).result(SOON)

    assert "try_send" in str(refused[0])
    assert credit_of(gate).free == 1


def test_send_never_waits_inside_on_next_even_on_a_timers_thread() -> None:
    gate = Gate()
    refused: Future[tuple[Exception, str]] = Future()

    def echo(frame: Frame) -> None:
        try:
            for _ in range(3):  # as long as there is room
                gate.send(event("echo"))
        except StreamClosedError:
            pass
        except WouldBlockError as error:
            gate.close()  # once
            refused.set_result((error, threading.current_thread().name))

    gate.pipe(flow_control(3, timeout=60), batch(5, 0.001)).subscribe(echo)
    gate.send(event())

    error, thread = refused.result(SOON)
    assert "try_send" in str(error)
    assert thread != threading.current_thread().name
    gate.close(SOON)


def test_send_never_waits_where_only_virtual_time_passes() -> None:
    gate, reader = Gate(), Reader()
    reader.subscribe(gate.pipe(flow_control(1)), scheduler=MarbleScheduler())
    gate.send(event())

    with pytest.raises(WouldBlockError, match="scheduler"):
        gate.send(event())


def test_an_event_that_is_none_is_refused_before_credit_is_taken() -> None:
    gate, reader = opened(flow_control(1))
    gate.send(event())  # no credit is left, and none is needed to refuse

    for send in (
        gate.send,
        gate.try_send,
        lambda bad: asyncio.run(gate.asend(bad)),
    ):
        with pytest.raises(ValidationError):
            send(object())  # type: ignore[arg-type]
    reader.let_go()
    assert credit_of(gate).free == 1
    assert not reader.ended


# -- asend, try_send -----------------------------------------------------------------


def test_asend_awaits_room() -> None:
    async def main() -> None:
        gate, reader = opened(flow_control(1))
        await gate.asend(event())
        sends = asyncio.create_task(gate.asend(event()))
        await asyncio.sleep(0)
        assert reader.events == 1

        reader.let_go()

        await asyncio.wait_for(sends, SOON)
        assert reader.events == 2

    run(main())


@pytest.mark.parametrize("granted", [False, True])
def test_an_asend_that_is_cancelled_sends_nothing_and_keeps_nothing(
    granted: bool,
) -> None:
    async def main() -> None:
        gate, reader = opened(flow_control(1))
        await gate.asend(event())
        sends = asyncio.create_task(gate.asend(event()))
        await asyncio.sleep(0)

        if granted:
            reader.let_go()
        sends.cancel()
        await asyncio.wait([sends])

        assert sends.cancelled()
        assert reader.events == 1
        assert credit_of(gate).free == (1 if granted else 0)
        reader.let_go(len(reader.permits))
        await gate.aclose(SOON)

    run(main())


def test_try_send_says_whether_there_was_room() -> None:
    gate, reader = opened(flow_control(1))

    assert gate.try_send(event())
    assert not gate.try_send(event())
    reader.let_go()
    assert gate.try_send(event())
    assert reader.events == 2


def test_with_a_policy_that_drops_no_sender_ever_waits() -> None:
    gate, reader = opened(flow_control(1, buffer_size=2, overflow="drop_oldest"))

    async def main() -> None:
        for value in (4, 5):
            await gate.asend(event(value))

    for value in (1, 2):
        gate.send(event(value))
    assert gate.try_send(event(3))
    run(main())
    for _ in range(3):
        until(lambda: reader.permits)
        reader.let_go()

    assert [json.loads(f.data)["value"] for f in reader.frames] == [1, 4, 5]


# -- who may send, and who may subscribe ----------------------------------------------


def test_before_somebody_subscribes_nobody_can_send() -> None:
    gate = Gate()
    for send in (gate.send, gate.try_send, lambda e: asyncio.run(gate.asend(e))):
        with pytest.raises(NotSubscribedError):
            send(event())


@pytest.mark.parametrize("operators", [[], [flow_control()]], ids=["bare", "paced"])
def test_a_second_subscriber_is_refused_and_the_first_keeps_its_events(
    operators: list[Any],
) -> None:
    gate = Gate()
    first: list[Any] = []
    told: list[Exception] = []
    gate.pipe(*operators).subscribe(first.append)

    gate.pipe(*operators).subscribe(on_error=told.append)
    gate.send(event())

    assert [type(error) for error in told] == [AlreadySubscribedError]
    assert len(first) == 1


def test_who_subscribes_to_a_closed_gate_sees_its_end() -> None:
    gate = Gate()
    gate.close(SOON)
    ended: list[str] = []
    gate.pipe(flow_control()).subscribe(on_completed=lambda: ended.append("end"))

    assert ended == ["end"]


def test_after_closing_everyone_is_refused() -> None:
    gate, _ = opened(flow_control())
    gate.close(SOON)

    assert gate.is_closed
    for send in (gate.send, gate.try_send, lambda e: asyncio.run(gate.asend(e))):
        with pytest.raises(StreamClosedError, match="the gate was closed"):
            send(event())


def test_closing_wakes_those_who_wait_for_room() -> None:
    async def main() -> None:
        gate, reader = opened(flow_control(1))
        gate.send(event())
        thread = in_thread(lambda: gate.send(event(), timeout=None))
        task = asyncio.create_task(gate.asend(event()))
        await auntil(lambda: len(credit_of(gate)._waiters) == 2)

        gate.close()

        assert isinstance(
            await asyncio.to_thread(thread.exception, SOON), StreamClosedError
        )
        with pytest.raises(StreamClosedError):
            await asyncio.wait_for(task, SOON)
        await auntil(lambda: reader.ended == [None])
        reader.let_go()
        await gate.aclose(SOON)

    run(main())


@pytest.mark.parametrize("overflow", ["wait", "drop_oldest", "error"])
def test_a_write_that_fails_is_raised_at_whoever_sends(overflow: Overflow) -> None:
    gate = Gate()
    gone = ConnectionResetError("gone")

    def write(data: bytes) -> None:
        raise gone

    writer = SSEWriter(write)
    gate.pipe(flow_control(overflow=overflow)).subscribe(writer)
    gate.send(event())

    for send in (gate.send, gate.try_send, lambda e: asyncio.run(gate.asend(e))):
        with pytest.raises(ConnectionResetError, match="gone"):
            send(event())
    assert writer.done.exception(SOON) is gone
    assert credit_of(gate).in_flight == 0


def test_a_write_that_fails_is_raised_at_those_who_wait() -> None:
    gate, reader = opened(flow_control(1))
    gate.send(event())
    waits = in_thread(lambda: gate.send(event(), timeout=None))
    until(lambda: credit_of(gate)._waiters)

    reader.permits.pop().release(ConnectionResetError("gone"))

    assert isinstance(waits.exception(SOON), ConnectionResetError)
    until(lambda: reader.ended)
    assert credit_of(gate).in_flight == 0
    gate.close(SOON)  # what failed has nothing left to drain


def test_disposal_wakes_those_who_wait() -> None:
    gate, reader = Gate(), Reader()
    subscription = reader.subscribe(gate.pipe(flow_control(1)))
    gate.send(event())
    waits = in_thread(lambda: gate.send(event(), timeout=None))
    until(lambda: credit_of(gate)._waiters)

    subscription.dispose()
    subscription.dispose()

    assert isinstance(waits.exception(SOON), StreamClosedError)
    assert not reader.ended
    with pytest.raises(StreamClosedError):
        gate.send(event())


# -- several at once --------------------------------------------------------------------


def test_four_threads_through_the_whole_pipeline_keep_their_order() -> None:
    threads, each = 4, 5000
    written: list[bytes] = []

    async def write(data: bytes) -> None:
        written.append(data)
        await asyncio.sleep(0)

    async def main() -> Gate:
        gate = Gate()
        writer = SSEWriter(write)
        gate.pipe(
            flow_control(500),
            sequence(),
            batch(50, 0.005),
            compress(workers=2),
            chunk(),
        ).subscribe(writer)

        def run(who: int) -> None:
            for n in range(each):
                gate.send(event([who, n]), timeout=SOON)

        senders = [in_thread(lambda who=who: run(who)) for who in range(threads)]  # type: ignore[misc]
        for sender in senders:
            await asyncio.to_thread(sender.result, 60)
        await gate.aclose(SOON)
        await asyncio.wait_for(writer.done, SOON)
        assert not others_at_work()
        return gate

    gate = asyncio.run(main())

    assert credit_of(gate).in_flight == 0
    got = values(written)
    assert len(got) == threads * each
    for who in range(threads):
        assert [n for w, n in got if w == who] == list(range(each))
    numbers = [int(m.id) for m in Parser().feed(b"".join(written)) if m.id]
    assert numbers == sorted(numbers)
    assert numbers[-1] == threads * each


def test_no_thread_of_ours_outlives_its_idle_time() -> None:
    # In a process of its own: another test's stream may still wait for something.
    done = subprocess.run(
        [sys.executable, "-c", _IDLE], capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["5", "[]"]


_IDLE = """
import threading, time
from rx_agui import Gate, batch, compress, flow_control
from rx_agui.types import Overflow

gate, events = Gate(), []
gate.pipe(flow_control(), batch(10, 0.001), compress(workers=2, min_size=1)).subscribe(
    lambda frame: events.append(frame.events)
)
for n in range(5):
    gate.send({"type": "CUSTOM", "name": "n", "value": n})
gate.close(30)
deadline = time.monotonic() + 30
while threading.active_count() > 1 and time.monotonic() < deadline:
    threading.Event().wait(0.01)
print(sum(events), [t.name for t in threading.enumerate() if t.name.startswith("rx_agui")])
"""


# -- close ----------------------------------------------------------------------------------


def test_close_in_a_foreign_thread_waits_until_all_is_written() -> None:
    written: list[bytes] = []

    async def main() -> None:
        may_write = asyncio.Event()

        async def write(data: bytes) -> None:
            await may_write.wait()
            written.append(data)

        gate = Gate()
        gate.pipe(flow_control(), batch(3, 60)).subscribe(SSEWriter(write))
        for value in range(8):
            await gate.asend(event(value))
        closes = in_thread(lambda: gate.close(SOON))
        await auntil(lambda: gate.is_closed)
        assert not closes.done()

        may_write.set()

        await asyncio.to_thread(closes.result, SOON)
        assert values(written) == list(range(8))

    run(main())


def test_close_on_the_loop_returns_at_once_and_all_is_written() -> None:
    written: list[bytes] = []

    async def write(data: bytes) -> None:
        await asyncio.sleep(0)
        written.append(data)

    async def main() -> None:
        gate, writer = Gate(), SSEWriter(write)
        gate.pipe(flow_control(), batch(3, 60)).subscribe(writer)
        for value in range(8):
            await gate.asend(event(value))
        gate.close()
        assert not written
        await asyncio.wait_for(writer.done, SOON)
        await gate.aclose(SOON)

    run(main())
    assert values(written) == list(range(8))


def test_close_inside_on_next_returns_at_once_and_the_stream_ends_behind() -> None:
    gate = Gate()
    heard: list[str] = []

    def listen(frame: Frame) -> None:
        heard.append("event")
        gate.close()
        gate.close()
        heard.append("closed")

    gate.pipe(flow_control()).subscribe(
        listen, on_completed=lambda: heard.append("end")
    )
    in_thread(lambda: gate.send(event())).result(SOON)

    assert heard == ["event", "closed", "end"]
    gate.close(SOON)


def test_close_inside_on_next_of_a_timers_thread_returns_at_once() -> None:
    gate = Gate()
    closed = threading.Event()

    def listen(frame: Frame) -> None:
        gate.close()
        closed.set()

    ended = threading.Event()
    gate.pipe(flow_control(5), batch(5, 0.001)).subscribe(
        listen, on_completed=ended.set
    )
    gate.send(event())

    assert closed.wait(SOON)
    assert ended.wait(SOON)


def test_closing_twice_is_harmless_from_anywhere() -> None:
    gate, _ = opened(flow_control())
    gate.close(SOON)
    gate.close(SOON)

    async def main() -> None:
        await gate.aclose(SOON)
        gate.close(SOON)

    run(main())
    Gate().close(SOON)


def test_closing_never_loses_what_was_accepted() -> None:
    for round in range(100):
        gate = Gate()
        delivered: list[Any] = []
        ended: list[str] = []
        gate.pipe(flow_control(8), batch(3, 0.001), unbatch()).subscribe(
            lambda e, delivered=delivered: delivered.append(e["value"]),  # type: ignore[misc]
            on_completed=lambda ended=ended: ended.append("end"),  # type: ignore[misc]
        )
        accepted: list[list[Any]] = [[], [], []]
        begun = threading.Barrier(4, timeout=SOON)

        def run(
            who: int,
            gate: Gate = gate,
            begun: threading.Barrier = begun,
            accepted: list[list[Any]] = accepted,
        ) -> None:
            begun.wait()
            try:
                for n in range(10_000):
                    gate.send(event([who, n]), timeout=None)
                    accepted[who].append([who, n])
            except StreamClosedError:
                pass

        senders = [in_thread(lambda who=who, run=run: run(who)) for who in range(3)]  # type: ignore[misc]
        begun.wait()
        while len(delivered) <= round:
            assert not any(sender.done() for sender in senders)
        gate.close(SOON)
        for sender in senders:
            sender.result(SOON)

        assert ended
        assert sorted(delivered) == sorted(a for each in accepted for a in each)
        assert credit_of(gate).in_flight == 0


@pytest.mark.parametrize("overflow", ["wait", "error"])
def test_acclosing_never_loses_what_was_accepted_on_a_loop(overflow: Overflow) -> None:
    async def main() -> None:
        for round in range(50):
            gate = Gate()
            written: list[bytes] = []

            async def write(data: bytes, written: list[bytes] = written) -> None:
                await asyncio.sleep(0)
                written.append(data)

            writer = SSEWriter(write)
            gate.pipe(flow_control(4, overflow=overflow), batch(3, 0.001)).subscribe(
                writer
            )
            accepted: list[int] = []

            async def run(
                who: int, gate: Gate = gate, accepted: list[int] = accepted
            ) -> None:
                try:
                    for n in range(1000):
                        await gate.asend(event(who * 1000 + n))
                        accepted.append(who * 1000 + n)
                except (StreamClosedError, BufferOverflowError):
                    pass

            senders = [asyncio.create_task(run(who)) for who in range(3)]
            for _ in range(round + 2):
                await asyncio.sleep(0)
            await gate.aclose(SOON)
            await asyncio.gather(*senders)
            await writer.done
            assert sorted(values(written)) == sorted(accepted)
            assert credit_of(gate).in_flight == 0

    run(main())


def test_what_comes_to_the_queue_as_the_stream_is_disposed_of_gives_its_permit_back() -> (
    None
):
    class Mutex:
        """Somebody disposes just before an event is put into the queue."""

        def __enter__(self) -> None:
            if happens:
                happens.pop()()

        def __exit__(self, *_: object) -> None: ...

    def send(value: int) -> None:
        assert outer.acquire()
        permit = Permit(outer)
        gate.send(Frame(encode(event(value)), permit))
        permit.release()

    outer = Credit(5)
    gate, reader = Gate(), Reader()
    subscription = reader.subscribe(gate.pipe(flow_control(1, overflow="error")))
    send(1)
    link: Any = gate.link
    link.queue.mutex = Mutex()
    happens = [subscription.dispose]
    send(2)
    reader.let_go()

    assert outer.in_flight == 0


# -- the deadline ----------------------------------------------------------------------------


def test_at_the_deadline_what_was_not_written_is_counted_exactly() -> None:
    gate, reader = opened(flow_control(20), batch(4, 60))
    for _ in range(9):
        gate.send(event())
    reader.let_go()  # four are written; four, and one that is flushed, are not

    with pytest.raises(DrainTimeoutError, match="5 events accepted") as late:
        gate.close(0.01)

    assert (late.value.lost, late.value.timeout) == (5, 0.01)
    gate.close(0.01)  # told once
    reader.let_go(len(reader.permits))
    assert credit_of(gate).in_flight == 0


def test_events_that_queued_are_lost_too() -> None:
    gate, _ = opened(flow_control(2, buffer_size=3, overflow="drop_newest"))
    for _ in range(9):
        gate.send(event())

    with pytest.raises(DrainTimeoutError) as late:
        gate.close(0.01)
    assert late.value.lost == 5


def test_aclose_has_a_deadline_as_well() -> None:
    async def main() -> None:
        gate, reader = opened(flow_control(20), batch(4, 60))
        for _ in range(9):
            await gate.asend(event())
        reader.let_go()
        with pytest.raises(DrainTimeoutError) as late:
            await gate.aclose(0.01)
        assert late.value.lost == 5
        await gate.aclose(0.01)
        reader.let_go(len(reader.permits))
        assert credit_of(gate).in_flight == 0
        assert not others_at_work()

    run(main())


def test_a_close_that_returned_at_once_still_has_its_deadline() -> None:
    async def main() -> None:
        gate, reader = opened(flow_control(20))
        gate.send(event())
        gate.close(0.01)
        assert gate._link is not None
        line: Any = gate._link
        await auntil(lambda: credit_of(gate).abandoned)
        gate.close()
        with pytest.raises(DrainTimeoutError) as late:
            await gate.aclose(SOON)
        assert late.value.lost == 1
        assert line.subscription.disposed
        reader.let_go()

    run(main())


def test_what_was_given_up_is_not_written_after_all() -> None:
    written: list[bytes] = []

    async def main() -> None:
        may_write = asyncio.Event()

        async def write(data: bytes) -> None:
            written.append(data)
            await may_write.wait()

        gate, writer = Gate(), SSEWriter(write)
        gate.pipe(flow_control()).subscribe(writer)
        await gate.asend(event(0))
        await auntil(lambda: written)
        for value in (1, 2, 3):
            await gate.asend(event(value))
        with pytest.raises(DrainTimeoutError) as late:
            await gate.aclose(0.01)
        assert late.value.lost == 4

        may_write.set()

        await auntil(lambda: credit_of(gate).in_flight == 0)
        await auntil(lambda: not others_at_work())
        error = writer.done.exception(SOON)  # not all was written, and it says so
        assert isinstance(error, StreamError)
        assert values(written) == [0]

    run(main())


def test_a_deadline_holds_even_if_the_streams_loop_stands_still() -> None:
    loop = asyncio.new_event_loop()
    gate, reader = Gate(), Reader()

    async def main() -> None:
        reader.subscribe(gate.pipe(flow_control()))
        await gate.asend(event())

    loop.run_until_complete(main())  # and it never runs again
    start = time.monotonic()
    with pytest.raises(DrainTimeoutError) as late:
        gate.close(0.01)
    assert late.value.lost == 1
    assert time.monotonic() - start < SOON
    reader.let_go()
    loop.close()


def test_a_second_close_has_a_deadline_of_its_own() -> None:
    async def main() -> tuple[Gate, Reader]:
        gate, reader = opened(flow_control())
        gate.send(event())
        gate.close(3600)
        return gate, reader

    gate, reader = asyncio.run(main())
    with pytest.raises(DrainTimeoutError) as late:
        in_thread(lambda: gate.close(0.01)).result(SOON)
    assert (late.value.lost, late.value.timeout) == (1, 0.01)
    reader.let_go()


def test_only_one_of_many_who_close_is_told_what_was_lost() -> None:
    for _ in range(20):
        gate, reader = opened(flow_control())
        for _ in range(3):
            gate.send(event())
        told = [in_thread(lambda gate=gate: gate.close(0.005)) for _ in range(4)]  # type: ignore[misc]
        errors = [each.exception(SOON) for each in told]
        assert [e.lost for e in errors if isinstance(e, DrainTimeoutError)] == [3]
        reader.let_go(3)


class GivingUp:
    """A link on whose way down something happens."""

    def __init__(self, link: Any, happens: Callable[[], object]) -> None:
        self.link = link
        self.happens = happens

    def __getattr__(self, name: str) -> Any:
        return getattr(self.link, name)

    def abandon(self) -> int:
        lost: int = self.link.abandon()
        self.happens()
        return lost


def test_who_is_woken_while_a_gate_gives_up_is_told_what_was_lost() -> None:
    """Giving up brings credit home, and that wakes whoever waits for it."""
    told: list[int] = []

    class Drained(threading.Event):
        def set(self) -> None:
            if self.is_set():
                return
            super().set()
            try:
                gate._report()  # as whoever waits does at once
            except DrainTimeoutError as late:
                told.append(late.lost)

    gate, reader = opened(flow_control())
    gate.send(event())
    gate._drained = Drained()
    gate._link = GivingUp(gate._link, reader.let_go)

    gate.close(0.01)

    assert told == [1]


@pytest.mark.parametrize("on_a_loop", [False, True])
def test_who_closes_while_another_thread_gives_up_waits_for_what_was_lost(
    on_a_loop: bool,
) -> None:
    gives_up, may_go_on = threading.Event(), threading.Event()

    class Drained(threading.Event):
        """A second look means that somebody waits for the other thread."""

        def wait(self, timeout: float | None = None) -> bool:
            if timeout is None:
                may_go_on.set()
            elif not gives_up.is_set():
                in_thread(lambda: gate._give_up(0.0))
                gives_up.wait(SOON)
                return False
            return super().wait(timeout)

    def leaving() -> None:
        gives_up.set()
        may_go_on.wait(SOON)

    async def close() -> None:
        in_thread(lambda: gate._give_up(0.0))
        await asyncio.to_thread(gives_up.wait, SOON)
        asyncio.get_running_loop().call_later(0.02, may_go_on.set)
        await gate.aclose(0.0)

    gate, reader = opened(flow_control())
    gate.send(event())
    gate._drained = Drained()
    gate._link = GivingUp(gate._link, leaving)
    closes: Callable[[], None] = (
        (lambda: asyncio.run(close())) if on_a_loop else (lambda: gate.close(3600))
    )
    with pytest.raises(DrainTimeoutError) as late:
        closes()

    assert late.value.lost == 1
    reader.let_go()


def test_a_gate_that_closed_in_time_leaves_no_timer_behind() -> None:
    gate, reader = opened(flow_control())
    gate.send(event())
    closes = in_thread(lambda: gate.close(3600))
    until(lambda: gate._deadline)
    reader.let_go()

    closes.result(SOON)

    until(lambda: ThreadClock.shared._thread is None)


def test_a_gate_that_drains_as_its_deadline_is_set_has_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate, reader = opened(flow_control())
    gate.send(event())
    cancelled: list[str] = []

    class Timer:
        def cancel(self) -> None:
            cancelled.append("timer")

    def after(seconds: float, action: object) -> Timer:
        reader.let_go()
        return Timer()

    monkeypatch.setattr(ThreadClock.shared, "after", after)
    gate.close(SOON)

    assert cancelled


# -- a source that knows nothing of credit -------------------------------------------------------


def test_a_foreign_source_waits_in_its_own_thread() -> None:
    source: Subject[Any] = Subject()
    reader = Reader()
    reader.subscribe(source.pipe(flow_control(1)))
    source.on_next(event())
    pushes = in_thread(lambda: source.on_next(event()))
    until(lambda: not pushes.done() and reader.events == 1)

    reader.let_go()

    pushes.result(SOON)
    assert reader.events == 2


def test_a_foreign_source_that_waited_too_long_is_told_and_the_stream_lives_on() -> (
    None
):
    source: Subject[Any] = Subject()
    reader = Reader()
    reader.subscribe(source.pipe(flow_control(1, timeout=0.001)))
    source.on_next(event())

    with pytest.raises(BackpressureTimeoutError):
        source.on_next(event())
    reader.let_go()
    source.on_next(event())
    source.on_completed()

    assert reader.events == 2
    assert reader.ended == [None]


def test_whoever_listens_to_errors_is_told_instead() -> None:
    source: Subject[Any] = Subject()
    reader = Reader()
    told: list[StreamError] = []
    reader.subscribe(source.pipe(flow_control(1, timeout=0.001, errors=told.append)))
    source.on_next(event())
    source.on_next(event())
    source.on_next(object())

    assert [type(error) for error in told] == [
        BackpressureTimeoutError,
        ValidationError,
    ]
    reader.let_go()
    source.on_next(event())
    assert reader.events == 2


def test_what_a_sink_raises_is_not_taken_for_our_own() -> None:
    source: Subject[Any] = Subject()
    told: list[StreamError] = []

    def forward(frame: Frame) -> None:
        raise BackpressureTimeoutError(1.0)  # of another stream, which it sends to

    source.pipe(flow_control(errors=told.append)).subscribe(forward)

    with pytest.raises(BackpressureTimeoutError):
        source.on_next(event())
    assert not told


def test_a_foreign_source_that_waits_for_a_stream_that_fails_is_let_go_in_peace() -> (
    None
):
    source: Subject[Any] = Subject()
    reader = Reader()
    reader.subscribe(source.pipe(flow_control(1)))
    source.on_next(event())
    pushes = in_thread(lambda: source.on_next(event()))
    assert not pushes.done()

    reader.permits.pop().release(OSError("gone"))

    pushes.result(SOON)  # on_error has said it
    assert [str(error) for error in reader.ended] == ["gone"]


def test_on_a_loop_a_foreign_source_queues_and_then_the_policy_acts() -> None:
    async def main() -> None:
        source: Subject[Any] = Subject()
        reader = Reader()
        told: list[StreamError] = []
        reader.subscribe(
            source.pipe(flow_control(2, buffer_size=3, errors=told.append))
        )
        for value in range(7):
            source.on_next(event(value))

        assert reader.events == 2
        assert [type(error) for error in told] == [BufferOverflowError] * 2
        reader.let_go(2)
        assert reader.events == 4
        source.on_completed()
        assert not reader.ended
        reader.let_go(2)

        assert [json.loads(f.data)["value"] for f in reader.frames] == [0, 1, 2, 3, 4]
        assert reader.ended == [None]

    run(main())


@pytest.mark.parametrize("overflow", ["latest", "drop_oldest", "drop_newest", "error"])
def test_a_sink_that_is_stuck_costs_bounded_memory(overflow: Overflow) -> None:
    source: Subject[Any] = Subject()
    stuck, may_go_on = threading.Event(), threading.Event()
    seen: list[Any] = []
    told: list[None] = []

    def block(frame: Frame) -> None:
        seen.append(json.loads(frame.data)["value"])
        stuck.set()
        may_go_on.wait(SOON)

    operators: list[Any] = []

    class Seen(Probe):
        def joined(self, _: StreamObservation, tally: Any) -> None:
            operators.append(tally)

    with watching(Seen()):
        line: Any = source.pipe(
            flow_control(
                1,
                buffer_size=5,
                overflow=overflow,
                errors=lambda error: told.append(None),
            )
        )
        subscription = line.subscribe(block)
    first = in_thread(lambda: source.on_next(event(0)))
    assert stuck.wait(SOON)
    turn = operators[0].subscription.executor

    for value in range(1, 2001):
        source.on_next(event(value))

    assert len(turn.inbox) < 20
    may_go_on.set()
    first.result(SOON)
    kept = {
        "latest": [2000],
        "drop_oldest": [1996, 1997, 1998, 1999, 2000],
    }.get(overflow, [1, 2, 3, 4, 5])
    until(lambda: len(seen) == 1 + len(kept))
    assert seen == [0, *kept]
    tally = operators[0]
    assert tally.received == 2001
    assert sum(tally.dropped.values()) == 2001 - len(seen)
    assert tally.held == 0
    assert len(told) == (1995 if overflow == "error" else 0)
    subscription.dispose()


def test_behind_an_operator_of_rxpy_what_was_taken_is_written_all_the_same() -> None:
    written: list[bytes] = []

    async def write(data: bytes) -> None:
        await asyncio.sleep(0)
        written.append(data)

    async def main() -> None:
        gate, writer = Gate(), SSEWriter(write)
        gate.pipe(flow_control(), ops.take(3)).subscribe(writer)
        for value in range(3):
            gate.send(event(value))
        await asyncio.wait_for(writer.done, SOON)
        await auntil(lambda: credit_of(gate).in_flight == 0)

    run(main())
    assert values(written) == [0, 1, 2]


def test_between_lines_of_operators_what_was_taken_is_written_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    jobs: list[Callable[[], object]] = []
    written: list[bytes] = []

    class Compute:
        """Workers that work when they are told to."""

        submit = staticmethod(jobs.append)

    monkeypatch.setattr(clock, "COMPUTE", Compute)

    async def main() -> None:
        may_write = asyncio.Event()

        async def write(data: bytes) -> None:
            written.append(data)
            await may_write.wait()

        gate, writer = Gate(), SSEWriter(write)
        gate.pipe(
            flow_control(), ops.take(3), compress(workers=4, min_size=1), chunk()
        ).subscribe(writer)
        for value in range(2):
            gate.send(event(value))
            await asyncio.to_thread(jobs.pop(0))
        await auntil(lambda: written and writer._waiting)
        gate.send(event(2))
        assert credit_of(gate).abandoned  # `take` has had enough
        may_write.set()  # one is being written, one waits, and one is at work
        await auntil(lambda: len(written) == 2)
        await asyncio.to_thread(jobs.pop(0))
        await asyncio.wait_for(writer.done, SOON)
        await auntil(lambda: credit_of(gate).in_flight == 0)

    run(main())
    assert values(written) == [0, 1, 2]


def test_credits_come_home_in_one_step_behind_an_operator_of_rxpy_too() -> None:
    sizes: list[int] = []
    gate, reader = opened(flow_control(6), ops.map(lambda frame: frame), batch(3, 60))

    def run() -> None:
        for n in range(60):
            gate.send(event(n), timeout=SOON)

    sends = in_thread(run)
    while not sends.done():
        until(lambda: reader.permits or sends.done())
        while reader.permits:
            reader.let_go()
    sizes = [frame.events for frame in reader.frames]

    assert sizes == [3] * 20
    gate.close(SOON)


def test_what_is_left_as_a_turn_is_given_back_is_done() -> None:
    turn = SerialExecutor()
    done: list[str] = []
    last: list[str] = ["at the last moment"]

    class Token(list[None]):
        """Somebody comes between the last look at the inbox and the return."""

        def append(self, token: None) -> None:
            if last:
                turn.run(done.append, last.pop())
            super().append(token)

    turn.token = Token([None])
    turn.run(done.append, "first")

    assert done == ["first", "at the last moment"]
    assert turn.owner == 0
