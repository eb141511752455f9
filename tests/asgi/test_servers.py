"""What was tested by hand holds behind real servers, with real sockets and signals."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from itertools import count

import httpx
import orjson
import pytest

from rx_agui.agui.events import TERMINAL
from rx_agui.sse import Parser
from tests.support.place import WINDOW
from tests.support.servers import COMMANDS, Server, serving

#: What an operating system and a server may take in before `send` blocks. Linux grows a
#: socket's buffer to 4 MB and more, whatever the reader's.
BUFFERS = 16 * 1024 * 1024

names = (f"run-{n}" for n in count(1))


@pytest.fixture(scope="module", params=list(COMMANDS))
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with serving(request.param) as server:
        yield server


def test_each_batch_comes_when_it_is_written_and_comments_while_it_is_silent(
    server: Server,
) -> None:
    url = f"{server.url}/quiet?name={next(names)}"
    with httpx.stream("GET", url, timeout=20) as response:
        assert response.headers["content-encoding"] == "gzip"
        data = b""
        for piece in response.iter_bytes():
            data += piece
            if data.count(b":\n") == 1 + 2:
                break
    assert data.startswith(b":\nretry: ")
    assert data.index(b"RUN_STARTED") < data.rindex(b":\n")


def test_a_reader_who_leaves_while_nothing_is_said_cancels_the_agent(
    server: Server,
) -> None:
    name = next(names)
    with httpx.stream("GET", f"{server.url}/quiet?name={name}", timeout=20) as response:
        next(response.iter_bytes())

    server.until(
        lambda state: state["how"].get(name) == "cancelled", "the end of the agent"
    )


def test_a_reader_who_leaves_a_flood_ends_the_agent(server: Server) -> None:
    name = next(names)
    with httpx.stream("GET", f"{server.url}/flood?name={name}", timeout=20) as response:
        next(response.iter_bytes())

    server.until(lambda state: name in state["how"], "the end of the agent")


def test_a_reader_who_does_not_read_stops_the_agent(server: Server) -> None:
    name = next(names)
    with server.connect(f"/flood?name={name}", buffer=4096) as client:
        client.recv(1000)
        given = server.come_to_rest(name)["given"][name]

    assert given < BUFFERS // 500 + WINDOW
    server.until(lambda state: name in state["how"], "the end of the agent")


def test_who_is_too_slow_is_closed_and_comes_back_to_where_it_was(
    server: Server,
) -> None:
    """Not an event is lost or repeated between the two connections."""
    flood = next(names)
    path = f"/flood?log={flood}&staleness=1"
    resumes = "Accept: text/event-stream;resume=1\r\n"
    with server.connect(path, buffer=4096, headers=resumes) as slow:
        data = slow.recv(4000)
        server.until(lambda state: flood in state["closed"], "the end of the body")
        server.come_to_rest(flood)
        while piece := receive(slow):  # what had been taken in; and then it is over
            data += piece
    body = unchunked(data)
    messages = Parser().feed(body)
    last = int(messages[-1].id.rpartition("/")[2])
    assert [int(m.id.rpartition("/")[2]) for m in messages] == list(range(1, last + 1))
    cursor = {"Last-Event-ID": messages[-1].id}
    url = f"{server.url}/flood?log={flood}"
    with httpx.stream("GET", url, headers=cursor, timeout=20) as again:
        parser = Parser()
        rest = next(m for piece in again.iter_bytes() for m in parser.feed(piece))
    assert again.headers["rx-agui-replay"] == "tail"
    stem, _, number = (rest.id or "").rpartition("/")
    assert (stem.partition("@")[0], int(number)) == (flood, last + 1)


def receive(client: socket.socket) -> bytes:
    try:
        return client.recv(65536)
    except ConnectionError:
        return b""


def unchunked(data: bytes) -> bytes:
    """The body of a response in chunked transfer coding, however it ends."""
    _, _, rest = data.partition(b"\r\n\r\n")
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body += rest[: int(size or b"0", 16)]
        rest = rest[int(size or b"0", 16) + 2 :]
    return body


@pytest.mark.parametrize("kind", list(COMMANDS))
def test_sigterm_lets_streams_end_well(kind: str) -> None:
    with serving(kind) as server:
        name, kept = next(names), next(names)
        resumes = {"Accept": "text/event-stream;resume=1"}
        with (
            httpx.stream("GET", f"{server.url}/typing?name={name}", timeout=20) as one,
            httpx.stream(
                "GET", f"{server.url}/typing?log={kept}", headers=resumes, timeout=20
            ) as two,
        ):
            first, second = one.iter_bytes(), two.iter_bytes()
            begun = next(first), next(second)
            server.process.send_signal(signal.SIGTERM)
            told = Parser().feed(begun[0] + b"".join(first))
            left = Parser().feed(begun[1] + b"".join(second))
        assert server.process.wait(20) is not None

    last = orjson.loads(told[-1].data)
    assert (last["type"], last["code"]) == ("RUN_ERROR", "SERVER_SHUTDOWN")
    assert orjson.loads(left[-1].data)["type"] not in TERMINAL  # it goes on elsewhere
