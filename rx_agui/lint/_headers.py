"""Response headers that harm a stream on its way."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping

from rx_agui.codecs.negotiation import decoder, is_coded
from rx_agui.errors import CorruptError, PayloadTooLargeError
from rx_agui.lint._rules import Finding, found

__all__ = ["check_headers", "unpack"]

_STREAM = "text/event-stream"
_PROTOBUF = "application/vnd.ag-ui.event+proto"

#: What `fetch` unpacks in every browser, and in Node.
_READABLE = ("gzip", "x-gzip", "deflate", "br")

#: Bytes of a body at most, once it is decompressed.
_MAX_BODY = 32 * 1024 * 1024

_PIECE = 256 * 1024

#: What a flush leaves at its end.
_FLUSHED = b"\x00\x00\xff\xff"


def check_headers(headers: Mapping[str, str]) -> Iterator[Finding]:
    """Yield what is wrong with headers; their names are in lower case."""
    kind = headers.get("content-type", "")
    if kind == _PROTOBUF:
        yield found("protobuf-type", kind)
    elif kind.partition(";")[0].strip().lower() != _STREAM:
        yield found("content-type", kind or "no Content-Type")
    control = headers.get("cache-control", "").lower()
    if not ("no-cache" in control or "no-store" in control):
        yield found("cacheable", control or "no Cache-Control")
    if "no-transform" not in control:
        yield found("transformable", control or "no Cache-Control")
    if headers.get("x-accel-buffering", "").strip().lower() != "no":
        yield found("buffered", "no X-Accel-Buffering: no")
    encoding = headers.get("content-encoding", "").strip().lower()
    if is_coded(encoding):
        vary = headers.get("vary", "").lower()
        if "accept-encoding" not in vary and "*" not in vary:
            yield found("vary", vary or "no Vary")
        if encoding not in _READABLE:
            yield found("unreadable-encoding", f"Content-Encoding: {encoding}")
    if "content-length" in headers:
        yield found("content-length", f"Content-Length: {headers['content-length']}")
    if headers.get("connection", "").strip().lower() == "close":
        yield found("connection-close", "Connection: close")


def unpack(data: bytes, encoding: str) -> tuple[bytes, list[Finding]]:
    """Return the body before compression, as far as it can be read here.

    Raises:
        PayloadTooLargeError: It has more than 32 MiB.
    """
    encoding = encoding.strip().lower()
    if encoding not in ("gzip", "x-gzip", "deflate"):
        return data, []
    body = bytearray()
    try:
        for piece in decoder(encoding)(data):
            body += piece
            if len(body) > _MAX_BODY:
                raise PayloadTooLargeError("a body", _MAX_BODY)
    except CorruptError:
        if not body:
            return data, []  # something between has unpacked it
    findings: list[Finding] = []
    if encoding != "deflate" and _has_several_members(data):
        findings.append(found("several-members", "more behind the end of the first"))
    if body.count(b"\n\n") > 1 and _FLUSHED not in data:
        findings.append(found("not-flushed", f"{len(data)} bytes without a flush"))
    return bytes(body), findings


def _has_several_members(data: bytes) -> bool:
    stream = zlib.decompressobj(31)
    while data and not stream.eof:
        stream.decompress(data, _PIECE)
        data = stream.unconsumed_tail
    return bool(stream.unused_data)
