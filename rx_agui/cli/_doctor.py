"""rx-agui doctor: what lies between a server and its readers, for a person on call."""

from __future__ import annotations

import asyncio
import sys
from argparse import Namespace

from rx_agui.cli._asking import Asking
from rx_agui.cli._pipes import shown
from rx_agui.doctor import examine

__all__ = ["doctor"]


def doctor(asked: Namespace) -> int:
    """Run the command. The status says whether something is in the way."""
    typed = Asking(asked)
    if sys.stderr is not None and sys.stderr.isatty():
        print(f"listening for {asked.silence:g} s ...", file=sys.stderr)
    report = asyncio.run(
        examine(
            typed.url,
            method=typed.method,
            content=typed.content,
            headers=typed.headers,
            silence=asked.silence,
            keep_alive=asked.keep_alive,
        )
    )
    print(shown(str(report)))
    return 3 if any(one.is_harm for one in report.diagnoses) else 0
