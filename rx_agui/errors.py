"""Everything that can go wrong, as one tree.

    StreamError
    ├── ConfigError                   a setting makes no sense; raised where it is written
    ├── MissingExtraError             a feature needs a package that is not installed
    ├── ValidationError               an event cannot become bytes
    ├── ProcessingError               a function the user gave to an operator raised
    ├── BrokenOffError                a panic, an exception group, a stray cancellation
    ├── CompressionError              a codec failed; the payload goes on uncompressed
    ├── SequencingError               numbers cannot be put in order
    │   ├── GapError                  numbers that never came were given up
    │   ├── LateError                 a number came after it was given up
    │   └── DuplicateError            a number came that came before
    ├── PayloadError                  bytes that came in cannot become events
    │   ├── WireError                 not text/event-stream, or not a chunk of ours
    │   ├── IncompleteError           pieces of a payload never came
    │   ├── CorruptError              a payload is not what was sent
    │   └── PayloadTooLargeError      a limit in bytes was reached
    ├── DeliveryError                 a payload did not reach the sink
    │   ├── NotSentError              nothing of it has gone out: it may be sent again
    │   └── LostError                 it may have: its events are lost, not sent twice
    ├── TransportError                a server does not give what is asked for
    │   ├── ConnectionLostError       a stream broke off before its run had ended
    │   ├── RefusedError              the answer has a status that is no stream
    │   │   └── GoneError             410: the server does not know the stream (any more)
    │   └── DeadlineExceededError     the whole took longer than it may
    ├── ReplayError                   a log cannot give what a reader asks for
    │   ├── TrimmedError              it no longer reaches back that far
    │   ├── LogFullError              its bounds are reached
    │   └── UnknownStreamError        it was not opened, or was dropped
    └── FlowControlError
        ├── BackpressureTimeoutError  no credit came home within `timeout` seconds
        ├── BufferOverflowError       the queue is full and the policy is to refuse
        ├── WouldBlockError           waiting here would stop the very thing waited for
        ├── CircuitOpenError          the sink keeps failing and is left alone for a while
        ├── OverloadedError           the reader is too far behind for anything but the end
        ├── NotSubscribedError        this Gate has no subscriber yet
        ├── AlreadySubscribedError    this source has its one subscriber
        ├── NotStartedError           start() comes before send()
        ├── AlreadyStartedError       start() was called before
        ├── StreamClosedError         the stream has ended; nothing more can be sent
        └── DrainTimeoutError         closing took longer than its deadline

Operators hand these to `on_error`, or to the observer given as `errors=`. Only
ConfigError and MissingExtraError are raised where an operator is written, and only a
Gate and its kin raise the flow control errors, out of `send`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection
from math import inf
from typing import Any

from rx_agui.deprecation import aliases

__all__ = [
    "AlreadyStartedError",
    "AlreadySubscribedError",
    "BackpressureTimeoutError",
    "BrokenOffError",
    "BufferOverflowError",
    "CircuitOpenError",
    "CompressionError",
    "ConfigError",
    "ConnectionLostError",
    "CorruptError",
    "DeadlineExceededError",
    "DeliveryError",
    "DrainTimeoutError",
    "DuplicateError",
    "FlowControlError",
    "GapError",
    "GoneError",
    "IncompleteError",
    "LateError",
    "LogFullError",
    "LostError",
    "MissingExtraError",
    "NotSentError",
    "NotStartedError",
    "NotSubscribedError",
    "OverloadedError",
    "PayloadError",
    "PayloadTooLargeError",
    "ProcessingError",
    "RefusedError",
    "ReplayError",
    "SequencingError",
    "StreamClosedError",
    "StreamError",
    "TransportError",
    "TrimmedError",
    "UnknownStreamError",
    "ValidationError",
    "WireError",
    "WouldBlockError",
    "as_exception",
    "require_at_least",
    "require_one_of",
    "require_positive",
    "require_whole",
    "safe_repr",
    "stops_process",
    "warn_if_milliseconds",
]

#: Names before 0.2.
_RENAMED = {
    "AlreadyStarted": "AlreadyStartedError",
    "AlreadySubscribed": "AlreadySubscribedError",
    "BackpressureTimeout": "BackpressureTimeoutError",
    "CircuitOpen": "CircuitOpenError",
    "ConnectionLost": "ConnectionLostError",
    "Corrupt": "CorruptError",
    "DeadlineExceeded": "DeadlineExceededError",
    "DrainTimeout": "DrainTimeoutError",
    "Duplicate": "DuplicateError",
    "Gap": "GapError",
    "Gone": "GoneError",
    "Incomplete": "IncompleteError",
    "Late": "LateError",
    "Lost": "LostError",
    "MissingExtra": "MissingExtraError",
    "NotSent": "NotSentError",
    "NotStarted": "NotStartedError",
    "NotSubscribed": "NotSubscribedError",
    "Overflow": "BufferOverflowError",
    "Overloaded": "OverloadedError",
    "PayloadTooLarge": "PayloadTooLargeError",
    "Refused": "RefusedError",
    "StreamClosed": "StreamClosedError",
    "Trimmed": "TrimmedError",
    "UnknownStream": "UnknownStreamError",
    "WouldBlock": "WouldBlockError",
}

__getattr__ = aliases(
    __name__, {old: f"{__name__}:{new}" for old, new in _RENAMED.items()}
)


class StreamError(Exception):
    """The root of every error that rx_agui makes itself.

    Attributes:
        number: Of the event it is about, or of the last one where it is about several;
            None if that has none, or not yet.
    """

    number: int | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Rebuild it from its text and attributes: its arguments differ from those."""
        return _rebuilt, (type(self), self.args, self.__dict__)


