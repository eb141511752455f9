"""rx_agui/browser as an npm package: what would be published, and its types."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import rx_agui
from rx_agui import browser

FOLDER = Path(str(browser.MODULE)).parent
NPM = shutil.which("npm") or ""

Node = Callable[..., str]


def test_npm_publishes_the_module_its_types_and_nothing_else() -> None:
    if not NPM:
        pytest.skip("needs npm")
    packed = subprocess.run(
        [NPM, "pack", "--dry-run", "--json", "--offline"],
        cwd=FOLDER,
        capture_output=True,
        text=True,
    )
    assert packed.returncode == 0, packed.stderr
    [package] = json.loads(packed.stdout)

    assert package["name"] == "rx-agui"
    assert package["version"] == rx_agui.__version__.replace(".dev", "-dev.")
    assert sorted(file["path"] for file in package["files"]) == [
        "package.json",
        "rx-agui.d.mts",
        "rx-agui.mjs",
    ]


def test_its_types_are_those_of_the_module(node: Node, tmp_path: Path) -> None:
    node(
        "node_modules/typescript/bin/tsc",
        *["--declaration", "--emitDeclarationOnly", "--allowJs", "--checkJs"],
        *["--strict", "--target", "es2022", "--module", "nodenext"],
        *["--lib", "es2022,dom,dom.iterable,dom.asynciterable"],
        *["--outDir", str(tmp_path), str(browser.MODULE)],
    )

    made = (tmp_path / "rx-agui.d.mts").read_text("utf-8")
    kept = (FOLDER / "rx-agui.d.mts").read_text("utf-8")
    assert made == kept, "write it anew with the command of this test"


@pytest.mark.parametrize("resolution", ["nodenext", "bundler"])
def test_a_program_imports_it_by_name_with_its_types(
    node: Node, tmp_path: Path, resolution: str
) -> None:
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "rx-agui").symlink_to(FOLDER)
    program = tmp_path / "program.mts"
    program.write_text(
        """
import { events, resumable, StreamError, type Options, type Status } from "rx-agui";
const options: Options = { onstate: (status: Status) => void status.lastEventId };
export const open: typeof fetch = resumable(options);
export const read: AsyncGenerator<Record<string, any>> = events("/run", { input: {} });
export const code: string = new StreamError("CUT", "").code;
// @ts-expect-error there is no such option
resumable({ atempts: 1 });
""",
        "utf-8",
    )
    module = "nodenext" if resolution == "nodenext" else "esnext"
    node(
        "node_modules/typescript/bin/tsc",
        *["--noEmit", "--strict", "--target", "es2022", "--module", module],
        *["--moduleResolution", resolution],
        *["--lib", "es2022,dom,dom.iterable,dom.asynciterable", str(program)],
    )
    (tmp_path / "main.mjs").write_text(
        'import * as all from "rx-agui"; console.log(Object.keys(all).sort().join());'
    )

    assert node(str(tmp_path / "main.mjs")) == "StreamError,events,resumable\n"
