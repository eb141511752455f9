"""Moved to `rx_agui.agui.encoding`; this path goes in 0.3."""

from rx_agui.deprecation import aliases

__all__: list[str] = []

__getattr__ = aliases(
    __name__,
    {
        "decode": "rx_agui.agui.encoding:decode",
        "encode": "rx_agui.agui.encoding:encode",
        "encode_many": "rx_agui.agui.encoding:encode_many",
    },
)
