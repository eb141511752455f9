"""The client on real sockets: who waits for whom, and what is closed when."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from reactivex import operators as ops

from rx_agui import flow_control, sequence, unbatch
from rx_agui.client import Reconnect, connect
from rx_agui.errors import ConnectionLostError, MissingExtraError
from tests.support.logged import Logged, text_run
from tests.support.serving import served

RUN = text_run(20)


@pytest.mark.parametrize("profile", ["agui", "chunk"])
@pytest.mark.parametrize("encoding", ["identity", "gzip", "deflate", "br", "zstd"])
def test_a_run_is_read_in_every_profile_and_encoding(
    profile: str, encoding: str
) -> None:
    with served(Logged(RUN)) as url:

        async def main() -> list[Any]:
            query = {"profile": profile, "encoding": encoding}
            return [e async for e in connect(f"{url}/run", json={}, params=query)]

        assert asyncio.run(main()) == RUN


def test_without_a_loop_it_brings_its_own() -> None:
    before = threading.active_count()
    with served(Logged(RUN)) as url:
        events = connect(f"{url}/run", json={})

        assert events.pipe(ops.to_list()).run() == RUN
        piped = connect(f"{url}/2", json={}).pipe(
            flow_control(3), sequence(), unbatch()
        )
        assert piped.pipe(ops.to_list()).run() == RUN
    wait_until(lambda: threading.active_count() <= before)


def test_without_a_loop_an_error_reaches_the_subscriber() -> None:
    with pytest.raises(ConnectionLostError, match="after 1 attempts to come back"):
        connect(
            f"http://127.0.0.1:{closed_port()}/",
            reconnect=Reconnect(attempts=1, base=0.001),
        ).run()


def test_each_subscriber_asks_for_itself() -> None:
    server = Logged(RUN)
    with served(server) as url:
        events: Any = connect(f"{url}/run", json={})
        first = events.pipe(ops.to_list()).run()
        second = events.pipe(ops.to_list()).run()

    assert (server.runs_begun, len(server.asked)) == (1, 2)
    assert first[0]["type"] == second[0]["type"] == "RUN_STARTED"


class Endless:
    """A server that sends as fast as it can, and knows what it has sent."""

    def __init__(self) -> None:
        self.sent = 0
        self.left = asyncio.Event()

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[str]:
        sock = socket.create_server(("127.0.0.1", 0))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        async with await asyncio.start_server(self._serve, sock=sock):
            yield f"http://127.0.0.1:{sock.getsockname()[1]}/"

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        try:
            while True:
                event = b'{"type":"CUSTOM","name":"n","value":"%s"}' % (b"x" * 900)
                writer.write(b"id: r/%d\ndata: %b\n\n" % (self.sent + 1, event))
                await writer.drain()
                self.sent += 1
        except OSError:
            self.left.set()
        finally:
            writer.close()


def small_buffers() -> httpx.AsyncClient:
    """A client whose kernel buffers hold little, so that a stop is felt soon."""
    options = [(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)]
    return httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(socket_options=options))


async def settled(count: Any) -> int:
    """What `count` says once it has stopped going up."""
    last = -1
    while (now := count()) != last:
        last = now
        await asyncio.sleep(0.1)
    return int(now)


@pytest.mark.parametrize("how", ["async for", "flow_control"])
def test_a_reader_that_stops_stops_the_server(how: str) -> None:
    async def main() -> None:
        server = Endless()
        held: list[Any] = []
        hold: Any = ops.do_action(lambda frame: held.append(frame.permit.hold()))
        async with server.listen() as url, small_buffers() as client:
            events = connect(url, client=client)
            if how == "async for":
                reading = events.read()
                for _ in range(10):
                    await anext(reading)
                sent = await settled(lambda: server.sent)
                await reading.aclose()
            else:
                subscribed = events.pipe(
                    flow_control(10),
                    hold,
                ).subscribe()
                sent = await settled(lambda: server.sent)
                assert len(held) == 10
                subscribed.dispose()
            await asyncio.wait_for(server.left.wait(), 10)
        assert sent < 2000  # of 1 kB: two kernel buffers and one read

    asyncio.run(main())


def test_under_plain_rxpy_disposing_closes_the_connection_at_once() -> None:
    async def main() -> None:
        server = Endless()
        seen: list[Any] = []
        async with server.listen() as url:
            connect(url).pipe(ops.take(5)).subscribe(seen.append)
            await asyncio.wait_for(server.left.wait(), 10)
        assert len(seen) == 5

    asyncio.run(main())


def test_a_silent_connection_is_closed_when_it_is_disposed_of() -> None:
    async def main() -> None:
        left = asyncio.Event()
        asked = asyncio.Event()

        async def serve(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n:\n\n"
            )
            asked.set()
            assert await reader.read() == b""
            left.set()
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
            port = listening.sockets[0].getsockname()[1]
            subscribed = connect(f"http://127.0.0.1:{port}/").subscribe(print)
            await asyncio.wait_for(asked.wait(), 10)
            subscribed.dispose()
            await asyncio.wait_for(left.wait(), 10)

    asyncio.run(main())


def test_a_thread_may_dispose_of_it_before_it_has_begun() -> None:
    with served(Logged(RUN)) as url:
        connect(f"{url}/run", json={}).subscribe(print).dispose()
    wait_until(lambda: not client_threads())


def test_a_client_of_the_users_is_not_closed() -> None:
    async def main() -> None:
        async with httpx.AsyncClient() as client:
            with served(Logged(RUN)) as url:
                async for _ in connect(f"{url}/run", json={}, client=client):
                    pass
                assert not client.is_closed
                answer = await client.get(f"{url}/run")
                assert answer.status_code == 200

    asyncio.run(main())


def test_without_httpx_it_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)

    with pytest.raises(MissingExtraError, match=r'pip install "rx-agui\[client\]"'):
        connect("http://127.0.0.1/")


def test_the_library_loads_without_httpx() -> None:
    code = (
        "import sys; sys.modules['httpx'] = sys.modules['brotli'] = None; "
        "import rx_agui.client, rx_agui.doctor, rx_agui.cli"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def client_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "rx_agui-client"]


def wait_until(is_so: Any) -> None:
    for _ in range(500):
        if is_so():
            return
        threading.Event().wait(0.02)
    raise AssertionError("it did not come to pass")
