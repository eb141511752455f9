"""A reader: one response that sends one stream, from the first byte to the last."""
