"""Hooks that users write."""
