"""What an AG-UI client would choke on, in the bytes of a stream."""

from rx_agui.lint._lint import Finding, lint

__all__ = ["Finding", "lint"]
