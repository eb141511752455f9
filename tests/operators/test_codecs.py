"""Whoever compresses, it is zlib's format, and at most a tenth larger than zlib's."""

from __future__ import annotations

import threading
import tracemalloc
import zlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest
import zstandard

from rx_agui import StreamConfig, batch, from_iterable
from rx_agui.codecs import codec as codec_parts
from rx_agui.codecs.negotiation import accepted_encodings, offered
from rx_agui.codecs.negotiation import encoder as make_encoder
from rx_agui.codecs.registry import (
    CODECS,
    HTTP_CODINGS,
    PAYLOAD_CODECS,
    crc32,
    is_flood,
)
from rx_agui.errors import PayloadTooLargeError
from rx_agui.frame import Frame
from rx_agui.testing import simulated_deltas, simulated_run
from rx_agui.types import AlgorithmName
from tests.benchmarks.levels import streamed
from tests.support.uninstalled import uninstall

SAMPLES = Path(__file__).parents[1] / "samples"
OURSELVES = Path(codec_parts.__file__).parents[1]


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
    packed = PAYLOAD_CODECS["gzip"].packer(level)(data)

    assert zlib.decompress(packed, 31) == data
    assert len(packed) <= len(zlib.compress(data, level, 31)) * 1.1


@pytest.mark.parametrize("level", range(10))
@pytest.mark.parametrize(("algorithm", "wbits"), [("gzip", 31), ("deflate", 15)])
@pytest.mark.parametrize("data", [b"", b"x", b"ab" * 100, bytes(range(256)) * 300])
def test_anybody_can_read_it(
    algorithm: str, wbits: int, level: int, data: bytes
) -> None:
    pack = PAYLOAD_CODECS[algorithm].packer(level)

    assert zlib.decompress(pack(data), wbits) == data


def test_without_the_fast_ones_zlib_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    uninstall(monkeypatch, "isal", "isal.isal_zlib", "zlib_ng", "zlib_ng.zlib_ng")
    data = deltas(prose(), 4_000)
    pack = PAYLOAD_CODECS["gzip"].packer(6)

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
    pack = PAYLOAD_CODECS["zstd"].packer(3)
    unpack = PAYLOAD_CODECS["zstd"].unpack
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


# -- the registry --------------------------------------------------------------------------


def test_every_codec_can_be_read_back_in_every_direction_it_has() -> None:
    data = prose()[:20_000].encode()

    for codec in CODECS.values():
        assert codec.is_for_payloads or codec.is_for_http
        if codec.is_for_payloads:
            packed = codec.packer(codec.default_level)(data)
            assert codec.default_level in codec.levels
            assert codec.unpack(packed, len(data)) == data
        if codec.is_for_http:
            encoder = codec.stream_encoder(codec.stream_levels[5])
            sent = encoder.encode(data) + encoder.finish()
            assert b"".join(codec.stream_decoder()(sent)) == data


def test_an_import_that_failed_is_not_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    uninstall(monkeypatch, "brotli", "zstandard")
    offered(None)
    tried: list[str] = []
    monkeypatch.setattr(codec_parts, "import_module", tried.append)

    assert offered(None) == ("gzip", "deflate")
    assert accepted_encodings() == "gzip, deflate"
    assert not tried


@pytest.mark.parametrize("coding", HTTP_CODINGS)
def test_a_higher_level_never_makes_a_stream_of_small_flushes_larger(
    coding: str,
) -> None:
    events = streamed(prose(), 1_000)
    sizes = []
    for level in range(1, 10):
        encoder = make_encoder(coding, level)
        sizes.append(sum(len(encoder.encode(event)) for event in events))

    assert sizes[0] < 0.4 * sum(map(len, events))
    assert all(higher <= lower for lower, higher in pairwise(sizes))


@pytest.mark.skipif(crc32 is zlib.crc32, reason="for the extra fast")
@pytest.mark.parametrize(("lower", "higher"), [(2, 3), (5, 6), (8, 9)])
def test_the_fast_libraries_have_fewer_levels_than_zlib(
    lower: int, higher: int
) -> None:
    for data in (deltas(prose(), 4_000), deltas(prose(), 40_000), prose().encode()):
        packed = [PAYLOAD_CODECS["gzip"].packer(n)(data) for n in (lower, higher)]
        assert packed[0] == packed[1]


@pytest.mark.parametrize("algorithm", PAYLOAD_CODECS)
def test_a_codec_has_a_default_level_of_its_own(algorithm: AlgorithmName) -> None:
    config, codec = StreamConfig(compression_type=algorithm), PAYLOAD_CODECS[algorithm]

    assert codec.level_or_default(level=config.compression_level) == codec.default_level


def test_what_claims_more_than_the_limit_is_refused_before_it_is_made() -> None:
    bomb = bytes(64 * 1024 * 1024)
    packed = {
        name: codec.packer(codec.default_level)(bomb)
        for name, codec in PAYLOAD_CODECS.items()
        if name != "none"
    }
    del bomb
    packer = zstandard.ZstdCompressor(level=19, write_content_size=False)
    packed["zstd of unknown size"] = packer.compress(bytes(64 * 1024 * 1024))

    for name, data in packed.items():
        tracemalloc.start()
        with pytest.raises(PayloadTooLargeError):
            PAYLOAD_CODECS[name.partition(" ")[0]].unpack(data, 1024 * 1024)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 4 * 1024 * 1024
