"""Tests of `flock.testing`."""
