"""The doctor names what a real nginx does to a stream, and nothing that it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import httpx
import pytest

from rx_agui.doctor import Report, examine, probe
from rx_agui.doctor._diagnose import pace
from rx_agui.doctor._measure import Measured
from rx_agui.errors import ConfigError, RefusedError, TransportError
from tests.support.serving import served

Nginx = Callable[..., AbstractContextManager[str]]

#: Short, since a test waits for them.
BRIEF: dict[str, Any] = {"silence": 1.6, "keep_alive": 0.4, "interval": 0.08}


def diagnosed(url: str, **settings: Any) -> Report:
    return asyncio.run(examine(url, **BRIEF | settings))


def names(report: Report) -> set[str]:
    return {one.name for one in report.diagnoses}


def harms(report: Report) -> set[str]:
    return {one.name for one in report.diagnoses if one.is_harm}


def test_a_way_with_nothing_in_it_is_healthy() -> None:
    with served(probe) as url:
        report = diagnosed(url)

    assert names(report) == set()
    assert report.is_probe
    assert "HTTP/1.1" in report.through
    assert report.facts["silence"].startswith("lived through")
    assert "Nothing is in the way" in str(report)


def test_nginx_as_it_comes_is_named_and_does_no_harm(nginx: Nginx) -> None:
    # With httptools the head goes by itself, and nginx then passes each write on at once.
    with served(probe, http="h11") as server, nginx(server) as url:
        report = diagnosed(url)

    assert harms(report) == set()
    assert names(report) == {"http-1.0", "held-back-unprotected"}
    assert "by nginx" in report.through
    assert "proxy_http_version 1.1" in str(report)
    assert "postpone_output" in str(report)


def test_nginx_that_compresses_streams_is_named(nginx: Nginx) -> None:
    settings = "gzip on; gzip_types text/event-stream;"
    with served(probe) as server, nginx(server, http=settings) as url:
        report = diagnosed(url)

    assert {"held-back-unprotected", "recompressed"} <= names(report)
    (held,) = (one for one in report.diagnoses if "unprotected" in one.name)
    assert (
        held.cause
        == "nginx: gzip on with text/event-stream in gzip_types, and buffering on"
    )
    assert held.seen.startswith("HELD BACK: 15 events")
    assert "it came as 'gzip'" in str(report)


def test_nginx_that_ignores_our_protection_is_named(nginx: Nginx) -> None:
    settings = "gzip on; gzip_types text/event-stream;"
    location = "proxy_ignore_headers X-Accel-Buffering;"
    with (
        served(probe) as server,
        nginx(server, http=settings, location=location) as url,
    ):
        report = diagnosed(url)

    assert {"held-back", "recompressed"} <= harms(report)
    assert "proxy_buffering off" in str(report)


def test_nginx_that_takes_headers_and_has_no_patience_is_named(nginx: Nginx) -> None:
    location = """
        proxy_set_header Last-Event-ID "";
        proxy_set_header Accept-Encoding "";
        proxy_set_header Accept "*/*";
        proxy_hide_header Cache-Control;
        proxy_hide_header Vary;
        proxy_read_timeout 1s;
    """
    with served(probe) as server, nginx(server, location=location) as url:
        report = diagnosed(url)

    assert harms(report) == {"cursor-lost", "idle-timeout", "header-lost"}
    assert {"accept-lost", "accept-encoding-lost"} <= names(report)
    (cut,) = (one for one in report.diagnoses if one.name == "idle-timeout")
    after = float(cut.seen.split(" cut after ")[1].split()[0])
    assert 0.9 <= after < 1.6
    assert "with a keep-alive every 0.4 s it lives" in cut.seen
    assert "proxy_read_timeout" in cut.cause
    lost = [one.seen for one in report.diagnoses if one.name == "header-lost"]
    assert lost == ["cache-control did not come", "vary did not come"]
    assert report.facts["silence"].startswith("CUT after")
    assert report.facts["kept alive"].startswith("lived through")


def test_keep_alives_that_come_too_late_do_not_help(nginx: Nginx) -> None:
    location = "proxy_read_timeout 1s;"
    with served(probe) as server, nginx(server, location=location) as url:
        report = diagnosed(url, silence=4.0, keep_alive=2.0)

    (cut,) = (one for one in report.diagnoses if one.name == "idle-timeout")
    assert "keep-alives every 2 s do not help" in cut.seen


async def foreign(scope: Any, receive: Any, send: Any) -> None:
    """A stream of somebody's, all of it written at the end."""
    await receive()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"16")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await asyncio.sleep(1.2)
    await send({"type": "http.response.body", "body": b"data: {}\n\n: hi\n\n"[:16]})


