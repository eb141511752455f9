"""Serve an example on a port: with its middleware, or as the framework ships it.

python _serve.py EXAMPLE PORT HOW [WORDS [FAILS]]

HOW:
    middleware  as the example has it
    stock       as the framework ships it
    conflated   with `conflate="always"` and without RAW events
    http        stock, in an `@app.middleware("http")`
    http+       the middleware in an `@app.middleware("http")`
    gzip+       the middleware in GZipMiddleware

WORDS: How many the scripted model says, instead of 40.
FAILS: At which of them it fails if it is asked to, instead of 20.

`GET /begun` says how many times the endpoint was asked for a body, and how many of the
bodies ended.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import uvicorn
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware

import rx_agui.asgi


class _Counted:
    """The app inside: how often its body began and how often it ended."""

    begun = ended = 0

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        has_begun = False

        async def counted(message: Any) -> None:
            nonlocal has_begun
            await send(message)
            if message["type"] == "http.response.start":  # behind its head
                has_begun = True
                _Counted.begun += 1

        try:
            await self.app(scope, receive, counted)
        finally:
            _Counted.ended += has_begun


class _Told:
    """The app outside: `GET /begun`."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] != "/begun":
            await self.app(scope, receive, send)
            return
        body = b"[%d,%d]" % (_Counted.begun, _Counted.ended)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})


def main(
    example: str, port: str, how: str, words: str = "40", fails: str = "20"
) -> None:
    """Import the example and serve its `app`."""
    ours = rx_agui.asgi.AGUIMiddleware

    def made(app: Any, **settings: Any) -> Any:
        if how == "conflated":
            settings |= {"conflate": "always", "raw": "drop"}
        counted = _Counted(app)
        return counted if how in ("stock", "http") else ours(counted, **settings)

    rx_agui.asgi.AGUIMiddleware = made  # type: ignore[misc, assignment]
    spec = importlib.util.spec_from_file_location("example", example)
    assert spec is not None
    module = sys.modules["example"] = importlib.util.module_from_spec(spec)
    source = Path(example).read_text("utf-8").replace("range(40)", f"range({words})")
    source = source.replace("== 20", f"== {fails}")
    exec(compile(source, example, "exec"), module.__dict__)
    app = module.app
    if how.startswith("http"):

        async def untouched(request: Any, call_next: Any) -> Any:
            return await call_next(request)

        app.add_middleware(BaseHTTPMiddleware, dispatch=untouched)
    if how == "gzip+":
        app.add_middleware(GZipMiddleware)
    uvicorn.run(_Told(app), port=int(port), log_level="error")


if __name__ == "__main__":
    main(*sys.argv[1:6])
