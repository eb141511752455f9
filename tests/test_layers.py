"""Imports go down the layers, never up or across; and the door shows every room."""

from __future__ import annotations

import ast
import importlib
import tomllib
from pathlib import Path

import pytest

import rx_agui
from rx_agui import errors, operators
from rx_agui.codecs.registry import CODECS

#: Top to bottom. A module may import from any line below its own. `frame` stands above
#: `flow`, since a frame carries its permit; a permit knows nothing of frames. `types` names
#: what signatures name, Frame too, but imports it for type checkers only.
LAYERS = """
    cli
    demo doctor
    asgi browser client
    stream
    testing
    lint
    replay
    writer
    sink
    pipeline
    operators
    engine
    telemetry metrics
    agui sse
    config frame
    flow
    serial
    clock
    workers
    backoff
    codecs
    errors probe codec patch
    deprecation types
"""

DEPTH = {
    name: depth
    for depth, line in enumerate(LAYERS.strip().splitlines())
    for name in line.split()
}
HOUSE = Path(rx_agui.__file__).parent
ROOMS = [path for path in HOUSE.rglob("*.py") if path != HOUSE / "__init__.py"]


def room(path: Path) -> str:
    return path.relative_to(HOUSE).parts[0].removesuffix(".py")


#: Every room that shows names, and the door.
NAMES = {room(path) for path in ROOMS} - {"demo"}
PUBLIC = [importlib.import_module(f"rx_agui.{name}") for name in sorted(NAMES)]
PUBLIC.append(rx_agui)


def imported_rooms(path: Path) -> set[str]:
    found: set[str] = set()
    tree = ast.parse(path.read_text("utf-8"))
    if room(path) == "types":
        tree.body = [node for node in tree.body if not isinstance(node, ast.If)]
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module="rx_agui", names=names):
                found |= {name.name for name in names}
            case ast.ImportFrom(module=str(module)) if module.startswith("rx_agui."):
                found.add(module.split(".")[1])
            case ast.Import(names=names):
                found |= {
                    n.name.split(".")[1] for n in names if n.name.startswith("rx_agui.")
                }
    return found


@pytest.mark.parametrize("path", ROOMS, ids=lambda path: str(path.relative_to(HOUSE)))
def test_a_module_imports_only_from_below(path: Path) -> None:
    own = room(path)
    above = {r for r in imported_rooms(path) - {own} if DEPTH.get(r, -1) <= DEPTH[own]}

    # `from rx_agui import batch` takes a name, which a module above may do.
    assert not {r for r in above if r in DEPTH or own not in ("cli", "demo", "testing")}


def test_every_room_is_in_the_plan() -> None:
    assert {room(path) for path in ROOMS} <= DEPTH.keys()


def test_an_operator_imports_no_telemetry() -> None:
    for path in (HOUSE / "operators").glob("*.py"):
        assert "opentelemetry" not in path.read_text("utf-8")


@pytest.mark.parametrize("module", PUBLIC, ids=lambda module: module.__name__)
def test_what_a_module_shows_is_sorted_and_there(module: object) -> None:
    names: list[str] = module.__all__  # type: ignore[attr-defined]

    assert names == sorted(
        names, key=lambda n: (not n.isupper(), not n[0].isupper(), n)
    )
    assert all(hasattr(module, name) for name in names)


def test_every_operator_and_every_error_is_at_the_door() -> None:
    wanted = {*operators.__all__, "SSEWriter", "StreamChunk", "Frame", "Gate"}
    wanted |= {"from_iterable", "from_async_iterable"}
    wanted |= {n for n in errors.__all__ if isinstance(getattr(errors, n), type)}

    assert wanted <= set(rx_agui.__all__)


def test_every_error_of_ours_is_a_stream_error_and_in_the_picture() -> None:
    picture = errors.__doc__ or ""

    for name in errors.__all__:
        kind = getattr(errors, name)
        if isinstance(kind, type):
            assert issubclass(kind, errors.StreamError)
            assert name.endswith("Error")
            assert name in picture


def test_a_named_extra_exists() -> None:
    project = tomllib.loads((HOUSE.parent / "pyproject.toml").read_text("utf-8"))
    extras = project["project"]["optional-dependencies"]
    named = {
        str(node.args[2].value)
        for path in ROOMS
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "MissingExtraError"
        and len(node.args) == 3
        and isinstance(node.args[2], ast.Constant)
    }

    named |= {codec.extra for codec in CODECS.values() if codec.package}

    assert named >= {"client", "fast"}
    assert named <= extras.keys()
