"""What a marble cannot show of `compress`: codecs, bombs, damage, threads and loops.

What it can show is in marbles/compress.marble.
"""

from __future__ import annotations

import asyncio
import gzip
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from math import nan
from random import Random
from typing import Any

import lz4.frame
import pytest
import reactivex as rx
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from reactivex import Observable
from reactivex.scheduler.eventloop import (
    AsyncIOScheduler,
    AsyncIOThreadSafeScheduler,
)
from reactivex.subject import Subject

from rx_agui import (
    CompressionError,
    ConfigError,
    CorruptError,
    Credit,
    Frame,
    MissingExtraError,
    PayloadTooLargeError,
    Permit,
    StreamError,
    WireError,
    compress,
    decompress,
    sequence,
)
from rx_agui.codecs.registry import PAYLOAD_CODECS
from rx_agui.testing import MarbleScheduler
from rx_agui.types import AlgorithmName
from tests.support.uninstalled import uninstall

Operator = Callable[[Observable[Any]], Observable[Any]]

laws = settings(deadline=None, max_examples=60)

REAL = sorted(PAYLOAD_CODECS.keys() - {"none"})
every_codec = pytest.mark.parametrize("algorithm", REAL)


def payload(size: int = 3000, number: int = 0) -> Frame:
    """One event of `size` bytes that compresses well."""
    head, tail = b'{"type":"X","text":"', b'"}'
    text = b"a" * (size - len(head) - len(tail))
    return Frame(head + text + tail, first=number, last=number)


def packed(algorithm: str, data: bytes, crc32: int | None = None) -> Frame:
    """A payload that says it was compressed."""
    frame = Frame(data)
    frame.encoding = algorithm
    frame.crc32 = crc32
    return frame


def passed(operator: Operator, *frames: Any) -> list[Any]:
    """What comes out, the error at the end included."""
    heard: list[Any] = []
    rx.of(*frames).pipe(operator).subscribe(heard.append, heard.append)
    return heard


def compressed(algorithm: AlgorithmName, frame: Frame) -> Frame:
    (result,) = passed(compress(algorithm, min_size=1), frame)
    assert result.encoding == algorithm
    return result  # type: ignore[no-any-return]


