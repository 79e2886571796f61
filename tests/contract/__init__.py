"""One suite that every store passes: `flock.testing.contract`, for each store that Flock has."""
