"""Tests of `flock.store`."""
