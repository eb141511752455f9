"""rx-agui demo: in a process of its own where sockets and signals matter."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import logging
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from signal import SIGINT, SIGTERM, Signals
from subprocess import STDOUT, Popen
from typing import Any

import httpx
import pytest

from rx_agui import browser
from rx_agui.cli._demo import _server
from rx_agui.demo import Demo, how_to_look
from rx_agui.operators._conflate import conflate_lines
from rx_agui.sse import Message, Parser, read_chunk
from rx_agui.testing import simulated_run
from tests.support.terminal import Event, parsed, read_until, rx_agui, started

SAYS = "TEXT_MESSAGE_CONTENT"

HEADERS = {
    "content-type": "text/event-stream",
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",
}


# -- as a process --------------------------------------------------------------


@contextmanager
def demo(typed: str) -> Iterator[tuple[Popen[bytes], str]]:
    """The process, and the URL that it says."""
    with started(f"demo --port 0 {typed}", stderr=STDOUT) as process:
        said = said_until(process, "Ctrl-C stops it.\n")
        url = re.findall(r"http://[0-9.:]+", said)[0]
        assert how_to_look(url) in said
        yield process, url


def said_until(process: Popen[bytes], end: str) -> str:
    assert process.stdout is not None
    said = read_until(process.stdout.fileno(), end.encode()).decode()
    assert end in said
    return said


def first_event(response: httpx.Response) -> Event:
    parser = Parser()
    for data in response.iter_bytes():
        for message in parser.feed(data):
            return parsed(message.data)[0]
    raise AssertionError("the stream ended before its first event")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Where a demo runs that types quickly."""
    with demo("--rate 2000 --words 50") as (_, url):
        yield url


@pytest.mark.parametrize("profile", ["agui", "chunk"])
def test_a_run_comes_whole_and_in_order(url: str, profile: str) -> None:
    with httpx.stream("GET", f"{url}/run?profile={profile}") as response:
        data = b"".join(response.iter_bytes())

    assert {name: response.headers[name] for name in HEADERS} == HEADERS
    assert (b"event: chunk" in data) == (profile == "chunk")
    events = rx_agui("decode", data).events
    run = int(events[0]["runId"].removeprefix("run-"))
    proof = events[-1].pop("result")
    assert events == list(simulated_run(50, seed=run, run_id=f"run-{run}"))
    answer = "".join(event["delta"] for event in events if event["type"] == SAYS)
    assert proof["characters"] == len(answer)
    assert proof["sha256"] == hashlib.sha256(answer.encode()).hexdigest()


