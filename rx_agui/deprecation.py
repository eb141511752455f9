"""Module attributes that are found when they are asked for (PEP 562).

aliases    old names and import paths, kept for one release: each warns and gives the new
lazy       names whose modules are imported at their first use
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["aliases", "lazy", "renamed"]


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


def lazy(
    package: str,
    names: Mapping[str, Iterable[str]],
    otherwise: Callable[[str], object] | None = None,
) -> Callable[[str], object]:
    """Return a package's `__getattr__` that imports a module when a name is first used.

    The name is then bound in the package, so that it is looked up once. Declare the same
    names under `if TYPE_CHECKING:` for type checkers.

    Args:
        package: The package's `__name__`.
        names: From a module of the package to the names it gives; the module itself is
            found by its own name.
        otherwise: The `__getattr__` for other names.
    """
    where = {name: module for module, given in names.items() for name in given}

    def __getattr__(name: str) -> object:
        if name in where:
            found = getattr(import_module(f"{package}.{where[name]}"), name)
            setattr(sys.modules[package], name, found)
            return found
        if name in names:
            return import_module(f"{package}.{name}")
        if otherwise is not None:
            return otherwise(name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return __getattr__


def renamed(old: str, new: str) -> Callable[..., Any]:
    """Return a method that calls the method `new` with a DeprecationWarning.

    Args:
        old: The old name as a reader knows it: `Credit.give`.
        new: The name of the method it is now.
    """

    def method(self: object, *args: Any, **kwargs: Any) -> Any:
        text = f"{old} is now {new}; the old name goes in 0.3"
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        return getattr(self, new)(*args, **kwargs)

    return method
