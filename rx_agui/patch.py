"""Moved to `rx_agui.agui.json_patch`; this path goes in 0.3."""

from rx_agui.deprecation import aliases

__all__: list[str] = []

__getattr__ = aliases(
    __name__,
    {
        "Fails": "rx_agui.agui.json_patch:Fails",
        "Unsure": "rx_agui.agui.json_patch:Unsure",
        "apply_patch": "rx_agui.agui.json_patch:apply_patch",
    },
)
