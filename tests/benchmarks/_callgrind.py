"""Instructions of the processor, counted by callgrind: a figure without noise.

    this process       instructions(["a list of dicts", ...]) ────────▶ {name: per unit}
                           │ valgrind --tool=callgrind, PYTHONHASHSEED=0     ▲
    another python         └─ warm up, count n units, count 3 n units ───────┘ dumps

The child runs at a fifth of its speed while nothing is counted and at a fiftieth while
something is, so a case is some hundred to a thousand units. The figure is the slope, from
n to 3 n units: what a run costs once is not in it. Threads count, all of them.

Callgrind is told when to count by client requests, which are machine code: x86-64 only.
"""

from __future__ import annotations

import ctypes
import gc
import mmap
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import rx_agui
from tests.benchmarks._fresh import NotToBeHad

__all__ = ["instructions", "is_available"]

#: Seconds that a child may take for one case, on a busy machine.
_PATIENCE = 240

#: valgrind/callgrind.h: the base is the tool's letters, "CT".
_DUMP_STATS_AT, _START, _STOP = 0x43540003, 0x43540004, 0x43540005

#: valgrind/valgrind.h, VALGRIND_DO_CLIENT_REQUEST on amd64 as a function of the address
#: of the request's six words. Outside of valgrind it does nothing.
_REQUEST = bytes.fromhex(
    "4889f8 31d2 48c1c703 48c1c70d 48c1c73d 48c1c733 4887db 4889d0 c3"
)

_TOTAL = re.compile(r"^desc: Trigger: Client Request: (.+)$|^totals: (\d+)", re.M)


def is_available() -> bool:
    """Return True if this machine can count: valgrind, and a processor that it knows."""
    return platform.machine() == "x86_64" and shutil.which("valgrind") is not None


def instructions(
    names: Iterable[str], python: str = sys.executable
) -> dict[str, float]:
    """Count the instructions of cases, by name; see _cases.

    Args:
        names: Which.
        python: The interpreter that runs them; rx_agui's dependencies must be installed
            for it.

    Returns:
        Of each, instructions per unit: an event, or a run.

    Raises:
        NotToBeHad: There is no valgrind, or this is no x86-64.
    """
    if not is_available():
        raise NotToBeHad("instructions need valgrind, and x86-64: apt install valgrind")
    wanted = list(names)
    with tempfile.TemporaryDirectory() as folder:
        command = [
            "valgrind",
            "--tool=callgrind",
            "--instr-atstart=no",
            f"--callgrind-out-file={folder}/out",
            python,
            *("-P", "-m", __name__, *wanted),
        ]
        root = str(Path(__file__).parents[2])
        done = subprocess.run(
            command,
            env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": root},
            capture_output=True,
            text=True,
            timeout=_PATIENCE * len(wanted),
        )
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
        counted = _read(Path(folder))
    found = {}
    for name in wanted:
        (n, few), (more, many) = sorted(counted[name].items())
        found[name] = (many - few) / (more - n)
    return found


def _read(folder: Path) -> dict[str, dict[int, int]]:
    """Of each case, its counts by how many units they are of."""
    counted: dict[str, dict[int, int]] = {}
    for path in folder.glob("out.*"):
        trigger = ""
        # The summary of a dump may lack what was counted while threads were switched.
        for found in _TOTAL.finditer(path.read_text("utf-8")):
            trigger = found[1] or trigger
            if found[2] and trigger:
                name, _, n = trigger.rpartition(" × ")
                counted.setdefault(name, {})[int(n)] = int(found[2])
    return counted


# -- in the other interpreter ----------------------------------------------------------


def _requests() -> Callable[..., None]:
    """Return a function that sends callgrind a request, with a text."""
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(_REQUEST)
    at = ctypes.addressof(ctypes.c_char.from_buffer(page))
    call = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p)(at)

    def request(code: int, text: bytes = b"", _page: object = page) -> None:
        words = (ctypes.c_uint64 * 6)(code)
        held = ctypes.create_string_buffer(text)
        words[1] = ctypes.addressof(held)
        call(ctypes.addressof(words))

    return request


def _count(names: Iterable[str]) -> None:
    from tests.benchmarks._cases import CASES

    request = _requests()
    for name in names:
        case = CASES[name]
        run = case.prepare()
        run(case.units)  # warm: imports, caches, a first thread
        for n in (case.units, 3 * case.units):
            gc.collect()
            request(_START)
            run(n)
            request(_DUMP_STATS_AT, f"{name} × {n}".encode())
            request(_STOP)


if __name__ == "__main__":
    assert rx_agui.__version__
    _count(sys.argv[1:])
