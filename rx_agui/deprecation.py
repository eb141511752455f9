"""Old names and import paths, kept for one release: each warns and gives the new one."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from importlib import import_module

__all__ = ["aliases"]


def aliases(module: str, names: Mapping[str, str]) -> Callable[[str], object]:
    """Return a module's `__getattr__` that resolves old names with a DeprecationWarning.

    Args:
        module: The module's `__name__`.
        names: From an old name to `package.module:name`.
    """

    def __getattr__(name: str) -> object:
        target = names.get(name)
        if target is None:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        where, _, new = target.partition(":")
        warnings.warn(
            f"{module}.{name} is now {where}.{new}; the old name goes in 0.3",
            DeprecationWarning,
            stacklevel=2,
        )
        return getattr(import_module(where), new)

    return __getattr__
