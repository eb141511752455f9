"""Bytes of an agent's run on the wire, as it arrives and as it is sent.

    at 2,000 a second   e e e e e e e e e e e e ...
    plain               data: {e}  data: {e}  data: {e}  ...       as EventEncoder does it
    ours                [ 50 ms ][ 50 ms ][ 50 ms ] ...            batch, conflate
                        id, data ──▶ gzip ──▶ flush                one context, as HTTP has

What is sent is made by the operators, the writer and the coding of SSEResponse, in
virtual time. Of neither are headers counted, nor what HTTP puts around each body.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import orjson
from reactivex.subject import Subject

from rx_agui.agui.encoding import encode
from rx_agui.codecs.negotiation import encoder
from rx_agui.errors import ConfigError
from rx_agui.operators import batch, conflate, sequence
from rx_agui.testing import MarbleScheduler
from rx_agui.writer import SSEWriter
from tests.benchmarks._workloads import Event

__all__ = ["RATE", "Arrival", "a_run", "arriving", "on_the_wire", "plain", "recorded"]

#: Events a second where nothing else is said: a fast model, or several at once.
RATE = 2_000

#: Seconds since the beginning, and what arrived then.
Arrival = tuple[float, Event]

#: What a model says at a time: about four characters.
_TOKEN = re.compile(r" ?\w{1,8}|[^\w\s]+|\s+")


def plain(arrivals: Iterable[Arrival]) -> int:
    """Bytes of one frame for each event, as EventEncoder writes them."""
    return sum(len(b"data: %b\n\n" % encode(event)) for _, event in arrivals)


def on_the_wire(
    arrivals: Iterable[Arrival],
    *,
    seconds: float = 0.05,
    conflated: bool = True,
    coding: str = "gzip",
) -> int:
    """Bytes of the same as SSEResponse sends it: gathered, conflated, coded."""
    clock, coder, sent = MarbleScheduler(), encoder(coding, 6), 0

    def write(data: bytes) -> None:
        nonlocal sent
        sent += len(coder.encode(data))

    write(b":\nretry: 1250\n")
    source: Subject[Event] = Subject()
    steps = (sequence(), batch(10_000, seconds), *((conflate(),) * conflated))
    # As long as a name and an epoch: run-1@5f2c...
    writer = SSEWriter(write, stream="run-1-1b9e0c7d5f2a48638d04e7a1c9b6f352")
    source.pipe(*steps).subscribe(writer, scheduler=clock)
    last = 0.0
    for last, event in arrivals:
        clock.at(last, source.on_next, event)
    clock.at(last, source.on_completed)
    clock.play()
    writer.done.result(60)
    return sent + len(coder.finish())


def arriving(events: Iterable[Event], rate: float = RATE) -> list[Arrival]:
    """Events that arrive at so many a second."""
    return [(number / rate, event) for number, event in enumerate(events)]


def recorded(path: Path) -> list[Arrival]:
    """A recording: one JSON event a line.

    Each arrives at its `timestamp`, which AG-UI has in milliseconds; one without it
    arrives RATE a second behind the one before.

    Raises:
        ConfigError: A line is none, or there is none.
        OSError: It cannot be read.
    """
    arrivals: list[Arrival] = []
    begun: float | None = None
    at = 0.0
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        if not line.strip():
            continue
        event = _parsed(line, f"{path}:{number}")
        stamp = event.get("timestamp")
        if arrivals:
            at += 1 / RATE
        if isinstance(stamp, int | float):
            begun = stamp / 1000 - at if begun is None else begun
            at = max(arrivals[-1][0] if arrivals else 0.0, stamp / 1000 - begun)
        arrivals.append((at, event))
    if not arrivals:
        raise ConfigError("recording", str(path), must="events, at least one")
    return arrivals


def _parsed(line: bytes, where: str) -> Event:
    try:
        event = orjson.loads(line)
    except orjson.JSONDecodeError:
        event = None
    if not (isinstance(event, dict) and isinstance(event.get("type"), str)):
        raise ConfigError("recording", where, must="one JSON event a line")
    return event


# -- a run ------------------------------------------------------------------------


def a_run() -> Iterator[Event]:
    """A run as agents have them: 2,200 events that no two runs share.

        think     400 tokens
        search    three times: 100 tokens of arguments, a result, what is known now
        answer    1,400 tokens, and how far it is after every 25

    Text is prose and code, since words in chance's order compress worse, and sentences
    that come again far better: it is out of Python's own manual. Ids are UUIDs.
    """
    chance = Random(6)
    run = {"threadId": _id(chance), "runId": _id(chance)}
    tokens = _tokens("typesmapping", "specialnames", "compound")
    yield {"type": "RUN_STARTED", **run}
    yield {"type": "STATE_SNAPSHOT", "snapshot": {"written": 0, "sources": []}}
    yield from _thought(_id(chance), islice(tokens, 400))
    for tool in ("search", "read", "run"):
        yield from _call(_id(chance), tool, _id(chance), tokens)
    yield from _answer(_id(chance), islice(tokens, 1_400))
    yield {"type": "RUN_FINISHED", **run}


def _thought(id: str, tokens: Iterable[str]) -> Iterator[Event]:
    message = {"messageId": id}
    yield {"type": "REASONING_START", **message}
    yield {"type": "REASONING_MESSAGE_START", **message, "role": "reasoning"}
    for token in tokens:
        yield {"type": "REASONING_MESSAGE_CONTENT", **message, "delta": token}
    yield {"type": "REASONING_MESSAGE_END", **message}
    yield {"type": "REASONING_END", **message}


def _call(id: str, tool: str, result: str, tokens: Iterator[str]) -> Iterator[Event]:
    call = {"toolCallId": id}
    query = "".join(islice(tokens, 80))
    arguments = orjson.dumps({"query": query, "limit": 10}).decode()
    found = "".join(islice(tokens, 300))
    yield {"type": "TOOL_CALL_START", **call, "toolCallName": tool}
    for delta in _TOKEN.findall(arguments):
        yield {"type": "TOOL_CALL_ARGS", **call, "delta": delta}
    yield {"type": "TOOL_CALL_END", **call}
    answer = {"messageId": result, **call, "content": found, "role": "tool"}
    yield {"type": "TOOL_CALL_RESULT", **answer}
    yield _patch("add", "/sources/-", found[:60])


def _answer(id: str, tokens: Iterable[str]) -> Iterator[Event]:
    message = {"messageId": id}
    yield {"type": "TEXT_MESSAGE_START", **message, "role": "assistant"}
    for written, token in enumerate(tokens, 1):
        yield {"type": "TEXT_MESSAGE_CONTENT", **message, "delta": token}
        if written % 25 == 0:
            yield _patch("replace", "/written", written)
    yield {"type": "TEXT_MESSAGE_END", **message}


def _patch(op: str, path: str, value: Any) -> Event:
    return {"type": "STATE_DELTA", "delta": [{"op": op, "path": path, "value": value}]}


def _tokens(*pages: str) -> Iterator[str]:
    from pydoc_data.topics import topics  # half a megabyte, for who measures it

    for page in pages:
        yield from _TOKEN.findall(topics[page])


def _id(chance: Random) -> str:
    return str(UUID(int=chance.getrandbits(128), version=4))
