"""Which coding a response has, and that each batch can be read when it has come."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from random import Random
from typing import Any

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from rx_agui.codecs.negotiation import encoder, negotiated, offered
from rx_agui.codecs.registry import HTTP_CODINGS
from rx_agui.errors import ConfigError, MissingExtraError
from tests.support.by_hand import UNPACK
from tests.support.uninstalled import uninstall

ALL = tuple(HTTP_CODINGS)


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        (None, "identity"),  # it may be a script that reads bytes as they come
        ("", "identity"),
        ("identity", "identity"),
        ("gzip, deflate, br, zstd", "gzip"),
        ("GZIP", "gzip"),
        ("x-gzip", "gzip"),
        ("br, zstd", "br"),
        ("deflate", "deflate"),
        ("lz4", "identity"),
        ("lz4, identity;q=0", None),
        ("gzip;q=0.5, br", "br"),
        ("gzip;q=0.5, br;q=0.5", "gzip"),
        ("gzip;q=0", "identity"),
        ("gzip;q=0, *;q=0", None),
        ("gzip;q=0.1, identity", "identity"),
        ("gzip, identity;q=0.5", "gzip"),
        ("gzip;q=0.5, identity;q=0.5", "gzip"),
        ("identity;q=0", None),
        ("identity;q=0, *", "gzip"),
        ("*", "gzip"),
        ("*;q=0", None),
        ("*;q=0, br", "br"),
        ("br;q=0, *", "gzip"),
        ("gzip; q=1.0 , br ; q=0.9", "gzip"),
        ("gzip;q=nonsense, br;q=0.1", "br"),
        ("gzip;q=7", "identity"),
        (", ,gzip,", "gzip"),
    ],
)
def test_the_reader_gets_what_it_likes_best_of_what_we_have(
    accept: str | None, coding: str | None
) -> None:
    assert negotiated(accept, ALL) == coding


def test_what_is_not_offered_is_not_used() -> None:
    assert negotiated("gzip, br", ["br"]) == "br"
    assert negotiated("gzip, br", []) == "identity"
    assert negotiated("gzip, identity;q=0", []) is None


def unbrotli() -> Callable[[bytes], bytes]:
    stream = brotli.Decompressor()

    def decode(data: bytes) -> bytes:
        pieces = [stream.process(data)]
        while pieces[-1]:  # it gives a large piece little by little, unlike a browser
            pieces.append(stream.process(b""))
        return b"".join(pieces)

    return decode


def decoders() -> dict[str, Callable[[bytes], bytes]]:
    return {
        "identity": lambda data: data,
        "gzip": zlib.decompressobj(31).decompress,
        "deflate": zlib.decompressobj(15).decompress,
        "br": unbrotli(),
        "zstd": zstandard.ZstdDecompressor().decompressobj().decompress,
    }


@pytest.mark.parametrize("coding", ["identity", *ALL])
@pytest.mark.parametrize("level", [1, 6, 9])
def test_every_batch_can_be_read_when_it_has_come(coding: str, level: int) -> None:
    chance, encode, decode = Random(level), encoder(coding, level), decoders()[coding]
    batches = [b"x", b"", b"delta " * 1000, chance.randbytes(100_000), b"end"]

    sent = [encode.encode(batch) for batch in batches]

    assert [decode(data) for data in sent] == batches
    assert UNPACK[coding](b"".join(sent) + encode.finish()) == b"".join(batches)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["encode", "rest"]),
        st.binary(max_size=50) | st.sampled_from([b"delta " * 1000, b"x" * 70_000]),
    ),
    max_size=8,
)


@pytest.mark.parametrize("coding", ["identity", *ALL])
@given(STEPS)
def test_who_rests_goes_on_in_the_same_stream(
    coding: str, steps: list[tuple[str, bytes]]
) -> None:
    encode, decode = encoder(coding, 6), decoders()[coding]

    sent = [getattr(encode, step)(data) for step, data in steps]

    whole = [data for _, data in steps]
    assert [decode(data) for data in sent] == whole
    assert UNPACK[coding](b"".join(sent) + encode.finish()) == b"".join(whole)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_who_rests_has_no_compressor(coding: str) -> None:
    encode = encoder(coding, 6)

    encode.encode(b"delta")
    assert encode._stream is not None  # type: ignore[attr-defined]
    encode.rest(b": keep-alive\n")
    assert encode._stream is None  # type: ignore[attr-defined]


def test_a_zstd_window_is_what_http_allows() -> None:
    data = encoder("zstd", 9).encode(b"x" * 1_000_000)

    assert zstandard.get_frame_parameters(data).window_size <= 8 * 1024 * 1024


def test_what_is_not_installed_is_not_offered_and_not_to_be_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    uninstall(monkeypatch, "brotli", "zstandard")

    assert offered(None) == ("gzip", "deflate")
    with pytest.raises(
        MissingExtraError, match=r'br needs brotli: pip install "rx-agui\[fast\]"'
    ):
        offered(["gzip", "br"])
    with pytest.raises(MissingExtraError, match="zstd needs zstandard"):
        offered(["zstd"])


@pytest.mark.parametrize("codings", [["lz4"], ["gzip", "identity"], "gzip"])
def test_what_is_no_coding_of_http_is_refused(codings: Any) -> None:
    with pytest.raises(ConfigError, match="codings must be"):
        offered(codings)
