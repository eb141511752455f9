"""Name, version and schema of the instrumentation scope."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Final

__all__ = ["SCHEMA_URL", "SCOPE", "VERSION"]

SCOPE: Final = "rx_agui"

#: The conventions whose stable attributes (error.type) are used.
SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.37.0"


def _version() -> str:
    try:
        return version("rx-agui")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return ""


VERSION: Final = _version()
