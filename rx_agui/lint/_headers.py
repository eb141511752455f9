"""Response headers that harm a stream on its way."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping

from rx_agui.lint._rules import Finding, found

__all__ = ["check_headers", "unpack"]

_STREAM = "text/event-stream"
_PROTOBUF = "application/vnd.ag-ui.event+proto"

#: What `fetch` unpacks in every browser, and in Node.
_READABLE = ("", "identity", "gzip", "x-gzip", "deflate", "br")

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
    if encoding not in ("", "identity"):
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
    """Return the body uncompressed, as far as it can be read here, and findings."""
    encoding = encoding.strip().lower()
    if encoding not in ("gzip", "x-gzip", "deflate"):
        return data, []
    findings: list[Finding] = []
    unpacker = zlib.decompressobj(15 if encoding == "deflate" else 31)
    try:
        body = unpacker.decompress(data)
    except zlib.error:
        if encoding != "deflate":
            return data, findings  # something between has unpacked it
        unpacker = zlib.decompressobj(-15)
        body = unpacker.decompress(data)
    if unpacker.unused_data:
        findings.append(found("several-members", "more behind the end of the first"))
    if body.count(b"\n\n") > 1 and _FLUSHED not in data:
        findings.append(found("not-flushed", f"{len(data)} bytes without a flush"))
    return body, findings