def test_a_run_is_profile_agui_unless_it_is_asked_for_otherwise(url: str) -> None:
    data = httpx.get(f"{url}/run").content

    numbers = [read_chunk(message).sequence_num for message in Parser().feed(data)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert b"event:" not in data


def test_clients_that_post_get_a_run_too(url: str) -> None:
    asked = {"threadId": "t", "runId": "r"}
    response = httpx.post(f"{url}/run", json=asked)

    assert response.status_code == 200
    assert rx_agui("decode", response.content).events[-1].items() >= asked.items()
    assert b"RUN_FINISHED" in response.content


def test_a_run_that_is_posted_twice_is_joined_and_not_run_again(url: str) -> None:
    first = httpx.post(f"{url}/run", json={"runId": "twice"})
    again = httpx.post(f"{url}/run", json={"runId": "twice"})

    assert first.headers["rx-agui-replay"] == "live"
    assert again.headers["rx-agui-replay"] == "prelude"
    assert again.content.rpartition(b"id: ")[2] == first.content.rpartition(b"id: ")[2]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_who_was_cut_off_comes_back_to_where_it_was(url: str, method: str) -> None:
    asked: dict[str, Any] = {}
    if method == "POST":
        asked = {"json": {"runId": "cut"}}
    whole = Parser().feed(httpx.request(method, f"{url}/run", **asked).content)

    cursor = {"Last-Event-ID": whole[20].id}
    rest = httpx.request(method, f"{url}/run", headers=cursor, **asked)
    end = httpx.get(f"{url}/run", params={"last_event_id": whole[-1].id})

    assert rest.headers["rx-agui-replay"] == "tail"
    # Who comes back lags behind, and so is given what it missed in fewer events.
    assert merged(Parser().feed(rest.content)) == merged(whole[21:])
    assert end.status_code == 204


def merged(messages: list[Message]) -> tuple[list[bytes], list[int]]:
    """What is left when all is merged that may be, and the number each covers."""
    numbers = [int(message.id.rpartition("/")[2]) for message in messages]
    lines, covered = conflate_lines([message.data for message in messages], numbers)
    return lines, list(covered)


@pytest.mark.parametrize("body", [b"", b"no JSON", b"[]", b'{"runId": ""}'])
def test_a_post_that_names_no_run_is_a_run_of_its_own(url: str, body: bytes) -> None:
    events = rx_agui("decode", httpx.post(f"{url}/run", content=body).content).events

    assert events[0]["runId"].startswith("run-")


def test_head_gets_the_headers_of_a_run_and_no_run(url: str) -> None:
    response = httpx.head(f"{url}/run")

    assert response.status_code == 200
    assert {name: response.headers[name] for name in HEADERS} == HEADERS
    assert response.content == b""


def test_the_first_page_says_what_to_type(url: str) -> None:
    response = httpx.get(url)

    assert response.headers["content-type"].startswith("text/plain")
    assert response.headers["vary"] == "Accept"
    assert response.text == how_to_look(url)
    assert f"curl -N {url}/run\n" in response.text
    assert f"curl -sN '{url}/run?profile=chunk' | rx-agui decode\n" in response.text


def test_a_browser_gets_a_page_and_what_it_is_made_with(url: str) -> None:
    accepts = "text/html,application/xhtml+xml,*/*;q=0.8"
    page = httpx.get(url, headers={"Accept": accepts})
    module = httpx.get(f"{url}/rx-agui.mjs")

    assert page.content == browser.PAGE.read_bytes()
    assert page.headers["vary"] == "Accept"
    assert module.content == browser.MODULE.read_bytes()


def test_an_agent_that_nobody_reads_for_some_seconds_is_cancelled() -> None:
    with demo("--rate 100 --words 1000000") as (process, url):
        with httpx.stream("GET", f"{url}/run") as response:
            assert first_event(response)["type"] == "RUN_STARTED"

        assert "run-1 lost its reader after " in said_until(process, " events\n")


@pytest.mark.parametrize(("signal", "status"), [(SIGINT, 130), (SIGTERM, -15)])
def test_a_signal_ends_it_and_every_run_with_an_error(
    signal: Signals, status: int
) -> None:
    with (
        demo("--rate 100 --words 1000000") as (process, url),
        httpx.stream("GET", f"{url}/run") as response,
    ):
        data = response.iter_bytes()
        came = next(data) + next(data)
        process.send_signal(signal)
        came += b"".join(data)

        assert "run-1 was stopped after " in said_until(process, " events\n")
        assert process.wait() == status
        assert process.stdout is not None
        assert process.stdout.read() == b""

    last = rx_agui("decode", came).events[-1]
    assert (last["type"], last["code"]) == ("RUN_ERROR", "SERVER_SHUTDOWN")


def test_it_ends_without_a_word_though_a_reader_is_stuck(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        server = _server(Demo(rate=1e6, words=1_000_000))
        listening = socket.create_server(("127.0.0.1", 0))
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        _, writer = await asyncio.open_connection(*listening.getsockname())
        writer.write(b"GET /run HTTP/1.1\r\nHost: here\r\n\r\n")
        connections = server.server_state.connections
        while not any(connection.flow.write_paused for connection in connections):  # noqa: ASYNC110
            await asyncio.sleep(0)
        server.should_exit = True
        await serving
        writer.close()

    caplog.set_level(logging.INFO, "uvicorn.error")  # and as it was, afterwards
    asyncio.run(main())

    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


# -- as an app -----------------------------------------------------------------


def ask(method: str, path: str, app: Demo | None = None) -> httpx.Response:
    async def main() -> httpx.Response:
        transport = httpx.ASGITransport(app or Demo())
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as http:
            return await http.request(method, path)

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/", 200, how_to_look("http://x")),
        ("HEAD", "/", 200, ""),
        ("GET", "/run?profile=x", 400, "profile must be one of agui, chunk, got 'x'\n"),
        ("HEAD", "/run?profile=x", 400, ""),
        ("PUT", "/run", 405, ""),
        ("POST", "/", 405, ""),
        ("GET", "/nowhere", 404, "here are /, /rx-agui.mjs and /run\n"),
    ],
)
def test_every_other_request_is_answered_in_plain_text(
    method: str, path: str, status: int, text: str
) -> None:
    response = ask(method, path)

    assert (response.status_code, response.text) == (status, text)
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert ("allow" in response.headers) == (status == 405)


