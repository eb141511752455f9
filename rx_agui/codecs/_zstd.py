"""zstd: a third of gzip's time, both for payloads and for HTTP."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final

from rx_agui.codecs.codec import Codec, Pack, optional_module
from rx_agui.errors import PayloadTooLargeError

__all__ = ["ZSTD"]

#: One event a flush is smallest at 3 (0.185 of raw; 0.224 at 5, 0.206 at 8). Above it,
#: batches of a hundred events gain a seventh for four times the time: not taken.
_STREAM_LEVELS: Final = (1, 1, 3, 3, 3, 3, 3, 3, 3)

#: Bytes to decode at a time. zstandard cannot be told to stop; 4 bytes make 128 KiB at
#: most, so this makes 4 MiB.
_BITE: Final = 128

#: RFC 9659: a larger window is not for HTTP.
_WINDOW: Final = 8 * 1024 * 1024

#: By level. To make one takes longer than to compress a batch, and no two threads may
#: use one at a time.
_IDLE: Final[defaultdict[int, list[Any]]] = defaultdict(list)


def _packer(level: int) -> Pack:
    ZSTD.require()
    zstandard, idle = optional_module("zstandard"), _IDLE[level]

    def pack(data: bytes) -> bytes:
        try:
            compressor = idle.pop()
        except IndexError:
            compressor = zstandard.ZstdCompressor(level=level)
        packed: bytes = compressor.compress(data)
        idle.append(compressor)
        return packed

    return pack


def _unpack(data: bytes, limit: int) -> bytes:
    ZSTD.require()
    zstandard = optional_module("zstandard")
    size = zstandard.frame_content_size(data)
    # The decoder allocates the window before a byte is known: no more than `limit`.
    codec = zstandard.ZstdDecompressor(max_window_size=max(limit, _WINDOW))
    if size < 0:  # not made by `compress`: nothing says how much it will be
        with codec.stream_reader(data, read_across_frames=False) as stream:
            size = len(stream.read(limit + 1))
    if size > limit:
        raise PayloadTooLargeError("a decompressed payload", limit)
    out: bytes = codec.decompress(data, max_output_size=size, allow_extra_data=False)
    return out


class _Encoder:
    """One frame. Several would stop httpx after the first."""

    def __init__(self, level: int) -> None:
        zstandard = optional_module("zstandard")
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


class _Decoder:
    """Decode any number of frames."""

    def __init__(self) -> None:
        zstandard = optional_module("zstandard")
        self._codec = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
        self._stream = self._codec.decompressobj()

    def __call__(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), _BITE):
            bite = data[start : start + _BITE]
            while bite:
                if self._stream.eof:  # the next frame
                    self._stream = self._codec.decompressobj()
                piece = self._stream.decompress(bite)
                if piece:
                    yield piece
                bite = self._stream.unused_data if self._stream.eof else b""


ZSTD: Final = Codec(
    name="zstd",
    levels=range(1, 23),
    default_level=3,
    cheapest_level=1,
    packer=_packer,
    unpack=_unpack,
    stream_levels=_STREAM_LEVELS,
    stream_encoder=_Encoder,
    stream_decoder=_Decoder,
    package="zstandard",
    extra="fast",
)
