"""Functions and servers that a model may call while it answers."""
