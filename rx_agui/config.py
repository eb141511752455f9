"""The settings of an EventStream: what can be turned, and what is felt when it is.

    StreamConfig(batch_size=100)                       in code
    StreamConfig.from_mapping({"batch_size": 100})     from whatever you have parsed
    StreamConfig.from_file("stream.toml")              a file, TOML or JSON
    StreamConfig.from_env()                            RX_AGUI_BATCH_SIZE=100
    StreamConfig.load("stream.toml", batch_size=100)   all of them

`load` takes each option from the first that has it: code, environment, file, default.
So an operator can turn what the file says, and code can insist. A name that is no
option is refused, with the option that was probably meant.

Names and defaults are those of the AG-UI Go SDK's StreamConfig, in snake_case, in
seconds and bytes. Its own checks let a batch size of 0 through, which then divides by
zero, and take level 0 for "the default": here a setting is checked when it is made,
and means what it says.
"""

from __future__ import annotations

import json
import os
import tomllib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Literal, get_origin, get_type_hints

from rx_agui.codecs.registry import PAYLOAD_CODECS
from rx_agui.errors import (
    ConfigError,
    require_at_least,
    require_one_of,
    require_positive,
    require_whole,
    warn_if_milliseconds,
)
from rx_agui.types import AlgorithmName

__all__ = ["PREFIX", "StreamConfig", "config_or_default"]

#: What environment variables begin with.
PREFIX: Final = "RX_AGUI_"

