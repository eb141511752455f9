"""Content-Encoding: what the reader takes, and one context for the whole response.

    Accept-Encoding: gzip, br;q=0.8      ──▶ gzip
    batch ──▶ gzip ──▶ bytes that decode to this batch, now
    batch ──▶ gzip ──▶ ...               one stream, flushed behind every batch
    : keep-alive ──▶ as it is, and the compressor is let go until there is a batch

Without the flush a browser shows nothing until the end. Never a gzip member for each
batch: browsers decode the first and drop the others without a word. Never lz4: a client
that asks for it in vain would not notice that it cannot read a byte.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from rx_agui.errors import ConfigError, MissingExtraError, require_one_of
from rx_agui.frame import IDENTITY

__all__ = [
    "CODINGS",
    "Deflate",
    "Encoder",
    "compressor",
    "encoder",
    "negotiated",
    "offered",
]


class Encoder(Protocol):
    """One response's coding."""

    def encode(self, data: bytes) -> bytes:
        """What decodes to `data` as soon as it has come."""

    def rest(self, data: bytes) -> bytes:
        """The same, and then keep as little as can be: nothing may follow for hours."""

    def finish(self) -> bytes:
        """What ends the stream."""


class _Identity:
    def encode(self, data: bytes) -> bytes:
        return data

    rest = encode

    def finish(self) -> bytes:
        return b""


#: zlib's memory is 4 << window plus 512 << mem: 32 KiB for each reader with these, a
#: fifth of what its defaults take, for a few percent more bytes. Deltas repeat what was
#: said just before; a window of 8 KiB holds some eighty of them.
_WINDOW, _MEM = 13, 5

#: Bytes of a block that is stored as it is, at most; and the last block of all, with
#: nothing in it.
_STORED, _EMPTY = 0xFFFF, b"\x03\0"


def compressor(level: int) -> zlib._Compress:
    """What makes blocks of RFC 1951, and looks back at nothing before them."""
    return zlib.compressobj(level, zlib.DEFLATED, -_WINDOW, _MEM)


class Deflate:
    """One stream of RFC 1951's blocks, in an envelope that a subclass knows.

    Behind a flush a block begins at a byte, and may come from another compressor, which
    looks back at nothing of the one before. So who rests has none: 50 KB less.
    """

    _head: bytes

    def __init__(self, level: int) -> None:
        self.level = level
        self._stream: Any = None
        self._said_head = False

    def encode(self, data: bytes) -> bytes:
        stream = self._stream
        if stream is None:
            stream = self._stream = compressor(self.level)
        self._sum_up(data)
        packed: bytes = stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH)
        return self._begin() + packed

    def rest(self, data: bytes) -> bytes:
        if len(data) > _STORED:
            return self.encode(data)
        self._stream = None
        self._sum_up(data)
        size = len(data)
        return self._begin() + struct.pack("<BHH", 0, size, size ^ _STORED) + data

    def takes(self, block: bytes, data: bytes) -> bytes:
        """A block of another compressor, which decodes to `data` behind what came before.

        Whatever ours knew is further back than it thinks: the next begins anew.
        """
        self._stream = None
        self._sum_up(data)
        return self._begin() + block

    def finish(self) -> bytes:
        last = _EMPTY if self._stream is None else self._stream.flush()
        return self._begin() + last + self._trailer()

    def _begin(self) -> bytes:
        if self._said_head:
            return b""
        self._said_head = True
        return self._head

    def _sum_up(self, data: bytes) -> None:
        """Take `data` into what the trailer says of the whole."""
        raise NotImplementedError

    def _trailer(self) -> bytes:
        """What the envelope has behind the last block."""
        raise NotImplementedError


class _Gzip(Deflate):
    """RFC 1952: no name, no time, from any system."""

    _head = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
    _crc32 = _size = 0

    def _sum_up(self, data: bytes) -> None:
        self._crc32 = zlib.crc32(data, self._crc32)
        self._size += len(data)

    def _trailer(self) -> bytes:
        return struct.pack("<LL", self._crc32, self._size & 0xFFFFFFFF)


class _Zlib(Deflate):
    """RFC 1950, which is what HTTP means by "deflate" (RFC 9110, §8.4.1.2)."""

    #: The window and, in two bytes that 31 divides, that the level is none in particular.
    _head = bytes([(_WINDOW - 8) << 4 | 8, 0x85])
    _adler32 = 1

    def _sum_up(self, data: bytes) -> None:
        self._adler32 = zlib.adler32(data, self._adler32)

    def _trailer(self) -> bytes:
        return struct.pack(">L", self._adler32)