def test_of_any_other_stream_it_tells_what_is_seen_from_outside() -> None:
    with served(foreign) as url:
        report = diagnosed(f"{url}/?its=own")

    assert not report.is_probe
    assert {"all-at-once", "content-type", "content-length", "buffered"} <= names(
        report
    )
    assert "mount rx_agui.doctor.probe" in report.facts["probe"]


async def json_answer(scope: Any, receive: Any, send: Any) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"[]"})


def test_an_answer_that_is_no_stream_is_not_nothing_in_the_way() -> None:
    with served(json_answer) as url:
        report = diagnosed(url)

    assert harms(report) == {"content-type"}
    assert "Nothing is in the way" not in str(report)


def redirecting(location: str) -> Any:
    asked: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        asked.append(scope["path"])
        if scope["path"] == "/probe":
            await probe(scope, receive, send)
            return
        headers = [(b"location", location.encode())]
        await send({"type": "http.response.start", "status": 307, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    return app


def test_a_redirect_is_followed_within_the_origin_alone() -> None:
    with served(redirecting("/probe?events=1")) as url:
        assert diagnosed(f"{url}/").is_probe
    with (
        served(probe) as elsewhere,
        served(redirecting(f"{elsewhere}/probe")) as url,
        pytest.raises(RefusedError, match=f"redirects to {elsewhere}/probe, another"),
    ):
        diagnosed(f"{url}/")


def measured(ways: list[float], own_lag: float = 0.0) -> Measured:
    sent = [0.1 * number for number in range(len(ways))]
    came = [at + way for at, way in zip(sent, ways, strict=True)]
    return Measured(status=200, sent=sent, came=came, own_lag=own_lag)


@pytest.mark.parametrize(
    ("ways", "own_lag", "is_late"),
    [
        ([0.0] * 19 + [3.0], 0.0, False),  # one of twenty
        ([0.0] * 10 + [0.2] * 10, 0.0, True),
        ([0.0] * 10 + [0.2] * 10, 0.15, False),  # we were busy ourselves
    ],
)
def test_lateness_is_what_most_events_have_and_the_reader_has_not(
    ways: list[float], own_lag: float, is_late: bool
) -> None:
    first, other = measured(ways, own_lag), measured([0.0] * 20)

    found = pace(first, other, other, other)

    assert [one.name for one in found] == (["late"] if is_late else [])


def test_a_stream_that_is_held_back_without_gzip_is_named() -> None:
    live, held = measured([0.0] * 20), measured([2.0 - 0.1 * n for n in range(20)])

    (found,) = pace(live, live, live, held)

    assert (found.name, found.is_harm) == ("held-back-without-gzip", True)
    assert "Varnish" in found.cause


async def refusing(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 403, "headers": []})
    await send({"type": "http.response.body", "body": b"no"})


def test_nothing_to_examine_is_an_error() -> None:
    with served(refusing) as url, pytest.raises(RefusedError, match="answered 403"):
        diagnosed(url)
    with pytest.raises(TransportError):
        diagnosed("http://127.0.0.1:1/")
    with pytest.raises(ConfigError, match="silence must be positive"):
        diagnosed("http://127.0.0.1:1/", silence=0)


def test_the_probe_tells_no_secrets() -> None:
    secrets = {"Authorization": "Bearer s3cr3t", "Cookie": "c00kie", "X-Api-Key": "k3y"}
    with served(probe) as url:
        text = httpx.get(url, params={"interval": 0}, headers=secrets).text

    assert "authorization" in text
    assert not any(value in text for value in ("s3cr3t", "c00kie", "k3y"))


@pytest.mark.parametrize("query", ["events=1e99", "events=x", "events=-1", "events="])
def test_the_probe_is_bounded(query: str) -> None:
    with served(probe) as url:
        text = httpx.get(f"{url}/?{query}&interval=0").text

    assert 1 <= text.count("data: ") <= 501


def test_the_probe_ends_when_its_reader_leaves() -> None:
    async def main() -> None:
        left, told = asyncio.Event(), asyncio.Event()
        sent: list[Any] = []

        async def receive() -> Any:
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)
            if "body" in message:
                told.set()

        scope = {
            "type": "http",
            "method": "GET",
            "headers": [],
            "query_string": b"events=1&silence=500",
        }
        running = asyncio.create_task(probe(scope, receive, send))
        await told.wait()
        left.set()
        await asyncio.wait_for(running, 5)
        assert sent[-1]["more_body"]

    asyncio.run(main())