_YES_AND_NO: Final = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamConfig:
    """The settings of an EventStream. Seconds and bytes.

    >>> StreamConfig(batch_size=100).batch_timeout
    0.05

    It is frozen. `dataclasses.replace` makes another that differs, and checks it as well:

    >>> from dataclasses import replace
    >>> replace(StreamConfig(batch_size=100), batch_timeout=0.2).batch_size
    100
    >>> StreamConfig(batch_size=0)
    Traceback (most recent call last):
    ...
    rx_agui.errors.ConfigError: batch_size must be positive, got 0
    >>> StreamConfig.from_mapping({"batchSize": 100})
    Traceback (most recent call last):
    ...
    rx_agui.errors.ConfigError: batchSize must be an option of StreamConfig (batch_size?), got 100

    Attributes:
        event_buffer_size: Events that may wait to be let in before a sender has to.
            More: a burst is swallowed and senders feel nothing; but a reader who is
            slow falls further behind before it is noticed.
        event_buffer_bytes: Bytes of events in the stream, from `send` until written,
            before senders wait, however few events that is. More: larger snapshots side
            by side; it is what the stream may cost in memory. An event that is larger
            than all of it still passes, alone.
        chunk_buffer_size: Chunks that may be ready before a further payload waits; the
            pieces of one payload go in together, even where they are more than that.
            More: a reader who pauses finds work done; fewer: what it reads is fresher.
        chunk_buffer_bytes: The same in bytes. The pieces of one payload go in together.
        max_chunk_size: Bytes in a chunk. Smaller passes proxies that buffer; larger
            costs less for each byte.
        flush_interval: Seconds a gathered event waits at most, which matters only where
            it is less than `batch_timeout`: with the defaults it is not.
        batch_enabled: Gather events. Off: each event leaves at once and by itself, as
            soon as it can, and costs the reader most.
        batch_size: Events in a full batch. More compresses better and costs the reader
            less; none is held longer for it than `batch_timeout`.
        batch_timeout: Seconds an event may be held for others to go with it. 0.05 looks
            live; 0.5 looks like a model that stutters.
        max_batch_size: Events in a batch at most, which matters with `adaptive_batching`
            or `degradation_enabled`; elsewhere it is only a bound for `batch_size`.
        adaptive_batching: Let the size follow the rate, between 1 and `max_batch_size`: a
            lone event leaves at once, a flood fills batches. `batch_size` says nothing
            then.
        max_batch_bytes: Bytes in a batch at most. A large one keeps an event loop busy
            while it is cut.
        compression_enabled: Compress payloads for readers who decompress. Off for the
            stock AG-UI client, which wants HTTP's own compression instead.
        compression_type: gzip or deflate, which every reader has; lz4, fast; zstd,
            both small and fast, where installed.
        compression_level: Higher is smaller and slower, on the algorithm's own scale.
            None: the algorithm's default, which is 6 for gzip and deflate, 0 for lz4
            (from 3 on it is slower than gzip), 3 for zstd. For gzip, 0 stores.
        min_compression_size: Bytes below which compressing costs more than it saves.
        max_concurrent_events: Events under way at most, from being let in until
            written. More for readers who are far away: round trip times rate.
        backpressure_timeout: Seconds `send` waits for room before it raises. Short:
            producers notice a stuck reader early; long: they ride out a slow one.
        drain_timeout: Seconds `close` waits for the reader to take what is left.
        sequence_enabled: Number events 1, 2, 3: what a reader who was cut off asks by,
            and what an error names.
        ordering_required: Put events in the order of the producers' own numbers, which
            the stream's `number` reads. Needed where several producers send parts of
            one whole. Events come out in the order they were let in anyway.
        out_of_order_buffer: Events that may wait for one that is late. More: producers
            may drift further apart before a number is given up.
        out_of_order_bytes: The same in bytes.
        gap_timeout: Seconds a late event is waited for. The reader sees nothing new
            meanwhile.
        circuit_breaker_enabled: Let the stream outlive a reader whose writes fail: it is
            left alone for a while, senders get CircuitOpenError, and then it is tried with
            care. Off: the first write that fails ends the stream, which is right where
            a reader who is gone does not come back.
        failure_rate_threshold: The share of failed writes, from 0 to 1, that opens it.
        breaker_minimum_calls: Writes before there is a share. Fewer: a dead reader costs
            fewer payloads; more: a hiccup does not open it.
        breaker_wait: Seconds the reader is left alone at first; longer each time in a row.
        retry_attempts: How often a payload is tried of which the reader says that nothing
            went out (NotSentError, ConnectionRefusedError). Any other is given up: it may
            have arrived, and text that comes twice is wrong.
        retry_delay: Seconds to the second attempt; twice as long to each further one.
        degradation_enabled: Send less, step by step, while the reader is further behind
            than `degradation_max_age`, and all again when it has caught up: cheaper
            compression, larger batches, conflation, no RAW events, and at last senders
            get Overloaded. What begins, ends or answers something always passes.
        degradation_max_age: Seconds the oldest event in flight may have been under way.
        validation_enabled: Refuse at its sender what an AG-UI client would not accept.
            Off: whatever is a JSON object passes.
        worker_count: Payloads compressed side by side, as far as there are processors:
            beyond their number it has no effect. More helps large payloads; 1 compresses where the payload is, and
            saves the way to another thread. Order is kept.
        enable_metrics: Count and time for `metrics()`. Off: it answers None.
        metrics_interval: Seconds between two snapshots that `metrics_changes` shows and
            the log gets. `metrics()` is always of this moment.

    Raises:
        ConfigError: A setting makes no sense; it names the option and the value.
    """

    event_buffer_size: int = 1000
    event_buffer_bytes: int = 16 * 1024 * 1024
    chunk_buffer_size: int = 100
    chunk_buffer_bytes: int = 8 * 1024 * 1024
    max_chunk_size: int = 64 * 1024
    flush_interval: float = 0.1

    batch_enabled: bool = True
    batch_size: int = 50
    batch_timeout: float = 0.05
    max_batch_size: int = 500
    adaptive_batching: bool = False
    max_batch_bytes: int = 1024 * 1024

    compression_enabled: bool = True
    compression_type: AlgorithmName = "gzip"
    compression_level: int | None = None
    min_compression_size: int = 1024

    max_concurrent_events: int = 100
    backpressure_timeout: float = 5.0
    drain_timeout: float = 30.0

    sequence_enabled: bool = True
    ordering_required: bool = False
    out_of_order_buffer: int = 1000
    out_of_order_bytes: int = 16 * 1024 * 1024
    gap_timeout: float = 5.0

    circuit_breaker_enabled: bool = False
    failure_rate_threshold: float = 0.5
    breaker_minimum_calls: int = 5
    breaker_wait: float = 1.0
    retry_attempts: int = 3
    retry_delay: float = 0.1

    degradation_enabled: bool = False
    degradation_max_age: float = 1.0
    validation_enabled: bool = False

    worker_count: int = 4
    enable_metrics: bool = True
    metrics_interval: float = 30.0

    def __post_init__(self) -> None:
        _check_types(self)
        _check_values(self)

    # -- from elsewhere ----------------------------------------------------------

    @classmethod
    def from_mapping(cls, options: Mapping[str, Any]) -> StreamConfig:
        """From names and values, such as a part of an application's own settings.

        Raises:
            ConfigError: A name is no option, or a setting makes no sense.
        """
        for name, value in options.items():
            _require_known(name, value)
        return cls(**options)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> StreamConfig:
        """From a TOML or JSON file with one option a line: `batch_size = 100`.

        Raises:
            ConfigError: It is neither, or a name or a setting in it makes no sense.
            OSError: It cannot be read.
        """
        return cls.from_mapping(_read(Path(path)))

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> StreamConfig:
        """From environment variables: RX_AGUI_BATCH_SIZE=100, RX_AGUI_BATCH_ENABLED=no.

        A variable with the prefix `RX_AGUI_` that resembles no option is left alone: other
        parts of rx_agui have variables too.

        >>> StreamConfig.from_env({"RX_AGUI_BATCH_SIZE": "100"}).batch_size
        100

        Args:
            environ: Instead of this process's environment.

        Raises:
            ConfigError: A name is nearly an option, or a setting makes no sense.
        """
        return cls(**_from_environ(os.environ if environ is None else environ))

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str] | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        **options: Any,
    ) -> StreamConfig:
        """From everywhere: `options`, then the environment, then the file, then defaults.

        >>> StreamConfig.load(environ={"RX_AGUI_BATCH_SIZE": "7"}, batch_size=9).batch_size
        9

        Args:
            path: A TOML or JSON file; None: there is none.
            environ: Instead of this process's environment; {} for none.
            options: What code insists on.

        Raises:
            ConfigError: A name is no option, or a setting makes no sense.
            OSError: The file cannot be read.
        """
        found = {} if path is None else _read(Path(path))
        found |= _from_environ(os.environ if environ is None else environ)
        return cls.from_mapping(found | options)


