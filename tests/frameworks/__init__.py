"""The examples of examples/frameworks, each in an environment of its own."""