Sent = list[dict[str, Any]]


def call(method: str, path: str, *, rate: float = 1e6, leaves_after: int = 0) -> Sent:
    """What the app sends, perhaps to a client who leaves.

    If that is after the third or a later message, it is in the middle of a write:
    the first two are the head and the comment, the others are events.
    """

    async def main() -> Sent:
        sent: Sent = []
        left = asyncio.Event()

        async def send(message: Any) -> None:
            sent.append(message)
            if len(sent) == leaves_after:
                left.set()
                if leaves_after > 2:
                    await asyncio.Event().wait()

        async def receive() -> dict[str, Any]:
            await left.wait()
            return {"type": "http.disconnect"}

        scope: dict[str, Any] = {"type": "http", "method": method, "path": path}
        scope |= {"scheme": "http", "headers": [], "query_string": b""}
        async with asyncio.timeout(10):
            await Demo(rate=rate, words=1)(scope, receive, send)
        return sent

    sent = asyncio.run(main())
    gc.collect()  # and nobody complains of what he was never told
    return sent


def test_the_first_byte_goes_at_once() -> None:
    start, first = call("GET", "/run", rate=0.001, leaves_after=2)

    assert start["status"] == 200
    assert first["body"].startswith(b":")


def test_a_run_that_is_over_is_ended() -> None:
    sent = call("GET", "/run")

    assert b"RUN_FINISHED" in sent[-1]["body"]
    assert not sent[-1]["more_body"]


@pytest.mark.parametrize("path", ["/", "/run", "/nowhere"])
def test_head_gets_no_body_and_starts_no_agent(path: str) -> None:
    sent = call("HEAD", path)

    assert [message["type"] for message in sent] == [
        "http.response.start",
        "http.response.body",
    ]
    assert sent[1]["body"] == b""


# -- what is refused -------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ("--rate 0", "--rate must be positive, got 0.0"),
        ("--words -1", "--words must be positive, got -1"),
        ("--port 65536", "--port must be from 0 to 65535, got 65536"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(typed: str, why: str) -> None:
    assert rx_agui(f"demo {typed}") == (2, b"", f"rx-agui demo: {why}\n")


def test_a_port_in_use_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])

        answer = rx_agui(f"demo --port {port}")

    assert (answer.status, answer.out) == (1, b"")
    assert answer.err.startswith(
        f"rx-agui demo: cannot listen on 127.0.0.1 port {port}: "
    )


def test_a_missing_extra_answers_with_what_to_type(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)

    why = 'rx-agui demo: rx-agui demo needs uvicorn: pip install "rx-agui[serve]"\n'
    assert rx_agui("demo") == (2, b"", why)
