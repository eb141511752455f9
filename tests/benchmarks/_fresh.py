"""Memory, in an interpreter of its own: what others left on a heap does not count.

    this process       bench ── fresh(measure, 1000) ──────────────▶ answer
                                   │                        ▲
    another python                 └─ import, measure(1000) ┘ JSON

Memory grows where it was not free already, so the first measurement would leave room for
the second. An interpreter that has done nothing else leaves none.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rx_agui
from rx_agui.errors import MissingExtraError

__all__ = ["NotToBeHad", "fresh", "peak", "resident"]

#: Seconds an interpreter may take, on a machine that is busy.
_PATIENCE = 300

#: No viewer is closed: thousands of viewers would take longer to leave than to come.
_CODE = """\
import json, os, sys
from {module} import {name} as measure
print(json.dumps(measure(*{args!r})), flush=True)
os._exit(0)
"""


class NotToBeHad(MissingExtraError):
    """What a row needs is not on this machine, and is nothing that pip installs."""

    def __init__(self, what: str) -> None:
        ImportError.__init__(self, what)
        self.extra = ""


def fresh(measure: Callable[..., Any], *args: Any) -> Any:
    """What a function of a module answers in an interpreter that has done nothing else.

    >>> fresh(divmod, 7, 2)
    [3, 1]

    Args:
        measure: Gets `args`, which have a literal each, and answers what JSON can say.
    """
    code = _CODE.format(module=measure.__module__, name=measure.__name__, args=args)
    # The very package that runs here, wherever it was found; and nothing from the
    # current folder.
    found = [str(Path(rx_agui.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, found))},
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{measure.__name__}{args} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def resident() -> int:
    """Resident memory of this process, in bytes.

    Raises:
        NotToBeHad: This system does not say.
    """
    try:
        with open("/proc/self/statm") as statm:
            pages = int(statm.read().split()[1])
    except OSError:
        return _resident_by_ps()
    return pages * os.sysconf("SC_PAGE_SIZE")


def _resident_by_ps() -> int:
    command = ["ps", "-o", "rss=", "-p", str(os.getpid())]
    try:
        answer = subprocess.run(command, capture_output=True, check=True).stdout
        return int(answer) * 1024
    except (OSError, subprocess.SubprocessError, ValueError):
        raise NotToBeHad("resident memory is not told on this system") from None


def peak() -> int:
    """The most memory that was resident in this process up to now, in bytes.

    Asked of /proc, where there is one: on Linux `ru_maxrss` begins with the size of who
    started the process, as a fork inherits it and exec does not take it back.

    Raises:
        NotToBeHad: This system does not say.
    """
    try:
        with open("/proc/self/status") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        import resource
    except ImportError:
        raise NotToBeHad("the peak of memory is not told on this system") from None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
