"""Compare each framework's endpoint as shipped with the same behind AGUIMiddleware.

    python -m tests.frameworks                    all nine: some minutes and 3 GB of packages
    python -m tests.frameworks pydantic_ai agno   these

For each: the stock `@ag-ui/client` 1.0.0 reads a run, a run whose model fails in the
middle, and a run over a line that is cut; messages and state must be the same.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.cutting import cutting

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "examples" / "frameworks"

#: Where each example listens.
PATHS = {
    "pydantic_ai": "/agent",
    "langgraph": "/agent",
    "agno": "/agui",
    "strands": "/agent",
    "adk": "/agent",
    "agent_framework": "/agent",
    "llama_index": "/run",
    "crewai": "/agent",
    "django": "/agent/",
}

#: What differs from run to run, in the messages or the state.
_RANDOM = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def requirements(example: Path) -> list[str]:
    """The `--with` of an example's docstring; its own package stands for rx-agui's."""
    line = re.search(r"^uv run (.*) \w+\.py$", example.read_text("utf-8"), re.MULTILINE)
    assert line is not None, f"{example} does not say how it is run"
    found = re.findall(r"--with '?([^' ]+)'?", line.group(1))
    return [name.replace("rx-agui", str(ROOT)) for name in found]


def environment(name: str, folder: Path) -> Path:
    """Make an environment with an example's requirements; return its Python."""
    python = folder / name / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", folder / name], check=True)
    wanted = requirements(EXAMPLES / f"{name}_app.py")
    command = [str(python), "-m", "pip", "install", "--quiet", *wanted, "uvicorn"]
    subprocess.run(command, check=True)
    return python


@contextmanager
def served(python: Path, name: str, how: str) -> Iterator[str]:
    """An example at a URL, with its `middleware` or `stock`."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    script = Path(__file__).parent / "_serve.py"
    example = EXAMPLES / f"{name}_app.py"
    with subprocess.Popen(
        [python, script, example, str(port), how],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            deadline = time.monotonic() + 120
            while not _listens(url):
                assert process.poll() is None, f"{name} ended with {process.returncode}"
                assert time.monotonic() < deadline, f"{name} does not listen"
                time.sleep(0.1)
            yield url
        finally:
            process.terminate()


def _listens(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5)
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def read(url: str, text: str, how: str = "") -> dict[str, Any]:
    """What the stock client makes of a run."""
    script = ROOT / "tests" / "node" / "framework.mjs"
    command = ["node", str(script), url, text, *([how] if how else [])]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, cwd=script.parent
    )
    assert done.returncode == 0, done.stderr
    made: dict[str, Any] = json.loads(done.stdout)
    return made


def _same(made: dict[str, Any]) -> str:
    said = {key: made[key] for key in ("messages", "state", "error")}
    return _RANDOM.sub("ID", json.dumps(said, sort_keys=True))


def compare(name: str, python: Path) -> str:
    """Raise AssertionError unless both endpoints say the same; return a row."""
    path, remark = PATHS[name], ""
    with (
        served(python, name, "stock") as stock,
        served(python, name, "middleware") as ours,
    ):
        for text in ("hello", "fail"):
            wanted, found = read(stock + path, text), read(ours + path, text)
            assert found["stray"] is None, found
            if wanted["stray"] is not None:
                remark = f"; as shipped, {text!r} ends the client: {wanted['stray']}"
            assert _same(found) == _same(wanted), (text, found, wanted)
        wanted = read(stock + path, "hello")
        with cutting(ours, [600, 600]) as line:
            healed = read(line.url + path, "hello", "resumable")
            assert line.cuts > 0, "the line was never cut"
        assert _same(healed) == _same(wanted), (healed, wanted)
        answers = " ".join(map(str, healed["answers"]))
    return f"{name:16} run, failure, cuts: the same ({answers}){remark}"


def main(names: list[str]) -> int:
    """Compare the frameworks named, or all; return the exit status."""
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in names or list(PATHS):
            try:
                print(compare(name, environment(name, Path(folder))), flush=True)
            except (AssertionError, subprocess.CalledProcessError) as error:
                failed += 1
                print(f"{name:16} FAILED: {error}", flush=True)
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
