"""gzip and deflate: zlib's format, compressed by the fastest library installed.

Whole payloads are made by isal or zlib-ng where installed, else by zlib. A level says
how small: a library makes at most a tenth more than zlib would at that level, and of
those that do, the fastest is used (`_CHOICES`; tests/operators/test_codecs.py).

A response is one stream of RFC 1951's blocks, flushed after every batch:

    batch ──▶ gzip ──▶ bytes that decode to this batch, now
    : keep-alive ──▶ stored, and the compressor is dropped until there is a batch

Never a gzip member for each batch: browsers decode the first and drop the others.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Final

from rx_agui.codecs.codec import (
    PIECE,
    Codec,
    Decoder,
    Pack,
    expect_end,
    optional_module,
)
from rx_agui.errors import PayloadTooLargeError

__all__ = ["DEFLATE", "GZIP", "DeflateEncoder", "compressor", "crc32", "is_flood"]

# Measured on English and Chinese text, source code, tables, snapshots and recorded
# runs, of 1 KB to 1.4 MB, as whole payloads and as deltas. By level of zlib: library
# and its own level, for a flood of deltas; for others of up to 64 KiB; and for larger
# ones. zlib-ng's own 1 is fast and a third too large; isal has 0 to 3.
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

#: zlib's memory is 4 << window plus 512 << mem: 32 KiB for each reader with these, a
#: fifth of what its defaults take, for a few percent more bytes. Deltas repeat what was
#: said just before; a window of 8 KiB holds some eighty of them.
_WINDOW, _MEM = 13, 5

#: Bytes of a stored block at most; and the last block of a stream, which is empty.
_STORED, _EMPTY = 0xFFFF, b"\x03\0"


def _library(name: str) -> Any:
    """Return a library with zlib's functions; zlib itself where it is missing."""
    return optional_module(_MODULES[name]) or zlib


def _choose(name: str, own: int, level: int) -> tuple[Any, int]:
    """Return the library and its level, or zlib and the level that was asked for."""
    library = _library(name)
    return (zlib, level) if library is zlib else (library, own)


#: As zlib's, at a tenth of its price where one of the others is installed.
crc32: Callable[[bytes], int] = next(
    (found for found in map(_library, _MODULES) if found is not zlib), zlib
).crc32


def is_flood(data: bytes) -> bool:
    """Return True if a payload looks like a batch of deltas, short and all alike."""
    size = len(data)
    last, middle = data.rfind(b"\n") + 1, data.find(b"\n", size // 2) + 1
    return (
        0 < middle < last
        and size <= 12 * 1024
        and size - last < 256
        and data.startswith(head := data[:31], last)
        and data.startswith(head, middle)
    )


class _Packer:
    """Compress whole payloads at a level of zlib's, by the fastest library."""

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


def _packer(wbits: int) -> Callable[[int], Pack]:
    return lambda level: _Packer(level, wbits)


def _unpack(wbits: int) -> Callable[[bytes, int], bytes]:
    def unpack(data: bytes, limit: int) -> bytes:
        stream = zlib.decompressobj(wbits)
        out = stream.decompress(data, limit)
        if not stream.eof:
            # Full to the brim it may lack only the trailer, which makes no output.
            more = stream.decompress(stream.unconsumed_tail, 1)
            if more:
                raise PayloadTooLargeError("a decompressed payload", limit)
        expect_end(stream.eof, stream.unused_data)
        return out

    return unpack


def compressor(level: int) -> zlib._Compress:
    """Make a compressor of RFC 1951's blocks, with an empty window."""
    return zlib.compressobj(level, zlib.DEFLATED, -_WINDOW, _MEM)


class DeflateEncoder:
    """One stream of RFC 1951's blocks, in the envelope of a subclass.

    After a flush a block begins at a byte, and may come from another compressor, which
    looks back at nothing before it. So an idle stream has none: 50 KB less.
    """

    _head: bytes

    def __init__(self, level: int) -> None:
        self.level = level
        self._stream: Any = None
        self._has_head = False

    def encode(self, data: bytes) -> bytes:
        """Compress, with what came before as the window."""
        stream = self._stream
        if stream is None:
            stream = self._stream = compressor(self.level)
        self._add_to_checksum(data)
        packed: bytes = stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH)
        return self._begin() + packed

    def rest(self, data: bytes) -> bytes:
        """Store, and drop the compressor: nothing may follow for hours."""
        if len(data) > _STORED:
            return self.encode(data)
        self._stream = None
        self._add_to_checksum(data)
        size = len(data)
        return self._begin() + struct.pack("<BHH", 0, size, size ^ _STORED) + data

    def takes(self, block: bytes, data: bytes) -> bytes:
        """Append a block of another compressor, which decodes to `data` at this point.

        Our own window then no longer matches the decoder's: the next block starts anew.
        """
        self._stream = None
        self._add_to_checksum(data)
        return self._begin() + block

    def finish(self) -> bytes:
        """Return the last block and the envelope's trailer."""
        last = _EMPTY if self._stream is None else self._stream.flush()
        return self._begin() + last + self._trailer()

    def _begin(self) -> bytes:
        if self._has_head:
            return b""
        self._has_head = True
        return self._head

    def _add_to_checksum(self, data: bytes) -> None:
        raise NotImplementedError

    def _trailer(self) -> bytes:
        raise NotImplementedError


