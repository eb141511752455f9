"""rx-agui marbles: play drawings, and draw them."""

from __future__ import annotations

import re
from argparse import Namespace
from pathlib import Path

from rx_agui.cli._pipes import UsageError
from rx_agui.testing import MarbleError, draw, play, read

__all__ = ["marbles"]


def marbles(asked: Namespace) -> None:
    """Do it. A drawing that is not true is shown beside what happened."""
    false = 0
    for name in asked.files:
        path = Path(name)
        try:
            drawings = list(read(path))
            differences = [(one, play(one).differences()) for one in drawings]
        except (MarbleError, SyntaxError) as error:
            raise UsageError(str(error)) from None
        for one, difference in differences:
            if difference:
                false += 1
                print(f"{path.name}: {one.name}\n\n{difference}\n")
        if asked.svg is not None:
            folder = Path(asked.svg)
            folder.mkdir(parents=True, exist_ok=True)
            for one in drawings:
                words = re.sub(r"\W+", "-", one.name.lower()).strip("-")[:60]
                picture = folder / f"{path.stem}-{words}.svg"
                picture.write_text(draw(one), "utf-8")
        print(f"{path.name}: {len(drawings)} drawings")
    if false:
        raise UsageError(f"{false} drawings are not true")
