"""The client for browsers and Node, ready to be served.

    rx-agui.mjs    resumes runs under an unmodified AG-UI client, and without one
    demo.html      a page on it, which `rx-agui demo` shows

There is nothing to build and nothing to fetch from elsewhere: what was installed with
the package is what a page imports.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from functools import cache
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Final

__all__ = ["MODULE", "PAGE", "BrowserFile", "module", "page"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

#: Where they are, to be copied or served in any other way.
MODULE: Final = files(__name__) / "rx-agui.mjs"
PAGE: Final = files(__name__) / "demo.html"

#: What mimetypes knows depends on the machine, and of any other a browser refuses a module.
_TYPES: Final = {
    "mjs": b"text/javascript; charset=utf-8",
    "html": b"text/html; charset=utf-8",
}


class BrowserFile:
    """A file as an ASGI application, whatever the path it is asked under.

    With Starlette or FastAPI it is one line:

    >>> from starlette.applications import Starlette
    >>> app = Starlette()
    >>> app.add_route("/rx-agui.mjs", module)

    and in the page `import { resumable } from "/rx-agui.mjs"`.

    A browser asks each time whether the file has changed, and is told in a few bytes
    that it has not: so an upgrade is felt at once, in every tab that is loaded anew.

    Args:
        file: Whose type, by its name, is one that browsers know: mjs or html.
    """

    def __init__(self, file: Traversable) -> None:
        self._file = file
        self._type = _TYPES[file.name.rpartition(".")[2]]

    @cache  # noqa: B019  there are two, and they live as long as the process
    def _content(self) -> tuple[bytes, bytes]:
        data = self._file.read_bytes()
        return data, b'"%b"' % sha256(data).hexdigest()[:16].encode()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer GET and HEAD."""
        data, etag = self._content()
        headers = [
            (b"content-type", self._type),
            (b"cache-control", b"no-cache"),
            (b"etag", etag),
            (
                b"vary",
                b"Accept",
            ),  # `rx-agui demo` has something else for who is no browser
            (b"x-content-type-options", b"nosniff"),
        ]
        status, body = 200, data
        if scope["method"] not in ("GET", "HEAD"):
            status, body, headers = 405, b"", [(b"allow", b"GET, HEAD")]
        elif etag in dict(scope["headers"]).get(b"if-none-match", b""):
            status, body = 304, b""
        else:
            headers.append((b"content-length", b"%d" % len(data)))
        if scope["method"] == "HEAD":
            body = b""
        await send(
            {"type": "http.response.start", "status": status, "headers": headers}
        )
        await send({"type": "http.response.body", "body": body})


#: Serve this, and a page can import it.
module: Final = BrowserFile(MODULE)

#: The page of `rx-agui demo`, which wants the module beside it and a run at /run.
page: Final = BrowserFile(PAGE)