def _rebuilt(
    kind: type[StreamError], args: tuple[Any, ...], attributes: dict[str, Any]
) -> StreamError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(attributes)
    return error


class ConfigError(StreamError, ValueError):
    """A setting makes no sense, such as a batch of no events."""

    def __init__(self, name: str, value: object, must: str) -> None:
        super().__init__(f"{name} must be {must}, got {value!r}")
        self.name = name
        self.value = value


class MissingExtraError(StreamError, ImportError):
    """A feature needs a package that is not installed."""

    def __init__(self, feature: str, package: str, extra: str) -> None:
        super().__init__(f'{feature} needs {package}: pip install "rx-agui[{extra}]"')
        self.extra = extra


class ValidationError(StreamError, ValueError):
    """An event cannot become one JSON object on one line.

    It was refused before it had a number, so it leaves no gap.
    """

    def __init__(self, event: object, reason: str) -> None:
        super().__init__(f"{reason}: {_shown(event)}")
        self.event = event
        self.reason = reason


class ProcessingError(StreamError):
    """A function given to an operator raised; the cause is `__cause__`."""

    def __init__(self, what: str, event: object, cause: BaseException) -> None:
        super().__init__(f"{what} raised {safe_repr(cause)} for {_shown(event)}")
        self.event = event
        self.__cause__ = cause


class BrokenOffError(StreamError):
    """Something ended by a BaseException that does not stop the process.

    A panic of a Rust extension, a BaseExceptionGroup, a CancelledError that leaked out of
    a task that was called off. It is `__cause__`.
    """

    def __init__(self, what: str, cause: BaseException) -> None:
        super().__init__(f"{what} broke off: {safe_repr(cause)}")
        self.what = what
        self.__cause__ = cause


def stops_process(error: BaseException) -> bool:
    """Return True if the error asks the process to stop: it goes on behind the reader's end."""
    return isinstance(error, KeyboardInterrupt | SystemExit)


def as_exception(error: BaseException, what: str) -> Exception:
    """Return the error as `on_error` takes it; BrokenOffError if it is no Exception.

    Args:
        what: What ended by it, such as "the source".
    """
    return error if isinstance(error, Exception) else BrokenOffError(what, error)


def safe_repr(value: object, show: Callable[[object], str] = repr) -> str:
    """`repr(value)`, or its type if that raises."""
    try:
        return show(value)
    except Exception:
        return f"<{type(value).__name__} that cannot be shown>"


class CompressionError(StreamError):
    """A codec failed on a payload, which went on uncompressed."""

    def __init__(
        self,
        algorithm: str,
        size: int,
        cause: BaseException,
        first: int | None = None,
        last: int | None = None,
    ) -> None:
        super().__init__(f"{algorithm} failed on {size} bytes: {safe_repr(cause)}")
        self.algorithm = algorithm
        self.first = first
        self.last = self.number = last
        self.__cause__ = cause


class SequencingError(StreamError):
    """Numbers cannot be put in order."""


class GapError(SequencingError):
    """The numbers `first` to `last` never came and were given up."""

    def __init__(self, first: int, last: int) -> None:
        were = "was" if first == last else "were"
        super().__init__(f"{_numbers(first, last)} never came and {were} given up")
        self.first = first
        self.last = self.number = last


class LateError(SequencingError):
    """Number `number` came after it was given up, and was dropped."""

    def __init__(self, number: int) -> None:
        super().__init__(f"number {number} came after it was given up")
        self.number = number