class _Brotli:
    def __init__(self, level: int) -> None:
        # A window of 64 KiB: browsers allocate what the header says.
        self._stream = _brotli().Compressor(quality=level, lgwin=16)

    def encode(self, data: bytes) -> bytes:
        encoded: bytes = self._stream.process(data) + self._stream.flush()
        return encoded

    rest = encode

    def finish(self) -> bytes:
        end: bytes = self._stream.finish()
        return end


class _Zstd:
    """One frame. Several would stop httpx behind the first."""

    def __init__(self, level: int) -> None:
        zstandard = _zstandard()
        # HTTP allows a window of 8 MiB (RFC 9659); 128 KiB, since each reader has one.
        parameters = zstandard.ZstdCompressionParameters.from_level(
            level, window_log=17, chain_log=15, hash_log=15
        )
        self._flush = zstandard.COMPRESSOBJ_FLUSH_BLOCK
        compressor = zstandard.ZstdCompressor(compression_params=parameters)
        self._stream = compressor.compressobj()

    def encode(self, data: bytes) -> bytes:
        encoded: bytes = self._stream.compress(data) + self._stream.flush(self._flush)
        return encoded

    rest = encode

    def finish(self) -> bytes:
        end: bytes = self._stream.flush()
        return end


#: By name; what a reader takes equally gladly is decided by this order. gzip first: it
#: costs a reader's memory a tenth of what zstd does, and it is what everybody has.
CODINGS: Final[dict[str, Callable[[int], Encoder]]] = {
    "gzip": _Gzip,
    "br": _Brotli,
    "zstd": _Zstd,
    "deflate": _Zlib,
}


def encoder(coding: str, level: int) -> Encoder:
    """What encodes one response."""
    return _Identity() if coding == IDENTITY else CODINGS[coding](level)


def offered(codings: Sequence[str] | None) -> tuple[str, ...]:
    """The codings to offer, the preferred one first; None: all that are installed.

    Raises:
        ConfigError: One is none of ours.
        MissingExtraError: One was asked for by name and is not installed.
    """
    if codings is not None:
        if isinstance(codings, str):
            raise ConfigError("codings", codings, must="a sequence of names")
        for coding in codings:
            require_one_of(tuple(CODINGS), codings=coding)
            _NEEDS.get(coding, _nothing)()
        return tuple(codings)
    return tuple(coding for coding in CODINGS if _is_installed(coding))


def negotiated(accept: str | None, offers: Sequence[str]) -> str | None:
    """The coding to answer in; None: the reader takes nothing that we have.

    >>> negotiated("br;q=0.5, gzip", ["gzip", "br"])
    'gzip'
    >>> negotiated("deflate", ["gzip"])
    'identity'

    RFC 9110, §12.5.3. Who says nothing gets identity: it may be a script that reads
    bytes as they come. Equal weights go by our order, and any coding before identity.
    """
    if accept is None:
        return IDENTITY
    weights = _weights(accept)
    anything = weights.get("*")
    # Identity is welcome unless it is excluded; but less than what was asked for.
    plain = weights.get(IDENTITY, anything)
    best, best_weight = (IDENTITY, 0.0) if plain is None else (None, 0.0)
    for coding in offers:
        weight = weights.get(coding, anything)
        if weight is not None and weight > best_weight:
            best, best_weight = coding, weight
    if plain is not None and plain > best_weight:
        best = IDENTITY
    return best


def _weights(accept: str) -> dict[str, float]:
    """Of each coding that is named, how much it is wanted."""
    weights: dict[str, float] = {}
    for item in accept.split(","):
        name, *parameters = (part.strip().lower() for part in item.split(";"))
        if not name:
            continue
        weight = 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip() == "q":
                weight = _weight(value.strip())
        weights["gzip" if name == "x-gzip" else name] = weight
    return weights


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        return 0.0  # who writes what nobody can read does not get it
    return weight if 0.0 <= weight <= 1.0 else 0.0


def _brotli() -> Any:
    try:
        import brotli
    except ImportError:
        raise MissingExtraError("Content-Encoding: br", "brotli", "fast") from None
    return brotli


def _zstandard() -> Any:
    try:
        import zstandard
    except ImportError:
        raise MissingExtraError("Content-Encoding: zstd", "zstandard", "fast") from None
    return zstandard


def _nothing() -> None: ...


_NEEDS: Final[dict[str, Callable[[], Any]]] = {"br": _brotli, "zstd": _zstandard}


def _is_installed(coding: str) -> bool:
    try:
        _NEEDS.get(coding, _nothing)()
    except MissingExtraError:
        return False
    return True
