"""What ends by a BaseException has ended: it is told, logged, and `done` settles.

A panic of a Rust extension, an exception group, a cancellation that leaked: none of them
is an Exception, and none asks the process to stop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from reactivex import Observable
from reactivex import operators as ops

from rx_agui import (
    BrokenOffError,
    ProcessingError,
    SSEWriter,
    ValidationError,
    batch,
    circuit_breaker,
    flow_control,
    from_async_iterable,
    from_iterable,
    sequence,
)
from rx_agui.flow import _async_iterable
from tests.support.virtual import play

EVENT = {"type": "CUSTOM", "name": "n", "value": 1}


class Panic(BaseException):
    """As pyo3 raises a panic of a Rust library."""


class Unspeakable(Exception):
    """Cannot be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no words")

    __str__ = __repr__


BREAKS: dict[str, Callable[[], BaseException]] = {
    "panic": lambda: Panic("index out of bounds"),
    "group": lambda: BaseExceptionGroup("two", [Panic("a"), ValueError("b")]),
    "cancelled": asyncio.CancelledError,
    "exit": GeneratorExit,
    "unspeakable": Unspeakable,
}
STOPS = [KeyboardInterrupt, SystemExit]


def raising(error: BaseException) -> Any:
    raise error


def breaking(kind: str, make: Callable[[], BaseException]) -> Observable[Any]:
    """A source that ends by it, in one of the ways there are."""

    def iterate() -> Iterator[Any]:
        yield EVENT
        raise make()

    async def stream() -> AsyncIterator[Any]:
        yield EVENT
        raise make()

    class Unclosable:
        def __init__(self) -> None:
            self.events = iter([EVENT])

        def __aiter__(self) -> Any:
            return self

        async def __anext__(self) -> Any:
            try:
                return next(self.events)
            except StopIteration:
                raise StopAsyncIteration from None

        async def aclose(self) -> None:
            raise make()

    return {
        "sync": lambda: from_iterable(iterate),
        "async": lambda: from_async_iterable(stream),
        "cleanup": lambda: from_async_iterable(Unclosable),
        "sync factory": lambda: from_iterable(lambda: raising(make())),
        "async factory": lambda: from_async_iterable(lambda: raising(make())),
    }[kind]()


WAYS = ["sync", "async", "cleanup", "sync factory", "async factory"]


@pytest.mark.parametrize("behind", ["directly", "behind map"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", BREAKS)
def test_a_source_that_breaks_off_has_ended(
    name: str, way: str, behind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "rx_agui.flow")

    async def main() -> tuple[BaseException | None, bytes]:
        written: list[bytes] = []
        writer = SSEWriter(written.append)
        source = breaking(way, BREAKS[name])
        if behind == "behind map":
            source = source.pipe(ops.map(lambda event: event))
        source.pipe(flow_control(2), sequence(), batch()).subscribe(writer)
        with suppress(BrokenOffError, Unspeakable):
            await asyncio.wait_for(writer.done, 10)
        return writer.done.exception(), b"".join(written)

    error, written = asyncio.run(main())

    if name == "unspeakable":
        assert isinstance(error, Unspeakable)
    else:
        assert isinstance(error, BrokenOffError)
        assert isinstance(error.__cause__, type(BREAKS[name]()))
        assert "the source broke off" in caplog.text
    assert (b"data:" in written) == ("factory" not in way)


@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize("way", ["sync", "async", "sync factory", "async factory"])
def test_what_stops_the_process_stops_it_when_the_reader_was_told(
    way: str, stop: type[BaseException]
) -> None:
    writer = []

    async def main() -> None:
        # The task that raised it is garbage later, in the middle of another test; asyncio
        # would render its traceback there, and CPython 3.11 cannot do that within ast.parse.
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        writer.append(SSEWriter(lambda _: None))
        breaking(way, stop).pipe(flow_control(2), batch()).subscribe(writer[0])
        await asyncio.sleep(0.01)

    with pytest.raises(stop):
        play(main())

    assert isinstance(writer[0].done.exception(timeout=0), BrokenOffError)


def test_an_agent_that_is_called_off_from_outside_is_told_and_stays_cancelled() -> None:
    async def agent() -> AsyncIterator[Any]:
        yield EVENT
        await asyncio.Event().wait()

    async def main() -> BaseException | None:
        writer = SSEWriter(lambda _: None)
        before = asyncio.all_tasks()
        from_async_iterable(agent).pipe(flow_control()).subscribe(writer)
        await asyncio.sleep(0)
        (task,) = asyncio.all_tasks() - before
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return writer.done.exception(timeout=0)

    assert isinstance(asyncio.run(main()), BrokenOffError)


def test_a_cleanup_that_fails_when_no_one_reads_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.ERROR, _async_iterable.__name__)

    def iterate() -> Iterator[Any]:
        try:
            yield EVENT
            yield EVENT
        finally:
            raise Panic("cleanup")

    from_iterable(iterate).pipe(ops.take(1)).subscribe()

    assert "a source failed to clean up" in caplog.text


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("name", BREAKS)
def test_a_write_that_breaks_off_ends_the_stream(name: str, is_async: bool) -> None:
    async def main() -> BaseException | None:
        def write(_: bytes) -> None:
            raise BREAKS[name]()

        async def awaited(_: bytes) -> None:
            raise BREAKS[name]()

        writer = SSEWriter(awaited if is_async else write)
        from_iterable([EVENT]).pipe(flow_control()).subscribe(writer)
        with suppress(BrokenOffError, Unspeakable):
            await asyncio.wait_for(writer.done, 10)
        return writer.done.exception()

    error = asyncio.run(main())

    assert isinstance(error, BrokenOffError | Unspeakable)


def test_functions_given_to_operators_may_break_off_as_well() -> None:
    told: list[Exception] = []

    def number(_: Any) -> int:
        raise Panic("no number")

    from_iterable([EVENT]).pipe(sequence(number=number)).subscribe(on_error=told.append)
    nothing: list[Any] = [object()]
    from_iterable(nothing).pipe(batch()).subscribe(on_error=told.append)

    def fallback(_: Any) -> None:
        raise BREAKS["unspeakable"]()

    def write(_: bytes) -> None:
        raise Panic("down")

    from_iterable([EVENT] * 20).pipe(
        flow_control(1),
        circuit_breaker(
            minimum_number_of_calls=1, fallback=fallback, errors=told.append
        ),
    ).subscribe(SSEWriter(write))

    kinds = {type(error) for error in told}
    assert {ProcessingError, ValidationError} <= kinds
