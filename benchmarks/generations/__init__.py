"""Answers of a small model under a grammar: how many are valid at once, how long they take."""
