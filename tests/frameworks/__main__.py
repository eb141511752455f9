"""Compare each framework's endpoint as shipped with the same behind AGUIMiddleware.

    python -m tests.frameworks                    all nine: some minutes and 3 GB of packages
    python -m tests.frameworks pydantic_ai agno   these
    python -m tests.frameworks --table            bytes and processor time, 2,000 words each
    python -m tests.frameworks --environments DIR keep the environments there

For each: the stock `@ag-ui/client` 1.0.0 reads a run, a run whose model fails at its first
word and in the middle, a run over a line that is cut, and a run that it stops; also in an
`@app.middleware("http")` and in GZipMiddleware. Messages and state must be the same.
"""

from __future__ import annotations

import argparse
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
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from tests.support.cutting import cutting

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "examples" / "frameworks"

#: Words of a run in the table, and runs of each kind; the first two are not counted.
WORDS, ROUNDS = 2000, 7

#: Words of a run that is stopped at its 20th event, where the framework keeps the event
#: loop for as long as its model speaks without waiting.
STOPPED = {"adk": 3000, "crewai": 3000, "llama_index": 3000}

#: Of the table, in Markdown.
HEAD = """\
| framework | lines | bytes: as shipped; behind the line; conflated | client: ms | server: ms | \
server, shipped = 1 |
|---|---|---|---|---|---|"""

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
    if python.exists():
        return python
    subprocess.run([sys.executable, "-m", "venv", folder / name], check=True)
    wanted = requirements(EXAMPLES / f"{name}_app.py")
    command = [str(python), "-m", "pip", "install", "--quiet", *wanted, "uvicorn"]
    subprocess.run(command, check=True)
    return python


class Server(NamedTuple):
    """An example that is served."""

    url: str
    pid: int

    def counted(self) -> tuple[int, int]:
        """How many bodies of the endpoint began, and ended."""
        with urllib.request.urlopen(f"{self.url}/begun", timeout=60) as answer:
            begun, ended = json.load(answer)
        return begun, ended


@contextmanager
def served(
    python: Path, name: str, how: str, words: int = 40, fails: int = 20
) -> Iterator[Server]:
    """An example at a URL; see _serve.py for `how`."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    script = Path(__file__).parent / "_serve.py"
    example = EXAMPLES / f"{name}_app.py"
    with subprocess.Popen(
        [python, script, example, str(port), how, str(words), str(fails)],
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
            yield Server(url, process.pid)
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
    if (made["error"] or "").startswith("RUN_ERROR: "):
        said["error"] = "RUN_ERROR"  # AGUIMiddleware hides what an exception said
    return _RANDOM.sub("ID", json.dumps(said, sort_keys=True))


def measure(name: str, python: Path) -> str:
    """Return a row of the table: medians, in turns, so that a busy moment is everybody's."""
    hows = ("stock", "middleware", "conflated")
    with ExitStack() as stack:
        servers = {
            how: stack.enter_context(served(python, name, how, WORDS)) for how in hows
        }
        sizes: dict[str, list[float]] = {how: [] for how in hows}
        server: dict[str, list[float]] = {how: [] for how in hows}
        client: dict[str, list[float]] = {how: [] for how in hows}
        for turn in range(ROUNDS + 2):
            for how, at in servers.items():
                before = _processor_time(at.pid)
                made = read(at.url + PATHS[name], "hello")
                after = _processor_time(at.pid)
                if turn > 1:
                    sizes[how].append(made["bytes"])
                    client[how].append(made["cpu"])
                    server[how].append(after - before)
    of = {
        what: [median(values[how]) for how in hows]
        for what, values in (("size", sizes), ("client", client), ("server", server))
    }
    ratios = [
        median(a / b for a, b in zip(server[how], server["stock"], strict=True))
        for how in hows[1:]
    ]
    kilobytes = "; ".join(f"{size / 1000:,.1f} KB" for size in of["size"])
    cells = [
        name,
        "1",
        kilobytes,
        "; ".join(f"{value:,.0f}" for value in of["client"]),
        "; ".join(f"{value:,.0f}" for value in of["server"]),
        "; ".join(f"{ratio:.2f}" for ratio in ratios),
    ]
    return f"| {' | '.join(cells)} |"


def _processor_time(pid: int) -> float:
    """Milliseconds that a process's threads have run."""
    total = 0.0
    for stat in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended
            total += int(stat.read_text().split()[0])
    return total / 1e6


def compare(name: str, python: Path) -> str:
    """Raise AssertionError unless both endpoints say the same; return a row."""
    path, remark = PATHS[name], ""
    with (
        served(python, name, "stock") as stock,
        served(python, name, "middleware") as ours,
    ):
        for text in ("hello", "fail"):
            remark = _equal(stock.url + path, ours.url + path, text) or remark
        wanted = read(stock.url + path, "hello")
        begun, _ = ours.counted()
        with cutting(ours.url, [600, 600]) as line:
            healed = read(line.url + path, "hello", "resumable")
            assert line.cuts > 0, "the line was never cut"
        assert _same(healed) == _same(wanted), (healed, wanted)
        assert ours.counted()[0] == begun + 1, "the agent began again"
        answers = " ".join(map(str, healed["answers"]))
    first = 1 if name == "crewai" else 0  # its example counts chunks
    with (
        served(python, name, "stock", fails=first) as stock,
        served(python, name, "middleware", fails=first) as ours,
    ):
        _equal(stock.url + path, ours.url + path, "fail")
    _stops(name, python)
    # Django has middleware of its own kind.
    for how in () if name == "django" else ("http+", "gzip+"):
        with served(python, name, how) as ours:
            found = read(ours.url + path, "hello")
            assert _same(found) == _same(wanted), (how, found, wanted)
    return f"{name:16} run, failures, cuts, stop: the same ({answers}){remark}"


def _equal(stock: str, ours: str, text: str) -> str:
    """Compare what the stock client makes of both; return what is to be said of it."""
    wanted, found = read(stock, text), read(ours, text)
    assert found["stray"] is None, found
    assert _same(found) == _same(wanted), (text, found, wanted)
    if wanted["stray"] is None:
        return ""
    return f"; as shipped, {text!r} ends the client: {wanted['stray']}"


def _stops(name: str, python: Path) -> None:
    """A run that its reader stops ends its agent, which began once."""
    with served(python, name, "middleware", STOPPED.get(name, 100_000)) as ours:
        read(ours.url + PATHS[name], "hello", "stop")
        deadline = time.monotonic() + 20
        while ours.counted() != (1, 1):
            assert time.monotonic() < deadline, f"the agent goes on: {ours.counted()}"
            time.sleep(0.05)


def main(arguments: list[str]) -> int:
    """Compare the frameworks named, or all; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PATHS))
    parser.add_argument("--table", action="store_true", help="bytes and processor time")
    parser.add_argument("--environments", type=Path, help="a folder to keep them in")
    given = parser.parse_args(arguments)
    failed = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.environments or Path(temporary)
        if given.table:
            print(HEAD)
        for name in given.names or list(PATHS):
            try:
                python = environment(name, folder)
                row = (measure if given.table else compare)(name, python)
                print(row, flush=True)
            except (AssertionError, OSError, subprocess.SubprocessError) as error:
                failed += 1
                print(f"{name:16} FAILED: {error}", flush=True)
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
