"""Compression: algorithms, levels, HTTP codings and bounded decoders."""

__all__: list[str] = []