# -- settings -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "value", "must"),
    [
        *(("min_size", value, "at least 0") for value in (-1, nan, True, "5")),
        *(("workers", value, "positive") for value in (0, -1, nan, True, "5")),
        *(
            ("level", value, "from 0 to 9 for gzip")
            for value in (-1, 10, 2.5, 6.0, nan, True, "6", "fast")
        ),
        *(
            ("algorithm", value, "one of gzip, zstd, deflate, lz4, none")
            for value in ("br", "GZIP", "", None, 6, True, nan)
        ),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_where_it_is_written(
    setting: str, value: Any, must: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        compress(**{setting: value})

    assert str(refused.value) == f"{setting} must be {must}, got {value!r}"


@pytest.mark.parametrize(
    ("setting", "value", "must"),
    [
        ("workers", None, "positive"),
        ("workers", 1.5, "a whole number"),
        ("min_size", None, "at least 0"),
        ("min_size", 0.5, "a whole number"),
    ],
)
def test_nothing_is_no_setting_and_nobody_counts_by_halves(
    setting: str, value: Any, must: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        compress(**{setting: value})

    assert str(refused.value) == f"{setting} must be {must}, got {value!r}"


@pytest.mark.parametrize("value", [0, -1, nan, True, "5"])
def test_what_no_payload_can_be_is_no_max_size(value: Any) -> None:
    with pytest.raises(ConfigError) as refused:
        decompress(max_size=value)

    assert str(refused.value) == f"max_size must be positive, got {value!r}"


@pytest.mark.parametrize(
    ("algorithm", "low", "high"),
    [("gzip", 0, 9), ("deflate", 0, 9), ("lz4", 0, 16), ("zstd", 1, 22)],
)
def test_a_level_is_on_the_scale_of_its_algorithm(
    algorithm: AlgorithmName, low: int, high: int
) -> None:
    for level in (low, high, None):
        (frame,) = passed(compress(algorithm, level), payload())
        assert passed(decompress(), frame)[0].data == payload().data

    for level in (low - 1, high + 1, 100):
        with pytest.raises(ConfigError) as refused:
            compress(algorithm, level)
        must = f"from {low} to {high} for {algorithm}"
        assert str(refused.value) == f"level must be {must}, got {level}"


# -- what is worth it --------------------------------------------------------------------


@every_codec
def test_what_would_not_get_smaller_passes_as_it_is(algorithm: AlgorithmName) -> None:
    noise = Frame(Random(0).randbytes(5000))

    (frame,) = passed(compress(algorithm, min_size=1), noise)

    assert frame.encoding == "identity"
    assert frame.data is noise.data
    assert frame.crc32 is None


@pytest.mark.parametrize(("saved", "encoding"), [(0.25, "gzip"), (0.24, "identity")])
def test_a_quarter_must_be_saved(
    saved: float, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, lambda data: data[: round(len(data) * (1 - saved))])

    (frame,) = passed(compress(), payload(2000))

    assert frame.encoding == encoding


def use(monkeypatch: pytest.MonkeyPatch, pack: Callable[[bytes], bytes]) -> None:
    """Let gzip be something else."""
    codec = replace(PAYLOAD_CODECS["gzip"], packer=lambda level: pack)
    monkeypatch.setitem(PAYLOAD_CODECS, "gzip", codec)


@pytest.mark.parametrize("size", [1, 200, 1023, 1024])
def test_min_size_is_the_smallest_that_is_compressed(size: int) -> None:
    frames = [payload(max(size, 200) + beyond) for beyond in (-1, 0, 1)]

    heard = passed(compress(min_size=max(size, 200)), *frames)

    assert [f.encoding for f in heard] == ["identity", "gzip", "gzip"]


@every_codec
def test_what_is_written_on_a_payload_stays_right(algorithm: AlgorithmName) -> None:
    frame = Frame(b"\n".join([payload(500).data] * 3), events=3, first=4, last=9)
    frame.numbers = (5, 6, 9)
    frame.trigger = "timeout"

    zipped = compressed(algorithm, frame)
    (again,) = passed(decompress(), zipped)

    for seen in (zipped, again):
        covers = (seen.events, seen.first, seen.last, seen.numbers, seen.trigger)
        assert covers == (3, 4, 9, (5, 6, 9), "timeout")
        assert seen.crc32 == zlib.crc32(frame.data)
    assert frame.encoding == "identity", "others may have seen the frame that came in"
    assert zipped.encoding == algorithm


def test_gzip_and_deflate_are_what_http_means_by_them() -> None:
    data = payload().data

    assert gzip.decompress(compressed("gzip", payload()).data) == data
    assert zlib.decompress(compressed("deflate", payload()).data) == data
    assert lz4.frame.decompress(compressed("lz4", payload()).data) == data
    zstd = zstandard.ZstdDecompressor()
    assert zstd.decompress(compressed("zstd", payload()).data) == data


# -- what is missing or fails --------------------------------------------------------------


def test_without_zstandard_one_is_told_what_to_type(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    zipped = compressed("zstd", payload())
    uninstall(monkeypatch, "zstandard")
    says = 'zstd needs zstandard: pip install "rx-agui[fast]"'

    with pytest.raises(MissingExtraError) as refused:
        compress("zstd")
    assert str(refused.value) == says

    told: list[StreamError] = []
    assert len(passed(decompress(errors=told.append), zipped, payload())) == 1
    assert [str(error) for error in told] == [says]


@pytest.mark.parametrize("is_told", [True, False], ids=["told", "silent"])
@pytest.mark.parametrize("workers", [1, 3])
def test_where_a_codec_fails_the_payload_goes_on_as_it_is(
    workers: int, is_told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pack(data: bytes) -> bytes:
        if len(data) == 2002:
            raise MemoryError("no room")
        return zlib.compress(data, 6, 31)

    use(monkeypatch, pack)
    heard: list[Frame] = []
    told: list[StreamError] = []
    ended = threading.Event()
    operator = compress(workers=workers, errors=told.append if is_told else None)

    rx.of(*[payload(size, size) for size in (2001, 2002, 2003)]).pipe(
        operator
    ).subscribe(heard.append, raise_, ended.set)

    assert ended.wait(5)
    assert [(f.last, f.encoding, f.crc32 is None) for f in heard] == [
        (2001, "gzip", False),
        (2002, "identity", True),
        (2003, "gzip", False),
    ]
    said = "gzip failed on 2002 bytes: MemoryError('no room')"
    assert [str(error) for error in told] == [said] * is_told
    assert all(isinstance(error, CompressionError) for error in told)


def raise_(error: Exception) -> None:
    raise error


# -- workers -----------------------------------------------------------------------------


@laws
@given(
    st.lists(st.sampled_from([50, 1500]), max_size=15),
    st.lists(st.integers(0, 9), max_size=15),
    st.integers(1, 5),
)
def test_workers_keep_order_however_long_each_takes(
    sizes: list[int], work: list[float], workers: int
) -> None:
    clock = MarbleScheduler(work)
    credit = Credit(100)
    source: Subject[Frame] = Subject()
    heard: list[Any] = []

    source.pipe(compress(workers=workers)).subscribe(
        lambda f: heard.append(f.last), raise_, lambda: heard.append("|"),
        scheduler=clock,
    )  # fmt: skip
    for number, size in enumerate(sizes, 1):
        assert credit.acquire()
        frame = payload(size, number)
        frame.permit = permit = Permit(credit)
        source.on_next(frame)
        permit.release()
    source.on_completed()
    clock.play()

    assert heard == [*range(1, len(sizes) + 1), "|"]
    assert credit.in_flight == 0


def test_no_more_work_at_a_time_than_was_said() -> None:
    at_work = most = 0

    class Watching(MarbleScheduler):
        def work(self, job: Any, done: Any) -> None:
            nonlocal at_work, most
            at_work += 1
            most = max(most, at_work)

            def finished(result: Any) -> None:
                nonlocal at_work
                at_work -= 1
                done(result)

            super().work(job, finished)

    clock = Watching([float(n % 5) for n in range(100)])
    rx.of(*[payload() for _ in range(50)]).pipe(compress(workers=3)).subscribe(
        scheduler=clock
    )
    clock.play()

    assert (most, at_work) == (3, 0)


def test_real_threads_keep_order_too() -> None:
    chance = Random(1)
    frames = [payload(chance.choice([50, 2000, 100_000]), n) for n in range(1, 301)]
    heard: list[Frame] = []
    threads: set[int] = set()
    ended = threading.Event()

    def hear(frame: Frame) -> None:
        heard.append(frame)
        threads.add(threading.get_ident())

    source: Subject[Frame] = Subject()
    source.pipe(compress(workers=4), decompress()).subscribe(hear, raise_, ended.set)
    for frame in frames:
        source.on_next(frame)
    source.on_completed()

    assert ended.wait(20)
    assert [f.last for f in heard] == list(range(1, 301))
    assert [f.data for f in heard] == [f.data for f in frames]


def test_a_worker_that_is_late_changes_nothing_after_disposal() -> None:
    clock = MarbleScheduler([5.0, 1.0])
    credit = Credit(9)
    source: Subject[Frame] = Subject()
    heard: list[Frame] = []
    subscription = source.pipe(compress(workers=2)).subscribe(
        heard.append, scheduler=clock
    )
    for number in (1, 2, 3):
        assert credit.acquire()
        frame = payload(number=number)
        frame.permit = permit = Permit(credit)
        source.on_next(frame)
        permit.release()
    assert credit.in_flight == 3

    subscription.dispose()
    assert credit.in_flight == 0
    clock.play()

    assert heard == []
    assert credit.in_flight == 0


# -- on an event loop -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "make", [lambda _: None, AsyncIOScheduler, AsyncIOThreadSafeScheduler]
)
def test_what_is_large_is_compressed_off_the_loop_and_goes_on_upon_it(
    make: Callable[[asyncio.AbstractEventLoop], AsyncIOScheduler | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at_work: list[tuple[int, int]] = []

    def pack(data: bytes) -> bytes:
        at_work.append((len(data), threading.get_ident()))
        return zlib.compress(data, 6, 31)

    use(monkeypatch, pack)

    async def main() -> list[tuple[Any, int]]:
        heard: list[tuple[Any, int]] = []
        ended = asyncio.Event()

        def end() -> None:
            heard.append(("|", threading.get_ident()))
            ended.set()

        source: Subject[Frame] = Subject()
        source.pipe(compress()).subscribe(
            lambda f: heard.append((f.last, threading.get_ident())),
            raise_,
            end,
            scheduler=make(asyncio.get_running_loop()),
        )
        for number, size in enumerate([2000, 100_000, 2000, 200_000], 1):
            source.on_next(payload(size, number))
        source.on_completed()
        async with asyncio.timeout(5):
            await ended.wait()
        return heard

    heard = asyncio.run(main())

    here = threading.get_ident()
    assert heard == [(1, here), (2, here), (3, here), (4, here), ("|", here)]
    where = dict(at_work)
    assert where[100_000] != here
    assert where[200_000] != here
    assert at_work[0] == (2000, here)


def test_off_a_loop_one_worker_is_this_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: set[int] = set()

    def pack(data: bytes) -> bytes:
        threads.add(threading.get_ident())
        return zlib.compress(data)

    use(monkeypatch, pack)

    assert len(passed(compress(), payload(200_000), payload(2000))) == 2
    assert threads == {threading.get_ident()}


# -- bombs and damage --------------------------------------------------------------------------

GIGABYTE = 1 << 30
ZEROS = bytes(1 << 20)


def flushed_blocks(wbits: int) -> Iterator[bytes]:
    """A gigabyte of zeros, a block of which ends where the next can begin."""
    stream = zlib.compressobj(9, zlib.DEFLATED, wbits)
    yield stream.compress(ZEROS) + stream.flush(zlib.Z_FULL_FLUSH)
    block = stream.compress(ZEROS) + stream.flush(zlib.Z_FULL_FLUSH)
    yield block * 1023


def lz4_blocks() -> Iterator[bytes]:
    stream = lz4.frame.LZ4FrameCompressor(block_linked=False)
    yield stream.begin(source_size=GIGABYTE)
    for _ in range(1024):
        yield stream.compress(ZEROS)
    yield stream.flush()


def zstd_blocks(size: int) -> Iterator[bytes]:
    stream = zstandard.ZstdCompressor().compressobj(size=size)
    for _ in range(1024):
        yield stream.compress(ZEROS)
    yield stream.flush()


BOMBS: dict[str, tuple[str, Callable[[], Iterator[bytes]]]] = {
    "gzip": ("gzip", lambda: flushed_blocks(31)),
    "deflate": ("deflate", lambda: flushed_blocks(15)),
    "lz4": ("lz4", lz4_blocks),
    "zstd": ("zstd", lambda: zstd_blocks(GIGABYTE)),
    "zstd that hides its size": ("zstd", lambda: zstd_blocks(-1)),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_of_a_bomb_no_more_is_made_than_max_size(bomb: str) -> None:
    algorithm, blocks = BOMBS[bomb]
    frame = packed(algorithm, b"".join(blocks()))
    told: list[StreamError] = []
    tracemalloc.start()
    try:
        heard = passed(decompress(max_size=1 << 20, errors=told.append), frame)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert heard == []
    (error,) = told
    assert isinstance(error, PayloadTooLargeError)
    assert error.limit == 1 << 20
    assert "larger than max_size=1048576 bytes" in str(error)
    assert peak < (1 << 23) + len(frame.data), f"{peak} bytes were made"


@every_codec
@pytest.mark.parametrize("beyond", [-1, 0, 1])
def test_max_size_is_what_a_payload_may_just_have(
    algorithm: AlgorithmName, beyond: int
) -> None:
    zipped = compressed(algorithm, payload(3000))

    (heard,) = passed(decompress(max_size=3000 - beyond), zipped)

    if beyond > 0:
        assert isinstance(heard, PayloadTooLargeError)
    else:
        assert heard.data == payload(3000).data


@every_codec
@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: data[:-1], id="its last byte is missing"),
        pytest.param(lambda data: data[: len(data) // 2], id="its half is missing"),
        pytest.param(lambda data: data[:3], id="nearly all is missing"),
        pytest.param(lambda _: b"", id="all is missing"),
        pytest.param(lambda data: data + b"\0", id="a byte follows"),
        pytest.param(lambda data: data + b"garbage", id="garbage follows"),
        pytest.param(lambda data: data + data, id="it comes twice"),
        pytest.param(lambda data: b"no" + data, id="something else is before it"),
        pytest.param(lambda _: b"plain text, that is all", id="it is something else"),
    ],
)
def test_damage_is_noticed_without_a_crc(
    algorithm: AlgorithmName, damage: Callable[[bytes], bytes]
) -> None:
    data = damage(compressed(algorithm, payload()).data)

    (error,) = passed(decompress(), packed(algorithm, data))

    assert type(error) is CorruptError
    start = f"{len(data)} bytes do not decompress as {algorithm}: "
    assert str(error).startswith(start)
    assert len(str(error)) > len(start), "it says why"


@laws
@given(
    st.sampled_from(REAL),
    st.lists(
        st.tuples(st.integers(0, 10_000), st.integers(1, 255)), min_size=1, max_size=3
    ),
)
def test_no_flipped_bit_goes_by_a_crc(
    algorithm: AlgorithmName, flips: list[tuple[int, int]]
) -> None:
    zipped = compressed(algorithm, payload())
    data = bytearray(zipped.data)
    for where, bits in flips:
        data[where % len(data)] ^= bits

    (heard,) = passed(
        decompress(max_size=10_000), packed(algorithm, bytes(data), zipped.crc32)
    )

    if isinstance(heard, Frame):
        assert heard.data == payload().data  # it was in a byte that says nothing
    else:
        assert isinstance(heard, CorruptError | PayloadTooLargeError)


@pytest.mark.parametrize("algorithm", ["identity", *REAL])
def test_a_payload_must_be_what_is_written_on_it(algorithm: AlgorithmName) -> None:
    data = b'{"n":1}\n{"n":2}'
    crc32 = zlib.crc32(data)
    packer = PAYLOAD_CODECS.get(algorithm)
    sent = data if packer is None else packer.packer(packer.default_level)(data)

    def refused(
        events: int, crc32: int | None, numbers: tuple[int, ...] | None = None
    ) -> str:
        frame = packed(algorithm, sent, crc32)
        frame.events = events
        frame.numbers = numbers
        (error,) = passed(decompress(), frame)
        assert type(error) is CorruptError
        return str(error)

    assert refused(2, 77) == f"crc32 is {crc32:08x}, 0000004d was sent"
    for known in (crc32, None):
        assert refused(1, known) == "2 events came, 1 were sent"
        assert refused(3, known) == "2 events came, 3 were sent"
        assert refused(2, known, (1, 2, 3)) == "2 events came with 3 numbers"


@pytest.mark.parametrize("encoding", ["br", "", "GZIP", "x" * 100])
def test_an_encoding_nobody_knows_is_told(encoding: str) -> None:
    (error,) = passed(decompress(), packed(encoding, b"{}"))

    assert type(error) is WireError
    known = "gzip, zstd, deflate, lz4, none"
    assert str(error) == f"encoding {encoding!r} is not one of {known}"


def test_what_is_damaged_costs_itself_alone() -> None:
    told: list[StreamError] = []
    good = compressed("gzip", payload(number=3))
    bad = [packed("gzip", b"no"), packed("br", b"{}"), packed("gzip", good.data, 1)]

    heard = passed(decompress(errors=told.append), *bad, good)

    assert [f.last for f in heard] == [3]
    assert [type(error) for error in told] == [CorruptError, WireError, CorruptError]


def test_a_caller_keeps_the_frame_that_was_given() -> None:
    zipped = compressed("gzip", payload())
    before = zipped.data

    passed(decompress(), zipped)
    passed(sequence(), zipped)

    assert (zipped.data, zipped.encoding, zipped.first) == (before, "gzip", 0)
