"""AG-UI: the kinds of events, what they mean, and what may be done with them."""

__all__: list[str] = []
