"""Improving an agent's prompt by its past runs; see `tune`."""

from __future__ import annotations
