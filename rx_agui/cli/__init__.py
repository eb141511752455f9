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
_pipes                                 standard input and output, and who waits
_progress                              the line that says how far it is
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Sequence

from rx_agui.cli._arguments import as_typed, parser
from rx_agui.cli._decode import decode
from rx_agui.cli._demo import demo
from rx_agui.cli._doctor import doctor
from rx_agui.cli._encode import encode
from rx_agui.cli._lint import lint
from rx_agui.cli._marbles import marbles
from rx_agui.cli._pipes import UsageError
from rx_agui.cli._tail import tail
from rx_agui.errors import (
    ConfigError,
    ReplayError,
    StreamError,
    TransportError,
)

__all__ = ["main"]


def _bench(_: Namespace) -> None:
    raise UsageError(
        "the benchmark left the package; from a checkout of the repository: "
        "python -m tests.benchmarks"
    )


_COMMANDS: dict[str, Callable[[Namespace], int | None]] = {
    "encode": encode,
    "decode": decode,
    "tail": tail,
    "lint": lint,
    "doctor": doctor,
    "demo": demo,
    "marbles": marbles,
    "bench": _bench,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Do what was typed, and say how it went.

    Returns:
        The exit status a shell expects.

            0    done
            1    refused: a full disk, a port in use; a server that cannot be
                 reached, answers with an error or breaks off
            2    what was typed, or what came in, makes no sense
            3    the answer is no: a run that ended with RUN_ERROR (tail), a stream
                 that clients fail at (lint), something in the way (doctor)
            130  interrupted (Ctrl-C)
            141  nobody reads on (`| head -1`)
    """
    arguments = parser()
    asked = arguments.parse_args(argv)
    if asked.command is None:
        arguments.print_help()
        return 0
    try:
        return _COMMANDS[asked.command](asked) or 0
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


def _complain(command: str, why: str, status: int) -> int:
    if sys.stderr is not None:  # `2>&-`
        print(f"rx-agui {command}: {why}", file=sys.stderr)
    return status
