"""A response's body as it was before HTTP compressed it, piece by piece.

    Content-Encoding: gzip       ██ ─▶ ████████ ─▶ parser
                                        never more than a piece at a time

httpx has decoders too. They stop behind the first of several gzip members, fail at
the second zstd frame, and unpack a whole read at once, however large that becomes.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from rx_agui.errors import CorruptError, MissingExtraError, WireError

__all__ = ["accepted_encodings", "decoder"]

#: Unpacks what came, in pieces: no more of them are made than are asked for.
Decoder = Callable[[bytes], Iterator[bytes]]

#: Bytes to unpack at a time.
_PIECE = 256 * 1024

#: zstandard cannot be told to stop. 4 bytes make 128 KiB at most: this makes 4 MiB.
_ZSTD_BITE = 128

#: RFC 9659: a larger window is not for HTTP.
_ZSTD_WINDOW = 8 * 1024 * 1024


def accepted_encodings() -> str:
    """What can be read here, as the value of `Accept-Encoding`."""
    names = ["gzip", "deflate"]
    if _brotli() is not None:
        names.append("br")
    if _zstandard() is not None:
        names.append("zstd")
    return ", ".join(names)


def decoder(content_encoding: str) -> Decoder:
    r"""What unpacks a body with this `Content-Encoding`.

    >>> list(decoder("gzip")(zlib.compress(b"Hi", wbits=31)))
    [b'Hi']

    Raises:
        WireError: Nobody here knows the encoding.
        MissingExtraError: It needs a package that is not installed.
        Corrupt: While decoding: these bytes are not in this encoding.
    """
    names = [n.strip().lower() for n in content_encoding.split(",") if n.strip()]
    decode: Decoder = _as_it_is
    for name in reversed(names):  # the last was put on last
        decode = _behind(decode, _decoder(name))
    return decode


def _decoder(name: str) -> Decoder:
    match name:
        case "identity":
            return _as_it_is
        case "gzip" | "x-gzip":
            return _checked(name, _Zlib(31))
        case "deflate":
            return _checked(name, _Zlib(15))
        case "br":
            return _checked(name, _Brotli())
        case "zstd":
            return _checked(name, _Zstd())
    raise WireError(
        f"Content-Encoding is {name}: {accepted_encodings()} were asked for"
    )


def _as_it_is(data: bytes) -> Iterator[bytes]:
    yield data


def _behind(first: Decoder, second: Decoder) -> Decoder:
    if first is _as_it_is:
        return second

    def decode(data: bytes) -> Iterator[bytes]:
        for piece in first(data):
            yield from second(piece)

    return decode


def _checked(name: str, decode: Decoder) -> Decoder:
    def checked(data: bytes) -> Iterator[bytes]:
        try:
            yield from decode(data)
        except Exception as error:  # each library has its own
            raise CorruptError(f"the body is not {name}: {error}") from error

    return checked


class _Zlib:
    """gzip, of however many members; deflate, with zlib's header or without."""

    def __init__(self, wbits: int) -> None:
        self._wbits = wbits
        self._unpacker: Any = None
        self._start = b""

    def __call__(self, data: bytes) -> Iterator[bytes]:
        if self._unpacker is None:
            data = self._start + data
            if len(data) < 2:
                self._start = data
                return
            # HTTP means zlib's format by deflate, but some servers send it raw.
            if self._wbits == 15 and not _is_zlib(data):
                self._wbits = -15
            self._unpacker = zlib.decompressobj(self._wbits)
        piece = b""
        # It may have read all, and still hold what no longer went into a whole piece.
        while data or (len(piece) == _PIECE and not self._unpacker.eof):
            if self._unpacker.eof:  # the next member
                self._unpacker = zlib.decompressobj(self._wbits)
            piece = self._unpacker.decompress(data, _PIECE)
            if piece:
                yield piece
            data = self._unpacker.unconsumed_tail or self._unpacker.unused_data


def _is_zlib(data: bytes) -> bool:
    """Whether it begins with zlib's header, which says deflate and has a check."""
    return data[0] & 0x0F == 8 and int.from_bytes(data[:2]) % 31 == 0


class _Brotli:
    def __init__(self) -> None:
        module = _brotli()
        if module is None:
            raise MissingExtraError("Content-Encoding: br", "brotli", "client")
        self._unpacker = module.Decompressor()

    def __call__(self, data: bytes) -> Iterator[bytes]:
        piece = self._unpacker.process(data, output_buffer_limit=_PIECE)
        while piece:
            yield piece
            piece = self._unpacker.process(b"", output_buffer_limit=_PIECE)


class _Zstd:
    """zstd, of however many frames."""

    def __init__(self) -> None:
        module = _zstandard()
        if module is None:
            raise MissingExtraError("Content-Encoding: zstd", "zstandard", "fast")
        self._unpackers = module.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
        self._unpacker = self._unpackers.decompressobj()

    def __call__(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), _ZSTD_BITE):
            bite = data[start : start + _ZSTD_BITE]
            while bite:
                if self._unpacker.eof:  # the next frame
                    self._unpacker = self._unpackers.decompressobj()
                piece = self._unpacker.decompress(bite)
                if piece:
                    yield piece
                bite = self._unpacker.unused_data if self._unpacker.eof else b""


def _brotli() -> Any:
    with suppress(ImportError):
        import brotli

        # Before 1.2 there was no way to unpack a part, and so none to refuse a bomb.
        if hasattr(brotli.Decompressor, "can_accept_more_data"):
            return brotli
    return None


def _zstandard() -> Any:
    with suppress(ImportError):
        import zstandard

        return zstandard
    return None
