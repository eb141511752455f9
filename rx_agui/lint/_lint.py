r"""The faults of a stream, in its bytes, that an AG-UI client would stumble over.

    bytes ─▶ lines     as the standard reads them: ids, names, line ends
          └▶ blocks    as the stock client reads them: split at LF LF, data: lines joined
                └▶ fields, order

The stock client's parser is no parser of the standard, so both readings are checked: a
fault that one passes over may break the other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import orjson

from rx_agui.lint._fields import check_fields
from rx_agui.lint._headers import check_headers, unpack
from rx_agui.lint._order import Order
from rx_agui.lint._rules import Finding, found

__all__ = ["Finding", "lint"]

_BOM = b"\xef\xbb\xbf"

#: Where `@ag-ui/client` 1.0.0 gives up, in UTF-16 code units.
_MAX_BLOCK = 10 * 1024 * 1024

#: Findings of each kind, lines and blocks; what comes after them is of little use.
_ENOUGH = 1000

_LINE_END = re.compile(rb"\r\n|\r|\n")
_FIELDS = (b"data", b"event", b"id", b"retry")

#: U+0085, U+2028 and U+2029, raw.
_SEPARATOR = re.compile(rb"\xc2\x85|\xe2\x80[\xa8\xa9]")


def lint(data: bytes, headers: Mapping[str, str] | None = None) -> list[Finding]:
    r"""Return what is wrong with a stream, in its order.

    >>> for finding in lint(b'data: {"type":"RUN_STARTED","threadId":"t"}\n\n'):
    ...     print(finding.severity, finding)
    fatal line 1: missing-field: RUN_STARTED without runId
    error line 3: no-end: the stream ends inside a run

    Without a finding that is fatal, the unmodified `@ag-ui/client` reads the stream to
    its end. It does no I/O: give it a body you have recorded.

    Args:
        data: The body, whole, as it came over the wire.
        headers: Of the response; they are checked too, and a body that is compressed
            is unpacked accordingly. Leave them out for a body that you have unpacked.

    Known to be missing: it takes parallel `*_CHUNK` events of several subagents for one
    another's, and does not apply patches.
    """
    findings: list[Finding] = []
    if headers is not None:
        headers = {name.lower(): value for name, value in headers.items()}
        findings += check_headers(headers)
        data, more = unpack(data, headers.get("content-encoding", ""))
        findings += more
    if not any(finding.rule == "protobuf-type" for finding in findings):
        found_inside = [
            *islice(_Lines(data).findings(), _ENOUGH),
            *islice(_Blocks(data).findings(), _ENOUGH),
        ]
        findings += sorted(found_inside, key=lambda finding: finding.offset)
    return findings


class _Lines:
    """The lines of a stream, read as the standard says."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._last: dict[str, int] = {}  # number by stream
        self._ids: set[str] = set()
        self._named = False

    def findings(self) -> Iterator[Finding]:
        has_data = has_id = False
        for number, (offset, line) in enumerate(_lines(self._data), 1):
            if number == 1 and line.startswith(_BOM):
                line = line[len(_BOM) :]
                yield found("bom", "a byte order mark", offset=offset, line=number)
            name, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if not line:
                if has_id and not has_data:
                    yield found(
                        "id-only", "an id without data", offset=offset, line=number
                    )
                has_data = has_id = False
            elif name == b"id":
                has_id = True
                yield from self._id(value, offset, number)
            elif name == b"data":
                has_data = True
            yield from self._line(line, name, value, offset, number)

    def _line(
        self, line: bytes, name: bytes, value: bytes, offset: int, number: int
    ) -> Iterator[Finding]:
        shown = _shown(line)
        if line and not _is_utf8(line):
            yield found("invalid-utf8", shown, offset=offset, line=number)
        if b"\0" in line and name != b"id":
            yield found("nul", shown, offset=offset, line=number)
        if (match := _SEPARATOR.search(line)) and not line.startswith(b":"):
            named = f"U+{ord(match[0].decode()):04X} in {shown}"
            yield found("line-separator", named, offset=offset, line=number)
        if line.startswith(_BOM):
            yield found("bom-inside", shown, offset=offset, line=number)
        elif line and name and name not in _FIELDS:
            yield found("unknown-line", shown, offset=offset, line=number)
        if name == b"retry" and not value.isdigit():
            yield found("bad-retry", shown, offset=offset, line=number)
        if name == b"event" and value != b"chunk" and not self._named:
            self._named = True  # once is enough
            yield found("event-name", shown, offset=offset, line=number)

    def _id(self, value: bytes, offset: int, line: int) -> Iterator[Finding]:
        text = value.decode("utf-8", "replace")
        where: dict[str, Any] = {"offset": offset, "line": line}
        if not value:
            yield found("id-empty", "id:", **where)
            return
        if b"\0" in value:
            yield found("id-nul", repr(text), **where)
            return
        if not value.isascii():
            yield found("id-not-ascii", text, **where)
        if text in self._ids:
            yield found("id-twice", text, **where)
            return
        self._ids.add(text)
        stream, _, digits = text.rpartition("/")
        if digits.isascii() and digits.isdigit():
            number = int(digits[:19])
            if number < self._last.get(stream, 0):
                yield found("id-backwards", text, **where)
            self._last[stream] = number


