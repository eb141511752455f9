"""The command line: a stream of events through the terminal's own pipes.

    rx-agui encode < events.jsonl        events to Server-Sent Events
    curl -sN URL | rx-agui decode        and back
    rx-agui tail URL                     the events of a server, as they come
    rx-agui lint URL                     what an AG-UI client would choke on
    rx-agui doctor URL                   what proxies on the way do to a stream
    rx-agui demo                         a simulated agent, to look at
    rx-agui marbles FILE                 play marble drawings, and draw them

_arguments                             what may be typed, and what each option is for
_encode, _decode, _tail, _lint         the commands
_doctor, _demo, _marbles
_asking                                how a URL is asked: headers, method, body
_pipes                                 standard input and output
_progress                              a progress line on standard error
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from importlib import import_module

from rx_agui.cli._arguments import as_typed, parser
from rx_agui.cli._pipes import UsageError, shown
from rx_agui.errors import (
    ConfigError,
    ReplayError,
    StreamError,
    TransportError,
)

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that was typed.

    Args:
        argv: The arguments; the default is `sys.argv[1:]`.

    Returns:
        The exit status.

            0    done
            1    refused: a full disk, a port in use; a server that cannot be
                 reached, answers with an error or breaks off; a stream that
                 clients fail at (lint)
            2    what was typed, or what came in, makes no sense
            3    the answer is no: a run that ended with RUN_ERROR (tail), something
                 in the way (doctor)
            130  interrupted (Ctrl-C)
            141  the reader of standard output is gone (`| head -1`)
    """
    typed = sys.argv[1:] if argv is None else list(argv)
    arguments = parser(typed)
    asked = arguments.parse_args(typed)
    if asked.command is None:
        arguments.print_help()
        return 0
    try:
        return _command(asked.command)(asked) or 0
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 141
    except ConfigError as error:
        return _complain(asked.command, as_typed(error, asked), 2)
    except (TransportError, ReplayError) as error:
        return _complain(asked.command, str(error), 1)
    except (UsageError, StreamError) as error:
        return _complain(asked.command, str(error), 2)
    except OSError as error:
        return _complain(asked.command, error.strerror or str(error), 1)


def _command(name: str) -> Callable[[Namespace], int | None]:
    """Import one command: `rx-agui --help` needs none of them."""
    if name == "bench":
        raise UsageError(
            "the benchmark left the package; from a checkout of the repository: "
            "python -m tests.benchmarks"
        )
    command: Callable[[Namespace], int | None]
    command = getattr(import_module(f"rx_agui.cli._{name}"), name)
    return command


def _complain(command: str, why: str, status: int) -> int:
    if sys.stderr is not None:  # `2>&-`
        print(f"rx-agui {command}: {shown(why)}", file=sys.stderr)
    return status
