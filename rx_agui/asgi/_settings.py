"""The settings of an application's responses: checked once, and what follows from them.

SSESettings ──▶ offers, head, operators        made once
SSEResponse(source, settings=...)              made for every request
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict, get_args

from rx_agui.asgi.run._on_disconnect import CANCEL, Grace, grace, require_grace
from rx_agui.codecs.negotiation import negotiated, offered
from rx_agui.engine import StageSpec, stages_of
from rx_agui.errors import (
    ConfigError,
    require_at_least,
    require_one_of,
    require_positive,
    require_whole,
    warn_if_milliseconds,
)
from rx_agui.operators import batch, chunk, compress, conflate, flow_control, sequence
from rx_agui.replay import ReplayLog
from rx_agui.types import Operator, Raw

if TYPE_CHECKING:
    from rx_agui.asgi._shutdown import Shutdown

__all__ = ["Headers", "SSESettings", "SettingsKeywords", "add_to", "raw", "settings_of"]

Headers = list[tuple[bytes, bytes]]

Profile = Literal["agui", "chunk"]
Conflate = Literal["never", "lagging", "always"]

_PROFILES: Final = ("agui", "chunk")
_CONFLATES: Final = ("never", "lagging", "always")

#: Seconds a logged run waits for a reader that was cut off: a tunnel, a lid that closed.
_TUNNEL: Final = 60.0

#: Values of Accept-Encoding, and sets of keywords, that are kept: browsers, proxies and
#: clients have a dozen, an attacker as many as they like.
_KEPT: Final = 256


@dataclass(frozen=True, kw_only=True)
class SSESettings:
    """What the responses of an application have in common. Make one, and give it to each.

    >>> settings = SSESettings(keep_alive=10.0, codings=("gzip",))
    >>> settings.negotiate("gzip, br")
    'gzip'

        settings = SSESettings(log=MemoryLog(), shutdown=shutdown)
        ... return SSEResponse(agent, settings=settings)

    Args:
        log: Where runs are kept, for readers that come back; see SSEResponse.
        shutdown: The application's, for streams to end well when the server stops.
        window: Events between the agent and its fastest reader at most. Two batches of
            the default size: one being written, one being gathered.
        batch_size, batch_timeout: Events that go together at most, and seconds the first
            of them waits for others. 50 ms are three pictures of a screen.
        leading: Seconds from one payload to the next while the reader keeps up, as in
            `batch`: an event that comes later leaves at once. 16 ms are one picture of a
            screen. None: every payload waits for `batch_timeout` or a full batch.
        profile: "agui", which any AG-UI client reads; or "chunk", compressed and cut
            payloads, for ours.
        conflate: Which readers get fewer and larger events, without losing a character.
            "lagging": those that do not keep up. One alone lags when it has not read the
            payload before; one of many when it is more than eight payloads behind the
            first. What was said before a reader came goes together as well.
            "always": all, which is less work for a browser. "never": none.
        raw: RAW events and the field `rawEvent`, of which no client builds anything.
            "drop": neither is sent nor logged: a LangGraph run is a tenth of its size.
            "strip": events that are merged lose the field. "keep": they keep the last.
        codings: What to offer for Content-Encoding, the preferred one first: gzip, br,
            zstd, deflate. None: all that are installed. gzip and deflate are what many
            readers of a run can share.
        compression_level: From 1, fast, to 9, small. gzip and deflate take it as theirs;
            br and zstd have fewer levels that are worth their time in a stream.
        status_grace: Seconds the status waits for the first event. An agent that fails by
            then is answered with 4xx or 5xx; one that thinks longer has said 200.
        keep_alive: Seconds of silence behind which a comment goes. Proxies allow 30 to 60
            between two bytes; `rx-agui doctor` says what yours does. None: never.
        retry: Seconds a client should wait before it comes back, and up to half as much
            again, so that not all do at once.
        send_timeout: Seconds one write may take: a reader who takes longer is closed, and
            may come back. None: for ever.
        max_staleness: Seconds a reader may be behind. Beyond, as for `send_timeout`.
        max_duration: Seconds a connection lasts; up to a fifth less, so that readers that
            came together do not go together. For load balancers that never move a
            connection. None: as long as the run.
        on_disconnect: What becomes of a run without readers: CANCEL, CONTINUE, or
            `grace(seconds)`. None: without a log it is cancelled, since no reader can
            come back; with one it has a minute: a tunnel, or a lid that was closed.
        expose_errors: Whether a RUN_ERROR says what the agent raised. Not by default: it
            may be a secret.
        agent_errors: "keep" sends a RUN_ERROR of the agent's own as it is; "hide" replaces
            its message and keeps its code, since pydantic-ai, LangGraph, Agno and Strands
            write the text of an exception into it. "Out of credits" may be meant to be
            read; so AGUIMiddleware hides, and SSEResponse keeps.
        name: What telemetry calls it; see `pipeline`.

    Raises:
        ConfigError: A setting makes no sense.
        MissingExtraError: A coding was asked for by name and is not installed.
    """

    log: ReplayLog | None = None
    shutdown: Shutdown | None = None
    window: int = 100
    batch_size: int = 50
    batch_timeout: float = 0.05
    leading: float | None = 0.016
    profile: Profile = "agui"
    conflate: Conflate = "lagging"
    raw: Raw = "strip"
    codings: Sequence[str] | None = None
    compression_level: int = 6
    status_grace: float = 0.1
    keep_alive: float | None = 15.0
    retry: float = 1.0
    send_timeout: float | None = 60.0
    max_staleness: float | None = 60.0
    max_duration: float | None = None
    on_disconnect: Grace | None = None
    expose_errors: bool = False
    agent_errors: Literal["keep", "hide"] = "keep"
    name: str = "default"
    #: The codings to offer, the preferred one first.
    offers: tuple[str, ...] = field(init=False, repr=False)
    _negotiated: dict[str | None, str | None] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        counts = {"window": self.window, "batch_size": self.batch_size}
        require_positive(**counts, batch_timeout=self.batch_timeout, retry=self.retry)
        warn_if_milliseconds(batch_timeout=self.batch_timeout)
        require_whole(**counts, compression_level=self.compression_level)
        require_one_of(_PROFILES, profile=self.profile)
        require_one_of(_CONFLATES, conflate=self.conflate)
        require_one_of(get_args(Raw), raw=self.raw)
        require_one_of(("keep", "hide"), agent_errors=self.agent_errors)
        require_log(self.log)
        require_at_least(0.0, status_grace=self.status_grace)
        if not 1 <= self.compression_level <= 9:
            level = self.compression_level
            raise ConfigError("compression_level", level, must="from 1 to 9")
        for name in (
            "keep_alive",
            "send_timeout",
            "max_staleness",
            "max_duration",
            "leading",
        ):
            value = getattr(self, name)
            if value is not None:
                require_positive(**{name: value})
        if self.on_disconnect is not None:
            require_grace(on_disconnect=self.on_disconnect)
        if not self.name:
            raise ConfigError("name", self.name, must="not empty")
        object.__setattr__(self, "offers", offered(self.codings))

    def negotiate(self, accept: str | None) -> str | None:
        """Return the coding to answer this Accept-Encoding in; None if none is acceptable."""
        known = self._negotiated
        if accept in known:
            return known[accept]
        coding = negotiated(accept, self.offers)
        if len(known) < _KEPT:
            known[accept] = coding
        return coding

    def without_readers(self, *, logged: bool) -> Grace:
        """Return the policy of a run without readers: with a log it waits for one."""
        if self.on_disconnect is not None:
            return self.on_disconnect
        return grace(_TUNNEL) if logged else CANCEL

    def head_for(self, headers: Mapping[str, str] | None) -> Headers:
        """Return the headers of a response: an application's, and what SSE needs besides."""
        return (
            list(self._head) if not headers else _completed(raw(headers), self.offers)
        )

    @cached_property
    def _head(self) -> Headers:
        return _completed([], self.offers)

    @cached_property
    def gathering(self) -> tuple[Operator[Any, Any], ...]:
        """The operators for bare events, up to where they are numbered and gathered."""
        dropping = (conflate(raw="drop"),) if self.raw == "drop" else ()
        return (
            flow_control(self.window),
            *dropping,
            sequence(),
            batch(self.batch_size, self.batch_timeout, leading=self.leading),
        )

    @cached_property
    def gathering_stages(self) -> tuple[StageSpec, ...]:
        """The same, to be connected for each run without being applied again."""
        return stages_of(self.gathering)

    @cached_property
    def outgoing_stages(self) -> tuple[StageSpec, ...]:
        """As `gathering_stages`."""
        return stages_of(self.outgoing)

    @cached_property
    def outgoing(self) -> tuple[Operator[Any, Any], ...]:
        """The operators for the payloads of one reader, of the window at most.

        Such a reader never lags far enough for `conflate="lagging"` to be worth it.
        """
        merging = (conflate(raw=self.raw),) if self.conflate == "always" else ()
        return (*merging, compress(), chunk()) if self.profile == "chunk" else merging

    @cached_property
    def shortest_wait(self) -> float:
        """Seconds between two looks at a connection, at most."""
        waits = (self.keep_alive, self.send_timeout, self.max_staleness)
        return min([wait for wait in waits if wait is not None], default=60.0)


