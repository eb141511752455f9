"""What HTTP says about codecs: Accept-Encoding, Content-Encoding.

    Accept-Encoding: gzip, br;q=0.8      ──▶ gzip
    Content-Encoding: gzip               ██ ─▶ ████████ ─▶ parser
                                               never more than a piece at a time

httpx has decoders too. They stop after the first of several gzip members, fail at the
second zstd frame, and decompress a whole read at once, however large that becomes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from rx_agui.codecs.codec import IDENTITY, Decoder, StreamEncoder
from rx_agui.codecs.registry import HTTP_CODINGS
from rx_agui.errors import ConfigError, CorruptError, WireError, require_one_of

__all__ = [
    "accepted_encodings",
    "decoder",
    "encoder",
    "is_coded",
    "negotiated",
    "offered",
]

#: Names of data that is as it is. RFC 9110 reserves "identity" for Accept-Encoding, yet
#: servers send it, and "none"; every browser and HTTP client reads on.
_UNCODED = ("", IDENTITY, "none")


#: Codings on top of each other at most: a decoder may take a window of 16 MiB.
_MAX_CODINGS = 2


class _Uncoded:
    def encode(self, data: bytes) -> bytes:
        return data

    rest = encode

    def finish(self) -> bytes:
        return b""


def encoder(coding: str, level: int) -> StreamEncoder:
    """Make the encoder of one response.

    Args:
        coding: A name that `negotiated` returned.
        level: From 1, fast, to 9, small. gzip and deflate take it as theirs; br and zstd
            map it to the levels that are worth their time when every batch is flushed,
            so several levels may give the same bytes.
    """
    if coding == IDENTITY:
        return _Uncoded()
    codec = HTTP_CODINGS[coding]
    return codec.stream_encoder(codec.stream_levels[level - 1])


def offered(codings: Sequence[str] | None) -> tuple[str, ...]:
    """Return the codings to offer, the preferred one first; for None, all installed.

    Raises:
        ConfigError: A name is not a coding of HTTP that is known here.
        MissingExtraError: A coding was asked for by name and is not installed.
    """
    if codings is None:
        return tuple(n for n, codec in HTTP_CODINGS.items() if codec.is_installed)
    if isinstance(codings, str):
        raise ConfigError("codings", codings, must="a sequence of names")
    for coding in codings:
        require_one_of(tuple(HTTP_CODINGS), codings=coding)
        HTTP_CODINGS[coding].require(f"Content-Encoding: {coding}")
    return tuple(codings)


def negotiated(accept: str | None, offers: Sequence[str]) -> str | None:
    """Return the coding to answer in; None if the client accepts none of the offers.

    >>> negotiated("br;q=0.5, gzip", ["gzip", "br"])
    'gzip'
    >>> negotiated("deflate", ["gzip"])
    'identity'

    RFC 9110, §12.5.3. A client without the header gets identity: it may be a script that
    reads bytes as they come. Equal weights go by our order, any coding before identity.
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
    """Return the weight of each coding that Accept-Encoding names."""
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
        return 0.0  # a weight that cannot be read excludes the coding
    return weight if 0.0 <= weight <= 1.0 else 0.0


def is_coded(content_encoding: str) -> bool:
    """Return True if a Content-Encoding names a compression, and not "none" or the like.

    >>> is_coded("identity, none"), is_coded("gzip")
    (False, True)
    """
    return bool(_codings(content_encoding))


def _codings(content_encoding: str) -> list[str]:
    names = (name.strip().lower() for name in content_encoding.split(","))
    return [name for name in names if name not in _UNCODED]


def accepted_encodings() -> str:
    """Return the value of `Accept-Encoding` for what can be decoded here."""
    names = sorted(offered(None), key=["gzip", "deflate"].__contains__, reverse=True)
    return ", ".join(names)


def decoder(content_encoding: str) -> Decoder:
    r"""Make the decoder of a body with this `Content-Encoding`.

    >>> import zlib
    >>> list(decoder("gzip")(zlib.compress(b"Hi", wbits=31)))
    [b'Hi']

    Raises:
        WireError: The encoding is not known here, or there are more than two.
        MissingExtraError: It needs a package that is not installed.
        CorruptError: While decoding: these bytes are not in this encoding.
    """
    decode: Decoder = _uncoded
    codings = _codings(content_encoding)
    if len(codings) > _MAX_CODINGS:
        raise WireError(f"Content-Encoding has {len(codings)} codings")
    for name in reversed(codings):
        decode = _after(decode, _decoder(name))  # the last was put on last
    return decode


def _decoder(name: str) -> Decoder:
    codec = HTTP_CODINGS.get(name.removeprefix("x-"))
    if codec is None:
        raise WireError(
            f"Content-Encoding is {name!r}, but {accepted_encodings()} were asked for"
        )
    codec.require(f"Content-Encoding: {name}")
    return _checked(name, codec.stream_decoder())


def _uncoded(data: bytes) -> Iterator[bytes]:
    yield data


def _after(first: Decoder, second: Decoder) -> Decoder:
    if first is _uncoded:
        return second

    def decode(data: bytes) -> Iterator[bytes]:
        for piece in first(data):
            yield from second(piece)

    return decode


def _checked(name: str, decode: Callable[[bytes], Iterator[bytes]]) -> Decoder:
    def checked(data: bytes) -> Iterator[bytes]:
        try:
            yield from decode(data)
        except Exception as error:  # each library has its own
            raise CorruptError(f"the body is not {name}: {error}") from error

    return checked
