"""The events of a URL, as an Observable or with `async for`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING, Any, Final, cast, get_args

import orjson
from reactivex.abc import DisposableBase
from reactivex.disposable import Disposable

from rx_agui.agui.encoding import encode, is_model
from rx_agui.client._reading import Lost, Opened, Reading, Settings
from rx_agui.client._reconnect import Reconnect
from rx_agui.client._request import Request, require_httpx
from rx_agui.clock import running_loop
from rx_agui.errors import (
    ConfigError,
    require_one_of,
    require_positive,
    require_whole,
)
from rx_agui.flow import Demand, PullSource, from_async_iterable

if TYPE_CHECKING:
    import httpx
from rx_agui.types import OnTrimmed

__all__ = ["Connection", "connect"]

ON_TRIMMED: Final = get_args(OnTrimmed)

_RECONNECT = Reconnect()


def connect(
    url: str,
    *,
    json: Any = None,
    content: bytes | str | None = None,
    method: str | None = None,
    params: Any = None,
    headers: Mapping[str, str] | None = None,
    auth: Any = None,
    client: httpx.AsyncClient | None = None,
    last_event_id: str = "",
    reconnect: Reconnect | None = _RECONNECT,
    repeatable: bool = True,
    connect_timeout: float | None = 10.0,
    read_timeout: float | None = 60.0,
    deadline: float | None = None,
    max_size: int = 16 * 1024 * 1024,
    on_trimmed: OnTrimmed = "error",
    watch: Callable[[Opened | Lost], object] | None = None,
    loop: asyncio.AbstractEventLoop | None = None,
) -> Connection:
    r"""Read a stream of Server-Sent Events, each event exactly once.

        async for event in connect("https://example.com/run", json=run_input):
            print(event["type"])

    Here the server is one that only pretends to be:

    >>> import httpx
    >>> run = b'data: {"type":"RUN_ERROR","message":"no"}\n\n'
    >>> sse = {"content-type": "text/event-stream"}
    >>> server = httpx.MockTransport(lambda _: httpx.Response(200, headers=sse, content=run))
    >>> client = httpx.AsyncClient(transport=server)
    >>> connect("https://example.com/run", json={"runId": "r"}, client=client).run()
    {'type': 'RUN_ERROR', 'message': 'no'}

    Reads both wire profiles, and any AG-UI server. Where events have ids of the form
    `<stream>/<number>`, a connection that breaks is made again and goes on behind the
    last event; elsewhere it cannot be, and says so. The stream completes only when the
    run has ended (RUN_FINISHED or RUN_ERROR): one that merely stops is an error.

    It reads no further than it is asked: by `async for`, or by the `flow_control` behind
    it. What is slow at this end slows the agent at the other. Subscribed where an event
    loop runs, it lives there; elsewhere it brings a thread with a loop of its own.

    Args:
        url: Where to ask. Each subscriber, and each `async for`, asks for itself.
        json: What to send: an AG-UI RunAgentInput, a mapping, anything JSON. Sent again
            with every attempt, so that one POST route is enough.
        content: The same as bytes or text that are ready.
        method: The default is POST with something to send, else GET.
        params: As httpx takes them; added to what the URL has.
        headers, auth: As httpx takes them. A redirect to another origin is followed
            without them, and without what is sent: 307 and 308, which ask for it, are
            refused there.
        client: Yours, with its pool, proxies and certificates; it is not closed. The
            default is one per reading.
        last_event_id: Where to go on, if you have kept it (`Reading.last_event_id`).
        reconnect: When to ask again; None: never, and servers are told so.
        repeatable: Whether the request may be sent again before an id has come.
            A server of ours with a log joins the run that it has begun. Say False if
            yours would run the agent twice.
        connect_timeout: Seconds to reach the server.
        read_timeout: Seconds of silence after which a connection counts as dead; a
            comment is no silence. The default survives three keep-alives that are lost.
            None waits for ever, as for an agent that thinks long behind a server that
            sends no keep-alives.
        deadline: Seconds for all of it; None: as long as it takes.
        max_size: Bytes of an event, of a payload when unpacked, of a prelude. Protects
            memory.
        on_trimmed: What to do when the server no longer has what comes next. "error":
            end with Trimmed. "prelude": hand on what brings a newcomer up to date
            (RUN_STARTED, snapshots, what is open), and go on; for readers who can begin
            anew.
        watch: Told when a connection was Opened or Lost.
        loop: Where to run. The default is as said above.

    Errors:
        ConnectionLostError: It broke off and cannot, or could not, be resumed.
        Refused: The server answered with an error. Gone: It does not know the stream.
        Trimmed: See `on_trimmed`.
        DeadlineExceededError: See `deadline`.
        PayloadError: What came cannot become events, or is too large.

    Raises:
        ConfigError: A setting makes no sense.
        MissingExtraError: httpx is not installed.
    """
    httpx = require_httpx()
    try:
        parts = httpx.URL(url)
        is_http = parts.scheme in ("http", "https") and bool(parts.host)
    except httpx.InvalidURL:
        is_http = False
    if not is_http:
        raise ConfigError("url", url, must="an http or https URL")
    require_positive(max_size=max_size)
    require_whole(max_size=max_size)
    for name, seconds in (
        ("connect_timeout", connect_timeout),
        ("read_timeout", read_timeout),
        ("deadline", deadline),
    ):
        if seconds is not None:
            require_positive(**{name: seconds})
    require_one_of(ON_TRIMMED, on_trimmed=on_trimmed)
    body, own = _body_of(json, content)
    request = Request(
        (method or ("GET" if body is None else "POST")).upper(),
        # httpx writes a query anew to merge it, and not all of it survives that.
        str(parts.copy_merge_params(params) if params else parts),
        own | {name.lower(): value for name, value in (headers or {}).items()},
        body,
        auth,
        connect_timeout,
        resumes=reconnect is not None,
    )
    return Connection(
        Settings(
            request,
            client,
            last_event_id,
            reconnect,
            repeatable,
            read_timeout,
            deadline,
            max_size,
            on_trimmed,
            watch,
        ),
        loop,
    )


def _body_of(
    json: Any, content: bytes | str | None
) -> tuple[bytes | None, dict[str, str]]:
    if json is None:
        return content.encode() if isinstance(content, str) else content, {}
    if content is not None:
        raise ConfigError("content", content, must="left out where json is given")
    is_object = is_model(json) or isinstance(json, Mapping)
    body = encode(json) if is_object else orjson.dumps(json)
    return body, {"content-type": "application/json"}


class Connection(PullSource):
    """What `connect` gives: an Observable of events, and an async iterable of them."""

    def __init__(
        self, settings: Settings, loop: asyncio.AbstractEventLoop | None
    ) -> None:
        super().__init__()
        self._settings = settings
        self._loop = loop

    def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        return self.read()

    def read(self) -> Reading:
        """One reading, for who wants its `last_event_id`, or to close it early.

        async with connect(url).read() as events:
            async for event in events: ...
        """
        return Reading(self._settings)

    def attach(self, link: Demand) -> DisposableBase:
        loop = self._loop or running_loop()
        if loop is None:
            return _Apart(self.read).begin(link)
        return _paced(self.read, loop).attach(link)


def _paced(read: Callable[[], Any], loop: asyncio.AbstractEventLoop) -> PullSource:
    return cast(PullSource, from_async_iterable(read, loop=loop))


class _Apart:
    """A thread with a loop, for a subscriber that has none."""

    def __init__(self, read: Callable[[], Reading]) -> None:
        self._read = read
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()

    def begin(self, link: Demand) -> DisposableBase:
        pulled = _paced(self._until_its_end, self._loop).attach(link)
        Thread(target=self._run, name="rx_agui-client", daemon=True).start()

        def stop() -> None:
            pulled.dispose()
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._ended.set)

        return Disposable(stop)

    async def _until_its_end(self) -> AsyncIterator[dict[str, Any]]:
        try:
            async with self._read() as events:
                async for event in events:
                    yield event
        finally:
            self._ended.set()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._main())

    async def _main(self) -> None:
        await self._ended.wait()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*rest, return_exceptions=True)
