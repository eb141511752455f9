"""What a request asks for: read from its ASGI scope, and nowhere else.

Last-Event-ID: run-7@5f2c…/41   or ?last_event_id=run-7@5f2c…/41
Accept: text/event-stream;resume=1, text/event-stream
?join=1                         a reader that wants to see a run, and not to start one
Rx-Agui-Stop: 1                 the run is to end
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NamedTuple
from urllib.parse import parse_qs, quote, unquote

__all__ = [
    "PROTOBUF",
    "Cursor",
    "Message",
    "Receive",
    "Request",
    "Send",
    "event_id_stem",
]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

#: Digits of a number, at most, and of an epoch.
_DIGITS = 19
_EPOCH = re.compile("[0-9a-f]{32}")

#: What `@ag-ui/proto` reads, and we do not write.
PROTOBUF = "application/vnd.ag-ui.event+proto"

#: What a client accepts that reads our responses, and a weight that says it does not.
_EVENT_STREAM = frozenset(("text/event-stream", "text/*", "*/*"))
_REFUSED = re.compile(r"(?:^|;)\s*q=0(?:\.0*)?\s*(?:;|$)")


class Cursor(NamedTuple):
    """How far a reader has come: the last id it has taken.

    Attributes:
        stream: The name of the stream; None if it is no `<stream>/<number>`.
        number: The last event it has; 0: none.
        epoch: Which run of that name; empty if the id has none.
    """

    stream: str | None
    number: int
    epoch: str = ""

    @classmethod
    def read(cls, event_id: str) -> Cursor:
        """Read an id.

        >>> Cursor.read("run%2F7@00112233445566778899aabbccddeeff/41")
        Cursor(stream='run/7', number=41, epoch='00112233445566778899aabbccddeeff')
        >>> Cursor.read("run%2F7/41")
        Cursor(stream='run/7', number=41, epoch='')
        >>> Cursor.read("41")
        Cursor(stream=None, number=0, epoch='')
        """
        stem, slash, digits = event_id.rpartition("/")
        readable = digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS
        if not (slash and stem and readable):
            return cls(None, 0)
        name, _, epoch = stem.rpartition("@")
        if not name or not _EPOCH.fullmatch(epoch):
            name, epoch = stem, ""
        return cls(unquote(name, errors="surrogatepass"), int(digits), epoch)


def event_id_stem(stream: str) -> str:
    """Return the part of a stream's ids before the slash: ASCII, without a slash."""
    return quote(stream, safe="", errors="surrogatepass")


class Request:
    """One HTTP request, as far as it concerns us.

    Attributes:
        cursor: Where to go on; None: the reader has seen nothing.
        resumes: Whether the client comes back by itself when its connection ends.
        join: The value of `?join=`; empty: it may start a run.
        stops: Whether the run is to end.
        wants_protobuf: Whether it accepts AG-UI's protobuf, and Server-Sent Events not
            at all.
    """

    def __init__(self, scope: Message) -> None:
        headers: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            name = name.lower()
            headers[name] = headers[name] + b", " + value if name in headers else value
        self.method: str = scope["method"]
        self.path: str = scope.get("path", "")
        self._headers = headers
        query_string: bytes = scope.get("query_string", b"")
        query = parse_qs(query_string.decode("latin-1"), keep_blank_values=True)
        # An EventSource asks again with the URL it was made with, so its header is newer.
        event_id = self.header(b"last-event-id") or query.get("last_event_id", [""])[-1]
        self.cursor = Cursor.read(event_id) if event_id else None
        join = query.get("join", [""])[-1]
        self.join = "" if join == "0" else join
        self.stops = self.header(b"rx-agui-stop") == "1" and self.method == "POST"
        accept = headers.get(b"accept", b"")
        self.wants_protobuf = b"proto" in accept and _is_protobuf_alone(accept)
        self.resumes = self.cursor is not None or _says_resume(self.header(b"accept"))

    def header(self, name: bytes) -> str | None:
        """Return a header's value; None if it was not sent."""
        value = self._headers.get(name)
        return None if value is None else value.decode("latin-1")


def _is_protobuf_alone(accept: bytes) -> bool:
    items = (
        item.partition(";") for item in accept.decode("latin-1").lower().split(",")
    )
    kinds = {kind.strip() for kind, _, weight in items if not _REFUSED.search(weight)}
    return PROTOBUF in kinds and not kinds & _EVENT_STREAM


def _says_resume(accept: str | None) -> bool:
    for item in (accept or "").lower().split(","):
        kind, *parameters = (part.strip() for part in item.split(";"))
        if kind == "text/event-stream" and "resume=1" in parameters:
            return True
    return False
