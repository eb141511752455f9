"""Clients and servers of 71184ab, whose ids had no epoch, with those of today."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from rx_agui.asgi import CONTINUE, SSEResponse
from rx_agui.client import Opened, Reconnect, connect
from rx_agui.errors import GoneError
from rx_agui.replay import MemoryLog
from rx_agui.testing import simulated_run
from tests.support.cutting import cutting
from tests.support.serving import served

Node = Callable[..., str]
Event = dict[str, Any]

OLD = Path(__file__).parent / "old"

NAMES = [f"run-{number}" for number in range(1, 5)]

#: Bytes of each connection: within frames, and before the head.
CUTS = [2000, 0, 1800] * len(NAMES)

AT_ONCE = Reconnect(attempts=1000, base=0.001, longest=0.001)

WIRES = [("agui", "identity"), ("agui", "gzip"), ("chunk", "identity")]

#: An id that the other version would write.
WITH_EPOCH = f"run-1@{'0123456789abcdef' * 2}/3"
WITHOUT_EPOCH = "run-1/3"


def sent(name: str) -> list[Event]:
    return list(simulated_run(150, run_id=name, messages=2))


class Today:
    """An endpoint with a log, as it is written today."""

    def __init__(self, **settings: Any) -> None:
        self.begun: list[str] = []
        self.stops: list[int] = []
        self._settings = {"log": MemoryLog(), **settings}

    async def agent(self, name: str) -> AsyncIterator[Event]:
        self.begun.append(name)
        for event in sent(name):
            await asyncio.sleep(0.0005)
            yield event

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        asked = json.loads((await receive())["body"])
        await SSEResponse(
            lambda: self.agent(asked["runId"]),
            run=asked,
            owner="",
            on_disconnect=CONTINUE,
            batch_timeout=0.005,
            retry=0.001,
            **self._settings,
        )(scope, receive, send)


@contextmanager
def server_of_71184ab(names: list[str], **settings: Any) -> Iterator[str]:
    """The URL where those runs are served, in a process of its own."""
    asked = {"runs": {name: sent(name) for name in names}, "settings": settings}
    with subprocess.Popen(
        [sys.executable, OLD / "serve.py"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(asked) + "\n")
        process.stdin.flush()
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        process.stdin.close()
        assert process.wait(20) == 0


def begun(url: str) -> list[str]:
    """The runs whose agent began there, in order."""
    with urllib.request.urlopen(f"{url}/begun", timeout=20) as answer:
        names: list[str] = json.loads(answer.read())
    return names


def read_by_71184ab(
    url: str, names: list[str], after: Sequence[str] = (), **headers: str
) -> list[dict[str, Any]]:
    """What the Python client makes of runs, in a process of its own."""
    asked = {"url": url, "runs": names, "headers": headers, "after": after}
    done = subprocess.run(
        [sys.executable, OLD / "read.py"],
        input=json.dumps(asked) + "\n",
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


async def read_today(url: str, name: str, headers: dict[str, str]) -> dict[str, Any]:
    told: list[Any] = []
    connection = connect(
        url,
        json={"threadId": "t", "runId": name},
        headers=headers,
        reconnect=AT_ONCE,
        watch=told.append,
    )
    async with connection.read() as reading:
        events = [event async for event in reading]
        last = reading.last_event_id
    answers = [one.replay for one in told if isinstance(one, Opened)]
    return {"runId": name, "events": events, "answers": answers, "last": last}


def assert_came_whole(runs: list[dict[str, Any]]) -> None:
    """Each event once, in order, over cuts; a run cut before its first id is merged."""
    assert [run["runId"] for run in runs] == NAMES
    in_full = [run for run in runs if "prelude" not in run["answers"]]
    assert in_full
    for run in in_full:
        assert run["events"] == sent(run["runId"])
    for run in runs:
        assert run["events"][-1] == sent(run["runId"])[-1]
        assert text_of(run["events"]) == text_of(sent(run["runId"]))
    assert any("tail" in run["answers"] for run in runs)


def text_of(events: list[Event]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for event in events:
        if event["type"] == "TEXT_MESSAGE_CONTENT":
            id = event["messageId"]
            texts[id] = texts.get(id, "") + event["delta"]
    return texts


# -- the Python client of 71184ab, and the server of today ---------------------------------


@pytest.mark.parametrize(("profile", "encoding"), WIRES)
def test_the_python_client_of_71184ab_reads_the_server_of_today_over_cuts(
    profile: str, encoding: str
) -> None:
    app = Today(profile=profile, conflate="never")
    with served(app) as server, cutting(server, CUTS) as line:
        headers = {"accept-encoding": encoding}
        runs = read_by_71184ab(line.url, NAMES, **headers)

    assert line.cuts >= len(NAMES)
    assert_came_whole(runs)
    assert all("@" in run["last"] for run in runs)
    assert app.begun == NAMES


def test_an_id_that_the_server_of_today_did_not_write_is_gone_for_that_client() -> None:
    app = Today()
    with served(app) as server:
        runs = read_by_71184ab(server, ["run-1", "run-1"], [WITHOUT_EPOCH, WITH_EPOCH])

    for run in runs:
        assert run["events"] == []
        assert run["error"].startswith("Gone: ")
        assert "410" in run["error"]
    assert (len(runs), app.begun) == (2, [])


# -- clients of today, and the server of 71184ab -------------------------------------------


@pytest.mark.parametrize(("profile", "encoding"), WIRES)
def test_the_python_client_of_today_reads_the_server_of_71184ab_over_cuts(
    profile: str, encoding: str
) -> None:
    with server_of_71184ab(NAMES, profile=profile, conflate="never") as server:
        with cutting(server, CUTS) as line:

            async def main() -> list[dict[str, Any]]:
                headers = {"accept-encoding": encoding}
                return [await read_today(line.url, name, headers) for name in NAMES]

            runs = asyncio.run(main())
            assert line.cuts >= len(NAMES)
        assert begun(server) == NAMES

    assert_came_whole(runs)
    assert not any("@" in run["last"] for run in runs)


def test_an_id_with_an_epoch_is_gone_at_the_server_of_71184ab() -> None:
    """As in an update, while both versions serve."""

    async def main(url: str) -> str:
        reading = connect(url, json={"runId": "run-1"}, last_event_id=WITH_EPOCH)
        with pytest.raises(GoneError) as caught:
            [event async for event in reading]
        return str(caught.value)

    with server_of_71184ab(["run-1"]) as server:
        assert "410" in asyncio.run(main(server))
        assert begun(server) == []


def test_the_module_of_today_reads_the_server_of_71184ab_over_cuts(
    node: Node, ag_ui_client: str
) -> None:
    settings = json.dumps({"attempts": 50})
    with server_of_71184ab(NAMES, conflate="never", codings=[]) as server:
        with cutting(server, CUTS) as line:
            read = "\n".join(NAMES)
            said = node("cut_runs.mjs", ag_ui_client, line.url, settings, read=read)
            assert line.cuts >= len(NAMES)
        assert sorted(begun(server)) == NAMES

    *lines, alive, _ = said.split("\n")
    runs = [json.loads(line) for line in lines]
    assert alive == "alive"
    assert [run["error"] for run in runs] == [None] * len(NAMES)
    assert_came_whole(sorted(runs, key=lambda run: str(run["runId"])))


def test_the_module_of_today_goes_on_nowhere_with_an_id_of_the_other_version(
    node: Node,
) -> None:
    app = Today()
    with server_of_71184ab(["run-1"]) as old, served(app) as today:
        for url, id in ((old, WITH_EPOCH), (today, WITHOUT_EPOCH)):
            said = json.loads(node("other_version.mjs", "resume", url, id))
            assert (said["came"], said["code"]) == ([], "REPLAY_GONE")
            assert "410" in said["message"]
        assert begun(old) == app.begun == []


def test_a_stop_that_meets_a_server_of_71184ab_is_refused_and_runs_no_agent(
    node: Node,
) -> None:
    """As in an update: the run is on a server of today, its stop goes to the other."""
    app = Today()
    with server_of_71184ab(["run-1"]) as old, served(app) as today:
        said = json.loads(node("other_version.mjs", "stop", today, old))
        ((status, why),) = said["stops"]
        assert status == 410
        assert why == "the id names another stream\n"
        assert begun(old) == []
    assert app.begun == ["run-1"]


def test_a_server_of_71184ab_is_sent_no_stop_which_it_would_take_for_the_run(
    node: Node,
) -> None:
    with server_of_71184ab(["run-1"]) as old:
        said = json.loads(node("other_version.mjs", "stop", old, old))
        assert "id: run-1/1" in said["first"]
        assert said["stops"] == []
        assert begun(old) == ["run-1"]


@pytest.mark.parametrize("cursor", [WITHOUT_EPOCH, WITH_EPOCH])
def test_a_stop_by_an_id_that_the_server_does_not_know_is_404(cursor: str) -> None:
    app = Today()
    with served(app) as today:
        headers = {"rx-agui-stop": "1", "last-event-id": cursor}
        asked = {"threadId": "t", "runId": "run-1"}
        answer = httpx.post(today, json=asked, headers=headers)
    assert (answer.status_code, app.begun) == (404, [])
