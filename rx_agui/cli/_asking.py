"""How a URL is asked, by the commands that ask one: what may be typed, and what it does."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from rx_agui.cli._pipes import UsageError

__all__ = [
    "DOCTOR",
    "LINT",
    "TAIL",
    "Asking",
    "asking",
    "doctor_options",
    "lint_options",
    "tail_options",
]

TAIL = """\
Asks a server for a stream and writes one JSON event a line on standard output, as
they come. Reads both wire profiles, and the stream of any AG-UI server:

    rx-agui tail http://127.0.0.1:8000/run
    rx-agui tail URL --json '{"threadId":"t","runId":"r",...}' -H 'Authorization: ...'

A connection that breaks is made again and goes on behind the last event, if the
server's events have ids to come back with. The status is 0 behind RUN_FINISHED, 3
behind RUN_ERROR, 1 if it was cut off.

Needs the extra `client`: pip install "rx-agui[client]"."""

LINT = """\
Names everything in a stream that an AG-UI client would choke on, and what would be
right. FILE may be a recorded body, - standard input:

    rx-agui lint http://127.0.0.1:8000/run --json @input.json
    curl -sN URL | rx-agui lint -

"fatal" is what the unmodified @ag-ui/client fails at, "error" what it takes for a success
though the run is not whole (status 1 for both)."""

DOCTOR = """\
Measures what lies between a server and its readers: lag, buffering, recompression,
idle time-outs, headers that are lost. Mount rx_agui.doctor.probe, an ASGI application,
at your server, and ask for it by the public URL:

    rx-agui doctor https://example.com/probe

Of any other stream it tells what can be seen from outside. The status is 3 if
something is in the way.

Needs the extra `client`: pip install "rx-agui[client]"."""


class Asking:
    """What was typed, as `connect` and httpx take it."""

    def __init__(self, asked: Namespace) -> None:
        self.url: str = asked.url
        self.headers = dict(_header(text) for text in asked.header)
        self.content = _body(asked)
        if asked.json is not None:
            self.headers.setdefault("content-type", "application/json")
        default = "GET" if self.content is None else "POST"
        self.method: str = (asked.method or default).upper()


def asking(command: ArgumentParser, *, what: str = "where to ask") -> None:
    """Add the options that say how a URL is asked."""
    command.add_argument("url", metavar="URL", help=what)
    command.add_argument(
        "-H",
        "--header",
        action="append",
        default=[],
        metavar="'NAME: VALUE'",
        help="a header to send; may be given more than once",
    )
    command.add_argument(
        "--json",
        metavar="JSON",
        help="what to send: an AG-UI RunAgentInput. @FILE reads it from there, @- from "
        "standard input",
    )
    command.add_argument(
        "--data", metavar="TEXT", help="the same, without saying that it is JSON"
    )
    command.add_argument(
        "--method", metavar="NAME", help="the default is POST with something to send"
    )


def tail_options(command: ArgumentParser) -> None:
    """Of rx-agui tail."""
    asking(command)
    command.add_argument(
        "--from",
        dest="last_event_id",
        default="",
        metavar="ID",
        help="begin behind this event, such as run-7/41",
    )
    command.add_argument(
        "--no-resume",
        dest="resume",
        action="store_false",
        help="do not come back when the connection breaks",
    )
    command.add_argument(
        "--read-timeout",
        type=float,
        default=60.0,
        metavar="S",
        help="seconds of silence after which a connection counts as dead; 0 waits for "
        "ever (default: %(default)g)",
    )
    command.add_argument(
        "--stats", action="store_true", help="say at the end how it went"
    )


def lint_options(command: ArgumentParser) -> None:
    """Of rx-agui lint."""
    asking(command, what="where to ask; or a file, or - for standard input")
    command.add_argument(
        "--max-time",
        type=float,
        default=60.0,
        metavar="S",
        help="seconds to listen at most; what has come by then is judged "
        "(default: %(default)g)",
    )


def doctor_options(command: ArgumentParser) -> None:
    """Of rx-agui doctor."""
    asking(command, what="where the probe is mounted, or any stream")
    command.add_argument(
        "--silence",
        type=float,
        default=65.0,
        metavar="S",
        help="seconds of silence to try. Most proxies give up at 60 "
        "(default: %(default)g)",
    )
    command.add_argument(
        "--keep-alive",
        type=float,
        default=15.0,
        metavar="S",
        help="seconds between the keep-alives of the second silence "
        "(default: %(default)g)",
    )


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise UsageError(f"--header must be 'NAME: VALUE', got {text!r}")
    return name.strip().lower(), value.strip()


def _body(asked: Namespace) -> bytes | None:
    if asked.json is not None and asked.data is not None:
        raise UsageError("--json and --data are two ways to say the same: choose one")
    given: Any = asked.json if asked.json is not None else asked.data
    if given is None:
        return None
    if given == "@-":
        return sys.stdin.buffer.read()
    if given.startswith("@"):
        return Path(given[1:]).read_bytes()
    return str(given).encode()
