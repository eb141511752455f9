"""A run: the producer of one stream, its source, its window and its end."""
