"""Pages made from the code: one for each operator, with its drawings, and the API reference."""

from __future__ import annotations

import importlib
import inspect
import re
import shutil
from pathlib import Path
from typing import Any, Final

from rx_agui.testing import draw, read

__all__ = ["API", "OPERATORS", "generate", "literal_blocks"]

#: Each operator's page: its inverse, if it has one, and what stands before and after it.
OPERATORS: Final = {
    "flow_control": ((), "first, behind the source", "`split`, `sequence`, `batch`"),
    "each": ((), "anywhere", "any operator"),
    "validate": ((), "first, before `flow_control`", "`flow_control`"),
    "split": ((), "`flow_control`", "`sequence`, so that each event has a number"),
    "degrade": ((), "`flow_control`", "`sequence`, so that shedding leaves no gap"),
    "sequence": (("resequence",), "`flow_control`, `split`, `degrade`", "`batch`"),
    "batch": (
        ("unbatch",),
        "`sequence`",
        "`conflate`, `compress`, `chunk` or a writer",
    ),
    "conflate": ((), "`batch`", "`compress`, `chunk` or a writer"),
    "compress": (("decompress",), "`batch`, `conflate`", "`chunk` or a writer"),
    "chunk": (("reassemble",), "`compress`", "`circuit_breaker` or a writer"),
    "circuit_breaker": ((), "all others", "the sink: a writer that holds permits"),
}

#: What the reference lists, each module's `__all__` in turn. A name that several modules
#: show is described where it stands first.
API: Final = {
    "Sources, sinks and values": ["rx_agui", "rx_agui.types"],
    "Responses": ["rx_agui.asgi"],
    "Clients": ["rx_agui.client", "rx_agui.browser"],
    "Replay logs": ["rx_agui.replay"],
    "Telemetry and metrics": ["rx_agui.telemetry", "rx_agui.metrics", "rx_agui.probe"],
    "Errors": ["rx_agui.errors"],
    "Events and bytes": [
        "rx_agui.agui.encoding",
        "rx_agui.agui.json_patch",
        "rx_agui.sse",
        "rx_agui.lint",
    ],
    "Engine and flow control": ["rx_agui.engine", "rx_agui.flow"],
    "Testing": ["rx_agui.testing"],
}

_SECTION = re.compile(r"(Args|Attributes|Raises|Returns|Errors|Answers|Yields):$")


def generate(root: Path) -> None:
    """Write docs/operators and docs/api anew."""
    for folder in (root / "docs/operators", root / "docs/api"):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    _write_operators(root)
    _write_api(root)


def literal_blocks(
    _app: Any, _what: str, _name: str, _obj: object, _options: object, lines: list[str]
) -> None:
    """Turn indented text into literal blocks: drawings and code stay as they are."""
    made: list[str] = []
    in_section = in_block = False
    for i, line in enumerate(lines):
        if _SECTION.match(line):
            in_section = True
        elif line and not line.startswith(" "):
            in_section = False
        starts = line.startswith("    ") and i > 0 and not lines[i - 1].strip()
        if starts and not in_section and not in_block:
            if made and made[-1] == "":
                made += ["::", ""]
            in_block = True
        elif line and not line.startswith(" "):
            in_block = False
        made.append(line)
    lines[:] = made


def _write_operators(root: Path) -> None:
    operators = importlib.import_module("rx_agui.operators")
    known = {name: at for name, at in OPERATORS.items() if name in operators.__all__}
    inverses = {inverse for which, _, _ in known.values() for inverse in which}
    missing = set(operators.__all__) - known.keys() - inverses
    if missing:
        raise ValueError(f"docs/_reference.py: where do {sorted(missing)} stand?")
    folder = root / "docs/operators"
    first = {n: _first_sentence(getattr(operators, n)) for n in operators.__all__}
    rows = [f"| [`{name}`]({name}.md) | {first[name]} |" for name in known]
    index = ["# Operators", "", "| operator | what it does |", "|---|---|", *rows, ""]
    index += ["```{toctree}", ":hidden:", "", *known, "```", ""]
    (folder / "index.md").write_text("\n".join(index), "utf-8")
    for name, (which, before, after) in known.items():
        page = [f"# {name}", "", first[name], ""]
        page += [f"Behind it: {after}. Before it: {before}.", ""]
        page += ["```{eval-rst}"]
        for each in (name, *which):
            page += [f".. autofunction:: rx_agui.operators.{each}", ""]
        page += ["```", "", *_drawings(root, name, folder)]
        (folder / f"{name}.md").write_text("\n".join(page), "utf-8")


def _drawings(root: Path, name: str, folder: Path) -> list[str]:
    path = root / f"marbles/{name}.marble"
    if not path.exists():
        return []
    page = ["## Drawings", "", "Each is a test: one column is one second.", ""]
    for number, drawing in enumerate(read(path), 1):
        picture = f"{name}-{number}.svg"
        (folder / picture).write_text(draw(drawing), "utf-8")
        page += [f"![{drawing.name}]({picture})", ""]
    return page


def _write_api(root: Path) -> None:
    folder = root / "docs/api"
    operators = set(importlib.import_module("rx_agui.operators").__all__)
    seen: set[int] = set()
    pages = []
    for title, modules in API.items():
        slug = title.lower().replace(" ", "-").replace(",", "")
        pages.append(slug)
        page = [f"# {title}", "", "```{eval-rst}"]
        for module_name in modules:
            module = importlib.import_module(module_name)
            if module_name != "rx_agui":
                page += [f".. py:module:: {module_name}", ""]
            for name in module.__all__:
                found = getattr(module, name)
                is_error = module_name == "rx_agui" and name.endswith("Error")
                if name in operators or is_error or id(found) in seen:
                    continue
                seen.add(id(found))
                page += _described(module_name, name, found)
        page += ["```", ""]
        (folder / f"{slug}.md").write_text("\n".join(page), "utf-8")
    index = [
        "# Reference",
        "",
        "The operators have [pages of their own](../operators/index.md).",
        "",
    ]
    index += ["```{toctree}", "", *pages, "```", ""]
    (folder / "index.md").write_text("\n".join(index), "utf-8")


def _described(module: str, name: str, found: object) -> list[str]:
    if inspect.isclass(found):
        return [
            f".. autoclass:: {module}.{name}",
            "   :members:",
            "   :show-inheritance:",
            "",
        ]
    if inspect.isroutine(found):
        return [f".. autofunction:: {module}.{name}", ""]
    return [f".. autodata:: {module}.{name}", "   :no-value:", ""]


def _first_sentence(function: object) -> str:
    return (inspect.getdoc(function) or "").partition("\n\n")[0].replace("\n", " ")
