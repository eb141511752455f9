"""What conflation is worth to a stock client that applies a flood of tokens.

    python tests/clients/test_cost.py        the table of the README

The ratio is of processor time in one process of Node.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from reactivex.subject import Subject

from rx_agui import Frame, batch, conflate
from rx_agui.codec import encode
from rx_agui.testing import MarbleScheduler

TOKENS = 8_000
TOKENS_A_SECOND = 2_000

RUN = {"threadId": "thread-1", "runId": "run-1"}
MESSAGE = {"messageId": "message-1"}


def flood(tokens: int) -> list[bytes]:
    """A run that says so many tokens of five characters."""
    token = {"type": "TEXT_MESSAGE_CONTENT", **MESSAGE, "delta": "word "}
    events = [
        {"type": "RUN_STARTED", **RUN},
        {"type": "TEXT_MESSAGE_START", **MESSAGE, "role": "assistant"},
        *[token] * tokens,
        {"type": "TEXT_MESSAGE_END", **MESSAGE},
        {"type": "RUN_FINISHED", **RUN},
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
    node: Callable[..., str], package: str, messages: int, *streams: list[bytes]
) -> list[Any]:
    """Of each stream what it costs the client: {ms, callbacks}."""
    warm_up = flood(200)
    read = "\n".join(f"[{b','.join(lines).decode()}]" for lines in [warm_up, *streams])
    made = node("cost.mjs", package, str(messages), read=read, timeout=600)
    return [json.loads(line) for line in made.rstrip("\n").split("\n")][1:]


def test_conflated_tokens_cost_a_stock_client_a_twentieth(
    node: Callable[..., str], ag_ui_client: str
) -> None:
    each = flood(TOKENS)
    fewer = conflated(each)

    one_by_one, merged = costs(node, ag_ui_client, 1_000, each, fewer)

    assert len(fewer) <= TOKENS / TOKENS_A_SECOND / 0.05 + 6
    assert merged["ms"] <= one_by_one["ms"] / 20, (one_by_one, merged)


def table() -> None:
    """Print what the README shows."""
    import subprocess
    from pathlib import Path

    def node(script: str, *args: str, read: str, timeout: float) -> str:
        path = Path(__file__).parents[1] / "node" / script
        command = ["node", str(path), *args]
        done = subprocess.run(
            command, input=read, capture_output=True, text=True, timeout=timeout
        )
        return done.stdout

    each = flood(TOKENS)
    fewer = conflated(each)
    print("| client | messages before | one by one | conflated at 50 ms | |")
    print("|---|---:|---:|---:|---:|")
    for version, package in (
        ("1.0.0", "@ag-ui/client"),
        ("0.0.59", "ag-ui-client-0.0.59"),
    ):
        for messages in (0, 100, 1_000):
            rounds = [costs(node, package, messages, each, fewer) for _ in range(3)]
            before, after = (
                sorted(one[i]["ms"] for one in rounds)[1] for i in range(2)
            )
            print(
                f"| {version} | {messages:,} | {before:,.0f} ms | {after:,.0f} ms "
                f"| 1/{before / after:.0f} |"
            )
    print(f"\n{len(each)} events, {len(fewer)} when conflated")


if __name__ == "__main__":
    table()