def require_log(log: object) -> None:
    """Refuse a class where an instance of it is meant.

    Raises:
        ConfigError: It is a class.
    """
    if isinstance(log, type):
        raise ConfigError("log", log, f"an instance: {log.__name__}()")


class SettingsKeywords(TypedDict, total=False):
    """The settings of SSESettings, as SSEResponse takes them."""

    window: int
    batch_size: int
    batch_timeout: float
    leading: float | None
    profile: Profile
    conflate: Conflate
    raw: Raw
    codings: Sequence[str] | None
    compression_level: int
    status_grace: float
    keep_alive: float | None
    retry: float
    send_timeout: float | None
    max_staleness: float | None
    max_duration: float | None
    on_disconnect: Grace | None
    expose_errors: bool
    agent_errors: Literal["keep", "hide"]
    name: str


#: By their keywords: an application says the same for every request.
_known: dict[frozenset[tuple[str, object]], SSESettings] = {}
_NO_KEYWORDS: Final[frozenset[tuple[str, object]]] = frozenset()


def settings_of(keywords: SettingsKeywords) -> SSESettings:
    """Return the settings that these keywords make: checked once for each set of them."""
    if not keywords and (default := _known.get(_NO_KEYWORDS)) is not None:
        return default
    if isinstance(codings := keywords.get("codings"), list):
        keywords["codings"] = tuple(codings)
    try:
        key = frozenset(keywords.items())
        known = _known.get(key)
    except TypeError:  # a value that is not hashable
        return SSESettings(**keywords)
    if known is None:
        known = SSESettings(**keywords)
        if len(_known) < _KEPT:
            _known[key] = known
    return known


def raw(headers: Mapping[str, str]) -> Headers:
    """Headers as ASGI has them."""
    return [
        (name.lower().encode("latin-1"), value.encode("latin-1"))
        for name, value in headers.items()
    ]


def _completed(headers: Headers, offers: Sequence[str]) -> Headers:
    for name, value in (
        (b"content-type", b"text/event-stream"),
        (b"cache-control", b"no-cache, no-transform"),
        (b"x-accel-buffering", b"no"),
    ):
        if all(name != known for known, _ in headers):
            headers.append((name, value))
    if offers:
        add_to(headers, b"vary", b"Accept-Encoding")
    return headers


def add_to(headers: Headers, name: bytes, value: bytes) -> None:
    """Add to a header that is a list."""
    for index, (known, values) in enumerate(headers):
        if known == name:
            if value.lower() not in values.lower():
                headers[index] = name, values + b", " + value
            return
    headers.append((name, value))
