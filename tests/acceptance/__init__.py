"""Acceptance tests: the contract, through public names only."""
