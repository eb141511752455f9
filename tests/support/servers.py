"""Real servers, each in a process of its own, on a free port of this machine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

HERE = Path(__file__).parent
ROOT = HERE.parent.parent

COMMANDS: dict[str, list[str]] = {
    "uvicorn": ["-m", "uvicorn", "place:app", "--port={port}", "--log-level=warning"],
    "granian": [
        "-m", "granian", "place:app", "--interface=asgi", "--port={port}",
        "--log-level=warning", "--workers-kill-timeout=5",
    ],
    # Its command runs workers that get no signal; `-w 0` serves in the process itself.
    "hypercorn": ["-m", "hypercorn", "place:app", "--bind=127.0.0.1:{port}", "-w", "0"],
}  # fmt: skip


class Server:
    """One that runs."""

    def __init__(self, process: subprocess.Popen[bytes], url: str) -> None:
        self.process = process
        self.url = url
        host, _, port = url.removeprefix("http://").partition(":")
        self.address = host, int(port)

    def state(self) -> dict[str, Any]:
        told: dict[str, Any] = httpx.get(f"{self.url}/state", timeout=20).json()
        return told

    def until(self, met: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
        """Wait for the state to meet a condition."""
        deadline = time.monotonic() + 30
        while not met(state := self.state()):
            assert time.monotonic() < deadline, f"{what} never came: {state}"
            time.sleep(0.02)
        return state

    def come_to_rest(self, name: str) -> dict[str, Any]:
        """Wait until an agent is not advanced any more."""
        seen: list[int] = []

        def rests(state: dict[str, Any]) -> bool:
            seen.append(state["given"].get(name, 0))
            return seen[-1] > 0 and len(seen) > 25 and len(set(seen[-25:])) == 1

        return self.until(rests, f"rest of {name}")

    def connect(
        self, path: str, *, buffer: int = 0, headers: str = ""
    ) -> socket.socket:
        """A client at the lowest level, whose buffers are as small as is asked for."""
        client = socket.socket()
        if buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        client.connect(self.address)
        client.settimeout(30)
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: here\r\n{headers}\r\n".encode())
        return client


@contextmanager
def serving(kind: str) -> Iterator[Server]:
    """Start one; it does not outlive the block."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [part.format(port=port) for part in COMMANDS[kind]]
    paths = [str(HERE), str(ROOT), *sys.path]
    process = subprocess.Popen(
        [sys.executable, *command],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        cwd=HERE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # granian has workers, who would live on
    )
    try:
        server = Server(process, f"http://127.0.0.1:{port}")
        deadline = time.monotonic() + 30
        while True:
            try:
                server.state()
                break
            except httpx.TransportError:
                assert process.poll() is None, process.communicate()[0].decode()
                assert time.monotonic() < deadline, f"{kind} did not start"
                time.sleep(0.05)
        yield server
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
