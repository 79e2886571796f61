"""Tests of `flock.orchestrator`."""
