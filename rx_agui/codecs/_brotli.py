"""br: smaller than gzip where batches are large; for HTTP only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from rx_agui.codecs.codec import PIECE, Codec, optional_module

__all__ = ["BROTLI"]

#: Qualities 0 and 1 make a stream of small flushes larger than it was (1.03 of raw at
#: one event a flush; 0.39 at 2, 0.25 at 3, 0.20 at 5 and 6). 4 is as large as 3 and
#: slower; 10 and 11 take a quarter of a second for a thousand events.
_STREAM_LEVELS: Final = (2, 2, 3, 3, 5, 5, 6, 6, 9)


class _Encoder:
    def __init__(self, level: int) -> None:
        # A window of 64 KiB: browsers allocate what the header says.
        brotli = optional_module("brotli")
        self._stream = brotli.Compressor(quality=level, lgwin=16)

    def encode(self, data: bytes) -> bytes:
        encoded: bytes = self._stream.process(data) + self._stream.flush()
        return encoded

    rest = encode

    def finish(self) -> bytes:
        end: bytes = self._stream.finish()
        return end


class _Decoder:
    def __init__(self) -> None:
        self._stream = optional_module("brotli").Decompressor()

    def __call__(self, data: bytes) -> Iterator[bytes]:
        # Since 1.2 it can decode a part; before, a bomb could not be refused.
        piece = self._stream.process(data, output_buffer_limit=PIECE)
        while piece:
            yield piece
            piece = self._stream.process(b"", output_buffer_limit=PIECE)


BROTLI: Final = Codec(
    name="br",
    stream_levels=_STREAM_LEVELS,
    stream_encoder=_Encoder,
    stream_decoder=_Decoder,
    package="brotli",
    extra="fast",
)