class _GzipEncoder(DeflateEncoder):
    """RFC 1952: no name, no time, from any system."""

    _head = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
    _crc32 = _size = 0

    def _add_to_checksum(self, data: bytes) -> None:
        self._crc32 = zlib.crc32(data, self._crc32)
        self._size += len(data)

    def _trailer(self) -> bytes:
        return struct.pack("<LL", self._crc32, self._size & 0xFFFFFFFF)


class _ZlibEncoder(DeflateEncoder):
    """RFC 1950, which is what HTTP means by "deflate" (RFC 9110, §8.4.1.2)."""

    #: The window and, in two bytes that 31 divides, that the level is none in particular.
    _head = bytes([(_WINDOW - 8) << 4 | 8, 0x85])
    _adler32 = 1

    def _add_to_checksum(self, data: bytes) -> None:
        self._adler32 = zlib.adler32(data, self._adler32)

    def _trailer(self) -> bytes:
        return struct.pack(">L", self._adler32)


class _Decoder:
    """Decode gzip, of any number of members; deflate, with zlib's header or without."""

    def __init__(self, wbits: int) -> None:
        self._wbits = wbits
        self._stream: Any = None
        self._start = b""

    def __call__(self, data: bytes) -> Iterator[bytes]:
        if self._stream is None:
            data = self._start + data
            if len(data) < 2:
                self._start = data
                return
            # HTTP means zlib's format by deflate, but some servers send it raw.
            if self._wbits == 15 and not _is_zlib(data):
                self._wbits = -15
            self._stream = zlib.decompressobj(self._wbits)
        piece = b""
        # It may have read all, and still hold what no longer went into a whole piece.
        while data or (len(piece) == PIECE and not self._stream.eof):
            if self._stream.eof:  # the next member
                self._stream = zlib.decompressobj(self._wbits)
            piece = self._stream.decompress(data, PIECE)
            if piece:
                yield piece
            data = self._stream.unconsumed_tail or self._stream.unused_data


def _decoder(wbits: int) -> Callable[[], Decoder]:
    return lambda: _Decoder(wbits)


def _is_zlib(data: bytes) -> bool:
    """Return True if `data` begins with zlib's header, which has a check of its own."""
    return data[0] & 0x0F == 8 and int.from_bytes(data[:2]) % 31 == 0


def _codec(name: str, wbits: int, encoder: type[DeflateEncoder]) -> Codec:
    return Codec(
        name=name,
        levels=range(10),
        default_level=6,
        cheapest_level=1,
        packer=_packer(wbits),
        unpack=_unpack(wbits),
        stream_levels=tuple(range(1, 10)),
        stream_encoder=encoder,
        stream_decoder=_decoder(wbits),
    )


GZIP: Final = _codec("gzip", 31, _GzipEncoder)
DEFLATE: Final = _codec("deflate", 15, _ZlibEncoder)
