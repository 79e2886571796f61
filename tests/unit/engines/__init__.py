"""Tests of `flock.engines`."""
