"""The lines the tests put between a client and a server do what they say."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Any

import httpx
import pytest

from tests.support.cutting import cutting, random_cuts
from tests.support.serving import served

BODY = b"0123456789" * 10


async def app(scope: Any, receive: Any, send: Any) -> None:
    headers = [(b"content-type", b"text/plain"), (b"x-accel-buffering", b"no")]
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})


def test_a_line_that_is_not_cut_passes_everything_on() -> None:
    with served(app) as server, cutting(server, [None], [1] * 10_000) as line:
        assert httpx.get(line.url).content == BODY

    assert (line.connections, line.cuts) == (1, 0)


@pytest.mark.parametrize("reset", [True, False])
def test_a_line_is_cut_after_so_many_bytes(reset: bool) -> None:
    got = []
    with served(app) as server:
        whole = len(_raw(server))
        with cutting(server, [0, 1, whole - 1], reset=reset) as line:
            for _ in range(4):
                with suppress(httpx.RemoteProtocolError, httpx.ReadError):
                    got.append(httpx.get(line.url).content)

    assert got == [BODY]
    assert (line.connections, line.cuts) == (4, 3)


def _raw(server: str) -> bytes:
    host, port = server.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        data = b""
        while piece := connection.recv(65536):
            data += piece
    return re.sub(rb"connection: close\r\n", b"", data, flags=re.IGNORECASE)


def test_cuts_come_again_from_the_same_seed() -> None:
    cuts = random_cuts(7, of=100, up_to=1000)

    assert cuts == random_cuts(7, of=100, up_to=1000)
    assert 0 in cuts
    assert max(cuts) <= 1000


def test_nginx_passes_on_with_the_settings_of_the_test(
    nginx: Callable[..., AbstractContextManager[str]],
) -> None:
    with served(app) as server, nginx(server, location="expires 1h;") as url:
        answer = httpx.get(url)

    assert answer.content == BODY
    assert answer.headers["cache-control"] == "max-age=3600"
    assert "x-accel-buffering" not in answer.headers  # nginx keeps it to itself
