"""The command line: a stream of events through the terminal's own pipes.

    rx-agui encode < events.jsonl        events to Server-Sent Events
    curl -sN URL | rx-agui decode        and back
    rx-agui demo                         a simulated agent, to look at
    rx-agui marbles FILE                 play marble drawings, and draw them
    rx-agui bench                        how fast it is here, beside others

_arguments                             what may be typed, and what each option is for
_encode, _decode, _demo, _marbles, _bench  the commands
_pipes                                 standard input and output, and who waits
_progress                              the line that says how far it is
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rx_agui.cli._arguments import UsageError, as_typed, parser
from rx_agui.cli._bench import bench
from rx_agui.cli._decode import decode
from rx_agui.cli._demo import demo
from rx_agui.cli._encode import encode
from rx_agui.cli._marbles import marbles
from rx_agui.errors import ConfigError, StreamError

__all__ = ["main"]

_COMMANDS = {
    "encode": encode,
    "decode": decode,
    "demo": demo,
    "marbles": marbles,
    "bench": bench,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Do what was typed, and say how it went.

    Returns:
        The exit status a shell expects.

            0    done
            1    the operating system refused: a full disk, a port in use
            2    what was typed, or what came in, makes no sense
            130  interrupted (Ctrl-C)
            141  nobody reads on (`| head -1`)
    """
    arguments = parser()
    asked = arguments.parse_args(argv)
    if asked.command is None:
        arguments.print_help()
        return 0
    try:
        _COMMANDS[asked.command](asked)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 141
    except ConfigError as error:
        return _complain(asked.command, as_typed(error, asked), 2)
    except (UsageError, StreamError) as error:
        return _complain(asked.command, str(error), 2)
    except OSError as error:
        return _complain(asked.command, error.strerror or str(error), 1)
    return 0


def _complain(command: str, why: str, status: int) -> int:
    if sys.stderr is not None:  # `2>&-`
        print(f"rx-agui {command}: {why}", file=sys.stderr)
    return status
