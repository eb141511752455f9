"""The parts of a codec, and the optional packages behind some of them.

    whole payloads (chunk profile)    packer(level)(data)           unpack(data, limit)
    a response (Content-Encoding)     stream_encoder(level)         stream_decoder()

An optional package is imported once for the process. One that is missing is remembered
as missing: a failed import costs some 100 µs, and a request must not pay it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final, Protocol

from rx_agui.errors import ConfigError, MissingExtraError

__all__ = [
    "IDENTITY",
    "PIECE",
    "Codec",
    "Decoder",
    "Pack",
    "StreamEncoder",
    "expect_end",
    "optional_module",
]

#: The name, on a payload and in HTTP, of data that is not compressed.
IDENTITY: Final = "identity"

#: Bytes to decompress at a time.
PIECE: Final = 256 * 1024

Pack = Callable[[bytes], bytes]

#: Decompress what arrived, lazily: the caller may stop after any piece.
Decoder = Callable[[bytes], Iterator[bytes]]


class StreamEncoder(Protocol):
    """The compression of one response: one context, flushed after each write."""

    def encode(self, data: bytes) -> bytes:
        """Return bytes from which `data` can be decoded as soon as they arrive."""

    def rest(self, data: bytes) -> bytes:
        """Encode, then hold as little memory as possible: the stream may be idle."""

    def finish(self) -> bytes:
        """Return the end of the stream."""


def _unsupported(*_: object) -> Any:
    raise NotImplementedError("this codec has no such direction")


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """A compression format, in both directions.

    Attributes:
        name: As it stands on payloads and in Content-Encoding.
        levels: The levels of `packer`, on the format's own scale.
        default_level: The level where none is given, on the same scale.
        cheapest_level: The level that takes the least time and still compresses.
        packer: Make a function that compresses whole payloads at a level.
        unpack: Decompress a whole payload to at most `limit` bytes.
        stream_levels: For `compression_level` 1 to 9 of a response, the format's own
            level, by measurement (tests/benchmarks/levels.py).
        stream_encoder: Make the encoder of one response at one of those levels.
        stream_decoder: Make the decoder of one response.
        package: The module it needs beyond the dependencies; "" for none.
        extra: The extra that installs it.

    A format may be for payloads only, without the stream's part, or for HTTP only.
    """

    name: str
    levels: range = range(1)
    default_level: int = 0
    cheapest_level: int = 0
    packer: Callable[[int], Pack] = _unsupported
    unpack: Callable[[bytes, int], bytes] = _unsupported
    stream_levels: tuple[int, ...] = ()
    stream_encoder: Callable[[int], StreamEncoder] = _unsupported
    stream_decoder: Callable[[], Decoder] = _unsupported
    package: str = ""
    extra: str = ""

    @property
    def is_for_payloads(self) -> bool:
        """True if `compress` can use it, in the chunk profile."""
        return self.packer is not _unsupported

    @property
    def is_for_http(self) -> bool:
        """True if it is a Content-Encoding."""
        return self.stream_encoder is not _unsupported

    def level_or_default(self, **given: int | None) -> int:
        """Return the level that one keyword gives, or the default for None.

        Raises:
            ConfigError: It is not on this codec's scale.
        """
        ((name, level),) = given.items()
        if level is None:
            return self.default_level
        if type(level) is not int or level not in self.levels:
            low, high = self.levels[0], self.levels[-1]
            raise ConfigError(name, level, f"from {low} to {high} for {self.name}")
        return level

    @property
    def is_installed(self) -> bool:
        """True if the codec can be used in this process."""
        return not self.package or optional_module(self.package) is not None

    def require(self, feature: str = "") -> None:
        """Check that the codec can be used.

        Raises:
            MissingExtraError: Its package is not installed.
        """
        if not self.is_installed:
            raise MissingExtraError(feature or self.name, self.package, self.extra)


#: The optional modules that were asked for; None for one that cannot be imported.
_FOUND: Final[dict[str, Any]] = {}


def optional_module(name: str) -> Any:
    """Return an optional module, or None if it cannot be imported in this process."""
    try:
        return _FOUND[name]
    except KeyError:
        try:
            found: Any = import_module(name)
        except ImportError:
            found = None
        _FOUND[name] = found
        return found


def expect_end(ended: bool, unused: bytes) -> None:
    """Check that a payload was one whole stream of its format and nothing else.

    Raises:
        EOFError: It was cut.
        ValueError: Bytes follow its end.
    """
    if not ended:
        raise EOFError("it was cut")
    if unused:
        raise ValueError(f"{len(unused)} bytes follow its end")
