"""rx-agui.mjs: by itself in Node, checked by TypeScript, inside the wheel, and served."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount, Route

from rx_agui import browser

ROOT = Path(__file__).parents[2]

Node = Callable[..., str]


def test_it_keeps_its_promises_in_node(node: Node) -> None:
    said = node("resumable.test.mjs")

    assert "\n# fail 0\n" in said
    assert "\n# pass 0\n" not in said


def test_its_types_are_strict(node: Node) -> None:
    node(
        "node_modules/typescript/bin/tsc",
        *["--noEmit", "--allowJs", "--checkJs", "--strict", "--noUnusedLocals"],
        *["--target", "es2022", "--module", "nodenext"],
        *["--lib", "es2022,dom,dom.iterable,dom.asynciterable"],
        str(browser.MODULE),
    )


def test_a_wheel_has_it_and_the_page(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        inside = {
            name: files.read(name)
            for name in files.namelist()
            if name.startswith("rx_agui/browser/")
        }

    assert inside["rx_agui/browser/rx-agui.mjs"] == browser.MODULE.read_bytes()
    assert inside["rx_agui/browser/demo.html"] == browser.PAGE.read_bytes()


def test_nothing_of_it_comes_from_elsewhere() -> None:
    for file in (browser.MODULE, browser.PAGE):
        text = file.read_text("utf-8")
        assert "https://" not in text
        assert text.count("http://") == text.count("xmlns='http://www.w3.org/2000/svg'")


# -- served ------------------------------------------------------------------------

APP = Starlette(
    routes=[
        Route("/rx-agui.mjs", browser.module),
        Mount("/demo", browser.page),
    ]
)


def ask(method: str, path: str, **headers: str) -> httpx.Response:
    async def main() -> httpx.Response:
        transport = httpx.ASGITransport(APP)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as http:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return await http.request(method, path, headers=named)

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("path", "type", "file"),
    [
        ("/rx-agui.mjs", "text/javascript; charset=utf-8", browser.MODULE),
        ("/demo/", "text/html; charset=utf-8", browser.PAGE),
    ],
)
def test_an_app_serves_it_in_one_line(path: str, type: str, file: Path) -> None:
    response = ask("GET", path)

    assert response.status_code == 200
    assert response.content == file.read_bytes()
    assert response.headers["content-type"] == type
    assert response.headers["content-length"] == str(len(response.content))

    head = ask("HEAD", path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers == response.headers


def test_who_has_it_already_is_told_so_in_a_few_bytes() -> None:
    etag = ask("GET", "/rx-agui.mjs").headers["etag"]

    again = ask("GET", "/rx-agui.mjs", if_none_match=f'"other", W/{etag}')
    changed = ask("GET", "/rx-agui.mjs", if_none_match='"older"')

    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == etag
    assert changed.status_code == 200


def test_it_is_read_only() -> None:
    response = ask("POST", "/demo/")

    assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD")
