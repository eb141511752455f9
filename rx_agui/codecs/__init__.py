"""Compression: one registry of codecs, and what HTTP negotiates with them.

registry       every codec by name: levels, encoders, bounded decoders
negotiation    Accept-Encoding and Content-Encoding

A codec is one file that makes one `Codec`, and its line in the registry.
"""

__all__: list[str] = []
