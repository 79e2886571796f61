"""Engines against every kind of model: one suite, many factories."""