def config_or_default(config: object) -> StreamConfig:
    """Return the config given to an EventStream; the default for None.

    Raises:
        ConfigError: It is something else, such as a dict.
    """
    if isinstance(config, StreamConfig):
        return config
    if config is not None:
        must = "a StreamConfig: write StreamConfig.from_mapping({...})"
        raise ConfigError("config", config, must)
    for variable in os.environ:
        name = variable.removeprefix(PREFIX).lower()
        if variable.startswith(PREFIX) and (name in _KINDS or _nearest(name)):
            instead = "EventStream(StreamConfig.load()) does"
            text = f"{variable} is set, but EventStream() does not read it: {instead}"
            warnings.warn(text, stacklevel=3)
    return StreamConfig()


def _check_types(config: StreamConfig) -> None:
    for name, kind in _KINDS.items():
        value = getattr(config, name)
        if kind is bool and not isinstance(value, bool):
            raise ConfigError(name, value, must="True or False")
        if kind is str and not isinstance(value, str):
            raise ConfigError(name, value, must="a word")


def _check_values(config: StreamConfig) -> None:
    numbers = {
        name: getattr(config, name)
        for name, kind in _KINDS.items()
        if kind in (int, float) and name not in _MAY_BE_ZERO
    }
    require_positive(**numbers)
    require_at_least(0, min_compression_size=config.min_compression_size)
    require_whole(
        **{
            name: getattr(config, name)
            for name, kind in _KINDS.items()
            if kind is int and getattr(config, name) is not None
        }
    )
    warn_if_milliseconds(
        batch_timeout=config.batch_timeout, flush_interval=config.flush_interval
    )
    require_at_least(4, max_chunk_size=config.max_chunk_size)
    require_one_of(tuple(PAYLOAD_CODECS), compression_type=config.compression_type)
    codec = PAYLOAD_CODECS[config.compression_type]
    codec.level_or_default(compression_level=config.compression_level)
    if config.failure_rate_threshold > 1:
        must = "a share, from 0 to 1"
        raise ConfigError("failure_rate_threshold", config.failure_rate_threshold, must)
    if config.batch_size > config.max_batch_size and not config.adaptive_batching:
        must = f"at most max_batch_size, which is {config.max_batch_size}"
        raise ConfigError("batch_size", config.batch_size, must)
    if config.ordering_required and not config.sequence_enabled:
        must = "False while sequence_enabled is: order is that of the numbers"
        raise ConfigError("ordering_required", True, must)


def _read(path: Path) -> dict[str, Any]:
    text = path.read_text("utf-8")
    try:
        match path.suffix:
            case ".toml":
                found: Any = tomllib.loads(text)
            case ".json":
                found = json.loads(text)
            case _:
                raise ConfigError("path", str(path), must="a .toml or .json file")
    except (tomllib.TOMLDecodeError, json.JSONDecodeError) as error:
        raise ConfigError("path", str(path), f"readable ({error})") from error
    if not isinstance(found, dict):
        raise ConfigError("path", str(path), must="an object of options")
    return found


def _from_environ(environ: Mapping[str, str]) -> dict[str, Any]:
    found = {}
    for variable, text in environ.items():
        if not variable.startswith(PREFIX):
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name in _KINDS:
            found[name] = _parsed(variable, text, _KINDS[name])
        elif near := _nearest(name):
            must = f"an option of StreamConfig ({PREFIX}{near.upper()}?)"
            raise ConfigError(variable, text, must)
    return found


def _parsed(variable: str, text: str, kind: type) -> Any:
    if kind is bool:
        if text.lower() not in _YES_AND_NO:
            raise ConfigError(variable, text, f"one of {', '.join(_YES_AND_NO)}")
        return _YES_AND_NO[text.lower()]
    try:
        return kind(text)
    except ValueError:
        must = "a whole number" if kind is int else "a number"
        raise ConfigError(variable, text, must) from None


def _require_known(name: str, value: object) -> None:
    if name not in _KINDS:
        near = _nearest(name)
        hint = f" ({near}?)" if near else ""
        raise ConfigError(name, value, f"an option of StreamConfig{hint}")


def _nearest(name: str) -> str:
    """Return the option that was probably meant; "" if none is near."""
    plain = {option.replace("_", ""): option for option in _KINDS}
    asked = "".join(c for c in name.lower() if c.isalnum())
    near = get_close_matches(asked, plain, n=1, cutoff=0.75)
    return plain[near[0]] if near else ""


#: Settings that may be 0, to compress everything or to store; a level has its own check.
_MAY_BE_ZERO: Final = ("min_compression_size", "compression_level")

_KINDS: Final[dict[str, type]] = {
    name: str if get_origin(kind) is Literal else kind
    for name, kind in get_type_hints(StreamConfig).items()
} | {"compression_level": int}
