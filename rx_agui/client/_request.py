"""One question to a server: what is sent, and which answers are streams.

    POST /run                                       the same again, with
    Accept: text/event-stream;resume=1, ...         Last-Event-ID: run-7/41

httpx does the talking. Redirects are followed here, since within one origin a POST must
stay one: a browser turns it into a GET at a 301, and the run's input would be lost. To
another origin go neither the body nor the caller's headers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from rx_agui.codecs.negotiation import accepted_encodings, decoder
from rx_agui.errors import (
    GoneError,
    MissingExtraError,
    RefusedError,
    StreamError,
    TransportError,
    WireError,
)

if TYPE_CHECKING:
    import httpx

__all__ = [
    "Request",
    "TryAgain",
    "ask",
    "is_same_origin",
    "reason_of",
    "require_httpx",
    "require_stream",
]

#: What says that the same request may well be answered in a moment.
_TRANSIENT = (408, 425, 429, 502, 503, 504)

_REDIRECTS = (301, 302, 303, 307, 308)

_MAX_REDIRECTS = 20

#: Headers that may go to another origin. An allow list, since keys have any name
#: (X-API-Key, Api-Key, X-Auth-Token); the cursor is what a moved server knows itself.
_ANYWHERE = frozenset(
    (
        "accept",
        "accept-encoding",
        "accept-language",
        "cache-control",
        "connection",
        "host",
        "last-event-id",
        "user-agent",
    )
)

#: Bytes of an error's body to show.
_REASON = 500

#: Seconds it may take to come. The status alone says what is to be done.
_SOON = 5.0

#: Some servers of AG-UI say less exactly what they send. HTML is a log-in page.
_STREAMS = ("text/event-stream", "text/plain", "application/json", "")


class TryAgain(Exception):
    """The server cannot answer just now."""

    def __init__(self, why: str, at_least: float) -> None:
        super().__init__(why)
        self.at_least = at_least


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked; the same each time, but for the cursor."""

    method: str
    url: str
    headers: Mapping[str, str]
    content: bytes | None
    auth: Any
    connect_timeout: float | None
    resumes: bool
    is_elsewhere: bool = False


def require_httpx() -> Any:
    """httpx, which not everybody who writes streams needs."""
    try:
        import httpx
    except ImportError:
        raise MissingExtraError("rx_agui.client", "httpx", "client") from None
    return httpx


async def ask(
    client: httpx.AsyncClient, request: Request, cursor: str
) -> tuple[httpx.Response, Request]:
    """Return the answer to the request, and what to ask the next time: it may have moved.

    Raises:
        TransportError: It is sent from one place to the next without an end.
        httpx.TransportError: No answer.
    """
    home = asked = request
    for _ in range(_MAX_REDIRECTS + 1):
        response = await _send(client, asked, cursor)
        if response.status_code not in _REDIRECTS or "location" not in response.headers:
            return response, home
        await response.aclose()
        moved = _redirected(asked, response)
        if home is asked and response.status_code in (301, 308):
            home = moved  # for good, and so was the way there
        asked = moved
    raise TransportError(f"{request.url}: more than {_MAX_REDIRECTS} redirects")


async def _send(
    client: httpx.AsyncClient, request: Request, cursor: str
) -> httpx.Response:
    httpx = require_httpx()
    headers = {
        "accept": "text/event-stream",
        "accept-encoding": accepted_encodings(),
        "cache-control": "no-store",
    }
    if request.resumes:
        headers["accept"] = "text/event-stream;resume=1, text/event-stream"
    headers |= request.headers
    outgoing = client.build_request(
        request.method,
        request.url,
        headers=headers,
        content=request.content,
        timeout=httpx.Timeout(None, connect=request.connect_timeout),
    )
    if cursor:  # in UTF-8, as a browser sends it
        outgoing.headers["last-event-id"] = cursor
    auth = httpx.USE_CLIENT_DEFAULT if request.auth is None else request.auth
    if request.is_elsewhere:  # what a client adds is for the origin it was made for
        auth = None
        for name in outgoing.headers.keys() - _ANYWHERE:
            del outgoing.headers[name]
        _add_cookies_of_hosts(client, outgoing)
    return await client.send(outgoing, auth=auth, stream=True, follow_redirects=False)


def _add_cookies_of_hosts(client: httpx.AsyncClient, outgoing: httpx.Request) -> None:
    """Add the client's cookies that name a host; httpx sends the others anywhere."""
    cookies = require_httpx().Cookies()
    for cookie in client.cookies.jar:
        if cookie.domain:
            cookies.jar.set_cookie(cookie)
    cookies.set_cookie_header(outgoing)


def _redirected(request: Request, response: httpx.Response) -> Request:
    """Return the request to send where a response points.

    Raises:
        RefusedError: It points to no HTTP URL, or asks for the body to be sent to another
            origin (307, 308).
    """
    target = response.url.join(response.headers["location"])
    if target.scheme not in ("http", "https"):
        raise RefusedError(
            request.url, response.status_code, f"it redirects to {target}"
        )
    headers, is_get = dict(request.headers), response.status_code == 303
    if not is_same_origin(response.url, target):
        if request.content is not None and response.status_code in (307, 308):
            why = f"it redirects to {target}, and the body goes to no other origin"
            raise RefusedError(request.url, response.status_code, why)
        is_get = is_get or request.content is not None  # as browsers do
        headers = {n: v for n, v in headers.items() if n in _ANYWHERE - {"host"}}
        request = replace(request, is_elsewhere=True)
    moved = replace(request, url=str(target), headers=headers)
    if is_get:
        headers.pop("content-type", None)
        moved = replace(moved, method="GET", content=None)
    return moved


def is_same_origin(here: httpx.URL, there: httpx.URL) -> bool:
    """Return True if secrets may go there too: the same origin, or TLS added to it."""
    if here.host != there.host:
        return False
    if (here.scheme, _port(here)) == (there.scheme, _port(there)):
        return True
    return (_port(here), _port(there)) == (80, 443) and there.scheme == "https"


def _port(url: httpx.URL) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


async def require_stream(response: httpx.Response) -> None:
    """Return if the answer is a stream.

    Raises:
        TryAgain: Not now.
        Gone: 410.
        Refused: Another status that is no stream.
        WireError: It is something else, such as a page to log in.
    """
    status = response.status_code
    if status == 200:
        kind = response.headers.get("content-type", "").partition(";")[0]
        if kind.strip().lower() not in _STREAMS:
            raise WireError(f"{response.url} sends {kind}, not text/event-stream")
        return
    reason = await reason_of(response)
    if status in _TRANSIENT:
        raise TryAgain(f"{status} {reason}", _retry_after(response))
    kind_of_error = GoneError if status == 410 else RefusedError
    raise kind_of_error(str(response.url), status, reason)


async def reason_of(response: httpx.Response) -> str:
    """Return the start of an error's body, if it comes soon, else the reason phrase."""
    httpx = require_httpx()
    body = b""
    try:
        decode = decoder(response.headers.get("content-encoding", ""))
        async with asyncio.timeout(_SOON):
            async for raw in response.aiter_raw():
                for piece in decode(raw):
                    body += piece
                    if len(body) >= _REASON:
                        break
                if len(body) >= _REASON:
                    break
    except (TimeoutError, httpx.TransportError, StreamError):
        pass  # the status alone says what is to be done
    text = " ".join(body[:_REASON].decode("utf-8", "replace").split())
    return text or response.reason_phrase or "no reason given"


def _retry_after(response: httpx.Response) -> float:
    value = response.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return 0.0