class DuplicateError(SequencingError):
    """Number `number` came before; the second was dropped."""

    def __init__(self, number: int) -> None:
        super().__init__(f"number {number} came twice")
        self.number = number


class PayloadError(StreamError, ValueError):
    """Bytes that came in cannot become events."""


class WireError(PayloadError):
    """Bytes are not text/event-stream, or not a chunk that `chunk` made."""


class IncompleteError(PayloadError):
    """Pieces of payload `number` never came."""

    def __init__(self, number: int, received: int, total: int) -> None:
        super().__init__(f"payload {number}: {received} of {total} pieces arrived")
        self.number: int = number
        self.received = received
        self.total = total


class CorruptError(PayloadError):
    """A payload is not what was sent: it does not decompress, or its crc differs."""


class PayloadTooLargeError(PayloadError):
    """A payload is larger than `limit` bytes: a bomb, or a limit set too low."""

    def __init__(self, what: str, limit: int) -> None:
        super().__init__(f"{what} is larger than max_size={limit} bytes")
        self.limit = limit


class DeliveryError(StreamError):
    """A payload did not reach the sink."""


class NotSentError(DeliveryError, ConnectionError):
    """Nothing of a payload has gone out: it may be sent again.

    Raised by a `write`, or given to `Permit.release`, by a sink that knows this. After any
    other error it is unknown whether the reader has the bytes.

    Attributes:
        tried: False if the sink did not come to it, because an earlier one failed.
    """

    def __init__(self, reason: str = "not sent", *, tried: bool = True) -> None:
        super().__init__(reason)
        self.tried = tried


class LostError(DeliveryError):
    """Events whose write failed. They may have arrived, so they are not sent again.

    Attributes:
        events: How many they are.
        first, last: The numbers they cover; 0 if they have none.
    """

    def __init__(
        self, events: int, first: int, last: int, cause: BaseException
    ) -> None:
        which = f" ({_numbers(first, last)})" if last else ""
        were = "was" if events == 1 else "were"
        super().__init__(f"{_events(events)}{which} {were} lost: {safe_repr(cause)}")
        self.events = events
        self.first = first
        self.last = last
        self.number = last or None
        self.__cause__ = cause


class TransportError(StreamError):
    """A server cannot be reached, or does not give what is asked for."""


class ConnectionLostError(TransportError, ConnectionError):
    """A stream broke off before its run had ended, and will not go on.

    What was handed on is right, but not all. The cause is `__cause__`, if there is one.
    `after` is the id of the last event, to come back with later; "" if none had one.
    """

    def __init__(self, what: str, *, after: str = "", attempts: int = 0) -> None:
        super().__init__(what)
        self.after = after
        self.attempts = attempts


class RefusedError(TransportError):
    """The server answered `status`, and asking again would not change it."""

    def __init__(self, url: str, status: int, reason: str) -> None:
        super().__init__(f"{url} answered {status}: {reason}")
        self.url = url
        self.status = status
        self.reason = reason


class GoneError(RefusedError):
    """410: the server does not know the stream (any more), so it cannot be resumed.

    The run is not started again: whether to is for the caller to say.
    """


class DeadlineExceededError(TransportError, TimeoutError):
    """The whole took longer than `deadline` seconds."""

    def __init__(self, deadline: float, after: str = "") -> None:
        behind = f" behind {after}" if after else ""
        super().__init__(f"not done within deadline={deadline:g} s{behind}")
        self.deadline = deadline
        self.after = after


class ReplayError(StreamError, LookupError):
    """A log cannot give what a reader asks for."""


class TrimmedError(ReplayError):
    """The log no longer holds what follows number `after`; it begins at `first`.

    `first` is 0 where the server does not tell.
    """

    def __init__(self, stream: str, after: int, first: int = 0) -> None:
        kept = f"from number {first} on" if first else "only later numbers"
        super().__init__(f"stream {stream!r}: the log has {kept}, not {after + 1}")
        self.stream = stream
        self.after = after
        self.first = first


class UnknownStreamError(ReplayError):
    """The stream was never opened, or has been dropped from the log."""

    def __init__(self, stream: str) -> None:
        super().__init__(
            f"no stream {stream!r}: it was never opened, or has been dropped"
        )
        self.stream = stream


class LogFullError(ReplayError):
    """The log has reached its bounds, and nothing may be dropped for a new stream."""

    def __init__(self, used: int, limit: int) -> None:
        super().__init__(f"the log is full: {used:,} of {limit:,} bytes are in use")
        self.used = used
        self.limit = limit


class FlowControlError(StreamError):
    """An event could not be let in."""


