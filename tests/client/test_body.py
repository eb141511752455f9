"""What HTTP compressed is unpacked wherever it was cut, and never all at once."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from typing import Any

import brotli
import pytest
import zstandard

from rx_agui.codecs.negotiation import accepted_encodings, decoder
from rx_agui.errors import CorruptError, MissingExtraError, WireError
from tests.support.uninstalled import uninstall

TEXT = "".join(f"data: {i} é水👩\n\n" for i in range(200)).encode()
HALF = len(TEXT) // 2


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


PACKED = {
    "identity": [TEXT],
    "": [TEXT],
    "gzip": [
        gzip.compress(TEXT),
        gzip.compress(TEXT[:HALF]) + gzip.compress(TEXT[HALF:]),
    ],
    "x-gzip": [gzip.compress(TEXT)],
    "GZIP": [gzip.compress(TEXT)],
    "deflate": [zlib.compress(TEXT), raw_deflate(TEXT)],
    "br": [brotli.compress(TEXT)],
    "zstd": [zstd(TEXT), zstd(TEXT[:HALF]) + zstd(TEXT[HALF:])],
    "gzip, identity": [gzip.compress(TEXT)],
    "deflate, gzip": [gzip.compress(zlib.compress(TEXT))],
}
CASES = [(name, body) for name, bodies in PACKED.items() for body in bodies]


def unpacked(name: str, body: bytes, size: int) -> bytes:
    decode = decoder(name)
    pieces = (body[at : at + size] for at in range(0, len(body), size))
    return b"".join(part for piece in pieces for part in decode(piece))


@pytest.mark.parametrize("size", [1, 2, 7, 1 << 20])
@pytest.mark.parametrize(("name", "body"), CASES, ids=[name for name, _ in CASES])
def test_a_body_is_unpacked_wherever_it_is_cut(
    name: str, body: bytes, size: int
) -> None:
    assert unpacked(name, body, size) == TEXT


def test_raw_deflate_is_told_from_zlibs_format_even_where_its_checksum_fits() -> None:
    packer = zlib.compressobj(0, zlib.DEFLATED, -15)
    text = b"x" * 23  # which is in the second byte, and 0x0117 is 9 * 31
    body = packer.compress(text) + packer.flush()

    assert body[:2] == b"\x01\x17"
    assert unpacked("deflate", body, 1 << 20) == text


def test_nothing_stays_inside_when_all_was_read_with_a_whole_piece() -> None:
    text = b"a" * (256 * 1024 + 100)  # the last 100 are one reference behind a piece

    assert unpacked("deflate", raw_deflate(text), 1 << 20) == text


@pytest.mark.parametrize("name", ["gzip", "deflate", "br", "zstd"])
def test_what_was_flushed_is_there_at_once(name: str) -> None:
    packer: Any
    match name:
        case "br":
            packer = brotli.Compressor()
            first = packer.process(b"data: 1\n\n") + packer.flush()
        case "zstd":
            packer = zstandard.ZstdCompressor().compressobj()
            first = packer.compress(b"data: 1\n\n")
            first += packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        case _:
            packer = zlib.compressobj(6, zlib.DEFLATED, 31 if name == "gzip" else 15)
            first = packer.compress(b"data: 1\n\n") + packer.flush(zlib.Z_SYNC_FLUSH)

    assert b"".join(decoder(name)(first)) == b"data: 1\n\n"


@pytest.mark.parametrize("name", ["gzip", "deflate", "br", "zstd"])
def test_what_is_not_in_the_encoding_is_corrupt(name: str) -> None:
    with pytest.raises(CorruptError, match=f"the body is not {name}"):
        unpacked(
            name, b"data: hello, this is no compressed body at all\n\n" * 9, 1 << 20
        )


@pytest.mark.parametrize("name", ["lz4", "compress", "gzip, lz4"])
def test_an_encoding_that_nobody_knows_is_refused(name: str) -> None:
    with pytest.raises(WireError, match=r"gzip, deflate, br, zstd were asked for"):
        decoder(name)


@pytest.mark.parametrize("name", ["gzip", "deflate", "br", "zstd"])
def test_a_bomb_is_unpacked_no_further_than_it_is_looked_at(name: str) -> None:
    size = 200 * 1024 * 1024
    zeros = b"\0" * (1 << 20)
    packer: Any
    match name:
        case "br":
            packer = brotli.Compressor(quality=1)
            bomb = b"".join(packer.process(zeros) for _ in range(size >> 20))
            bomb += packer.finish()
        case "zstd":
            packer = zstandard.ZstdCompressor().compressobj()
            bomb = b"".join(packer.compress(zeros) for _ in range(size >> 20))
            bomb += packer.flush()
        case _:
            packer = zlib.compressobj(6, zlib.DEFLATED, 31 if name == "gzip" else 15)
            bomb = b"".join(packer.compress(zeros) for _ in range(size >> 20))
            bomb += packer.flush()
    tracemalloc.start()
    try:
        seen = 0
        for piece in decoder(name)(bomb):
            seen += len(piece)
            if seen > 16 * 1024 * 1024:
                break
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert seen > 16 * 1024 * 1024
    assert most < 16 * 1024 * 1024


def test_only_what_can_be_read_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:

    assert accepted_encodings() == "gzip, deflate, br, zstd"
    uninstall(monkeypatch, "zstandard", "brotli")
    assert accepted_encodings() == "gzip, deflate"
    with pytest.raises(MissingExtraError, match=r"br needs brotli: pip install"):
        decoder("br")
    with pytest.raises(MissingExtraError, match=r"zstd needs zstandard: pip install"):
        decoder("zstd")
