"""Build examples/vite with the package that `npm pack` makes of rx_agui/browser.

    python -m tests.vite

Some 20 seconds and 80 MB of npm packages; versions are those of its package.json.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def main() -> int:
    """Build it; raise if it does not, or if the client is not in what was built."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "vite"
        unwanted = shutil.ignore_patterns("node_modules", "dist", "package-lock.json")
        shutil.copytree(ROOT / "examples" / "vite", folder, ignore=unwanted)
        pack = ["npm", "pack", "--json", "--pack-destination", str(folder)]
        packed = subprocess.run(
            pack,
            cwd=ROOT / "rx_agui" / "browser",
            check=True,
            capture_output=True,
            text=True,
        )
        tarball = json.loads(packed.stdout)[0]["filename"]
        manifest = folder / "package.json"
        wanted = json.loads(manifest.read_text("utf-8"))
        wanted["dependencies"]["rx-agui"] = f"file:./{tarball}"
        manifest.write_text(json.dumps(wanted), "utf-8")
        for command in (
            ["npm", "install", "--no-audit", "--no-fund"],
            ["npm", "run", "build"],
        ):
            subprocess.run(command, cwd=folder, check=True)
        (script,) = (folder / "dist" / "assets").glob("*.js")
        assert "Rx-Agui-Stop" in script.read_text("utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
