"""The faults of a stream that an AG-UI client would stumble over."""

from rx_agui.lint._lint import Finding, lint

__all__ = ["Finding", "lint"]
