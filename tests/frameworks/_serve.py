"""Serve an example on a port: with its middleware, or as the framework ships it.

python _serve.py EXAMPLE PORT middleware|stock
"""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

import uvicorn

import rx_agui.asgi


class _Stock:
    """Stand in for AGUIMiddleware: the app as it is."""

    def __init__(self, app: Any, **_: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


def main(example: str, port: str, how: str) -> None:
    """Import the example and serve its `app`."""
    if how == "stock":
        rx_agui.asgi.AGUIMiddleware = _Stock  # type: ignore[misc, assignment]
    spec = importlib.util.spec_from_file_location("example", example)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["example"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    uvicorn.run(module.app, port=int(port), log_level="error")


if __name__ == "__main__":
    main(*sys.argv[1:4])
