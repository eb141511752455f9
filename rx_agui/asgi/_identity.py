"""Whose run a request is about: its name, its owner, and what it asks for.

run=      a RunAgentInput, a mapping or the body      name: its runId; and what was asked
stream=   a name                                      every request of the owner joins
neither                                               the run names itself, and is new

owner="ann", owner=function of the scope              theirs alone
owner=""                                              everybody's
owner=None                                            by the Authorization header, warned of
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import orjson

from rx_agui.agui.encoding import encode
from rx_agui.asgi._request import Message, Request
from rx_agui.errors import ConfigError, ValidationError
from rx_agui.replay import Asked, StreamKey

__all__ = ["Claim", "Identity", "Owner"]

_log = logging.getLogger("rx_agui")

#: The owner of a stream, or a function that tells it from the ASGI scope.
Owner = str | Callable[[Message], str] | None

_AUTHORIZATION: Final = b"authorization"


class Claim(NamedTuple):
    """What one request lays claim to.

    Attributes:
        name: The stream's name; None if the run names itself.
        namespace: Which part of the log.
        owner: Whose streams it may open and join; None if that is unknown, and then
            it may open streams of everybody, and join none.
        is_told: Whether the application says who the owner is. Else a cursor's epoch is
            enough: tokens are renewed between a cut and a resume.
        asked: What is asked for; None: whatever is there.
    """

    name: str | None
    namespace: str = ""
    owner: str | None = ""
    is_told: bool = True
    asked: Asked | None = None

    def key(self, name: str, epoch: str = "") -> StreamKey:
        """Return the stream of a name, as far as this request may see it."""
        owner = self.owner
        if epoch and not self.is_told:
            owner = None
        return StreamKey(name, epoch, self.namespace, owner)


class Identity:
    """How an endpoint names runs, and tells their owners.

    Args:
        stream: The name; None for that of `run`, or else of the run itself.
        run: The request's RunAgentInput: an object, a mapping, or JSON.
        namespace: Which part of the log: endpoints of different ones see none of each
            other's streams.
        owner: See the module.

    Raises:
        ConfigError: A setting makes no sense.
        ValidationError: `run` is no RunAgentInput.
    """

    __slots__ = ("_asked", "_name", "_namespace", "_owner")

    _has_warned = False

    def __init__(
        self,
        stream: str | None = None,
        run: Any = None,
        namespace: str = "",
        owner: Owner = None,
    ) -> None:
        if owner is not None and not isinstance(owner, str) and not callable(owner):
            raise ConfigError("owner", owner, "a string, or a function of the scope")
        self._asked: Asked | None = None
        if run is not None:
            read = _read(run)
            name = read.get("runId")
            if not isinstance(name, str) or not name:
                raise ValidationError(run, "a RunAgentInput needs a runId")
            self._asked = Asked.of(read)
            stream = name if stream is None else stream
        self._name = stream
        self._namespace = namespace
        self._owner = owner

    @property
    def name(self) -> str | None:
        """The stream's name; None if the run names itself."""
        return self._name

    def claim(self, request: Request, scope: Message) -> Claim:
        """Return what a request lays claim to."""
        owner = self._owner
        if owner is None:
            if not Identity._has_warned:
                self._warn()
            header = request.header(_AUTHORIZATION)
            token = hashlib.sha256(header.encode("latin-1")) if header else None
            digest = None if token is None else token.hexdigest()
            return Claim(self._name, self._namespace, digest, False, self._asked)
        if not isinstance(owner, str):
            owner = owner(scope)
            if not isinstance(owner, str):
                raise ConfigError("owner", owner, "a function that returns a string")
        return Claim(self._name, self._namespace, owner, True, self._asked)

    @classmethod
    def _warn(cls) -> None:
        cls._has_warned = True
        _log.warning(
            "SSEResponse has a log and no owner=: runs go by the Authorization "
            'header; give owner= (or owner="" if every run is everybody\'s)'
        )


def _read(run: Any) -> Mapping[str, Any]:
    if isinstance(run, Mapping):
        return run
    line = bytes(run) if isinstance(run, bytes | bytearray) else encode(run)
    try:
        read = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise ValidationError(run, f"not JSON ({error})") from None
    if not isinstance(read, dict):
        raise ValidationError(run, "a RunAgentInput is a JSON object")
    return read
