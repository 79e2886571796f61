"""Tools, without a model."""
