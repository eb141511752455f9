"""Every codec, by name.

    name     payloads    Content-Encoding    package
    gzip     yes         yes                 -; isal and zlib-ng are used where installed
    deflate  yes         yes                 -; likewise
    br       no          yes                 brotli
    zstd     yes         yes                 zstandard
    lz4      yes         no                  -
    none     yes         no                  -

To add one: a file with its `Codec`, and its line in `CODECS`.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from rx_agui.codecs._brotli import BROTLI
from rx_agui.codecs._deflate import DEFLATE, GZIP, crc32, is_flood
from rx_agui.codecs._lz4 import LZ4
from rx_agui.codecs._zstd import ZSTD
from rx_agui.codecs.codec import IDENTITY, Codec

__all__ = [
    "CODECS",
    "HTTP_CODINGS",
    "IDENTITY",
    "PAYLOAD_CODECS",
    "Codec",
    "crc32",
    "is_flood",
]

_NONE: Final = Codec(
    name="none",
    levels=range(23),  # so that a level may stay where the algorithm is changed
    packer=lambda level: lambda data: data,
    unpack=lambda data, limit: data,
)

#: In the order in which a response prefers them where the reader has no preference.
#: gzip first: a reader's encoder takes a tenth of zstd's memory, and every client has it.
CODECS: Final = MappingProxyType(
    {codec.name: codec for codec in (GZIP, BROTLI, ZSTD, DEFLATE, LZ4, _NONE)}
)

#: The codecs of whole payloads: what `compress` knows.
PAYLOAD_CODECS: Final = {n: c for n, c in CODECS.items() if c.is_for_payloads}

#: The codecs of responses: the known values of Content-Encoding.
HTTP_CODINGS: Final = {n: c for n, c in CODECS.items() if c.is_for_http}
