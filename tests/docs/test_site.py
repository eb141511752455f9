"""The site builds without a warning or the network, and has every public name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import rx_agui

sphinx = pytest.importorskip("sphinx", reason="pip install 'rx-agui[docs]'")
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going"]
    done = subprocess.run(
        [*command, "-q", "-b", "html", "-j", "2", "docs", str(out)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={
            "PATH": "",
            "http_proxy": "http://127.0.0.1:9",
            "https_proxy": "http://127.0.0.1:9",
        },
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return out


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    from sphinx.util.inventory import InventoryFile

    with (site / "objects.inv").open("rb") as file:
        inventory = InventoryFile.load(file, "", lambda base, name: f"{base}{name}")
    names = {name.rpartition(".")[2] for kind in inventory.values() for name in kind}

    assert set(rx_agui.__all__) - names == set()


@pytest.mark.parametrize("name", rx_agui.operators.__all__)
def test_an_operator_has_a_page_with_its_signature(site: Path, name: str) -> None:
    pages = [page.read_text("utf-8") for page in (site / "operators").glob("*.html")]

    assert any(f'id="rx_agui.operators.{name}"' in page for page in pages)


def test_an_operator_s_page_has_its_drawings(site: Path) -> None:
    page = (site / "operators/batch.html").read_text("utf-8")

    assert page.count("<img") > 10
    assert 'alt="A full batch leaves at once"' in page
