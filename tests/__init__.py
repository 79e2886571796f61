"""The tests of Flock."""
