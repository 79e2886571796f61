"""The way of an artifact: publish, match, gate, schedule, run, commit."""
