"""A run that ends without its end: what its readers are told, and what is not.

    raise HTTPException(404, "no such thread")   ──▶ 404 before the first event; behind it
                                                     RUN_ERROR, code HTTP_404
    raise KeyError("api_key")                    ──▶ 500; RUN_ERROR, code AGENT_ERROR
    a generator that just stops                  ──▶ RUN_ERROR, code INCOMPLETE

A reader is never told what was raised unless the application asks for it: exceptions
carry paths, addresses and secrets. The log is told everything.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import orjson

from rx_agui.errors import StreamError, safe_repr

__all__ = [
    "Failure",
    "ReaderGone",
    "Refused",
    "failure_of",
    "run_error",
]

_CANCELLED: Final = "The run was cancelled."
_FAILED: Final = "The agent failed."
_INCOMPLETE: Final = "The run ended before it was finished."

#: Headers that say how to ask again (RFC 9110, §10.2.2, §10.2.3, §11.6.1).
_ALLOWED: Final = frozenset(("location", "retry-after", "www-authenticate"))


class ReaderGone(StreamError):
    """Bytes could not be written: their reader is gone, or is stuck."""


class Refused(Exception):
    """The source failed before its first event: there is still time for a status."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


class Failure(NamedTuple):
    """What a reader is told.

    Attributes:
        status: Of the HTTP response, if none has begun.
        message, code: Of the RUN_ERROR otherwise.
        headers: Those of an exception that are safe to send along: see `_ALLOWED`.
    """

    status: int
    message: str
    code: str
    headers: Mapping[str, str] | None = None


def failure_of(error: BaseException | None, *, expose: bool = False) -> Failure:
    """Return the message for an error; None: the source just stopped.

    >>> failure_of(KeyError("api_key"))
    Failure(status=500, message='The agent failed.', code='AGENT_ERROR', headers=None)
    >>> failure_of(KeyError("api_key"), expose=True).message
    "KeyError('api_key')"
    """
    if error is None:
        return Failure(500, _INCOMPLETE, "INCOMPLETE")
    if isinstance(error.__cause__, CancelledError):  # from within, and not by us
        return Failure(500, _CANCELLED, "CANCELLED")
    status: Any = getattr(error, "status_code", None)
    if type(status) is int and 400 <= status < 600:
        detail: Any = getattr(error, "detail", None)  # made to be told
        message = detail if isinstance(detail, str) else _FAILED
        return Failure(status, message, f"HTTP_{status}", _allowed(error))
    message = (
        (str(error) if isinstance(error, StreamError) else safe_repr(error))
        if expose
        else _FAILED
    )
    return Failure(500, message, "AGENT_ERROR")


def _allowed(error: BaseException) -> dict[str, str] | None:
    """Return the headers of an exception that a response may carry.

    A client library's exception has the headers of the upstream's answer: its cookies,
    its content length, its account. So only these go out, and only as one line of text.
    """
    headers: Any = getattr(error, "headers", None)
    if not isinstance(headers, Mapping):
        return None
    allowed = {
        str(name): str(value)
        for name, value in headers.items()
        if str(name).lower() in _ALLOWED and _is_one_line(str(value))
    }
    return allowed or None


def _is_one_line(value: str) -> bool:
    return value.isprintable() and value.isascii()


def run_error(message: str, code: str | None) -> bytes:
    """Return the event as one line of JSON; without a code it has none, and no null."""
    event = {"type": "RUN_ERROR", "message": message}
    return orjson.dumps(event if code is None else {**event, "code": code})