class BackpressureTimeoutError(FlowControlError, TimeoutError):
    """No credit came home within `timeout` seconds; the event was not let in."""

    def __init__(self, timeout: float, size: int | None = None) -> None:
        window = "" if size is None else f", all {size} credits are in flight"
        super().__init__(f"no credit within {timeout:g} s{window}: the reader is stuck")
        self.timeout = timeout


class BufferOverflowError(FlowControlError):
    """The queue of events that wait for credit is full, and the policy is to refuse."""

    def __init__(self, buffer_size: int) -> None:
        super().__init__(
            f"the queue is full: {_events(buffer_size)} waiting for credit (buffer_size)"
        )
        self.buffer_size = buffer_size


class WouldBlockError(FlowControlError):
    """There is no credit, and waiting here would stop what would bring it."""


class CircuitOpenError(FlowControlError, ConnectionError):
    """The sink keeps failing, and is left alone for `retry_in` more seconds."""

    def __init__(self, retry_in: float, name: str = "sink") -> None:
        super().__init__(f"{name} keeps failing: try again in {retry_in:g} s")
        self.retry_in = retry_in
        self.name = name


class OverloadedError(FlowControlError):
    """The reader is `age` seconds behind: only what ends or frames a run is let in."""

    def __init__(self, age: float) -> None:
        super().__init__(f"the reader is {age:.3g} s behind")
        self.age = age


class NotSubscribedError(FlowControlError):
    """This Gate has no subscriber yet, so the event would be lost."""

    def __init__(self) -> None:
        super().__init__("the Gate has no subscriber: subscribe first, then send")


class NotStartedError(FlowControlError):
    """Nothing can be sent before `start`."""

    def __init__(self) -> None:
        super().__init__("the stream has not begun: call start(), or use `with`")


class AlreadyStartedError(FlowControlError):
    """A stream begins once; for another, make another."""

    def __init__(self) -> None:
        super().__init__("start() was called before: a stream begins once")


class AlreadySubscribedError(FlowControlError):
    """A hot source with one subscriber was subscribed again."""

    def __init__(self, source: str, instead: str) -> None:
        super().__init__(f"{source} has its one subscriber already: {instead}")


class StreamClosedError(FlowControlError):
    """The stream has ended; nothing more can be sent."""

    def __init__(self, why: str = "the stream has ended") -> None:
        super().__init__(why)


class DrainTimeoutError(FlowControlError, TimeoutError):
    """Closing took longer than its deadline; `lost` accepted events were dropped."""

    def __init__(self, lost: int, timeout: float) -> None:
        super().__init__(
            f"{_events(lost)} accepted but not written within {timeout:g} s"
        )
        self.lost = lost
        self.timeout = timeout


def require_positive(**settings: float) -> None:
    """Raise ConfigError for the first setting that is zero or less."""
    for name, value in settings.items():
        if not _number(value) > 0:
            raise ConfigError(name, value, must="positive")


def warn_if_milliseconds(**settings: float | None) -> None:
    """Warn of a setting that is hardly meant in seconds: more than 10 of them."""
    for name, value in settings.items():
        if value is not None and 10 < value < inf:
            text = f"{name} is in seconds, {value:g} of them: for milliseconds write"
            warnings.warn(f"{text} {name}={value / 1000:g}", stacklevel=4)


def require_at_least(least: float, **settings: float) -> None:
    """Raise ConfigError for the first setting below `least`."""
    for name, value in settings.items():
        if not _number(value) >= least:
            raise ConfigError(name, value, must=f"at least {least:g}")


def require_whole(**settings: float) -> None:
    """Raise ConfigError for the first setting that counts by halves."""
    for name, value in settings.items():
        if not isinstance(value, int):
            raise ConfigError(name, value, must="a whole number")


def require_one_of(choices: Collection[str], **settings: str) -> None:
    """Raise ConfigError for the first setting that is not one of `choices`."""
    for name, value in settings.items():
        if value not in choices:
            raise ConfigError(name, value, must=f"one of {', '.join(choices)}")


def _events(events: int) -> str:
    return f"{events} event" if events == 1 else f"{events} events"


def _numbers(first: int, last: int) -> str:
    return f"number {first}" if first == last else f"numbers {first} to {last}"


def _number(value: object) -> float:
    """`value`, or nan, which is neither positive nor at least anything."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    return float("nan")


def _shown(event: object, room: int = 120) -> str:
    try:
        text = repr(event)
    except Exception as error:  # a cycle, or a __repr__ that fails
        text = f"a {type(event).__name__} that cannot be shown ({type(error).__name__})"
    return text if len(text) <= room else f"{text[:room]}… ({len(text)} characters)"
