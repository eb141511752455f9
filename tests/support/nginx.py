"""A real nginx in front of a server, with the settings that a test is about.

    client ──▶ nginx ──▶ server

One process on a port of its own, in a folder of its own; it ends with the block.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["NGINX", "free_port", "nginx_before"]

#: Debian keeps it where only an administrator's PATH leads.
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/sbin")

#: What is not said here is as nginx has it by default.
_CONFIG = """
daemon off;
master_process off;
pid {folder}/pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {http}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass {upstream};
            {location}
        }}
    }}
}}
"""


def free_port() -> int:
    """A port that nobody listened on a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@contextmanager
def nginx_before(upstream: str, *, http: str = "", location: str = "") -> Iterator[str]:
    """The URL, without a slash at the end, of an nginx that passes on to `upstream`.

    Args:
        upstream: Where the server is, such as "http://127.0.0.1:8000".
        http, location: Directives for those blocks, such as "gzip on;".
    """
    assert NGINX is not None, "ask for the fixture `nginx`, which skips without one"
    for attempt in range(5):
        port = free_port()
        with tempfile.TemporaryDirectory() as folder:
            config = Path(folder, "nginx.conf")
            config.write_text(
                _CONFIG.format(
                    folder=folder,
                    port=port,
                    upstream=upstream,
                    http=http,
                    location=location,
                )
            )
            command = [NGINX, "-p", folder, "-c", str(config), "-e", "stderr"]
            with (
                Path(folder, "said").open("w+b") as said,
                subprocess.Popen(command, stdout=said, stderr=said) as process,
            ):
                try:
                    if _listens(port, process):
                        yield f"http://127.0.0.1:{port}"
                        return
                finally:
                    process.terminate()
                    process.wait(10)
                said.seek(0)
                why = said.read().decode("utf-8", "replace")
        # Somebody may have been quicker to take the port.
        assert attempt < 4, why
        assert "Address already in use" in why, why


def _listens(port: int, process: subprocess.Popen[bytes]) -> bool:
    """Wait until it listens; False if it ended instead."""
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.01)
        else:
            return True
    return False
