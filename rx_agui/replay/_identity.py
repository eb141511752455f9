"""The identity of a stream: its name, whose it is, which epoch, and what was asked for.

    open("run-7", owner="ann", asked=A)   Opened(run-7@5f2c…)    the caller runs the agent
    open("run-7", owner="ann", asked=A)   Joined(run-7@5f2c…)    the same request again
    open("run-7", owner="ann", asked=B)   Conflict(run-7@5f2c…)  another, while it runs
    open("run-7", owner="ann", asked=B)   Opened(run-7@91d0…)    another, behind its end
    open("run-7", owner="bob", asked=A)   Opened(run-7@c43a…)    another user's own

A name is chosen by a client, so it identifies nothing by itself. Each `Opened` has an
epoch of 128 random bits, which is part of every event id.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote

import orjson

__all__ = ["Asked", "Conflict", "Joined", "Opened", "StreamKey"]

#: The fields of a RunAgentInput that a client may have changed when it repeats a request.
_NOT_COMPARED = frozenset(["state", "messages"])


class StreamKey(NamedTuple):
    """One stream of a log.

    Attributes:
        name: The name that was asked for, usually the runId.
        epoch: 32 hexadecimal digits, or empty: the newest epoch of the name.
        namespace: Which part of the log; the endpoints that share one see the same runs.
        owner: The user it belongs to; empty if it is everybody's. None, to `find` a
            stream by its epoch alone.
    """

    name: str
    epoch: str = ""
    namespace: str = ""
    owner: str | None = ""

    @property
    def stem(self) -> str:
        """The part of an event id before the slash: ASCII, without a slash.

        >>> StreamKey("run/7", "5f2c").stem
        'run%2F7@5f2c'
        """
        name = quote(self.name, safe="", errors="surrogatepass")
        return f"{name}@{self.epoch}" if self.epoch else name

    def __str__(self) -> str:
        return self.stem


class Asked(NamedTuple):
    """A digest of a request, by which a repeated one is known.

    Attributes:
        digest: SHA-256 of its canonical JSON without `state` and `messages`.
        messages: The id and the SHA-256 of each message.
    """

    digest: str
    messages: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, run_input: Mapping[str, Any]) -> Asked:
        """Digest a RunAgentInput, as the JSON object that it is on the wire.

        >>> one = Asked.of({"runId": "r", "state": {}, "messages": []})
        >>> one == Asked.of({"messages": [], "state": {"n": 1}, "runId": "r"})
        True
        """
        rest = {key: run_input[key] for key in run_input if key not in _NOT_COMPARED}
        messages = run_input.get("messages")
        if not isinstance(messages, Sequence) or isinstance(messages, str):
            messages = ()
        return cls(
            _sha256(rest),
            tuple([(_id_of(message), _sha256(message)) for message in messages]),
        )

    def is_same(self, other: Asked, emitted: Collection[str]) -> bool:
        """Whether `other` repeats this request, whose run emitted messages of these ids.

        A client that was cut off sends partial messages of the run along: those that
        this request did not have and the run emitted are left out.
        """
        if self.digest != other.digest:
            return False
        had = {id for id, _ in self.messages}
        rest = [one for one in other.messages if one[0] in had or one[0] not in emitted]
        return list(self.messages) == rest


def _id_of(message: Any) -> str:
    return str(message.get("id", "")) if isinstance(message, Mapping) else ""


def _sha256(value: Any) -> str:
    try:
        data = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # integers over 64 bit, a lone surrogate, nested too deeply
        data = repr(value).encode("utf-8", "surrogatepass")
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True, slots=True)
class Opened:
    """The stream is new, and the caller's to fill."""

    stream: StreamKey

    def __bool__(self) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class Joined:
    """The same was asked for before: the caller reads that stream."""

    stream: StreamKey

    def __bool__(self) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class Conflict:
    """Something else was asked for under this name, and that run has not ended."""

    stream: StreamKey

    def __bool__(self) -> bool:
        return False
