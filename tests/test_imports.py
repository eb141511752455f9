"""What an import costs: the modules that it brings along, by name."""

from __future__ import annotations

import subprocess
import sys

import pytest

import rx_agui

#: Packages of others that take 50 ms of processor time or more, and our own that
#: an application may never use.
HEAVY = {"ag_ui", "opentelemetry", "pydantic", "pydantic_core", "reactivex", "httpx"}
OWN = {"doctor", "lint", "testing", "client", "cli", "demo"}


def imported_by(program: str) -> set[str]:
    """The modules in `sys.modules` behind a program, in a process of its own."""
    code = f"import sys\n{program}\nprint('modules', *sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True
    )
    return set(done.stdout.splitlines()[-1].split())


def packages(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


def rooms(modules: set[str]) -> set[str]:
    return {name.split(".")[1] for name in modules if name.startswith("rx_agui.")}


def test_import_rx_agui_brings_no_package_along() -> None:
    assert not packages(imported_by("import rx_agui")) & HEAVY


def test_the_operators_bring_neither_the_models_nor_telemetry_along() -> None:
    modules = imported_by("from rx_agui import *")

    assert packages(modules) & HEAVY == {"reactivex"}
    assert not rooms(modules) & OWN


def test_a_stream_of_mappings_imports_no_models() -> None:
    modules = imported_by(
        "from rx_agui import *\n"
        "events = [{'type': 'STEP_STARTED', 'stepName': 'think'}]\n"
        "from_iterable(events).pipe(pipeline('chat')).subscribe()"
    )

    assert packages(modules) & HEAVY == {"reactivex"}


def test_the_response_imports_no_models_before_an_event_is_validated() -> None:
    program = "from rx_agui.asgi import SSEResponse\nfrom rx_agui import *"
    validates = (
        "\nevents = [{'type': 'STEP_STARTED', 'stepName': 'think'}]"
        "\nfrom_iterable(events).pipe(validate()).subscribe()"
    )

    assert not packages(imported_by(program)) & {"ag_ui", "pydantic", "opentelemetry"}
    assert {"ag_ui", "pydantic"} <= packages(imported_by(program + validates))


@pytest.mark.parametrize("typed", [[], ["--help"], ["--version"], ["demo", "--help"]])
def test_the_help_of_the_command_line_imports_no_command(typed: list[str]) -> None:
    modules = imported_by(
        "from rx_agui.cli import main\n"
        f"try:\n    main({typed})\nexcept SystemExit:\n    pass"
    )

    assert not packages(modules) & HEAVY
    assert not rooms(modules) & {"operators", "testing", "client", "asgi", "demo"}


def test_what_is_found_lazily_is_bound_where_it_was_found() -> None:
    assert rx_agui.batch is rx_agui.operators.batch
    assert "batch" in vars(rx_agui)


def test_a_pipeline_stays_a_function_whatever_is_imported_before() -> None:
    program = "import rx_agui.pipeline\nfrom rx_agui import pipeline\npipeline('chat')"

    assert "rx_agui.engine" in imported_by(program)


def test_star_gives_every_name() -> None:
    assert [name for name in rx_agui.__all__ if not hasattr(rx_agui, name)] == []
