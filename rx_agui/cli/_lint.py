"""rx-agui lint: what an AG-UI client would choke on, at a URL or in a file."""

from __future__ import annotations

import asyncio
import sys
from argparse import Namespace
from pathlib import Path

from rx_agui.cli._asking import Asking
from rx_agui.cli._pipes import shown, unbuffered
from rx_agui.client._request import Request, ask, reason_of, require_httpx
from rx_agui.errors import RefusedError, TransportError, require_positive
from rx_agui.lint import Finding
from rx_agui.lint import lint as lint_bytes

__all__ = ["lint"]

#: Bytes to look at.
_ENOUGH = 32 * 1024 * 1024


def lint(asked: Namespace) -> int:
    """Judge a URL, a file or standard input.

    Returns:
        1 if a client fails, or takes what is not whole for a success; else 0.
    """
    require_positive(max_time=asked.max_time)
    headers: dict[str, str] | None = None
    is_whole = True
    if asked.url == "-":
        data = unbuffered(sys.stdin, "standard input").read()
    elif asked.url.startswith(("http://", "https://")):
        data, headers, is_whole = asyncio.run(_fetch(Asking(asked), asked.max_time))
    else:
        data = Path(asked.url).read_bytes()
    findings = lint_bytes(data, headers)
    if not is_whole:  # that it ends here is our doing
        findings = [f for f in findings if f.rule not in ("cut-off", "no-end")]
        print(f"stopped listening after {asked.max_time:g} s", file=sys.stderr)
    for finding in findings:
        print(shown(_told(finding)))
    severities = [finding.severity for finding in findings]
    fatal, errors, warnings = map(severities.count, ("fatal", "error", "warning"))
    counts = f"{fatal} fatal, {_count(errors, 'error')}, {_count(warnings, 'warning')}"
    print(f"{counts}, in {len(data)} bytes")
    return 1 if fatal or errors else 0


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _told(finding: Finding) -> str:
    fails = f" (@ag-ui/client {', '.join(finding.fails)})" if finding.fails else ""
    return (
        f"{finding.severity}: {finding}\n"
        f"    a client: {finding.effect}{fails}\n"
        f"    right:    {finding.instead}\n"
    )


async def _fetch(asking: Asking, max_time: float) -> tuple[bytes, dict[str, str], bool]:
    """Return the body as it was on the wire, its headers, and whether it is whole.

    Raises:
        RefusedError: The status is not 200, or it redirects the body to another origin.
        TransportError: No answer came.
    """
    httpx = require_httpx()
    request = Request(
        asking.method,
        asking.url,
        {"accept-encoding": "gzip, deflate"} | asking.headers,
        asking.content,
        auth=None,
        connect_timeout=min(max_time, 10.0),
        resumes=False,
    )
    body = bytearray()
    named: dict[str, str] = {}
    try:
        async with asyncio.timeout(max_time), httpx.AsyncClient() as client:
            response, _ = await ask(client, request, "")
            if response.status_code != 200:
                why = await reason_of(response)
                raise RefusedError(asking.url, response.status_code, why)
            named = {n.lower(): v for n, v in response.headers.items()}
            async for piece in response.aiter_raw():
                body += piece
                if len(body) > _ENOUGH:
                    return bytes(body), named, False
    except TimeoutError:
        if not named:
            raise TransportError(f"{asking.url}: no answer in {max_time:g} s") from None
        return bytes(body), named, False
    except httpx.TransportError as error:
        if not named:
            raise TransportError(f"{asking.url}: {error}") from error
        print(f"broken off: {shown(str(error))}", file=sys.stderr)
    return bytes(body), named, True
