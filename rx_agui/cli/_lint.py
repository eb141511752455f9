"""rx-agui lint: what an AG-UI client would choke on, at a URL or in a file."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from pathlib import Path

from rx_agui.cli._asking import Asking
from rx_agui.cli._pipes import unbuffered
from rx_agui.client._request import require_httpx
from rx_agui.errors import RefusedError, TransportError, require_positive
from rx_agui.lint import Finding
from rx_agui.lint import lint as lint_bytes

__all__ = ["lint"]

#: Bytes to look at.
_ENOUGH = 32 * 1024 * 1024


def lint(asked: Namespace) -> int:
    """Do it. The status says whether a client would fail."""
    require_positive(max_time=asked.max_time)
    headers: dict[str, str] | None = None
    is_whole = True
    if asked.url == "-":
        data = unbuffered(sys.stdin, "standard input").read()
    elif asked.url.startswith(("http://", "https://")):
        data, headers, is_whole = _fetch(Asking(asked), asked.max_time)
    else:
        data = Path(asked.url).read_bytes()
    findings = lint_bytes(data, headers)
    if not is_whole:  # that it ends here is our doing
        findings = [f for f in findings if f.rule not in ("cut-off", "no-end")]
        print(f"stopped listening after {asked.max_time:g} s", file=sys.stderr)
    for finding in findings:
        print(_shown(finding))
    fatal = sum(finding.severity == "fatal" for finding in findings)
    print(f"{fatal} fatal, {len(findings) - fatal} warnings, in {len(data)} bytes")
    return 3 if fatal else 0


def _shown(finding: Finding) -> str:
    fails = f" (@ag-ui/client {', '.join(finding.fails)})" if finding.fails else ""
    return (
        f"{finding.severity}: {finding}\n"
        f"    a client: {finding.effect}{fails}\n"
        f"    right:    {finding.instead}\n"
    )


def _fetch(asking: Asking, max_time: float) -> tuple[bytes, dict[str, str], bool]:
    """The body as it came over the wire, its headers, and whether it is whole."""
    httpx = require_httpx()
    headers = {"accept": "text/event-stream", "accept-encoding": "gzip, deflate"}
    until = time.monotonic() + max_time
    body = bytearray()
    try:
        with httpx.stream(
            asking.method,
            asking.url,
            headers=headers | asking.headers,
            content=asking.content,
            follow_redirects=True,
            timeout=httpx.Timeout(max_time, connect=min(max_time, 10.0)),
        ) as response:
            if response.status_code != 200:
                text = response.read()[:500].decode("utf-8", "replace")
                raise RefusedError(
                    asking.url, response.status_code, " ".join(text.split())
                )
            named = {n.lower(): v for n, v in response.headers.items()}
            try:
                for piece in response.iter_raw():
                    body += piece
                    if time.monotonic() > until or len(body) > _ENOUGH:
                        return bytes(body), named, False
            except httpx.ReadTimeout:
                return bytes(body), named, False
            except httpx.TransportError as error:
                print(f"broken off: {error}", file=sys.stderr)
            return bytes(body), named, True
    except httpx.TransportError as error:
        raise TransportError(f"{asking.url}: {error}") from error
