"""Embedders: texts to vectors, for subscriptions by meaning."""

from __future__ import annotations

from flock.engines.semantic.onnx import OnnxEmbedder

__all__ = ["OnnxEmbedder"]
