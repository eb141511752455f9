"""rx-agui marbles: play drawings, and draw them."""

from __future__ import annotations

import re
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

from rx_agui.cli._pipes import UsageError
from rx_agui.testing import Drawing, MarbleError, draw, play, read

__all__ = ["marbles"]


def marbles(asked: Namespace) -> None:
    """Run the command. A drawing that is not true is shown beside what happened."""
    operators = _operators(asked.operators)
    false = 0
    for name in asked.files:
        path = Path(name)
        try:
            drawings = list(read(path))
            differences = [
                (one, play(one, operators).differences()) for one in drawings
            ]
        except (MarbleError, SyntaxError) as error:
            raise UsageError(str(error)) from None
        if not drawings:
            raise UsageError(
                f"{name}: no drawing in it; one is indented by four spaces"
            )
        for one, difference in differences:
            if difference:
                false += 1
                print(f"{path.name}: {one.name}\n\n{difference}\n")
        if asked.svg is not None:
            _draw_all(drawings, path.stem, Path(asked.svg))
        s = "" if len(drawings) == 1 else "s"
        print(f"{path.name}: {len(drawings)} drawing{s}")
    if false:
        raise UsageError(
            "1 drawing is not true" if false == 1 else f"{false} drawings are not true"
        )


def _operators(modules: Iterable[str]) -> dict[str, Callable[..., Any]]:
    """Return the public functions of the user's modules, by name."""
    found: dict[str, Callable[..., Any]] = {}
    if "" not in sys.path:
        sys.path.insert(0, "")  # as `python -m` looks in the working folder
    for name in modules:
        try:
            module = import_module(name)
        except ImportError as error:
            raise UsageError(f"--operators {name}: {error}") from None
        names = getattr(module, "__all__", [n for n in vars(module) if n[:1] != "_"])
        found |= {n: value for n in names if callable(value := getattr(module, n))}
    return found


def _draw_all(drawings: Iterable[Drawing], stem: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for one in drawings:
        words = re.sub(r"\W+", "-", one.name.lower()).strip("-")[:60]
        (folder / f"{stem}-{words}.svg").write_text(draw(one), "utf-8")
