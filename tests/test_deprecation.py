"""Names and paths of 0.1 still work, and say what to write instead."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from rx_agui import errors
from rx_agui.flow import AdmissionBlock, Credit

OLD_PATHS = {
    "rx_agui.codec": ("encode", "rx_agui.agui.encoding"),
    "rx_agui.patch": ("apply_patch", "rx_agui.agui.json_patch"),
    "rx_agui.sse": ("lint", "rx_agui.lint"),
}


@pytest.mark.parametrize(("old", "new"), errors._RENAMED.items())
@pytest.mark.parametrize("module", ["rx_agui", "rx_agui.errors"])
def test_an_old_error_name_is_the_new_class_and_warns(
    module: str, old: str, new: str
) -> None:
    with pytest.warns(DeprecationWarning, match=rf"{old} is now rx_agui\S*\.{new}"):
        found = getattr(importlib.import_module(module), old)

    assert found is getattr(errors, new)


OLD_NAMES = {
    "rx_agui.flow:Bar": "AdmissionBlock",
    "rx_agui.flow:Link": "Demand",
    "rx_agui.flow:Paced": "PullSource",
    "rx_agui.flow:Receipt": "AckPermit",
    "rx_agui.probe:Send": "PayloadTrace",
    "rx_agui.probe:Tally": "OperatorCounters",
    "rx_agui.probe:Watch": "StreamObservation",
    "rx_agui.workers:HANDS": "CALLBACK_POOL",
}


@pytest.mark.parametrize(("old", "new"), OLD_NAMES.items())
def test_an_old_name_is_the_new_one_and_warns(old: str, new: str) -> None:
    path, _, name = old.partition(":")
    module = importlib.import_module(path)

    with pytest.warns(DeprecationWarning, match=f"{path}.{name} is now {path}.{new}"):
        found = getattr(module, name)

    assert found is getattr(module, new)


def test_the_page_for_those_who_move_has_every_old_name_and_path() -> None:
    page = (Path(__file__).parent.parent / "docs/migrating.md").read_text("utf-8")

    for old in (*errors._RENAMED, *(name.replace(":", ".") for name in OLD_NAMES)):
        assert f"`{old}`" in page
    for path in OLD_PATHS:
        assert f"`{path}" in page


@pytest.mark.parametrize("path", OLD_PATHS)
def test_an_old_import_path_gives_the_same_object_and_warns(path: str) -> None:
    name, new = OLD_PATHS[path]

    with pytest.warns(DeprecationWarning, match=f"{path}.{name} is now {new}.{name}"):
        found = getattr(importlib.import_module(path), name)

    assert found is getattr(importlib.import_module(new), name)


def test_a_name_that_never_was_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Gapp'"):
        errors.Gapp  # noqa: B018


def test_old_method_names_of_a_credit_do_the_same_and_warn() -> None:
    credit, block = Credit(1), AdmissionBlock(lambda: errors.CircuitOpenError(1))
    assert credit.acquire()

    with pytest.warns(DeprecationWarning, match="Credit.give is now release"):
        credit.give(1)
    assert credit.free == 1
    with pytest.warns(DeprecationWarning, match="Credit.bar is now block"):
        credit.bar(block)
    assert not credit.acquire()
    with pytest.warns(DeprecationWarning, match="Credit.unbar is now unblock"):
        credit.unbar(block)
    assert credit.acquire()
