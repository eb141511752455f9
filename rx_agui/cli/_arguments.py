"""The argument parser: the commands, and what each option changes for the user."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any

import rx_agui
from rx_agui.cli._asking import (
    DOCTOR,
    LINT,
    TAIL,
    doctor_options,
    lint_options,
    tail_options,
)
from rx_agui.errors import ConfigError

__all__ = ["as_typed", "parser"]


def parser(typed: Sequence[str] = ()) -> ArgumentParser:
    """Return the parser of the command line.

    `parse_args` gives the `command`; its settings, under the names that the operators
    use; and `options`, the names that the user types.

    Args:
        typed: The arguments that it will parse. Only the command that they name gets
            its options, since some defaults are the operators' (0.3 s to import).
    """
    chosen = next((word for word in typed if not word.startswith("-")), "")
    root = ArgumentParser(
        prog="rx-agui",
        description="Streams of AG-UI events, from an agent to a browser.",
        epilog="rx-agui COMMAND --help explains a command and its options.",
    )
    root.add_argument(
        "--version", action="version", version=f"rx-agui {rx_agui.__version__}"
    )
    commands = root.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, add_options, help_, description in (
        ("encode", _encode_options, "JSON events to Server-Sent Events", _ENCODE),
        ("decode", _no_options, "Server-Sent Events to JSON events", _DECODE),
        ("tail", tail_options, "the events of a server, as they come", TAIL),
        ("lint", lint_options, "what an AG-UI client would choke on", LINT),
        ("doctor", doctor_options, "what proxies do to a stream", DOCTOR),
        ("demo", _demo_options, "serve a simulated agent to look at", _DEMO),
        ("marbles", _marbles_options, "play marble drawings", _MARBLES),
        ("bench", _no_options, "moved to the repository's tests/benchmarks", _BENCH),
    ):
        command = commands.add_parser(
            name,
            help=help_,
            description=description,
            formatter_class=RawDescriptionHelpFormatter,
        )
        if name == chosen:
            add_options(command)
        # argparse has no public way to list the options that were added.
        options = {
            a.dest: a.option_strings[-1]
            for a in command._actions  # noqa: SLF001 (argparse shows no other way)
            if a.option_strings
        }
        command.set_defaults(options=options)
    return root


def _marbles_options(command: ArgumentParser) -> None:
    command.add_argument("files", nargs="+", metavar="FILE", help="a .marble file")
    command.add_argument(
        "--svg", metavar="DIR", help="draw each as a picture in this folder"
    )
    command.add_argument(
        "--operators",
        action="append",
        default=[],
        metavar="MODULE",
        help="a module of yours whose public functions are operators that the drawings "
        "may name, such as my.module; may be given more than once",
    )


def as_typed(error: ConfigError, asked: Namespace) -> str:
    """Return the error's text with the option's name: `batch_size` is `--batch` here."""
    option = asked.options.get(error.name, error.name)
    return f"{option}{str(error).removeprefix(error.name)}"


_ENCODE = """\
Reads one JSON event a line on standard input and writes Server-Sent Events on
standard output, as they come:

    rx-agui encode < events.jsonl > events.sse
    tail -f events.jsonl | rx-agui encode --profile agui

Blank lines are ignored. A line that is not a JSON object ends it (status 2),
behind all that came before."""

_MARBLES = """\
Plays marble drawings on virtual time, against rx_agui's operators or your own, and
shows those that are not true beside what happened (status 2):

    rx-agui marbles marbles/*.marble --svg pictures
    rx-agui marbles mine.marble --operators my.module"""

_BENCH = """\
The benchmark is no longer part of the package. It runs from a checkout of the
repository:

    python -m tests.benchmarks"""

_DECODE = """\
Reads Server-Sent Events of either profile on standard input and writes one JSON
event a line on standard output, as they come:

    curl -sN 'http://127.0.0.1:8000/run?profile=chunk' | rx-agui decode

A stream that was cut, or that is no stream of events, ends it (status 2), behind all
that came whole."""

_DEMO = """\
Serves a simulated agent run over HTTP, to see a stream without having an agent:

    rx-agui demo
    curl -N http://127.0.0.1:8000/run

Needs the extra `serve`: pip install "rx-agui[serve]"."""


def _encode_options(command: ArgumentParser) -> None:
    from rx_agui.operators import batch, chunk, compress

    command.add_argument(
        "--batch",
        dest="batch_size",
        type=int,
        default=_default(batch, "batch_size"),
        metavar="N",
        help="events that may leave together. 1 sends each by itself; a large number "
        "compresses better and costs the reader less (default: %(default)s)",
    )
    command.add_argument(
        "--batch-timeout",
        type=float,
        default=_default(batch, "batch_timeout"),
        metavar="S",
        help="seconds the first event of a batch may wait for others. Longer fills "
        "batches; above 0.1, text begins to stutter (default: %(default)s)",
    )
    command.add_argument(
        "--profile",
        choices=("agui", "chunk"),
        default="chunk",
        help="the wire format. agui: for every AG-UI client. chunk: clients of rx_agui, "
        "in less bytes; the next four options are for this one (default: %(default)s)",
    )
    command.add_argument(
        "--compress",
        dest="algorithm",
        metavar="ALG",
        help="gzip or deflate, which every browser reads; lz4, the fastest; zstd, "
        "small and fast, if it is installed; none "
        f"(default: {_default(compress, 'algorithm')})",
    )
    command.add_argument(
        "--level",
        type=int,
        metavar="N",
        help="how hard to try: a high level is smaller and slower. Each algorithm has "
        "its own scale (default: 6 for gzip and deflate, 0 for lz4, 3 for zstd)",
    )
    command.add_argument(
        "--min-size",
        type=int,
        metavar="N",
        help="bytes below which a batch passes as it is: a small one hardly shrinks "
        f"(default: {_default(compress, 'min_size')})",
    )
    command.add_argument(
        "--max-chunk-size",
        type=int,
        metavar="N",
        help="bytes in a piece. Small pieces pass where large ones get stuck, and "
        f"cost a few bytes each (default: {_default(chunk, 'max_chunk_size')})",
    )


def _no_options(_: ArgumentParser) -> None:
    """Add no options."""


def _demo_options(command: ArgumentParser) -> None:
    command.add_argument(
        "--host",
        default="127.0.0.1",
        help="where to listen. The default can be reached from this machine alone "
        "(default: %(default)s)",
    )
    command.add_argument(
        "--port",
        type=int,
        default=8000,
        metavar="PORT",
        help="0 takes one that is free, and says which (default: %(default)s)",
    )
    command.add_argument(
        "--rate",
        type=float,
        default=30.0,
        metavar="N",
        help="events a second. 30 is a model that types quickly; 1000 shows how "
        "batches fill (default: %(default)g)",
    )
    command.add_argument(
        "--words",
        type=int,
        default=200,
        metavar="N",
        help="how much the agent has to say (default: %(default)s)",
    )


def _default(operator: Callable[..., Any], setting: str) -> Any:
    return signature(operator).parameters[setting].default
