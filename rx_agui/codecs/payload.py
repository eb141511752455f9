"""The algorithms, in both directions, and who does them fastest.

    gzip, deflate    zlib's format; by isal or zlib-ng, where installed, else by zlib
    lz4, zstd        by the libraries of their names
    none

A level of gzip says how small. Whoever is asked for it makes at most a tenth more than
zlib would at that level, and of those that do, the fastest is asked: see `_CHOICES`.
tests/operators/test_codecs.py holds them to it.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

import lz4.frame

from rx_agui.errors import MissingExtraError, PayloadTooLargeError

__all__ = ["ALGORITHMS", "Algorithm", "Pack", "crc32", "is_flood"]

Pack = Callable[[bytes], bytes]


@dataclass(frozen=True)
class Algorithm:
    """A codec, in both directions.

    Attributes:
        packer: Makes what compresses at a level.
        unpack: What `data` decompresses to, but never more than `limit` bytes.
        levels: Its own scale.
        level: What to take when nothing is said.
        cheapest: The level that takes least time and still compresses.
    """

    packer: Callable[[int], Pack]
    unpack: Callable[[bytes, int], bytes]
    levels: range
    level: int
    cheapest: int = 1


# Measured on English and Chinese text, source code, tables, snapshots and recorded
# runs, of 1 KB to 1.4 MB, as whole payloads and as deltas. By level of zlib: who, at
# which of its own levels, for a flood of deltas; for others of up to 64 KiB; and for
# larger ones. zlib-ng's own 1 is fast and a third too large; isal has 0 to 3.
_MODULES: Final = {
    "isal": "isal.isal_zlib",
    "zlib_ng": "zlib_ng.zlib_ng",
    "zlib": "zlib",
}
_SNAPSHOT: Final = 64 * 1024
_CHOICES: Final = {
    0: (("zlib", 0), ("zlib", 0), ("zlib", 0)),
    1: (("isal", 1), ("isal", 1), ("isal", 1)),
    2: (("isal", 2), ("isal", 2), ("zlib_ng", 3)),
    3: (("isal", 2), ("isal", 2), ("zlib_ng", 3)),
    4: (("isal", 2), ("zlib_ng", 3), ("zlib_ng", 3)),
    5: (("isal", 2), ("zlib_ng", 3), ("zlib_ng", 4)),
    6: (("isal", 2), ("zlib_ng", 3), ("zlib_ng", 4)),
    7: (("isal", 2), ("zlib_ng", 5), ("zlib_ng", 5)),
    8: (("zlib_ng", 6), ("zlib_ng", 6), ("zlib_ng", 6)),
    9: (("zlib_ng", 6), ("zlib_ng", 6), ("zlib_ng", 6)),
}


def _installed(name: str) -> Any:
    """A library that does what zlib does; zlib, where it is missing."""
    try:
        return import_module(_MODULES[name])
    except ImportError:
        return zlib


def _choose(name: str, own: int, level: int) -> tuple[Any, int]:
    """The library and its level, or zlib and the one that was asked for."""
    library = _installed(name)
    return (zlib, level) if library is zlib else (library, own)


#: As zlib's, at a tenth of its price where one of the others is installed.
crc32: Callable[[bytes], int] = next(
    (found for found in map(_installed, _MODULES) if found is not zlib), zlib
).crc32


def is_flood(data: bytes) -> bool:
    """Whether a payload looks like a batch of deltas, short and all alike."""
    size = len(data)
    last, middle = data.rfind(b"\n") + 1, data.find(b"\n", size // 2) + 1
    return (
        0 < middle < last
        and size <= 12 * 1024
        and size - last < 256
        and data.startswith(head := data[:31], last)
        and data.startswith(head, middle)
    )


class _Deflate:
    """Packs in zlib's format, at a level of zlib's, by whoever is fastest."""

    def __init__(self, level: int, wbits: int) -> None:
        self._wbits = wbits
        self._flood, self._small, self._large = (
            _choose(name, own, level) for name, own in _CHOICES[level]
        )

    def __call__(self, data: bytes) -> bytes:
        if len(data) > _SNAPSHOT:
            library, level = self._large
        elif self._flood == self._small or is_flood(data):
            library, level = self._flood
        else:
            library, level = self._small
        packed: bytes = library.compress(data, level, self._wbits)
        return packed


def _zlib_packer(wbits: int) -> Callable[[int], Pack]:
    return lambda level: _Deflate(level, wbits)


def _zlib_unpack(wbits: int) -> Callable[[bytes, int], bytes]:
    def unpack(data: bytes, limit: int) -> bytes:
        stream = zlib.decompressobj(wbits)
        out = stream.decompress(data, limit)
        if not stream.eof:
            # Full to the brim it may lack only the trailer, which makes no output.
            more = stream.decompress(stream.unconsumed_tail, 1)
            if more:
                raise PayloadTooLargeError("a decompressed payload", limit)
        _expect_end(stream.eof, stream.unused_data)
        return out

    return unpack


def _lz4_unpack(data: bytes, limit: int) -> bytes:
    stream = lz4.frame.LZ4FrameDecompressor()
    out: bytes = stream.decompress(data, max_length=limit)
    if not stream.eof and len(out) >= limit:
        more = stream.decompress(b"", max_length=1)
        if more:
            raise PayloadTooLargeError("a decompressed payload", limit)
    _expect_end(stream.eof, stream.unused_data or b"")
    return out


#: By level. To make one takes longer than to compress a batch, and no two threads may
#: use one at a time.
_IDLE: Final[defaultdict[int, list[Any]]] = defaultdict(list)


def _zstd_packer(level: int) -> Pack:
    zstandard, idle = _zstd(), _IDLE[level]

    def pack(data: bytes) -> bytes:
        try:
            compressor = idle.pop()
        except IndexError:
            compressor = zstandard.ZstdCompressor(level=level)
        packed: bytes = compressor.compress(data)
        idle.append(compressor)
        return packed

    return pack


def _zstd_unpack(data: bytes, limit: int) -> bytes:
    zstandard = _zstd()
    size = zstandard.frame_content_size(data)
    codec = zstandard.ZstdDecompressor(max_window_size=2**27)
    if size < 0:  # no `compress` of ours made it: nothing says how much it will be
        with codec.stream_reader(data, read_across_frames=False) as stream:
            size = len(stream.read(limit + 1))
    if size > limit:
        raise PayloadTooLargeError("a decompressed payload", limit)
    out: bytes = codec.decompress(data, max_output_size=size, allow_extra_data=False)
    return out


def _zstd() -> Any:
    try:
        import zstandard
    except ImportError:
        raise MissingExtraError("zstd", "zstandard", "fast") from None
    return zstandard


def _expect_end(ended: bool, unused: bytes) -> None:
    if not ended:
        raise EOFError("it was cut")
    if unused:
        raise ValueError(f"{len(unused)} bytes follow its end")


def _as_it_is(data: bytes) -> bytes:
    return data


ALGORITHMS: Final = {
    "gzip": Algorithm(_zlib_packer(31), _zlib_unpack(31), range(10), 6),
    "deflate": Algorithm(_zlib_packer(15), _zlib_unpack(15), range(10), 6),
    "lz4": Algorithm(
        lambda level: lambda data: lz4.frame.compress(data, compression_level=level),
        _lz4_unpack,
        range(17),
        0,
        0,
    ),
    "zstd": Algorithm(_zstd_packer, _zstd_unpack, range(1, 23), 3),
    "none": Algorithm(lambda _: _as_it_is, lambda data, _: data, range(23), 0, 0),
}
