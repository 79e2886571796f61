"""Tests of `flock.core`."""
