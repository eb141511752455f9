"""An agent that only pretends, to try the library on without a model.

    RUN_STARTED, STATE_SNAPSHOT
      think     REASONING_START, a thought in words, REASONING_END
      search    TOOL_CALL_START, arguments in pieces, TOOL_CALL_END, its result
      answer    TEXT_MESSAGE_START, words, STATE_DELTA now and then, TEXT_MESSAGE_END
    RUN_FINISHED

What it says is legal AG-UI, in an order that strict clients accept, and the same
arguments always give the same events. It takes no time: a caller that wants it to type
like a model waits between the events.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from random import Random
from typing import Any

from rx_agui.errors import require_at_least, require_positive

__all__ = ["simulated_deltas", "simulated_run"]

Event = dict[str, Any]

#: Words between two STATE_DELTA: often enough for a progress bar to look alive.
_WORDS_A_REPORT = 20

_SENTENCES = """\
A stream has no end, only a next.
What the reader cannot take, the writer should not make.
流水不腐，户枢不蠹。
Backpressure is courtesy between machines. 🤝
Déjà vu: a delta that was sent twice.
Between two tokens there is time for a cup of tea. ☕️
Wer langsam liest, liest auch.
Every event is small; it is the flood that is large. 🌊
最初の一文字は最後の一文字より大切です。
A number tells what is missing better than silence does.
Nothing was lost, and nothing came twice. 👩‍🚀
""".splitlines()


def simulated_run(
    words: int = 200,
    *,
    seed: int = 0,
    run_id: str = "run-1",
    thread_id: str = "thread-1",
    messages: int = 1,
) -> Iterator[Event]:
    """Yield the run of an agent that thinks, searches and answers.

    >>> run = list(simulated_run(words=3))
    >>> [event["type"] for event in run][:3]
    ['RUN_STARTED', 'STATE_SNAPSHOT', 'STEP_STARTED']
    >>> [event["delta"] for event in run if event["type"] == "TEXT_MESSAGE_CONTENT"]
    ['Every ', 'event ', 'is ']
    >>> run == list(simulated_run(words=3))
    True

    Args:
        words: Deltas of text in the answer. The run has about 50 events more.
        seed: Which words. Equal seeds give equal runs.
        run_id: Also the start of all ids within the run, so that runs can be mixed.
        thread_id: The conversation it belongs to.
        messages: Messages the answer is written in, all at the same time: their
            deltas interleave.

    Raises:
        ConfigError: A setting makes no sense.
    """
    require_positive(words=words, messages=messages)
    return _run(words, Random(seed), run_id, thread_id, messages)


def simulated_deltas(n: int, *, message_id: str = "message-1") -> Iterator[Event]:
    """Yield `n` text deltas of about 100 bytes, which count themselves.

    There is no START and no END, for what measures bytes and does not ask.

    >>> [event["delta"] for event in simulated_deltas(2)]
    ['delta number 1 of a flood, ', 'delta number 2 of a flood, ']
    """
    require_at_least(0, n=n)
    return (
        {
            "type": "TEXT_MESSAGE_CONTENT",
            "messageId": message_id,
            "delta": f"delta number {number} of a flood, ",
        }
        for number in range(1, n + 1)
    )


def _run(
    words: int, chance: Random, run_id: str, thread_id: str, messages: int
) -> Iterator[Event]:
    run = {"threadId": thread_id, "runId": run_id}
    yield {"type": "RUN_STARTED", **run}
    yield {"type": "STATE_SNAPSHOT", "snapshot": {"written": 0, "sources": []}}
    yield from _step("think", _thought(f"{run_id}-thought", chance))
    yield from _step("search", _search(f"{run_id}-search", chance))
    ids = [f"{run_id}-message-{number}" for number in range(1, messages + 1)]
    yield from _step("answer", _answer(ids, words, chance))
    yield {"type": "RUN_FINISHED", **run, "outcome": {"type": "success"}}


def _step(name: str, events: Iterable[Event]) -> Iterator[Event]:
    yield {"type": "STEP_STARTED", "stepName": name}
    yield from events
    yield {"type": "STEP_FINISHED", "stepName": name}


def _thought(id: str, chance: Random) -> Iterator[Event]:
    message = {"messageId": id}
    yield {"type": "REASONING_START", **message}
    yield {"type": "REASONING_MESSAGE_START", **message, "role": "reasoning"}
    for word in islice(_words(chance), 20):
        yield {"type": "REASONING_MESSAGE_CONTENT", **message, "delta": word}
    yield {"type": "REASONING_MESSAGE_END", **message}
    yield {"type": "REASONING_END", **message}


def _search(id: str, chance: Random) -> Iterator[Event]:
    call = {"toolCallId": id}
    source = chance.choice(_SENTENCES)
    yield {"type": "TOOL_CALL_START", **call, "toolCallName": "search"}
    for piece in _pieces('{"query": "how to send a stream", "limit": 10}', chance):
        yield {"type": "TOOL_CALL_ARGS", **call, "delta": piece}
    yield {"type": "TOOL_CALL_END", **call}
    yield {
        "type": "TOOL_CALL_RESULT",
        "messageId": f"{id}-result",
        **call,
        "content": source,
        "role": "tool",
    }
    yield _patch("add", "/sources/-", source)


def _answer(ids: list[str], words: int, chance: Random) -> Iterator[Event]:
    for id in ids:
        yield {"type": "TEXT_MESSAGE_START", "messageId": id, "role": "assistant"}
    texts = {id: _words(chance) for id in ids}
    for written in range(1, words + 1):
        id = chance.choice(ids)
        yield {
            "type": "TEXT_MESSAGE_CONTENT",
            "messageId": id,
            "delta": next(texts[id]),
        }
        if written % _WORDS_A_REPORT == 0:
            yield _patch("replace", "/written", written)
    for id in ids:
        yield {"type": "TEXT_MESSAGE_END", "messageId": id}


def _patch(op: str, path: str, value: Any) -> Event:
    return {"type": "STATE_DELTA", "delta": [{"op": op, "path": path, "value": value}]}


def _words(chance: Random) -> Iterator[str]:
    """Sentences without end, a word at a time, as a model would say them."""
    while True:
        for sentence in chance.sample(_SENTENCES, len(_SENTENCES)):
            for word in sentence.split():
                yield f"{word} "


def _pieces(text: str, chance: Random) -> Iterator[str]:
    while text:
        size = chance.randint(1, 6)
        yield text[:size]
        text = text[size:]
