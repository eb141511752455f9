"""rx-agui tail and lint, and the doctor's command, against real servers."""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import Iterator
from pathlib import Path
from signal import SIGINT
from typing import Any

import orjson
import pytest

from rx_agui.doctor import probe
from tests.support.cutting import cutting
from tests.support.serving import served
from tests.support.terminal import Answer, jsonl, read_until, rx_agui, started

RUN = [
    {"type": "RUN_STARTED", "threadId": "t", "runId": "r"},
    *({"type": "CUSTOM", "name": "n", "value": f"{i}é" * 40} for i in range(20)),
    {"type": "RUN_FINISHED", "threadId": "t", "runId": "r"},
]
FAILED = [RUN[0], {"type": "RUN_ERROR", "message": "no"}]


class App:
    """Tells what its path says; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str], bytes]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = (await receive()).get("body", b"")
        headers = {n.decode(): v.decode() for n, v in scope["headers"]}
        self.asked.append((scope["method"], headers, body))
        status = 404 if scope["path"] == "/nowhere" else 200
        kind = (b"content-type", b"text/event-stream")
        await send({"type": "http.response.start", "status": status, "headers": [kind]})
        after = int(headers.get("last-event-id", "r/0").partition("/")[2])
        for piece in self._pieces(scope["path"], after):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        if scope["path"] == "/silent":
            await receive()
        await send({"type": "http.response.body", "body": b""})

    def _pieces(self, path: str, after: int) -> Iterator[bytes]:
        if path == "/nowhere":
            yield b"no such run"
            return
        events = {"/failed": FAILED, "/cut": RUN[:3], "/silent": RUN[:1]}.get(path, RUN)
        for number, event in enumerate(events, 1):
            if number > after:
                named = b"" if path == "/cut" else b"id: r/%d\n" % number
                yield named + b"data: " + orjson.dumps(event) + b"\n\n"
        if path == "/bad":
            yield b"data: [DONE]\n\n"


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def url(app: App) -> Iterator[str]:
    with served(app) as url:
        yield url


# -- tail --------------------------------------------------------------------------


def test_a_run_is_printed_one_event_a_line(url: str) -> None:
    assert rx_agui(f"tail {url}/run") == Answer(0, jsonl(RUN), "")


def test_a_run_that_failed_has_a_status_of_its_own(url: str) -> None:
    assert rx_agui(f"tail {url}/failed") == Answer(3, jsonl(FAILED), "")


def test_it_asks_as_it_is_told(url: str, app: App, tmp_path: Path) -> None:
    (tmp_path / "input.json").write_text('{"runId":"r"}')

    rx_agui(f"tail {url}/run -H X-Own:1 --json @{tmp_path}/input.json --from r/5")
    rx_agui(f"tail {url}/run --data hello --method put --no-resume")

    (first, headers, body), (second, others, data) = app.asked
    assert (first, body) == ("POST", b'{"runId":"r"}')
    assert headers["content-type"] == "application/json"
    assert headers["last-event-id"] == "r/5"
    assert headers["x-own"] == "1"
    assert (second, data) == ("PUT", b"hello")
    assert others["accept"] == "text/event-stream"


def test_it_begins_behind_an_event(url: str) -> None:
    assert rx_agui(f"tail {url}/run --from r/20").out == jsonl(RUN[20:])


def test_it_comes_back_and_says_so(url: str) -> None:
    with cutting(url, [1500]) as line:
        answer = rx_agui(f"tail {line.url}/run")

    assert (answer.status, answer.out) == (0, jsonl(RUN))
    lost, back = answer.err.splitlines()
    assert lost.startswith("rx-agui tail: lost behind r/")
    assert "; again in " in lost
    assert back.startswith("rx-agui tail: reconnected behind r/")


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ("/cut", "its events have no ids of the form <stream>/<number>"),
        ("/cut --no-resume", "reconnect is off"),
        ("/nowhere", "answered 404: no such run"),
    ],
)
def test_what_cannot_be_had_is_told(url: str, typed: str, why: str) -> None:
    answer = rx_agui(f"tail {url}{typed}")

    assert answer.status == 1
    assert why in answer.err
    assert answer.out == (b"" if "nowhere" in typed else jsonl(RUN[:3]))


def test_what_makes_no_sense_is_told(url: str) -> None:
    for typed, why in (
        ("tail", "the following arguments are required: URL"),
        ("tail nowhere", "url must be an http or https URL, got 'nowhere'"),
        (f"tail {url} -H none", "--header must be 'NAME: VALUE', got 'none'"),
        (f"tail {url} --json 1 --data 2", "--json and --data are two ways to say"),
        (f"tail {url} --read-timeout -1", "--read-timeout must be positive, got -1"),
    ):
        answer = rx_agui(typed)
        assert answer.status == 2
        assert why in answer.err


def test_it_tells_how_it_went(url: str) -> None:
    answer = rx_agui(f"tail {url}/run --stats")

    assert answer.err.startswith("rx-agui tail: 22 events (first after 0.")
    assert answer.err.endswith("0 reconnects\n")


def test_events_are_printed_as_they_come_and_ctrl_c_ends_it(url: str) -> None:
    with started(f"tail {url}/silent") as tail:
        assert tail.stdout is not None
        assert tail.stderr is not None
        assert read_until(tail.stdout.fileno(), b"\n") == jsonl(RUN[:1])
        tail.send_signal(SIGINT)

        assert tail.wait() == 130
        assert tail.stderr.read() == b""


async def endless(scope: Any, receive: Any, send: Any) -> None:
    kind = (b"content-type", b"text/event-stream")
    await send({"type": "http.response.start", "status": 200, "headers": [kind]})
    event = b"data: " + orjson.dumps(RUN[1]) + b"\n\n"
    while True:
        await send({"type": "http.response.body", "body": event, "more_body": True})
        await asyncio.sleep(0.001)


def test_who_reads_no_more_ends_it_quietly() -> None:
    with served(endless) as url, started(f"tail {url}") as tail:
        assert tail.stdout is not None
        assert tail.stderr is not None
        read_until(tail.stdout.fileno(), b"\n")
        tail.stdout.close()

        assert tail.wait() == 141
        assert tail.stderr.read() == b""


def test_ctrl_c_ends_it_though_nobody_reads() -> None:
    reads, writes = os.pipe()
    with served(endless) as url, started(f"tail {url}", stdout=writes) as tail:
        assert tail.stderr is not None
        while select.select([], [writes], [], 0.01)[1]:  # until it takes no more
            assert tail.poll() is None
        tail.send_signal(SIGINT)

        assert tail.wait() == 130
        assert tail.stderr.read() == b""
    os.close(reads)
    os.close(writes)


# -- lint --------------------------------------------------------------------------


def test_a_url_is_judged_with_its_headers(url: str) -> None:
    answer = rx_agui(f"lint {url}/run")

    assert (answer.status, answer.err) == (0, "")
    assert b"warning: header: cacheable: no Cache-Control\n" in answer.out
    assert b"    right:    Cache-Control: no-cache, no-transform\n" in answer.out
    assert answer.out.splitlines()[-1].startswith(b"0 fatal, ")


def test_what_a_client_fails_at_has_a_status_of_its_own(url: str) -> None:
    answer = rx_agui(f"lint {url}/bad")

    assert answer.status == 1
    assert b"fatal: line 67: done: [DONE]" in answer.out
    assert b"(@ag-ui/client 0.0.59, 1.0.0)" in answer.out


def test_a_file_and_standard_input_are_judged(tmp_path: Path) -> None:
    good = b"".join(b"data: " + line + b"\n\n" for line in jsonl(RUN).splitlines())
    bad = good.replace(b"\n", b"\r\n")
    (tmp_path / "good.sse").write_bytes(good)

    assert rx_agui(f"lint {tmp_path}/good.sse").out == (
        b"0 fatal, 0 errors, 0 warnings, in %d bytes\n" % len(good)
    )
    answer = rx_agui("lint -", bad)
    assert answer.status == 1
    assert b"fatal: line 1: crlf: " in answer.out


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        (orjson.dumps(RUN), "not-a-stream"),
        (jsonl(RUN), "not-a-stream"),
        (b"", "no-end"),
        (b": hi\n\n", "no-end"),
        (b"data: " + jsonl(RUN).splitlines()[0] + b"\n\n", "no-end"),
    ],
    ids=["array", "lines", "nothing", "a comment", "cut"],
)
def test_what_a_client_takes_for_a_success_and_is_none_fails(
    body: bytes, rule: str
) -> None:
    answer = rx_agui("lint -", body)

    assert answer.status == 1
    assert f"error: line {1 if rule == 'not-a-stream' else ''}".encode() in answer.out
    assert f": {rule}: ".encode() in answer.out


def test_a_stream_without_an_end_is_judged_by_what_has_come(url: str) -> None:
    answer = rx_agui(f"lint {url}/silent --max-time 0.5")

    assert answer.status == 0
    assert answer.err == "stopped listening after 0.5 s\n"
    assert b"no-end" not in answer.out


def test_what_cannot_be_judged_is_told(url: str, tmp_path: Path) -> None:
    assert rx_agui(f"lint {url}/nowhere").status == 1
    assert rx_agui("lint http://127.0.0.1:1/").status == 1
    assert rx_agui(f"lint {tmp_path}/none").err == (
        "rx-agui lint: No such file or directory\n"
    )
    assert rx_agui(f"lint {url} --max-time 0").status == 2


# -- doctor ------------------------------------------------------------------------


def test_the_doctor_reports() -> None:
    with served(probe) as url:
        answer = rx_agui(f"doctor {url}/ --silence 0.5 --keep-alive 0.1")

    assert (answer.status, answer.err) == (0, "")
    assert b"compressed by server" in answer.out
    assert b"Nothing is in the way" in answer.out


def test_the_doctor_says_by_its_status_that_something_is_in_the_way(url: str) -> None:
    async def not_streamed(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(1.1)
        kind = (b"content-type", b"text/event-stream")
        await send({"type": "http.response.start", "status": 200, "headers": [kind]})
        await send({"type": "http.response.body", "body": b": hi\n\n" * 20})

    with served(not_streamed) as late:
        answer = rx_agui(f"doctor {late}/ --silence 3")

    assert answer.status == 3
    assert b"all-at-once" in answer.out
    assert rx_agui(f"doctor {url}/nowhere --silence 1").status == 1
