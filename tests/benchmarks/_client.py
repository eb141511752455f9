"""What conflation is worth to a stock client that applies a flood of tokens.

    flood         START  word word word word word ...  END     2,000 a second
    conflated     START  word word ...│word word ...│  END     an event each 50 ms
                    └────────▶ @ag-ui/client, unmodified, in Node ──▶ processor time

The client copies its messages for every event, so what it costs is how many there are.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

from reactivex.subject import Subject

from rx_agui.agui.encoding import encode
from rx_agui.frame import Frame
from rx_agui.operators import batch, conflate
from rx_agui.testing import MarbleScheduler
from tests.benchmarks._fresh import NotToBeHad
from tests.benchmarks._measure import Spread

__all__ = ["NODE_MODULES", "Applied", "conflated", "costs", "flood", "gained"]

#: The environment variable that names the folder where npm's packages are, if it is not
#: the current one. The folder that has `node_modules`, or one below it.
NODE_MODULES: Final = "RX_AGUI_NODE_MODULES"

TOKENS: Final = 8_000
TOKENS_A_SECOND: Final = 2_000

SCRIPT: Final = files(__package__) / "_client.mjs"

#: The status of the script when there is no such package.
_NO_PACKAGE = 69

#: Seconds that Node may take, on a machine that is busy.
_PATIENCE = 600

_RUN = {"threadId": "thread-1", "runId": "run-1"}
_MESSAGE = {"messageId": "message-1"}


@dataclass(frozen=True, slots=True)
class Applied:
    """What it cost the client to apply a stream.

    Attributes:
        ms: Processor time.
        callbacks: How often it said that its messages had changed.
    """

    ms: float
    callbacks: int


def flood(tokens: int = TOKENS) -> list[bytes]:
    """A run that says so many tokens of five characters."""
    token = {"type": "TEXT_MESSAGE_CONTENT", **_MESSAGE, "delta": "word "}
    events = [
        {"type": "RUN_STARTED", **_RUN},
        {"type": "TEXT_MESSAGE_START", **_MESSAGE, "role": "assistant"},
        *[token] * tokens,
        {"type": "TEXT_MESSAGE_END", **_MESSAGE},
        {"type": "RUN_FINISHED", **_RUN},
    ]
    return [encode(event) for event in events]


def conflated(lines: list[bytes], seconds: float = 0.05) -> list[bytes]:
    """The same as it leaves batches of 50 ms, at 2,000 events a second."""
    clock = MarbleScheduler()
    source: Subject[bytes] = Subject()
    frames: list[Frame] = []
    source.pipe(batch(10_000, seconds), conflate()).subscribe(
        frames.append, scheduler=clock
    )
    for n, line in enumerate(lines):
        clock.at(n / TOKENS_A_SECOND, source.on_next, line)
    clock.at(len(lines) / TOKENS_A_SECOND, source.on_completed)
    clock.play()
    return [line for frame in frames for line in frame.lines()]


def costs(
    *streams: list[bytes],
    messages: int,
    package: str = "@ag-ui/client",
    folder: Path | None = None,
) -> list[Applied]:
    """Of each stream what it costs the client, one after the other in one process.

    Args:
        messages: How many the conversation has before.
        package: The client, by the name it is installed under.
        folder: Where it is installed: the folder that has `node_modules`, or one below
            it. The default is what RX_AGUI_NODE_MODULES says, and then the current one.

    Raises:
        NotToBeHad: There is no Node, or no such package.
    """
    node = shutil.which("node")
    if node is None:
        raise NotToBeHad(
            f"this row needs Node.js 18 or later, and {package}: npm install {package}"
        )
    folder = Path(folder or os.environ.get(NODE_MODULES) or ".").resolve()
    read = "\n".join(
        f"[{b','.join(lines).decode()}]" for lines in [flood(200), *streams]
    )
    with as_file(SCRIPT) as script:
        done = subprocess.run(
            [node, str(script), str(folder), package, str(messages)],
            input=read,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
        )
    if done.returncode == _NO_PACKAGE:
        raise NotToBeHad(
            f"this row needs {package}, which is not in {folder}: npm install {package}"
        )
    if done.returncode != 0:
        raise RuntimeError(f"{package} failed in Node:\n{done.stderr}")
    return [Applied(**json.loads(line)) for line in done.stdout.splitlines()][1:]


def gained(messages: int = 20, rounds: int = 5, folder: Path | None = None) -> Spread:
    """How many times as fast the client is with what is conflated: a ratio of medians.

    Args:
        messages: How many the conversation has before.

    Raises:
        NotToBeHad: There is no Node, or no @ag-ui/client.
    """
    each = flood()
    both = [each, conflated(each)] * rounds
    applied = [cost.ms for cost in costs(*both, messages=messages, folder=folder)]
    one_by_one, merged = applied[::2], applied[1::2]
    by_round = [a / b for a, b in zip(one_by_one, merged, strict=True)]
    times = Spread.of(one_by_one).median / Spread.of(merged).median
    return Spread(times, min(by_round), max(by_round))
