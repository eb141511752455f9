"""Whoever compresses, it is zlib's format, and at most a tenth larger than zlib's."""

from __future__ import annotations

import sys
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest

from rx_agui import batch, from_iterable
from rx_agui.codecs import payload as _codecs
from rx_agui.codecs.payload import ALGORITHMS, crc32, is_flood
from rx_agui.frame import Frame
from rx_agui.testing import simulated_deltas, simulated_run

SAMPLES = Path(__file__).parents[1] / "samples"
OURSELVES = Path(_codecs.__file__).parents[1]


def prose() -> str:
    """Text enough for a large snapshot: our own code, which is words for the most part."""
    return "\n".join(
        path.read_text("utf-8") for path in sorted(OURSELVES.rglob("*.py"))
    )


def deltas(text: str, size: int) -> bytes:
    """A batch of deltas as a model writes them, of about `size` bytes."""
    chance, at, lines = Random(size), 0, [b""]
    while sum(map(len, lines)) < size and at < len(text):
        end = at + chance.randint(2, 12)
        delta = {
            "type": "TEXT_MESSAGE_CONTENT",
            "messageId": "m1",
            "delta": text[at:end],
        }
        lines.append(orjson.dumps(delta))
        at = end
    return b"\n".join(lines[1:])


def table(text: str, size: int) -> bytes:
    """A snapshot with rows of words and numbers."""
    chance, words = Random(size), text.split()
    rows = [
        {
            "id": row,
            "title": " ".join(chance.choices(words, k=5)),
            "at": chance.random(),
        }
        for row in range(size // 80)
    ]
    return orjson.dumps({"type": "STATE_SNAPSHOT", "snapshot": {"rows": rows}})


def workloads() -> Iterator[Any]:
    text = prose()
    for path in sorted(SAMPLES.glob("*.jsonl")):
        yield pytest.param(path.read_bytes().strip(), id=path.stem)
    yield pytest.param(b"\n".join(map(orjson.dumps, simulated_run(100))), id="a run")
    for n in (100, 500):
        flood = b"\n".join(map(orjson.dumps, simulated_deltas(n)))
        yield pytest.param(flood, id=f"{n} deltas that count")
    for size in (1_000, 8_000, 12_000, 40_000):
        yield pytest.param(deltas(text, size), id=f"deltas {size}")
    for size in (1_500, 12_000, 40_000, 135_000, 1_400_000):
        result = {"type": "TOOL_CALL_RESULT", "content": (text * 3)[:size]}
        yield pytest.param(orjson.dumps(result), id=f"text {size}")
        yield pytest.param(table(text, size), id=f"table {size}")


@pytest.mark.parametrize("data", list(workloads()))
@pytest.mark.parametrize("level", range(1, 10))
def test_at_most_a_tenth_larger_than_zlib_at_that_level(
    data: bytes, level: int
) -> None:
    packed = ALGORITHMS["gzip"].packer(level)(data)

    assert zlib.decompress(packed, 31) == data
    assert len(packed) <= len(zlib.compress(data, level, 31)) * 1.1


@pytest.mark.parametrize("level", range(10))
@pytest.mark.parametrize(("algorithm", "wbits"), [("gzip", 31), ("deflate", 15)])
@pytest.mark.parametrize("data", [b"", b"x", b"ab" * 100, bytes(range(256)) * 300])
def test_anybody_can_read_it(
    algorithm: str, wbits: int, level: int, data: bytes
) -> None:
    pack = ALGORITHMS[algorithm].packer(level)

    assert zlib.decompress(pack(data), wbits) == data


def test_without_the_fast_ones_zlib_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("isal", "isal.isal_zlib", "zlib_ng", "zlib_ng.zlib_ng"):
        monkeypatch.setitem(sys.modules, name, None)
    data = deltas(prose(), 4_000)
    pack = ALGORITHMS["gzip"].packer(6)

    assert pack(data) == zlib.compress(data, 6, 31)


def test_the_checksum_is_everybodys() -> None:
    for data in (b"", b"x", bytes(range(256)) * 40):
        assert crc32(data) == zlib.crc32(data)


def test_a_flood_is_many_short_lines_that_begin_alike() -> None:
    line = b'{"type":"TEXT_MESSAGE_CONTENT","messageId":"m1","delta":"%b"}'
    batches: list[Frame] = []
    flood = from_iterable(list(simulated_deltas(100))).pipe(batch(100))
    flood.subscribe(batches.append)

    assert is_flood(batches[0].data)
    assert not is_flood(b"\n".join([line % b"x"] * 250))  # too much to be sure
    assert not is_flood(b"\n".join([line % (b"x" * 300)] * 4))
    assert not is_flood(b"\n".join([b'{"type":"RUN_STARTED"}', *[line % b"x"] * 9]))
    assert not is_flood(b"\n".join([line % b"x"] * 2))
    assert not is_flood(b"")


def test_a_zstd_compressor_is_never_shared_by_two_threads() -> None:
    pack = ALGORITHMS["zstd"].packer(3)
    unpack = ALGORITHMS["zstd"].unpack
    text = prose()
    wrong: list[int] = []

    def work(start: int) -> None:
        for at in range(start, start + 50):
            data = text[at * 100 : at * 100 + 5_000].encode()
            if unpack(pack(data), 1_000_000) != data:
                wrong.append(at)

    threads = [threading.Thread(target=work, args=(n * 50,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not wrong