class _Blocks:
    """The blocks of a stream, read as the stock client does."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._order = Order()
        self._blamed: set[str] = set()

    def findings(self) -> Iterator[Finding]:
        data = self._data
        line = 1
        offset = 0
        while (end := data.find(b"\n\n", offset)) >= 0:
            block = data[offset:end]
            yield from self._block(block, offset, line, is_rest=False)
            offset = end + 2
            line += block.count(b"\n") + 2
        if rest := data[offset:]:
            yield from self._block(rest, offset, line, is_rest=True)
        yield from self._line_ends()
        if kind := _kind_of_json(data):
            yield found(
                "not-a-stream", f"{kind}: {_shown(data[:80])}", offset=0, line=1
            )
            return
        last = len(_LINE_END.findall(data)) + 1
        for rule, seen in self._order.at_end():
            yield found(rule, seen, offset=len(data), line=last)

    def _line_ends(self) -> Iterator[Finding]:
        """Yield wrong line ends that have done no harm so far."""
        for rule, pattern in (("crlf", rb"\r\n"), ("cr", rb"\r(?!\n)")):
            match = re.search(pattern, self._data)
            if match and rule not in self._blamed:
                line = len(_LINE_END.findall(self._data[: match.start()])) + 1
                seen = "harmless so far, where LF LF ends the event all the same"
                yield found(rule, seen, offset=match.start(), line=line, fails=())

    def _block(
        self, block: bytes, offset: int, line: int, *, is_rest: bool
    ) -> Iterator[Finding]:
        where: dict[str, Any] = {"offset": offset, "line": line}
        text = block.decode("utf-8", "replace")
        if offset == 0:
            text = text.removeprefix("\ufeff")
        parts = [
            part[5:].removeprefix(" ")
            for part in text.split("\n")
            if part.startswith("data:")
        ]
        is_large = len(block) > _MAX_BLOCK
        if (
            is_large
            and len(text.encode("utf-16-le", "surrogatepass")) // 2 > _MAX_BLOCK
        ):
            yield found("too-large", f"{len(block):,} bytes", **where)
        if not parts:
            return
        payload = "\n".join(parts)
        try:
            event = _parse(payload)
        except ValueError as error:
            rule = _why_not_json(block, parts, is_rest)
            if rule in ("crlf", "cr"):
                if rule in self._blamed:
                    return
                self._blamed.add(rule)
            yield found(rule, _blame(payload, error), **where)
            return
        if is_rest and not _ends_block(block):
            yield found("no-blank-line", _start(payload), **where)
        if rule := _why_no_event(event, text):
            yield found(rule, _start(payload), **where)
            return
        yield from check_fields(event, **where)
        for rule, seen, fails in self._order.take(event):
            yield found(rule, seen, fails=fails, **where)


def _kind_of_json(data: bytes) -> str:
    """Return what a body is that has no `data:` line but JSON; "" for any other body."""
    start = data.lstrip()[:1]
    if start not in (b"[", b"{") or re.search(rb"^data:", data, re.MULTILINE):
        return ""
    if start == b"[":
        return "a JSON array"
    is_several = b"\n" in data.strip() and _is_json(
        data.split(b"\n")[0].decode("utf-8", "replace")
    )
    return "JSON lines" if is_several else "a JSON object"


def _lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    start = 0
    for match in _LINE_END.finditer(data):
        yield start, data[start : match.start()]
        start = match.end()
    if start < len(data):
        yield start, data[start:]


def _parse(text: str) -> Any:
    """Parse as JSON.parse does, which accepts lone surrogates and numbers of any size.

    Raises:
        ValueError: It would not.
    """
    try:
        return orjson.loads(text)
    except ValueError:
        try:
            return json.loads(text.strip(" \t\r\n"), parse_constant=_refuse)
        except RecursionError:
            raise ValueError("nested too deeply to tell") from None


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _why_not_json(block: bytes, parts: list[str], is_rest: bool) -> str:
    """Return the likeliest reason why the data of a block is not JSON."""
    payload = "\n".join(parts)
    if not payload.strip():
        return "empty-data"
    if payload.strip() == "[DONE]":
        return "done"
    if b"\r" in block and len([*_LINE_END.finditer(block)]) > block.count(b"\n"):
        return "cr"
    if b"\r\n" in block and b"\n\r\n" in block:
        return "crlf"
    if payload.startswith(("data:", "id:", "event:")):
        return "double-prefix"
    if len(parts) > 1:
        if all(_is_json(part) for part in parts):
            return "several-objects"
        if _is_json("".join(parts)):
            return "cut-in-string"
    return "cut-off" if is_rest else "not-json"


def _why_no_event(event: Any, block: str) -> str:
    """Return why JSON is not an event; "" if it is one."""
    if isinstance(event, list):
        return "array"
    if not isinstance(event, dict):
        return "not-an-object"
    kind = event.get("type")
    if isinstance(kind, str) and kind:
        return ""
    name = re.search(r"^event: ?(.+)$", block, re.MULTILINE)
    if name and name[1] == "chunk" and "totalChunks" in event:
        return "chunk-profile"
    return "named-ping" if name else "no-type"


def _is_json(text: str) -> bool:
    try:
        _parse(text)
    except ValueError:
        return False
    return True


def _ends_block(rest: bytes) -> bool:
    """Whether a blank line ends it, if not one of LF alone."""
    return rest.endswith((b"\r\n\r\n", b"\r\r"))


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _shown(line: bytes) -> str:
    return _start(line.decode("utf-8", "replace"))


def _start(text: str) -> str:
    return repr(text[:80])[1:-1] + ("…" if len(text) > 80 else "")


def _blame(payload: str, error: ValueError) -> str:
    return f"{_start(payload)} ({error})" if payload.strip() else "data without content"
