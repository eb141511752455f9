"""Optional packages that are missing for the time of one test."""

from __future__ import annotations

import sys

import pytest

from rx_agui.codecs import codec


def uninstall(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    """Make `modules` impossible to import, and forget what was found before."""
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(codec, "_FOUND", {})
